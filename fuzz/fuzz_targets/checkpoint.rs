//! The log's formats: signed notes, checkpoints, tile paths, entry bundles, proofs.
//!
//! The first byte chooses which.

#![no_main]

use libfuzzer_sys::fuzz_target;
use sealwright_tlog::checkpoint::Checkpoint;
use sealwright_tlog::cosignature::CosignerKey;
use sealwright_tlog::tile::{encode_entry_bundle, parse_entry_bundle, tiles_for_growth};
use sealwright_tlog::{
    ConsistencyProof, Hash, InclusionProof, LogKey, SignedNote, Tile, VerifierKey, leaf_hash,
    stored_hashes_for_leaf, tree_hash, verify_checkpoint,
};

fuzz_target!(|data: &[u8]| {
    let [kind, data @ ..] = data else { return };
    match kind % 6 {
        0 => note(data),
        1 => text(data),
        2 => tile(data),
        3 => entries(data),
        4 => proofs(data),
        _ => keys(data),
    }
});

fn note(data: &[u8]) {
    let Ok(note) = SignedNote::parse(data) else { return };
    assert_eq!(note.to_string().as_bytes(), data);
    let again = SignedNote::new(note.text().to_owned(), note.signatures().to_vec());
    assert_eq!(again.as_ref(), Ok(&note));
    // Nobody but its owner signs in the name of a key.
    let key = LogKey::from_seed("log.example", &[7; 32]).unwrap();
    if let Ok(verified) = verify_checkpoint(data, key.verifier()) {
        let own = key.sign_checkpoint(verified.checkpoint(), verified.cosigned_at().unwrap_or(0));
        assert_eq!(own.unwrap().text(), note.text());
        let genuine = ["log.example\n1\n", "log.example\n736\n"];
        assert!(genuine.iter().any(|text| note.text().starts_with(text)), "{note}");
    }
}

fn text(data: &[u8]) {
    let Ok(text) = std::str::from_utf8(data) else { return };
    let Ok(checkpoint) = Checkpoint::parse(text) else { return };
    assert_eq!(checkpoint.to_text().as_deref(), Ok(text));
}

fn tile(data: &[u8]) {
    if let Ok(path) = std::str::from_utf8(data)
        && let Ok(tile) = Tile::parse(path)
    {
        assert_eq!(tile.path(), path);
        let _ = tile.min_log_size();
    }
    // Growth by few leaves from anywhere.
    if let Some((old, [more, ..])) = data.split_first_chunk::<8>() {
        let old = u64::from_be_bytes(*old);
        let new = old.saturating_add(u64::from(*more) * 4);
        for tile in tiles_for_growth(old, new) {
            assert_eq!(Tile::parse(&tile.path()), Ok(tile.clone()));
            assert!(tile.min_log_size().is_some_and(|size| size <= new), "{tile}");
        }
    }
}

fn entries(data: &[u8]) {
    let Some((width, bundle)) = data.split_first() else { return };
    let width = u16::from(*width) + 1;
    let Ok(entries) = parse_entry_bundle(bundle, width) else { return };
    assert_eq!(entries.len(), usize::from(width));
    assert_eq!(encode_entry_bundle(&entries).as_deref(), Ok(bundle));
}

/// A tree of up to 256 leaves, a proof out of it, and a proof out of the input.
fn proofs(data: &[u8]) {
    let [size, old, index, hashes @ ..] = data else { return };
    let (size, old) = (u64::from(*size) + 1, u64::from(*old));
    let index = u64::from(*index);
    let mut stored: Vec<Hash> = Vec::new();
    let leaf = |n: u64| leaf_hash(&n.to_be_bytes());
    for n in 0..size {
        let more = stored_hashes_for_leaf(n, leaf(n), &stored).unwrap();
        stored.extend(more);
    }
    let root = tree_hash(size, &stored).unwrap();
    let given: Vec<Hash> = hashes.chunks(32).filter_map(Hash::from_slice).collect();
    let claimed = InclusionProof { index, size, hashes: given.clone() };
    match InclusionProof::prove(index, size, &stored) {
        Ok(proof) => {
            assert_eq!(proof.verify(&leaf(index), &root), Ok(()));
            assert!(proof.verify(&leaf(index + 1), &root).is_err());
            // There is one proof, and it is for one leaf.
            assert_eq!(claimed.verify(&leaf(index), &root).is_ok(), claimed == proof);
        }
        Err(_) => assert!(claimed.verify(&leaf(index), &root).is_err()),
    }
    let claimed = ConsistencyProof { old_size: old, new_size: size, hashes: given };
    let old_root = tree_hash(old.min(size), &stored).unwrap();
    match ConsistencyProof::prove(old, size, &stored) {
        Ok(proof) => {
            assert_eq!(proof.verify(&old_root, &root), Ok(()));
            assert_eq!(claimed.verify(&old_root, &root).is_ok(), claimed == proof);
            if 0 < old && old < size {
                assert!(proof.verify(&root, &root).is_err());
            }
        }
        Err(_) => assert!(claimed.verify(&old_root, &root).is_err()),
    }
}

fn keys(data: &[u8]) {
    if let Ok(text) = std::str::from_utf8(data) {
        if let Ok(key) = VerifierKey::parse(text) {
            assert_eq!(key.to_string(), text);
            let again = VerifierKey::from_spki_der(key.name(), &key.to_spki_der()).unwrap();
            assert_eq!(again.log_id(), key.log_id());
            let _ = key.cosigner();
        }
        if let Ok(key) = CosignerKey::parse(text) {
            assert_eq!(key.to_string(), text);
        }
    }
    if let Ok(key) = VerifierKey::from_spki_der("log.example", data) {
        assert_eq!(key.to_spki_der(), data);
    }
    if let Ok(key) = LogKey::from_pkcs8_der("log.example", data) {
        let again = LogKey::from_pkcs8_der("log.example", &key.to_pkcs8_der().unwrap()).unwrap();
        assert_eq!(again.verifier().log_id(), key.verifier().log_id());
    }
}
