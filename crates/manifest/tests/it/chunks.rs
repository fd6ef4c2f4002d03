//! Where in a file a difference is.

use std::fs;

use sealwright_manifest::{
    ChunkSize, Chunks, Hashing, Identity, Sha256, WalkOptions, digest_model, identify_model,
};

use crate::model;

const CHUNK: usize = 512 << 10;

fn identify(path: &std::path::Path) -> Identity {
    identify_model(path, &WalkOptions::default(), &Hashing::default()).unwrap()
}

#[test]
fn differences_say_where() {
    let content = vec![7; 20 * CHUNK + 1];
    let model = model(&[("weights", &content), ("short", &content[..CHUNK]), ("config", b"12")]);
    let signed = identify(model.path());
    let told = || -> Vec<String> {
        signed.differences(&identify(model.path())).iter().map(ToString::to_string).collect()
    };
    assert!(told().is_empty());

    let change = |name: &str, places: &[usize]| {
        let mut bytes = content.clone();
        places.iter().for_each(|&place| bytes[place] ^= 1);
        fs::write(model.path().join(name), bytes).unwrap();
    };
    change("weights", &[16 * CHUNK]);
    assert_eq!(told(), ["changed: weights: chunk 17 of 21 differs"]);
    change("weights", &[0, CHUNK, 20 * CHUNK]);
    assert_eq!(told(), ["changed: weights: chunks 1-2, 21 of 21 differ"]);

    fs::write(model.path().join("weights"), &content[1..]).unwrap();
    fs::write(model.path().join("short"), vec![8; CHUNK]).unwrap();
    fs::write(model.path().join("config"), b"123").unwrap();
    assert_eq!(
        told(),
        [
            "changed: config: 3 bytes, 2 were signed",
            "changed: short",
            "changed: weights: 10485760 bytes, 10485761 were signed",
        ]
    );
}

#[test]
fn both_ways_find_the_same_chunks_and_they_lead_to_the_digest() {
    let content: Vec<u8> = (0..=250).cycle().take(17 * CHUNK + 5).collect();
    let model = model(&[("a", &content), ("b", &content[..CHUNK]), ("c", &content[..CHUNK + 1])]);
    let manifest =
        digest_model(model.path(), &WalkOptions::default(), &Hashing::default()).unwrap();
    let identity = identify(model.path());
    assert_eq!(manifest.identity(), identity);
    let counts: Vec<_> =
        identity.files().iter().map(|f| f.chunks.as_ref().map(|c| c.hashes().len())).collect();
    assert_eq!(counts, [Some(18), None, Some(2)]);

    let file = &identity.files()[0];
    let (size, hashes) =
        (ChunkSize::from_bytes(CHUNK as u64).unwrap(), file.chunks.clone().unwrap());
    let hashes = hashes.hashes().to_vec();
    let with = |hashes: Vec<_>, bytes, digest: &Sha256| Chunks::new(size, hashes, bytes, digest);
    assert_eq!(with(hashes.clone(), file.size, &file.fsverity), file.chunks);
    let mut forged = hashes.clone();
    forged[3][0] ^= 1;
    assert_eq!(with(forged, file.size, &file.fsverity), None);
    assert_eq!(with(hashes[1..].to_vec(), file.size, &file.fsverity), None);
    assert_eq!(with(hashes.clone(), file.size + 1, &file.fsverity), None);
    assert_eq!(with(hashes, file.size, &Sha256::of(b"")), None);
}

#[test]
fn larger_chunks_are_chosen_for_larger_models() {
    let content = vec![7; 3 * CHUNK];
    let model = model(&[("a", &content)]);
    let wide = ChunkSize::from_bytes(64 << 20);
    assert!(wide.is_some());
    let hashing = Hashing { chunk_size: wide, ..Hashing::default() };
    let found = identify_model(model.path(), &WalkOptions::default(), &hashing).unwrap();
    assert_eq!(found.files()[0].chunks, None);
    assert_eq!(found.model_digest(), identify(model.path()).model_digest());
}
