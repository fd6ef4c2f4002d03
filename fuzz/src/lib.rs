//! What the targets share: the vectors of the repository, and what is genuine in them.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::sync::OnceLock;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use sealwright_attest::Timestamp;
use sealwright_sigstore::{
    Artifact, IdentityPolicy, ManagedKey, Signer, SigstoreBundle, SigstoreError, Thresholds, Trust,
    VerifiedSigstore, verify_artifact,
};
use serde_json::Value;

/// A file of the repository.
pub fn read(path: &str) -> Vec<u8> {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("..").join(path);
    std::fs::read(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
}

/// A conformance case that verifies.
pub struct Case {
    pub name: String,
    /// The bundle.
    pub json: Value,
    pub trust: Trust,
    pub key: Option<ManagedKey>,
}

/// All of them, by name.
pub fn cases() -> &'static [Case] {
    static CASES: OnceLock<Vec<Case>> = OnceLock::new();
    CASES.get_or_init(|| {
        let root = "crates/sigstore/tests/data/bundle-verify";
        let directory = Path::new(env!("CARGO_MANIFEST_DIR")).join("..").join(root);
        let mut names: Vec<PathBuf> =
            std::fs::read_dir(directory).unwrap().map(|entry| entry.unwrap().path()).collect();
        names.retain(|path| path.is_dir() && !path.to_string_lossy().ends_with("_fail"));
        names.sort();
        names.iter().map(|path| case(root, path)).collect()
    })
}

fn case(root: &str, directory: &Path) -> Case {
    let name = directory.file_name().unwrap().to_str().unwrap().to_owned();
    let own = format!("{root}/{name}/trusted_root.json");
    let public_good = "crates/sigstore/tests/data/trust/public-good.trusted_root.json";
    let has = |file: &str| directory.join(file).exists();
    let trust = read(if has("trusted_root.json") { &own } else { public_good });
    let key = has("key.pub").then(|| {
        let pem = String::from_utf8(read(&format!("{root}/{name}/key.pub"))).unwrap();
        ManagedKey::from_pem(&pem).unwrap()
    });
    Case {
        json: serde_json::from_slice(&read(&format!("{root}/{name}/bundle.sigstore.json")))
            .unwrap(),
        trust: Trust::parse(&trust).unwrap(),
        key,
        name,
    }
}

impl Case {
    /// Verifies a bundle as if it were this case's.
    pub fn verify(&self, bundle: &[u8]) -> Result<VerifiedSigstore, SigstoreError> {
        static ARTIFACT: OnceLock<Vec<u8>> = OnceLock::new();
        let artifact =
            ARTIFACT.get_or_init(|| read("crates/sigstore/tests/data/bundle-verify/a.txt"));
        let bundle = SigstoreBundle::parse(bundle)?;
        let anybody = IdentityPolicy::insecure_any_identity();
        let signer = match &self.key {
            Some(key) => Signer::Key(key),
            None => Signer::Identity(&anybody),
        };
        let now = Timestamp::parse("2026-12-01T00:00:00Z").unwrap();
        let thresholds = Thresholds::of(&self.trust);
        verify_artifact(
            &bundle,
            &Artifact::from_bytes(artifact),
            &self.trust,
            signer,
            &thresholds,
            now,
        )
    }
}

/// Panics unless all that was verified is in one of the genuine cases.
pub fn assert_genuine(verified: &VerifiedSigstore) {
    static GENUINE: OnceLock<BTreeSet<String>> = OnceLock::new();
    let genuine = GENUINE.get_or_init(|| {
        let all = cases().iter().flat_map(|case| {
            let bundle = case.json.to_string();
            facts(&case.verify(bundle.as_bytes()).unwrap())
        });
        all.collect()
    });
    for fact in facts(verified) {
        assert!(genuine.contains(&fact), "accepted: {fact}");
    }
}

fn facts(verified: &VerifiedSigstore) -> Vec<String> {
    let mut facts = vec![
        format!("{:?} {:?}", verified.signer(), verified.payload()),
        format!("{:?}", verified.artifact()),
    ];
    facts.extend(verified.times().iter().map(|time| format!("{time:?}")));
    facts.extend(verified.logs().iter().map(|log| format!("{log:?}")));
    facts
}

/// A panic of the policy engine is caught, and is a deny: it is no finding.
pub fn forgive_the_engine() {
    static FORGIVEN: OnceLock<()> = OnceLock::new();
    FORGIVEN.get_or_init(|| {
        let otherwise = std::panic::take_hook();
        std::panic::set_hook(Box::new(move |panic| {
            if std::thread::current().name() != Some(sealwright_policy::ENGINE_THREAD) {
                otherwise(panic);
            }
        }));
    });
}

/// The texts in a bundle that a target replaces, in order.
pub fn texts<'a>(value: &'a mut Value, found: &mut Vec<&'a mut String>) {
    match value {
        Value::Object(members) => members.values_mut().for_each(|value| texts(value, found)),
        Value::Array(items) => items.iter_mut().for_each(|item| texts(item, found)),
        Value::String(text) => found.push(text),
        _ => {}
    }
}

/// Puts `content` in the place of a text: encoded, if what stood there was base64 of some length.
pub fn replace(text: &mut String, content: &[u8]) {
    let is_base64 = text.len() > 20 && STANDARD.decode(text.as_str()).is_ok();
    *text = match is_base64 {
        true => STANDARD.encode(content),
        false => String::from_utf8_lossy(content).into_owned(),
    };
}
