//! A witness: what it cosigns, and what it answers to everything else.

use std::collections::BTreeMap;

use sealwright_tlog::witness::{
    AddCheckpoint, AddCheckpointError, KnownLog, MAX_PROOF_HASHES, RequestError, Witness,
    WitnessKey, Witnessed,
};
use sealwright_tlog::{
    Checkpoint, ConsistencyProof, Hash, LogKey, SignedNote, leaf_hash, stored_hashes_for_leaf,
    tree_hash,
};

const TIME: u64 = 1_760_000_000;

/// A log of numbered leaves; those from `fork` on have other content.
struct Log {
    key: LogKey,
    hashes: Vec<Hash>,
}

impl Log {
    fn new(leaves: u64, fork: u64) -> Self {
        let mut hashes = Vec::new();
        for index in 0..leaves {
            let salt = u8::from(index >= fork);
            let leaf = leaf_hash(&[index.to_be_bytes().as_slice(), &[salt]].concat());
            let stored = stored_hashes_for_leaf(index, leaf, &hashes).unwrap();
            hashes.extend(stored);
        }
        Self { key: LogKey::from_seed("log.example", &[42; 32]).unwrap(), hashes }
    }

    fn note(&self, size: u64) -> SignedNote {
        let root = tree_hash(size, &self.hashes).unwrap();
        let origin = "log.example".to_owned();
        let checkpoint = Checkpoint { origin, size, root, extensions: Vec::new() };
        self.key.sign_checkpoint(&checkpoint, TIME).unwrap()
    }

    fn request(&self, old_size: u64, size: u64) -> AddCheckpoint {
        let hashes =
            ConsistencyProof::prove(old_size.min(size), size, &self.hashes).unwrap().hashes;
        AddCheckpoint { old_size, hashes, note: self.note(size) }
    }
}

/// A witness with its record.
struct Recording {
    witness: Witness,
    recorded: BTreeMap<String, Witnessed>,
}

impl Recording {
    fn new() -> Self {
        let key = WitnessKey::generate("witness.example/w").unwrap();
        let log = KnownLog::new(Log::new(0, 0).key.verifier().clone());
        Self { witness: Witness::new(key, vec![log]), recorded: BTreeMap::new() }
    }

    fn ask(&mut self, request: &AddCheckpoint) -> Result<Witnessed, AddCheckpointError> {
        let body = request.encode();
        assert_eq!(AddCheckpoint::parse(body.as_bytes()).as_ref(), Ok(request));
        self.ask_bytes(body.as_bytes())
    }

    fn ask_bytes(&mut self, body: &[u8]) -> Result<Witnessed, AddCheckpointError> {
        let recorded = &self.recorded;
        let recorded = |origin: &str| recorded.get(origin).map(Witnessed::checkpoint);
        let new = self.witness.add_checkpoint(body, recorded, TIME + 1)?;
        self.recorded.insert(new.checkpoint().origin.clone(), new.clone());
        Ok(new)
    }

    #[track_caller]
    fn refused(&mut self, request: &AddCheckpoint, status: u16) -> AddCheckpointError {
        let before = self.recorded.clone();
        let error = self.ask(request).unwrap_err();
        assert_eq!(error.status(), status, "{error}");
        assert_eq!(self.recorded, before);
        error
    }
}

#[test]
fn a_log_that_grows_is_cosigned() {
    let log = Log::new(1000, u64::MAX);
    let mut witness = Recording::new();
    let mut old = 0;
    for size in [0, 0, 1, 1, 2, 3, 7, 8, 255, 256, 257, 1000] {
        let new = witness.ask(&log.request(old, size)).unwrap();
        assert_eq!(new.checkpoint().size, size);
        // The line can be put under the log's own checkpoint, and holds there.
        let note = format!("{}{}", log.note(size), new.cosignature());
        let note = SignedNote::parse(note.as_bytes()).unwrap();
        assert_eq!(witness.witness.cosigner().verify(&note), Ok(Some(TIME + 1)));
        // What is recorded can be taken up again, by this witness and for this log.
        let recall = |witness: &Recording, origin: &str| {
            witness.witness.recall(origin, new.note().as_bytes())
        };
        assert_eq!(recall(&witness, "log.example"), Ok(new.clone()));
        assert!(recall(&witness, "other.example").is_err());
        assert!(recall(&Recording::new(), "log.example").is_err());
        old = size;
    }
}

#[test]
fn the_record_has_the_signatures_that_were_checked() {
    let log = Log::new(5, u64::MAX);
    let mut witness = Recording::new();
    let mut request = log.request(0, 5);
    let stranger = LogKey::from_seed("stranger", &[1; 32]).unwrap();
    let text = Checkpoint {
        origin: "stranger".into(),
        size: 0,
        root: Hash::EMPTY_ROOT,
        extensions: vec![],
    };
    let other = stranger.sign_checkpoint(&text, TIME).unwrap();
    let signatures = [request.note.signatures(), other.signatures()].concat();
    request.note = SignedNote::new(request.note.text().to_owned(), signatures).unwrap();
    let new = witness.ask(&request).unwrap();
    let names: Vec<String> = SignedNote::parse(new.note().as_bytes())
        .unwrap()
        .signatures()
        .iter()
        .map(|line| line.name().to_owned())
        .collect();
    assert_eq!(names, ["log.example", "witness.example/w"]);
}

#[test]
fn forks_and_rewinds_are_refused() {
    let (log, fork) = (Log::new(300, u64::MAX), Log::new(300, 120));
    let mut witness = Recording::new();
    witness.ask(&log.request(0, 200)).unwrap();
    // The same size with another root, and a larger tree that does not extend the recorded one.
    witness.refused(&fork.request(200, 200), 422);
    witness.refused(&fork.request(200, 300), 422);
    // Rewinds: an honest one says the recorded size, others name one that fits.
    witness.refused(&log.request(200, 100), 400);
    for old in [0, 100] {
        let error = witness.refused(&log.request(old, 100), 409);
        assert_eq!(error, AddCheckpointError::OtherSize { old_size: old, recorded: 200 });
    }
    witness.refused(&log.request(201, 300), 409);
    // The record is untouched, so the log can go on.
    witness.ask(&log.request(200, 300)).unwrap();
}

#[test]
fn proofs_must_be_exact() {
    let log = Log::new(300, u64::MAX);
    let mut witness = Recording::new();
    let superfluous = AddCheckpoint { hashes: vec![Hash([7; 32])], ..log.request(0, 200) };
    witness.refused(&superfluous, 422);
    witness.ask(&log.request(0, 200)).unwrap();
    let good = log.request(200, 300);
    for at in 0..good.hashes.len() {
        let mut bad = good.clone();
        bad.hashes[at].0[31] ^= 1;
        witness.refused(&bad, 422);
        let mut bad = good.clone();
        bad.hashes.remove(at);
        witness.refused(&bad, 422);
    }
    witness.refused(&AddCheckpoint { hashes: vec![Hash([7; 32])], ..log.request(200, 200) }, 422);
    witness.refused(&AddCheckpoint { hashes: vec![Hash([7; 32]); 63], ..good.clone() }, 422);
    witness.ask(&good).unwrap();
}

#[test]
fn other_logs_and_keys_are_refused() {
    let mut witness = Recording::new();
    let mut log = Log::new(5, u64::MAX);
    log.key = LogKey::from_seed("log.example", &[43; 32]).unwrap();
    witness.refused(&log.request(0, 5), 403);

    // A signature under the right name and id that does not hold, even beside a good one.
    let log = Log::new(5, u64::MAX);
    let mut request = log.request(0, 5);
    request.note =
        SignedNote::new(request.note.text().to_owned(), log.note(4).signatures().to_vec()).unwrap();
    witness.refused(&request, 403);

    // Another log's checkpoint, signed well.
    let stranger = LogKey::from_seed("stranger.example", &[1; 32]).unwrap();
    let origin = "stranger.example".to_owned();
    let text = Checkpoint { origin, size: 0, root: Hash::EMPTY_ROOT, extensions: vec![] };
    request.note = stranger.sign_checkpoint(&text, TIME).unwrap();
    witness.refused(&request, 404);
}

#[test]
fn an_origin_can_differ_from_the_name_of_the_key() {
    let log = Log::new(5, u64::MAX);
    let key = LogKey::from_seed("log.example", &[42; 32]).unwrap().verifier().clone();
    let witness = |origin: &str| {
        let logs = vec![KnownLog::with_origin(key.clone(), origin)];
        Witness::new(WitnessKey::generate("w").unwrap(), logs)
    };
    let body = log.request(0, 5).encode();
    assert!(witness("log.example").add_checkpoint(body.as_bytes(), |_| None, TIME).is_ok());
    let refused = witness("other").add_checkpoint(body.as_bytes(), |_| None, TIME).unwrap_err();
    assert_eq!(refused.status(), 404);
}

#[test]
fn malformed_requests_are_refused() {
    let log = Log::new(300, u64::MAX);
    let mut witness = Recording::new();
    let good = log.request(0, 5).encode();
    let hash = Hash([7; 32]).to_base64();
    for (body, error) in [
        (String::new(), RequestError::OldSize),
        ("old 0".to_owned(), RequestError::OldSize),
        (good.replacen("old 0", "old 00", 1), RequestError::OldSize),
        (good.replacen("old 0", "old +0", 1), RequestError::OldSize),
        (good.replacen("old 0", "old  0", 1), RequestError::OldSize),
        (good.replacen("old 0", "old -1", 1), RequestError::OldSize),
        (good.replacen("old 0", "old 0\r", 1), RequestError::OldSize),
        (good.replacen("old 0", "old 18446744073709551616", 1), RequestError::OldSize),
        (good.replacen("old", "new", 1), RequestError::OldSize),
        (good.replacen("old 0\n", "old 0\nx\n", 1), RequestError::ProofHash { line: 2 }),
        ("old 0\n".to_owned(), RequestError::NoCheckpoint),
        (format!("old 0\n{hash}\n"), RequestError::NoCheckpoint),
        (format!("old 0\n{}", format!("{hash}\n").repeat(64)), RequestError::TooManyHashes),
    ] {
        let refused = witness.ask_bytes(body.as_bytes()).unwrap_err();
        assert_eq!(refused, AddCheckpointError::Request(error), "{body:?}");
        assert_eq!(refused.status(), 400);
    }
    for body in [
        b"old 0\n\n".to_vec(),
        b"old 0\n\nnonsense\n".to_vec(),
        good.replacen("\n5\n", "\n05\n", 1).into_bytes(),
        [good.as_bytes(), b"\xff"].concat(),
        vec![b'\n'; 1 << 20],
        format!("{good}{}", "— a AAAAAAAA\n".repeat(100)).into_bytes(),
    ] {
        assert_eq!(witness.ask_bytes(&body).unwrap_err().status(), 400);
    }
    let empty = log.request(0, 0).encode().replace(&Hash::EMPTY_ROOT.to_base64(), &hash);
    let refused = witness.ask_bytes(empty.as_bytes()).unwrap_err();
    assert_eq!((refused.status(), refused), (422, AddCheckpointError::EmptyTree));
    assert_eq!(MAX_PROOF_HASHES, 63);
    assert!(witness.recorded.is_empty());
}
