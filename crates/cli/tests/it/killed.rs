//! kill -9 while many clients submit: whatever was acknowledged is there, and the log is sound.

use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};

use sealwright_attest::{
    Bundle, Curve, KeyFile, Signer as _, Statement, Subject, TrustedRoot, check_signature, sign,
};
use sealwright_manifest::Sha256;
use sealwright_tlog::tile::{FULL_WIDTH, parse_entry_bundle};
use sealwright_tlog::{
    Checkpoint, Hash, Tile, leaf_hash, stored_hashes_for_leaf, tree_hash, verify_checkpoint,
};
use serde_json::json;

use crate::home::Home;
use crate::server::Server;

const ROUNDS: usize = 12;
const CLIENTS: usize = 6;

/// What the note with this number is about.
pub(crate) fn subject(number: usize) -> String {
    Sha256::of(number.to_string().as_bytes()).to_string()
}

/// A small statement, different for each number.
pub(crate) fn note(key: &KeyFile, number: usize) -> Bundle {
    let about = Sha256::parse(&subject(number)).unwrap();
    let statement = Statement {
        subject: vec![Subject::sha256("model", &about)],
        predicate_type: "https://example.com/note/v1".to_owned(),
        predicate: json!({"number": number}),
    };
    sign(statement.to_payload(), key, "").unwrap()
}

/// Everything that a monitor can check: the tree rebuilt from the entry bundles has the
/// checkpoint's root, and every hash tile is that of the tree.
pub(crate) fn check_log(service: &Server) -> Checkpoint {
    let root = get(service, "api/v1/trusted-root");
    let root = TrustedRoot::parse(&root).unwrap();
    let note = get(service, "api/v2/checkpoint");
    let checkpoint = verify_checkpoint(&note, &root.logs()[0].key).unwrap();
    let checkpoint = checkpoint.checkpoint().clone();
    let hashes = rebuild(service, checkpoint.size);
    assert_eq!(tree_hash(checkpoint.size, &hashes).unwrap(), checkpoint.root);
    let full = u16::try_from(checkpoint.size / u64::from(FULL_WIDTH)).unwrap();
    if let Some(tile) = Tile::hashes(1, 0, full) {
        let expected = tile.hash_data(&hashes).unwrap().unwrap();
        assert_eq!(get(service, &format!("api/v2/{tile}")), expected);
    }
    checkpoint
}

/// The stored hashes of a tree of `size`, computed from the entries that the service serves.
fn rebuild(service: &Server, size: u64) -> Vec<Hash> {
    let mut hashes = Vec::new();
    let width = u64::from(FULL_WIDTH);
    for index in 0..size.div_ceil(width) {
        let count = u16::try_from((size - index * width).min(width)).unwrap();
        let tile = Tile::entries(index, count).unwrap();
        let bundle = get(service, &format!("api/v2/{tile}"));
        let mut leaves: Vec<u8> = Vec::new();
        for (place, body) in (0..).zip(parse_entry_bundle(&bundle, count).unwrap()) {
            let leaf = leaf_hash(body);
            leaves.extend(leaf.as_bytes());
            let stored = stored_hashes_for_leaf(index * width + place, leaf, &hashes).unwrap();
            hashes.extend(stored);
        }
        let tile = Tile::hashes(0, index, count).unwrap();
        assert_eq!(get(service, &format!("api/v2/{tile}")), leaves, "{tile}");
    }
    hashes
}

fn get(service: &Server, path: &str) -> Vec<u8> {
    let mut answer = ureq::get(format!("{}/{path}", service.url())).call().unwrap();
    answer.body_mut().read_to_vec().unwrap()
}

/// What one killed service had acknowledged.
struct Acknowledged {
    number: usize,
    bundle: Bundle,
}

#[test]
fn nothing_acknowledged_is_lost_to_kill_9() {
    let home = Home::new();
    let key = KeyFile::generate(Curve::P256).unwrap();
    let next = AtomicUsize::new(0);
    let mut acknowledged: Vec<Acknowledged> = Vec::new();
    let mut last: Option<Checkpoint> = None;
    for round in 0..ROUNDS {
        let service = Server::serve(&home, "data");
        check_continues(&service, last.as_ref());
        // Some die at once, some after many batches.
        let wanted = round * round;
        let new = burst(service, &key, &next, wanted);
        assert!(new.len() >= wanted, "round {round}: {} of {wanted}", new.len());

        let service = Server::serve(&home, "data");
        check_found(&home, &service, &key, &new);
        acknowledged.extend(new);
        last = Some(check_continues(&service, last.as_ref()));
        service.kill();
    }
    let service = Server::serve(&home, "data");
    check_found(&home, &service, &key, &acknowledged);
    assert!(acknowledged.len() > 256, "only {}: nothing much was tested", acknowledged.len());
}

/// Many clients submit as fast as they can; the service is killed when `wanted` answers were seen.
fn burst(service: Server, key: &KeyFile, next: &AtomicUsize, wanted: usize) -> Vec<Acknowledged> {
    let client = service.client();
    let seen = Mutex::new(Vec::new());
    let count = AtomicUsize::new(0);
    std::thread::scope(|scope| {
        for _ in 0..CLIENTS {
            scope.spawn(|| {
                loop {
                    let number = next.fetch_add(1, Ordering::Relaxed);
                    // The first error is the death of the service.
                    let Ok(bundle) = client.submit(&note(key, number), key.public_key()) else {
                        return;
                    };
                    seen.lock().unwrap().push(Acknowledged { number, bundle });
                    count.fetch_add(1, Ordering::Release);
                }
            });
        }
        while count.load(Ordering::Acquire) < wanted {
            std::thread::yield_now();
        }
        service.kill();
    });
    seen.into_inner().unwrap()
}

/// Each is found by its subject, once, at the index that was acknowledged, and both the proof of
/// then and the one of now hold; the tree of then is a beginning of the tree of now.
fn check_found(home: &Home, service: &Server, key: &KeyFile, acknowledged: &[Acknowledged]) {
    let root = TrustedRoot::parse(&home.read("data/trusted_root.json")).unwrap();
    let current = check_log(service);
    let hashes = rebuild(service, current.size);
    for Acknowledged { number, bundle } in acknowledged {
        let found = service.client().statements_about(&subject(*number)).unwrap();
        let [found] = &found[..] else { panic!("{number}: found {} times", found.len()) };
        let signed = check_signature(bundle, key.public_key()).unwrap();
        let then = signed.check_log(bundle, &root).unwrap();
        let now = signed.check_log(found, &root).unwrap();
        assert_eq!((then.index(), then.time()), (now.index(), now.time()));
        assert_eq!(tree_hash(then.tree_size(), &hashes).unwrap().as_bytes(), then.root());
    }
}

/// The log's consistency proof from the last checkpoint to the current one holds.
fn check_continues(service: &Server, last: Option<&Checkpoint>) -> Checkpoint {
    let current = check_log(service);
    if let Some(last) = last {
        let answer = service.client().consistency(last.size).unwrap();
        assert_eq!(answer.proof.new_size, current.size);
        answer.proof.verify(&last.root, &current.root).unwrap();
    }
    current
}
