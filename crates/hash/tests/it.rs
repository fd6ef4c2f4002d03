//! Every kernel of this machine against the `sha2` crate.

use proptest::prelude::*;
use sealwright_hash::{
    BLOCK_SIZE, BlockKernel, Digest, Engine, FsVerityHasher, SPAN_SIZE, Sha256, SpanHasher,
    SpanMerger, StreamKernel,
};
use sha2::Digest as _;

fn reference(data: &[u8]) -> Digest {
    sha2::Sha256::digest(data).into()
}

/// Bytes without a pattern that a shifted or repeated block could hide behind.
fn bytes(length: usize, seed: u32) -> Vec<u8> {
    let mut state = seed | 1;
    let next = || {
        state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
        state.to_be_bytes()[0]
    };
    std::iter::repeat_with(next).take(length).collect()
}

/// Around the borders of chunks, of padding, of blocks, and of groups of 8 and 16 blocks.
fn lengths() -> impl Iterator<Item = usize> {
    let blocks = (1..=34).flat_map(|n| [n * BLOCK_SIZE - 1, n * BLOCK_SIZE, n * BLOCK_SIZE + 1]);
    (0..=300).chain(blocks)
}

/// The tree by its definition: level after level, one hash after the other.
fn reference_tree(data: &[u8]) -> Digest {
    let level = |data: &[u8]| -> Vec<u8> {
        let hash = |block: &[u8]| {
            let mut block = block.to_vec();
            block.resize(BLOCK_SIZE, 0);
            reference(&block)
        };
        data.chunks(BLOCK_SIZE).flat_map(hash).collect()
    };
    let mut hashes = level(data);
    while hashes.len() > 32 {
        hashes = level(&hashes);
    }
    let mut descriptor = vec![1, 1, 12, 0, 0, 0, 0, 0];
    descriptor.extend((data.len() as u64).to_le_bytes());
    descriptor.extend(hashes);
    descriptor.resize(256, 0);
    reference(&descriptor)
}

#[test]
fn the_best_kernels_come_first_and_all_are_found() {
    let all = Engine::all();
    let best = Engine::best();
    assert_eq!(all[0].stream_kernel(), best.stream_kernel());
    assert_eq!(all[0].block_kernel() == BlockKernel::Portable, {
        best.block_kernel() == BlockKernel::Portable
    });
    let portable = all.last().unwrap();
    assert_eq!(portable.stream_kernel(), StreamKernel::Portable);
    assert_eq!(portable.block_kernel(), BlockKernel::Portable);
    for engine in &all {
        let again = Engine::with(engine.stream_kernel(), engine.block_kernel());
        assert!(again.is_some(), "{engine:?}");
    }
    #[cfg(target_arch = "x86_64")]
    {
        assert!(Engine::with(StreamKernel::Sha2, BlockKernel::Portable).is_none());
        let has = |kernel| Engine::with(StreamKernel::Portable, kernel).is_some();
        assert_eq!(has(BlockKernel::Avx512), is_x86_feature_detected!("avx512bw"));
        assert_eq!(has(BlockKernel::Avx2), is_x86_feature_detected!("avx2"));
        assert_eq!(has(BlockKernel::ShaNi), is_x86_feature_detected!("sha"));
    }
}

#[test]
fn streams_equal_the_reference_at_every_border() {
    let data = bytes(40 * BLOCK_SIZE, 1);
    for engine in Engine::all() {
        for length in lengths() {
            let data = &data[..length];
            let mut hash = Sha256::new(engine);
            hash.update(data);
            assert_eq!(hash.finish(), reference(data), "{length} bytes, {engine:?}");
        }
    }
    assert_eq!(Sha256::digest(&data), reference(&data));
}

#[test]
fn pairs_equal_the_reference_at_every_border() {
    let (one, other) = (bytes(2 * BLOCK_SIZE, 2), bytes(2 * BLOCK_SIZE, 3));
    for engine in Engine::all() {
        for length in (0..=300).chain(BLOCK_SIZE - 2..BLOCK_SIZE + 2) {
            for second in [0, 1, 55, 56, 63, 64, 65, 127, 128, 129, 4095, 4096, 4097, length] {
                let (one, other) = (&one[..length], &other[..second]);
                let (mut a, mut b) = (Sha256::new(engine), Sha256::new(engine));
                Sha256::update_pair(&mut a, one, &mut b, other);
                let found = (a.finish(), b.finish());
                let expected = (reference(one), reference(other));
                assert_eq!(found, expected, "{length} and {second} bytes, {engine:?}");
            }
        }
    }
}

#[test]
fn blocks_equal_the_reference_for_every_number_of_them() {
    let data = bytes(50 * BLOCK_SIZE, 4);
    let blocks = data.as_chunks().0;
    let expected: Vec<_> = blocks.iter().map(|block: &[u8; BLOCK_SIZE]| reference(block)).collect();
    for engine in Engine::all() {
        for count in 0..=blocks.len() {
            let mut out = vec![[0; 32]; count];
            engine.hash_blocks(&blocks[..count], &mut out);
            assert_eq!(out, expected[..count], "{count} blocks, {engine:?}");
        }
        // Whichever of the two is shorter.
        let mut few = [[0; 32]; 3];
        engine.hash_blocks(blocks, &mut few);
        assert_eq!(few, expected[..3]);
        let mut many = [[7; 32]; 5];
        engine.hash_blocks(&blocks[..4], &mut many);
        assert_eq!((&many[..4], many[4]), (&expected[..4], [7; 32]));
    }
}

#[test]
fn a_stream_and_its_blocks_in_one_pass() {
    let data = bytes(35 * BLOCK_SIZE, 5);
    for engine in Engine::all() {
        for length in lengths() {
            for before in [0, 1, 64] {
                let data = &data[..length];
                let mut hash = Sha256::new(engine);
                hash.update(&data[..before.min(length)]);
                let rest = &data[before.min(length)..];
                let mut out = [[0; 32]; 40];
                let count = hash.update_with_blocks(rest, &mut out);
                assert_eq!(hash.finish(), reference(data), "{length} bytes, {engine:?}");
                let expected: Vec<_> = rest.chunks_exact(BLOCK_SIZE).map(reference).collect();
                assert_eq!(out[..count], expected, "{length} bytes, {engine:?}");
            }
        }
        // No room for all digests: the message still takes every byte.
        let mut hash = Sha256::new(engine);
        let mut out = [[0; 32]; 2];
        assert_eq!(hash.update_with_blocks(&data, &mut out), 2);
        assert_eq!(hash.finish(), reference(&data));
    }
}

#[test]
fn trees_equal_their_definition_at_every_border() {
    let batch = 16 * SPAN_SIZE;
    let data = bytes(batch + 2 * SPAN_SIZE, 6);
    let spans = [SPAN_SIZE, 2 * SPAN_SIZE, batch, batch + SPAN_SIZE];
    let around = spans.into_iter().flat_map(|size| [size - 1, size, size + 1, size + BLOCK_SIZE]);
    let engines = Engine::all();
    for (turn, length) in lengths().chain(around).enumerate() {
        let data = &data[..length];
        let expected = reference_tree(data);
        // The large ones are hashed by one kernel each, in turns.
        let all = if length < SPAN_SIZE { 0..engines.len() } else { turn..turn + 2 };
        for engine in all.map(|index| engines[index % engines.len()]) {
            let mut tree = FsVerityHasher::new(engine);
            tree.update(data);
            assert_eq!(tree.finish(), expected, "{length} bytes, {engine:?}");

            let (mut tree, mut stream) = (FsVerityHasher::new(engine), Sha256::new(engine));
            tree.update_with_stream(&mut stream, data);
            assert_eq!(tree.finish(), expected, "{length} bytes, {engine:?}");
            assert_eq!(stream.finish(), reference(data), "{length} bytes, {engine:?}");

            let spans = merge(engine, data, SPAN_SIZE);
            assert_eq!(spans, (length > BLOCK_SIZE).then_some(expected), "{length}, {engine:?}");
        }
    }
}

fn merge(engine: Engine, data: &[u8], part: usize) -> Option<Digest> {
    let mut merger = SpanMerger::new(engine, data.len() as u64);
    for part in data.chunks(part) {
        let mut spans = SpanHasher::new(engine);
        part.chunks(100_000).for_each(|piece| spans.update(piece));
        merger.push(&spans.finish());
    }
    merger.finish()
}

#[test]
fn every_level_that_is_kept_leads_to_the_digest() {
    let engine = Engine::best();
    let span = vec![7_u8; SPAN_SIZE];
    for (spans, rest) in [(1, 0), (1, 1), (2, 4096), (127, 5), (128, 0), (128, 1), (300, 4097)] {
        let size = (spans * SPAN_SIZE + rest) as u64;
        let kept = |level| {
            let mut tree = FsVerityHasher::new(engine).keeping(level);
            (0..spans).for_each(|_| tree.update(&span));
            tree.update(&span[..rest]);
            tree.finish_with_level()
        };
        for level in [1, 2, 3] {
            let (digest, hashes) = kept(level);
            let mut merger = SpanMerger::from_level(engine, size, level).keeping(3);
            merger.push(&hashes);
            match merger.finish_with_level() {
                Some((merged, top)) => {
                    assert_eq!((merged, top), (digest, kept(3).1), "level {level} of {size}");
                }
                None => assert!(level > 1 && hashes.is_empty(), "level {level} of {size}"),
            }
        }
    }
}

#[test]
fn a_merger_wants_all_spans() {
    let engine = Engine::best();
    let data = bytes(2 * SPAN_SIZE + 1, 7);
    let mut spans = SpanHasher::new(engine);
    spans.update(&data);
    let spans = spans.finish();
    assert_eq!(spans.len(), 3);
    let finish = |spans: &[Digest]| {
        let mut merger = SpanMerger::new(engine, data.len() as u64);
        merger.push(spans);
        merger.finish()
    };
    assert_eq!(finish(&spans), Some(reference_tree(&data)));
    assert_eq!(finish(&spans[..2]), None);
    assert_eq!(finish(&[spans.clone(), spans].concat()), None);
    assert_eq!(finish(&[]), None);
}

/// A file of more than a gigabyte of zeros, so that a third level is hashed before the end.
#[test]
fn high_trees_equal_the_kernels() {
    let engine = Engine::best();
    let piece = vec![0; 16 * SPAN_SIZE];
    let pieces = 2 * 128 + 1;
    let mut tree = FsVerityHasher::new(engine);
    let mut spans = SpanHasher::new(engine);
    for _ in 0..pieces {
        tree.update(&piece);
    }
    spans.update(&piece);
    let spans = spans.finish();
    let mut merger = SpanMerger::new(engine, (piece.len() * pieces) as u64);
    for _ in 0..pieces {
        merger.push(&spans);
    }
    let tree: String = tree.finish().iter().map(|byte| format!("{byte:02x}")).collect();
    let merged = merger.finish().unwrap();
    let merged: String = merged.iter().map(|byte| format!("{byte:02x}")).collect();
    // `truncate -s 2155872256 F; fsverity digest F` (fsverity-utils 1.5).
    assert_eq!(tree, "8a59078f555a3b4991e6625557512bb01fed285a1eba7554cf768d4a667570b6");
    assert_eq!(merged, tree);
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(256))]

    /// Any split of any message, through every way in, is the message.
    #[test]
    fn pieces_do_not_matter(
        one in prop::collection::vec(any::<u8>(), 0..20_000),
        other in prop::collection::vec(any::<u8>(), 0..20_000),
        cuts in prop::collection::vec((0..9000_usize, 0..9000_usize, 0..4_u8), 0..12),
        engine in 0..64_usize,
    ) {
        let engines = Engine::all();
        let engine = engines[engine % engines.len()];
        let (mut a, mut b) = (Sha256::new(engine), Sha256::new(engine));
        let (mut tree, mut other_tree) = (FsVerityHasher::new(engine), FsVerityHasher::new(engine));
        let (mut one_rest, mut other_rest) = (one.as_slice(), other.as_slice());
        for (one_cut, other_cut, way) in cuts {
            let (first, rest) = one_rest.split_at(one_cut.min(one_rest.len()));
            let (second, other_after) = other_rest.split_at(other_cut.min(other_rest.len()));
            (one_rest, other_rest) = (rest, other_after);
            match way {
                0 => {
                    a.update(first);
                    b.update(second);
                    tree.update(first);
                }
                1 => {
                    Sha256::update_pair(&mut a, first, &mut b, second);
                    tree.update(first);
                }
                2 => {
                    tree.update_with_stream(&mut a, first);
                    b.update(second);
                }
                _ => {
                    a.update_with_blocks(first, &mut [[0; 32]; 2]);
                    Sha256::update_pair(&mut b, second, &mut Sha256::new(engine), first);
                    tree.update(first);
                }
            }
            other_tree.update(second);
        }
        tree.update_with_stream(&mut a, one_rest);
        other_tree.update_with_stream(&mut b, other_rest);
        prop_assert_eq!(a.finish(), reference(&one));
        prop_assert_eq!(b.finish(), reference(&other));
        prop_assert_eq!(tree.finish(), reference_tree(&one));
        prop_assert_eq!(other_tree.finish(), reference_tree(&other));
    }

    /// Spans hashed in parts of any number, merged, are the tree.
    #[test]
    fn parts_do_not_matter(length in BLOCK_SIZE + 1..6 * SPAN_SIZE, part in 1..4_usize) {
        let data = bytes(length, 8);
        let mut tree = FsVerityHasher::new(Engine::best());
        tree.update(&data);
        prop_assert_eq!(merge(Engine::best(), &data, part * SPAN_SIZE), Some(tree.finish()));
    }
}
