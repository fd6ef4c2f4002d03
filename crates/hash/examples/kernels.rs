//! Speed of every kernel on one core, of data in the cache: interleaved, best of many.

#![expect(clippy::print_stdout, reason = "a measurement for people")]

use std::hint::black_box;
use std::time::{Duration, Instant};

use sealwright_hash::{Digest, Engine, FsVerityHasher, Sha256};

const SIZE: usize = 256 << 10;
const TURNS: usize = 60;

fn main() {
    let data: Vec<u8> = (0..=250).cycle().take(SIZE).collect();
    let mut best: Vec<(String, Duration)> = Vec::new();
    for _ in 0..TURNS {
        let mut index = 0;
        for engine in Engine::all() {
            let (s, b) = (engine.stream_kernel(), engine.block_kernel());
            let mut time = |name: String, work: &dyn Fn()| {
                let start = Instant::now();
                work();
                let time = start.elapsed();
                match best.get_mut(index) {
                    Some((_, best)) => *best = time.min(*best),
                    None => best.push((name, time)),
                }
                index += 1;
            };
            time(format!("{s:?} stream"), &|| stream(engine, &data));
            time(format!("{s:?} two streams"), &|| two_streams(engine, &data));
            time(format!("{b:?} blocks"), &|| blocks(engine, &data));
            time(format!("{s:?}+{b:?} stream and tree"), &|| both(engine, &data));
        }
    }
    best.dedup_by_key(|(name, _)| name.clone());
    for (name, time) in best {
        println!("{name:40} {:6.2} GB/s", SIZE as f64 / time.as_secs_f64() / 1e9);
    }
}

fn stream(engine: Engine, data: &[u8]) {
    let mut hash = Sha256::new(engine);
    hash.update(data);
    black_box(hash.finish());
}

fn two_streams(engine: Engine, data: &[u8]) {
    let (mut a, mut b) = (Sha256::new(engine), Sha256::new(engine));
    let (one, other) = data.split_at(data.len() / 2);
    Sha256::update_pair(&mut a, one, &mut b, other);
    black_box((a.finish(), b.finish()));
}

fn blocks(engine: Engine, data: &[u8]) {
    let mut out: Vec<Digest> = vec![[0; 32]; data.len() / 4096];
    engine.hash_blocks(data.as_chunks().0, &mut out);
    black_box(out);
}

fn both(engine: Engine, data: &[u8]) {
    let (mut tree, mut hash) = (FsVerityHasher::new(engine), Sha256::new(engine));
    tree.update_with_stream(&mut hash, data);
    black_box((tree.finish(), hash.finish()));
}
