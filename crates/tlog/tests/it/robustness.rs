//! What comes from outside: parsing never panics, and what parses is written back the same.

use proptest::prelude::*;
use sealwright_tlog::tile::parse_entry_bundle;
use sealwright_tlog::{Checkpoint, Hash, LogKey, SignedNote, Tile, VerifierKey, verify_checkpoint};

/// Bytes that look like notes often enough to get past the first checks.
fn note_like() -> impl Strategy<Value = Vec<u8>> {
    let piece = prop_oneof![
        Just("\n".to_owned()),
        Just("\n\n".to_owned()),
        Just("— localhost ".to_owned()),
        Just("AAAAAAAA".to_owned()),
        Just("localhost\n5\n".to_owned()),
        Just(format!("{}\n", Hash::EMPTY_ROOT)),
        "\\PC{0,8}",
        "[0-9A-Za-z+/=]{0,90}",
    ];
    prop::collection::vec(piece, 0..12).prop_map(|pieces| pieces.concat().into_bytes())
}

fn any_bytes() -> impl Strategy<Value = Vec<u8>> {
    prop_oneof![prop::collection::vec(any::<u8>(), 0..300), note_like()]
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(2000))]

    #[test]
    fn notes(bytes in any_bytes()) {
        if let Ok(note) = SignedNote::parse(&bytes) {
            prop_assert_eq!(note.to_string().into_bytes(), bytes);
        }
    }

    #[test]
    fn signed_checkpoints(bytes in any_bytes()) {
        let key = LogKey::from_seed("localhost", &[1; 32]).unwrap();
        prop_assert!(verify_checkpoint(&bytes, key.verifier()).is_err());
    }

    #[test]
    fn checkpoint_texts(bytes in any_bytes()) {
        let text = String::from_utf8_lossy(&bytes);
        if let Ok(checkpoint) = Checkpoint::parse(&text) {
            prop_assert_eq!(checkpoint.to_text().unwrap(), text);
        }
    }

    #[test]
    fn checkpoints_round_trip(
        origin in "[a-z.]{1,20}",
        size in 1..u64::MAX,
        root in any::<[u8; 32]>(),
        extensions in prop::collection::vec("\\PC{1,20}", 0..4),
        time in 0..u64::MAX / 2,
    ) {
        let key = LogKey::from_seed(&origin, &root).unwrap();
        let checkpoint = Checkpoint { origin, size, root: Hash(root), extensions };
        let note = key.sign_checkpoint(&checkpoint, time).unwrap().to_string();
        let verified = verify_checkpoint(note.as_bytes(), key.verifier()).unwrap();
        prop_assert_eq!(verified.checkpoint(), &checkpoint);
        prop_assert_eq!(verified.cosigned_at(), Some(time));
    }

    #[test]
    fn verifier_keys(text in "(\\PC{0,9}\\+)?[0-9a-f]{0,9}\\+?[0-9A-Za-z+/=]{0,50}") {
        if let Ok(key) = VerifierKey::parse(&text) {
            prop_assert_eq!(key.to_string(), text);
        }
    }

    #[test]
    fn tile_paths(text in "(tile/)?(entries|[0-9]{1,3})?(/x?[0-9]{0,4}){0,4}(\\.p/[0-9]{0,4})?|\\PC{0,40}") {
        if let Ok(tile) = Tile::parse(&text) {
            prop_assert_eq!(tile.path(), text);
        }
    }

    #[test]
    fn tiles_have_paths_that_parse(
        level in 0..=63_u8,
        index in prop_oneof![0..5_000_u64, any::<u64>()],
        width in 1..=256_u16,
    ) {
        let tiles = [Tile::hashes(level, index, width).unwrap(), Tile::entries(index, width).unwrap()];
        for tile in tiles {
            prop_assert_eq!(Tile::parse(&tile.path()), Ok(tile));
        }
    }

    #[test]
    fn entry_bundles(bytes in prop::collection::vec(any::<u8>(), 0..300), width in 0..=256_u16) {
        if let Ok(entries) = parse_entry_bundle(&bytes, width) {
            prop_assert_eq!(entries.len(), usize::from(width));
            let again = sealwright_tlog::tile::encode_entry_bundle(&entries).unwrap();
            prop_assert_eq!(again, bytes);
        }
    }
}
