//! Checkpoints signed by our own key: what must verify, and what must not.

use sealwright_tlog::cosignature::CosignatureError;
use sealwright_tlog::{
    Checkpoint, CheckpointError, Hash, LogKey, NoteSignature, SignedNote, verify_checkpoint,
};

const TIME: u64 = 1_760_000_000;

fn log_key() -> LogKey {
    LogKey::from_seed("localhost", &[42; 32]).unwrap()
}

fn checkpoint(size: u64) -> Checkpoint {
    let root = if size == 0 { Hash::EMPTY_ROOT } else { Hash([7; 32]) };
    Checkpoint { origin: "localhost".into(), size, root, extensions: Vec::new() }
}

fn signed() -> SignedNote {
    log_key().sign_checkpoint(&checkpoint(5), TIME).unwrap()
}

/// What verifying says about our checkpoint with other signature lines.
fn with_lines(lines: Vec<NoteSignature>) -> Result<Option<u64>, CheckpointError> {
    let note = SignedNote::new(signed().text().to_owned(), lines).unwrap();
    verify_checkpoint(note.to_string().as_bytes(), log_key().verifier()).map(|v| v.cosigned_at())
}

fn lines() -> [NoteSignature; 2] {
    signed().signatures().to_vec().try_into().unwrap()
}

fn altered(line: &NoteSignature, at: usize) -> NoteSignature {
    let mut signature = line.signature().to_vec();
    signature[at] ^= 1;
    NoteSignature::new(line.name(), line.key_id(), signature).unwrap()
}

#[test]
fn a_signed_checkpoint_verifies_and_tells_its_time() {
    for size in [0, 1, 5, u64::MAX] {
        let note = log_key().sign_checkpoint(&checkpoint(size), TIME).unwrap().to_string();
        let verified = verify_checkpoint(note.as_bytes(), log_key().verifier()).unwrap();
        assert_eq!(verified.checkpoint(), &checkpoint(size));
        assert_eq!(verified.cosigned_at(), Some(TIME));
        assert_eq!(verified.note(), note.as_bytes());
    }
}

#[test]
fn the_form_of_a_signed_checkpoint() {
    let note = signed().to_string();
    let lines: Vec<&str> = note.lines().collect();
    assert_eq!(lines[..4], ["localhost", "5", "BwcHBwcHBwcHBwcHBwcHBwcHBwcHBwcHBwcHBwcHBwc=", ""]);
    assert!(lines[4].starts_with("— localhost ") && lines[5].starts_with("— localhost "));
    assert_eq!(lines.len(), 6);
}

#[test]
fn signing_refuses_what_would_not_verify() {
    let key = log_key();
    let other = Checkpoint { origin: "other".into(), ..checkpoint(5) };
    assert!(matches!(
        key.sign_checkpoint(&other, TIME),
        Err(CheckpointError::OriginMismatch { .. })
    ));
    let two_lines = Checkpoint { extensions: vec!["a\nb".into()], ..checkpoint(5) };
    assert!(matches!(key.sign_checkpoint(&two_lines, TIME), Err(CheckpointError::Text(_))));
    let wrong_empty = Checkpoint { size: 0, ..checkpoint(5) };
    assert!(matches!(key.sign_checkpoint(&wrong_empty, TIME), Err(CheckpointError::Text(_))));
    assert!(matches!(
        key.sign_checkpoint(&checkpoint(5), u64::MAX),
        Err(CheckpointError::Cosignature(CosignatureError::TimeOutOfRange { .. }))
    ));
}

#[test]
fn unknown_signatures_do_not_matter_in_any_order() {
    let [plain, timed] = lines();
    let unknown = [
        NoteSignature::new("witness.example", [1; 4], vec![0; 72]).unwrap(),
        NoteSignature::new("localhost", [2; 4], vec![0; 64]).unwrap(),
        NoteSignature::new("other", plain.key_id(), vec![0]).unwrap(),
    ];
    let mut all = vec![timed];
    all.extend(unknown);
    all.push(plain);
    assert_eq!(with_lines(all), Ok(Some(TIME)));
}

#[test]
fn the_plain_signature_is_needed_and_must_hold() {
    let [plain, timed] = lines();
    assert_eq!(with_lines(vec![plain.clone()]), Ok(None));
    assert!(matches!(
        with_lines(vec![timed.clone()]),
        Err(CheckpointError::MissingSignature { .. })
    ));
    for at in [0, 31, 32, 63] {
        let bad = altered(&plain, at);
        for lines in [vec![bad.clone()], vec![plain.clone(), bad.clone()], vec![bad, plain.clone()]]
        {
            assert!(matches!(with_lines(lines), Err(CheckpointError::BadSignature { .. })));
        }
    }
}

#[test]
fn a_bad_cosignature_is_an_error_not_an_absent_one() {
    let [plain, timed] = lines();
    let cosignature = |line| match with_lines(vec![plain.clone(), line]) {
        Err(CheckpointError::Cosignature(error)) => error,
        other => panic!("{other:?}"),
    };
    // The time, the signature.
    assert_eq!(cosignature(altered(&timed, 7)), CosignatureError::BadSignature);
    assert_eq!(cosignature(altered(&timed, 8)), CosignatureError::BadSignature);
    for len in [1, 7, 8, 71, 73] {
        let mut bytes = timed.signature().to_vec();
        bytes.resize(len, 0);
        let line = NoteSignature::new(timed.name(), timed.key_id(), bytes).unwrap();
        assert_eq!(cosignature(line), CosignatureError::WrongLength { len });
    }
    let mut late = timed.signature().to_vec();
    late[0] = 0x80;
    let line = NoteSignature::new(timed.name(), timed.key_id(), late).unwrap();
    assert!(matches!(cosignature(line), CosignatureError::TimeOutOfRange { .. }));

    let later =
        log_key().sign_checkpoint(&checkpoint(5), TIME + 1).unwrap().signatures()[1].clone();
    assert_eq!(
        with_lines(vec![plain.clone(), timed, later]),
        Err(CheckpointError::Cosignature(CosignatureError::Several))
    );
}

#[test]
fn any_altered_byte_of_the_text_fails() {
    let note = signed().to_string();
    let text_len = signed().text().len();
    for at in 0..text_len {
        for bit in 0..8 {
            let mut bytes = note.clone().into_bytes();
            bytes[at] ^= 1 << bit;
            assert!(
                verify_checkpoint(&bytes, log_key().verifier()).is_err(),
                "byte {at} bit {bit}"
            );
        }
    }
}
