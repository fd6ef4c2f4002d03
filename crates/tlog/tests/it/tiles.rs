//! Tiles hold the hashes the tree is made of, and growth leaves none out.

use std::collections::BTreeMap;

use proptest::prelude::*;
use sealwright_tlog::tile::tiles_for_growth;
use sealwright_tlog::{Hash, Tile, TileKind, leaf_hash, node_hash, tree_hash};

use crate::{body, stored_hashes};

/// RFC 6962 §2.1, word for word.
fn merkle_tree_hash(start: u64, end: u64) -> Hash {
    match end - start {
        0 => Hash::EMPTY_ROOT,
        1 => leaf_hash(&body(start)),
        n => {
            let k = 1 << (n - 1).ilog2();
            node_hash(&merkle_tree_hash(start, start + k), &merkle_tree_hash(start + k, end))
        }
    }
}

#[test]
fn a_tile_holds_the_roots_of_its_subtrees() {
    let hashes = stored_hashes(700);
    for (level, index, width) in [(0, 0, 256), (0, 1, 3), (0, 2, 188), (1, 0, 1), (1, 0, 2)] {
        let data = Tile::hashes(level, index, width).unwrap().hash_data(&hashes).unwrap().unwrap();
        let span = 256_u64.pow(u32::from(level));
        let expected: Vec<u8> = (0..u64::from(width))
            .map(|i| (index * 256 + i) * span)
            .flat_map(|start| merkle_tree_hash(start, start + span).0)
            .collect();
        assert_eq!(data, expected, "level {level} index {index} width {width}");
    }
    assert!(Tile::hashes(0, 2, 189).unwrap().hash_data(&hashes).unwrap().is_err());
    assert!(Tile::hashes(63, u64::MAX, 1).unwrap().hash_data(&hashes).unwrap().is_err());
    assert!(Tile::entries(0, 1).unwrap().hash_data(&hashes).is_none());
}

#[test]
fn roots_follow_the_definition() {
    let hashes = stored_hashes(300);
    for size in 0..=300 {
        assert_eq!(tree_hash(size, &hashes), Ok(merkle_tree_hash(0, size)), "size {size}");
    }
}

proptest! {
    /// However a log grew, the tiles published on the way include every tile of its size.
    #[test]
    fn growth_leaves_nothing_out(steps in prop::collection::vec(0..70_000_u64, 1..8)) {
        let mut published = BTreeMap::new();
        let mut size = 0;
        for step in steps {
            for tile in tiles_for_growth(size, size + step) {
                // A tile is published once: its content can never change.
                prop_assert!(published.insert(tile, ()).is_none(), "{} again", tile);
            }
            size += step;
            for tile in tiles_for_growth(0, size) {
                prop_assert!(published.contains_key(&tile), "{} missing at {}", tile, size);
            }
        }
        let (mut level, mut count) = (0, size);
        while count > 0 {
            let widths: u64 = tiles_for_growth(0, size)
                .iter()
                .filter(|tile| tile.kind() == TileKind::Hashes { level })
                .map(|tile| u64::from(tile.width()))
                .sum();
            prop_assert_eq!(widths, count);
            level += 1;
            count /= 256;
        }
    }
}
