//! Roots and proofs: the known answers of RFC 6962 implementations, `ct-merkle` as oracle, and
//! that nothing altered verifies.

use ct_merkle::mem_backed_tree::MemoryBackedTree;
use proptest::prelude::*;
use sealwright_tlog::{
    ConsistencyProof, Hash, InclusionProof, ProofError, ProveError, leaf_hash, node_hash,
    stored_hashes_for_leaf, tree_hash,
};
use sha2::Sha256;

use crate::{body, stored_hashes};

fn hash(hex: &str) -> Hash {
    Hash::from_slice(&hex::decode(hex).unwrap()).unwrap()
}

/// Eight leaves and the roots of their prefixes, from the tests of Google's
/// `certificate-transparency` (`merkletree/merkle_tree_test.cc`).
const KNOWN: [(&str, &str); 8] = [
    ("", "6e340b9cffb37a989ca544e6bb780a2c78901d3fb33738768511a30617afa01d"),
    ("00", "fac54203e7cc696cf0dfcb42c92a1d9dbaf70ad9e621f4bd8d98662f00e3c125"),
    ("10", "aeb6bcfe274b70a14fb067a5e5578264db0fa9b51af5e0ba159158f329e06e77"),
    ("2021", "d37ee418976dd95753c1c73862b9398fa2a2cf9b4ff0fdfe8b30cd95209614b7"),
    ("3031", "4e3bbb1f7b478dcfe71fb631631519a3bca12c9aefca1612bfce4c13a86264d4"),
    ("40414243", "76e67dadbcdf1e10e1b74ddc608abd2f98dfb16fbce75277b5232a127f2087ef"),
    ("5051525354555657", "ddb89be403809e325750d3d263cd78929c2942b7942a34b77e122c9594a74c8c"),
    (
        "606162636465666768696a6b6c6d6e6f",
        "5dc9da79a70659a9ad559cb701ded9a2ab9d823aad2f4960cfe370eff4604328",
    ),
];

#[test]
fn known_roots_and_proofs() {
    let mut hashes = Vec::new();
    for (index, (leaf, root)) in KNOWN.into_iter().enumerate() {
        let leaf = leaf_hash(&hex::decode(leaf).unwrap());
        hashes.extend(stored_hashes_for_leaf(index as u64, leaf, &hashes).unwrap());
        assert_eq!(tree_hash(index as u64 + 1, &hashes), Ok(hash(root)));
    }
    let right = hash("ca854ea128ed050b41b35ffc1b87b8eb2bde461e9e3b5596ece6b9d5975a0ae0");
    let left = hash("d37ee418976dd95753c1c73862b9398fa2a2cf9b4ff0fdfe8b30cd95209614b7");
    assert_eq!(
        InclusionProof::prove(5, 8, &hashes).unwrap().hashes,
        [hash("bc1a0643b12e4d2d7c77918f44e0f4f79a838b6cf9ec5b5c283e1f4d88599e6b"), right, left]
    );
    assert_eq!(
        ConsistencyProof::prove(6, 8, &hashes).unwrap().hashes,
        [hash("0ebc5d3437fbe2db158b9f126a1d118e308181031d0a949f8dededebc558ef6a"), right, left]
    );
}

#[test]
fn every_proof_up_to_130_leaves_agrees_with_ct_merkle() {
    let hashes = stored_hashes(130);
    let mut oracle = MemoryBackedTree::<Sha256, Vec<u8>>::new();
    for size in 1..=130 {
        oracle.push(body(size - 1));
        let root = tree_hash(size, &hashes).unwrap();
        assert_eq!(root.as_bytes(), oracle.root().as_bytes().as_slice(), "size {size}");
        for index in 0..size {
            let proof = InclusionProof::prove(index, size, &hashes).unwrap();
            assert_eq!(
                proof.hashes.iter().flat_map(|h| h.0).collect::<Vec<_>>(),
                oracle.prove_inclusion(usize::try_from(index).unwrap()).as_bytes(),
                "leaf {index} of {size}"
            );
            proof.verify(&leaf_hash(&body(index)), &root).unwrap();
        }
        for old_size in 1..=size {
            let proof = ConsistencyProof::prove(old_size, size, &hashes).unwrap();
            assert_eq!(
                proof.hashes.iter().flat_map(|h| h.0).collect::<Vec<_>>(),
                oracle.prove_consistency(usize::try_from(size - old_size).unwrap()).as_bytes(),
                "from {old_size} to {size}"
            );
            proof.verify(&tree_hash(old_size, &hashes).unwrap(), &root).unwrap();
        }
    }
}

#[test]
fn proofs_outside_the_tree_are_refused() {
    let hashes = stored_hashes(8);
    assert_eq!(
        InclusionProof::prove(8, 8, &hashes),
        Err(ProveError::OutOfRange { asked: 8, size: 8 })
    );
    assert!(matches!(InclusionProof::prove(0, 9, &hashes), Err(ProveError::Read(_))));
    assert_eq!(
        ConsistencyProof::prove(9, 8, &hashes),
        Err(ProveError::OutOfRange { asked: 9, size: 8 })
    );
    let nothing = InclusionProof { index: 0, size: 0, hashes: Vec::new() };
    assert_eq!(
        nothing.verify(&Hash::EMPTY_ROOT, &Hash::EMPTY_ROOT),
        Err(ProofError::IndexOutOfRange { index: 0, size: 0 })
    );
    let reversed = ConsistencyProof { old_size: 2, new_size: 1, hashes: Vec::new() };
    assert_eq!(
        reversed.verify(&Hash::EMPTY_ROOT, &Hash::EMPTY_ROOT),
        Err(ProofError::SizesReversed { old_size: 2, new_size: 1 })
    );
}

#[test]
fn trivial_consistency_needs_an_empty_proof_and_the_right_roots() {
    let hashes = stored_hashes(5);
    let root = tree_hash(5, &hashes).unwrap();
    let check = |old_size, proof: &[Hash], old_root| {
        ConsistencyProof { old_size, new_size: 5, hashes: proof.to_vec() }.verify(&old_root, &root)
    };
    assert_eq!(ConsistencyProof::prove(0, 5, &hashes).unwrap().hashes, []);
    assert_eq!(ConsistencyProof::prove(5, 5, &hashes).unwrap().hashes, []);
    assert_eq!(check(0, &[], Hash::EMPTY_ROOT), Ok(()));
    assert_eq!(check(5, &[], root), Ok(()));
    assert!(check(0, &[], root).is_err());
    assert!(check(5, &[], Hash::EMPTY_ROOT).is_err());
    assert!(check(0, &[root], Hash::EMPTY_ROOT).is_err());
    assert!(check(5, &[root], root).is_err());
}

/// The sizes at which the last leaf's path is as long as the tree is deep, and then some.
fn sizes() -> impl Strategy<Value = u64> {
    prop_oneof![1..1200_u64, (0..11_u32, -1..=1_i64).prop_map(near_power)]
}

fn near_power((power, off): (u32, i64)) -> u64 {
    (1_u64 << power).saturating_add_signed(off).max(1)
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(128))]

    #[test]
    fn altered_inclusion_proofs_fail(
        size in sizes(),
        pick in any::<prop::sample::Index>(),
        bit in any::<prop::sample::Index>(),
    ) {
        let hashes = stored_hashes(size);
        let index = pick.index(usize::try_from(size).unwrap()) as u64;
        let (leaf, root) = (leaf_hash(&body(index)), tree_hash(size, &hashes).unwrap());
        let good = InclusionProof::prove(index, size, &hashes).unwrap();
        prop_assert_eq!(good.verify(&leaf, &root), Ok(()));

        let flipped = |hash: &Hash| {
            let mut hash = *hash;
            let at = bit.index(256);
            hash.0[at / 8] ^= 1 << (at % 8);
            hash
        };
        prop_assert!(good.verify(&flipped(&leaf), &root).is_err());
        prop_assert!(good.verify(&leaf, &flipped(&root)).is_err());
        for at in 0..good.hashes.len() {
            let mut bad = good.clone();
            bad.hashes[at] = flipped(&bad.hashes[at]);
            prop_assert!(bad.verify(&leaf, &root).is_err());
            let mut bad = good.clone();
            bad.hashes.remove(at);
            prop_assert!(bad.verify(&leaf, &root).is_err());
        }
        for extra in [Hash::EMPTY_ROOT, leaf, root] {
            for at in [0, good.hashes.len()] {
                let mut bad = good.clone();
                bad.hashes.insert(at, extra);
                prop_assert!(bad.verify(&leaf, &root).is_err());
            }
        }
        for other in (0..size + 3).filter(|other| *other != index) {
            let bad = InclusionProof { index: other, ..good.clone() };
            prop_assert!(bad.verify(&leaf, &root).is_err(), "index {}", other);
        }
        // Where a wrong size changes the path's shape. Where it does not, as for leaf 0 of 3 or 4,
        // only the checkpoint, which signs size and root together, can tell.
        for other in [0, index, size * 2, u64::MAX] {
            let bad = InclusionProof { size: other, ..good.clone() };
            prop_assert!(bad.verify(&leaf, &root).is_err(), "size {}", other);
        }
    }

    #[test]
    fn altered_consistency_proofs_fail(
        new_size in sizes(),
        pick in any::<prop::sample::Index>(),
        bit in any::<prop::sample::Index>(),
    ) {
        let hashes = stored_hashes(new_size);
        let old_size = 1 + pick.index(usize::try_from(new_size).unwrap()) as u64;
        let old_root = tree_hash(old_size, &hashes).unwrap();
        let new_root = tree_hash(new_size, &hashes).unwrap();
        let good = ConsistencyProof::prove(old_size, new_size, &hashes).unwrap();
        prop_assert_eq!(good.verify(&old_root, &new_root), Ok(()));

        let flipped = |hash: &Hash| {
            let mut hash = *hash;
            let at = bit.index(256);
            hash.0[at / 8] ^= 1 << (at % 8);
            hash
        };
        prop_assert!(good.verify(&flipped(&old_root), &new_root).is_err());
        prop_assert!(good.verify(&old_root, &flipped(&new_root)).is_err());
        for at in 0..good.hashes.len() {
            let mut bad = good.clone();
            bad.hashes[at] = flipped(&bad.hashes[at]);
            prop_assert!(bad.verify(&old_root, &new_root).is_err());
            let mut bad = good.clone();
            bad.hashes.remove(at);
            prop_assert!(bad.verify(&old_root, &new_root).is_err());
        }
        for extra in [Hash::EMPTY_ROOT, old_root, new_root] {
            for at in [0, good.hashes.len()] {
                let mut bad = good.clone();
                bad.hashes.insert(at, extra);
                prop_assert!(bad.verify(&old_root, &new_root).is_err());
            }
        }
    }

    #[test]
    fn any_sizes_are_safe_to_verify(
        index in any::<u64>(),
        size in any::<u64>(),
        count in 0..70_usize,
    ) {
        let hashes = vec![node_hash(&Hash::EMPTY_ROOT, &Hash::EMPTY_ROOT); count];
        let inclusion = InclusionProof { index, size, hashes: hashes.clone() };
        prop_assert!(inclusion.verify(&Hash::EMPTY_ROOT, &Hash::EMPTY_ROOT).is_err());
        let consistency = ConsistencyProof { old_size: index, new_size: size, hashes };
        prop_assert!(
            index == size || consistency.verify(&Hash([1; 32]), &Hash::EMPTY_ROOT).is_err()
        );
    }
}
