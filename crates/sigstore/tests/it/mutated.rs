//! Bundles and trusted roots altered at random: nothing panics, and nothing that is signed may change.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use proptest::prelude::*;
use sealwright_sigstore::{Artifact, IdentityPolicy, SigstoreBundle, Thresholds, Trust};
use serde_json::Value;

use crate::data::{Case, digest_only, directories, path, read, text};

/// Every conformance case that verifies, with its artifact.
fn cases() -> Vec<(Case, Vec<u8>)> {
    let root = path("bundle-verify");
    let names = directories(&root).into_iter().filter(|name| !name.ends_with("_fail"));
    names
        .map(|name| {
            let directory = root.join(name);
            let key = directory.join("key.pub");
            let own_root = directory.join("trusted_root.json");
            let public_good = path("trust/public-good.trusted_root.json");
            let case = Case {
                bundle: read(&directory.join("bundle.sigstore.json")),
                trusted_root: read(if own_root.exists() { &own_root } else { &public_good }),
                identity: IdentityPolicy::insecure_any_identity(),
                key: key.exists().then(|| text(&key)),
            };
            (case, read(&root.join("a.txt")))
        })
        .collect()
}

/// The texts in a document under one of these names, in order.
fn signed_texts<'a>(value: &'a mut Value, found: &mut Vec<&'a mut String>) {
    const NAMES: [&str; 9] = [
        "canonicalizedBody",
        "signedEntryTimestamp",
        "rootHash",
        "rawBytes",
        "signature",
        "sig",
        "payload",
        "payloadType",
        "envelope",
    ];
    match value {
        Value::Object(object) => {
            for (name, value) in object {
                if !NAMES.contains(&name.as_str()) || !value.is_string() {
                    signed_texts(value, found);
                } else if let Value::String(text) = value {
                    found.push(text);
                }
            }
        }
        Value::Array(items) => items.iter_mut().for_each(|item| signed_texts(item, found)),
        _ => {}
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(200))]

    #[test]
    fn altered_bytes_never_panic(
        which in any::<prop::sample::Index>(),
        edits in prop::collection::vec((any::<prop::sample::Index>(), any::<u8>(), 0..4_u8), 1..4),
        in_root in any::<bool>(),
    ) {
        let cases = cases();
        let (mut case, artifact) = cases.into_iter().nth(which.index(cases_len())).unwrap();
        let target = if in_root { &mut case.trusted_root } else { &mut case.bundle };
        for (at, byte, kind) in edits {
            let at = at.index(target.len());
            match kind {
                0 => target[at] = byte,
                1 => target.insert(at, byte),
                2 => drop(target.remove(at)),
                _ => target.truncate(at.max(1)),
            }
        }
        let _ = case.verify(&Artifact::from_bytes(&artifact));
        let _ = case.verify(&digest_only(&artifact));
    }

    #[test]
    fn nothing_signed_can_be_altered(
        which in any::<prop::sample::Index>(),
        field in any::<prop::sample::Index>(),
        at in any::<prop::sample::Index>(),
        bit in 0..8_u8,
    ) {
        let cases = cases();
        let (mut case, artifact) = cases.into_iter().nth(which.index(cases_len())).unwrap();
        let trust = Trust::parse(&case.trusted_root).unwrap();
        let mut json: Value = serde_json::from_slice(&case.bundle).unwrap();
        let mut texts = Vec::new();
        signed_texts(&mut json, &mut texts);
        let count = texts.len();
        let text = texts.swap_remove(field.index(count));
        match STANDARD.decode(text.as_str()) {
            Ok(mut bytes) if !bytes.is_empty() => {
                let at = at.index(bytes.len());
                bytes[at] ^= 1 << bit;
                *text = STANDARD.encode(bytes);
            }
            // A checkpoint's text, not its signatures: some of those are of strangers.
            _ => {
                let signed = text.find("\n\n").unwrap_or(text.len());
                let at = at.index(signed);
                let replacement = if &text[at..=at] == "1" { "2" } else { "1" };
                text.replace_range(at..=at, replacement);
            }
        }
        case.bundle = json.to_string().into_bytes();
        let thresholds = Thresholds::of(&trust);
        let result = case.verify_under(&trust, &thresholds, &Artifact::from_bytes(&artifact));
        // Our own pass must see it; the second verifier is for what nobody thought of.
        let code = result.map_or_else(|error| error.code(), |_| "accepted");
        prop_assert!(!["accepted", "second-verifier"].contains(&code), "{code}: {json}");
    }

    #[test]
    fn random_bytes_never_panic(bytes in prop::collection::vec(any::<u8>(), 0..200)) {
        let _ = SigstoreBundle::parse(&bytes);
        let _ = Trust::parse(&bytes);
    }
}

fn cases_len() -> usize {
    directories(&path("bundle-verify")).iter().filter(|name| !name.ends_with("_fail")).count()
}
