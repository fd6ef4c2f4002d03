//! OpenSSF Model Signing bundles that other tools made, driven through `sealwright verify`.

use std::collections::BTreeMap;
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};

use serde::Deserialize;

use crate::home::{Home, Ran};

/// What we chose where the specification leaves the choice, and why.
const POLICY: [(&str, bool, &str); 8] = [
    ("t-hint-changed", false, "a hint that names another key means that another key was meant"),
    ("t-hint-upper", false, "one key has one id, in lower case"),
    ("h-hint-der", false, "the hint of OMS is over the PEM text"),
    ("h-media-v01", true, "clients must accept the older spellings of the media type"),
    ("h-media-v02", true, "clients must accept the older spellings of the media type"),
    ("h-predicate-v1.1", false, "what a later version means is not known yet"),
    ("t-shard-empty-added", true, "nothing is signed about empty files; the output lists them"),
    ("t-shard-empty-removed", true, "nothing is signed about empty files"),
];

#[derive(Deserialize)]
struct Vectors {
    pem: BTreeMap<String, String>,
    cases: Vec<Case>,
}

#[derive(Deserialize)]
struct Case {
    id: String,
    description: String,
    method: String,
    model: Model,
    model_path: String,
    signature_path: String,
    bundle_base64: String,
    #[serde(default)]
    public_key: Option<String>,
    #[serde(default)]
    trust_roots: Vec<String>,
    verify_options: Vec<String>,
    recommended: Recommended,
}

#[derive(Deserialize)]
struct Model {
    entries: Vec<Entry>,
}

#[derive(Deserialize)]
struct Entry {
    path: String,
    #[serde(rename = "type")]
    kind: String,
    text: Option<String>,
    hex: Option<String>,
    target: Option<String>,
}

#[derive(Deserialize)]
struct Recommended {
    verdict: String,
}

fn data(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/data/oms").join(name)
}

fn decode_base64(text: &str) -> Vec<u8> {
    use base64::Engine as _;
    base64::engine::general_purpose::STANDARD.decode(text).unwrap()
}

/// Every case comes out as recommended, or as we chose.
#[test]
fn every_vector_comes_out_as_recommended() {
    let bytes = std::fs::read(data("oms-vectors.json")).unwrap();
    let vectors: Vectors = serde_json::from_slice(&bytes).unwrap();
    let mut wrong = Vec::new();
    for case in &vectors.cases {
        let chosen = POLICY.iter().find(|(id, _, _)| *id == case.id).map(|(_, accept, _)| *accept);
        let expected = match (case.recommended.verdict.as_str(), chosen) {
            ("accept", None) => true,
            ("reject", None) => false,
            ("policy", Some(accept)) => accept,
            (verdict, _) => panic!("{}: {verdict}, and POLICY does not fit", case.id),
        };
        let ran = case.verify(&vectors.pem);
        let accepted = match ran.code {
            Some(0) => true,
            Some(1 | 2) => false,
            code => panic!("{}: exit code {code:?}: {}", case.id, ran.stderr),
        };
        if accepted != expected {
            let Case { id, description, .. } = case;
            wrong.push(format!("{id} ({description}): accepted {accepted}\n{}", ran.stderr));
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
    assert!(vectors.cases.len() >= 148, "some vectors are missing");
}

impl Case {
    fn verify(&self, pem: &BTreeMap<String, String>) -> Ran {
        let home = Home::new();
        // One level down, so that entries such as `../outside.txt` stay in the test's directory.
        let model = Path::new("case").join(&self.model_path);
        for entry in &self.model.entries {
            entry.write(&home, &model);
        }
        let bundle = home.write(
            Path::new("case").join(&self.signature_path),
            decode_base64(&self.bundle_base64),
        );
        let mut words = vec!["--json".to_owned(), "verify".to_owned()];
        words.push(home.path(&model).to_str().unwrap().to_owned());
        words.extend(["--bundle".to_owned(), bundle.to_str().unwrap().to_owned()]);
        let mut give = |option: &str, name: &str| {
            let path = home.write(name, &pem[name]);
            words.extend([option.to_owned(), path.to_str().unwrap().to_owned()]);
        };
        match self.method.as_str() {
            "key" => give("--key", self.public_key.as_ref().unwrap()),
            "certificate" => {
                self.trust_roots.iter().for_each(|name| give("--cert-root", name));
                words.push("--insecure-any-identity".to_owned());
            }
            other => panic!("{}: method {other}", self.id),
        }
        words.extend(self.verify_options.iter().map(|option| option.replace('_', "-")));
        home.run_words(words)
    }
}

impl Entry {
    fn write(&self, home: &Home, model: &Path) {
        let path = match self.path.as_str() {
            "" => model.to_owned(),
            path => model.join(path),
        };
        match self.kind.as_str() {
            "dir" => std::fs::create_dir_all(home.path(path)).unwrap(),
            "file" => {
                let hex = self.hex.as_ref().map(|text| hex::decode(text).unwrap());
                let content = hex.unwrap_or_else(|| self.text.clone().unwrap().into_bytes());
                home.write(path, content);
            }
            "symlink" => {
                let path = home.path(path);
                std::fs::create_dir_all(path.parent().unwrap()).unwrap();
                symlink(self.target.as_ref().unwrap(), path).unwrap();
            }
            other => panic!("entry type {other}"),
        }
    }
}

/// Bundles written by model-signing 0.2.0 to 1.1.0, as that project keeps them.
#[test]
fn bundles_of_every_release_are_read() {
    let certificates = data("model-transparency/keys/certificate");
    let root = certificates.join("ca-cert.pem");
    let key = certificates.join("signing-key-pub.pem");
    let mut seen = 0;
    for entry in std::fs::read_dir(data("model-transparency")).unwrap() {
        let model = entry.unwrap().path();
        let name = model.file_name().unwrap().to_str().unwrap().to_owned();
        let trust = match name.split_once('-').map(|(_, method)| method) {
            Some("certificate") => {
                vec!["--cert-root", root.to_str().unwrap(), "--insecure-any-identity"]
            }
            Some("elliptic-key") => vec!["--key", key.to_str().unwrap()],
            _ => continue,
        };
        let bundle = model.join("model.sig");
        // Some releases' example is one file, signed under the name `.`.
        let is_single = !model.join("signme-2").exists();
        let model = if is_single { model.join("signme-1") } else { model };
        let mut words =
            vec!["verify", model.to_str().unwrap(), "--bundle", bundle.to_str().unwrap()];
        words.extend(trust);
        // Releases before 1.1.0 do not record what was ignored: the verifier must be told.
        words.extend(["--ignore-path", "ignore-me"]);
        let home = Home::new();
        let ran = home.run_words(&words);
        assert_eq!(ran.code, Some(0), "{name}: {}{}", ran.stdout, ran.stderr);
        seen += 1;

        // The same bundle, and another file.
        let copy = home.path("copy");
        std::fs::create_dir(&copy).unwrap();
        for name in ["signme-1", "signme-2"].iter().take(if is_single { 1 } else { 2 }) {
            std::fs::copy(bundle.with_file_name(name), copy.join(name)).unwrap();
        }
        std::fs::write(copy.join("signme-1"), b"other").unwrap();
        let copy = if is_single { copy.join("signme-1") } else { copy };
        words[1] = copy.to_str().unwrap();
        let ran = home.run_words(&words);
        assert_eq!(ran.code, Some(1), "{name}: {}{}", ran.stdout, ran.stderr);
        assert!(ran.stdout.contains("changed: signme-1"), "{name}: {}", ran.stdout);
    }
    assert!(seen >= 9, "only {seen} bundles were there");
}

/// A certificate speaks for whom it names, under the roots that were given, and at a time.
#[test]
fn a_certificate_needs_an_identity_and_a_time() {
    let model = data("model-transparency/v1.1.0-certificate");
    let root = data("model-transparency/keys/certificate/ca-cert.pem");
    let home = Home::new();
    let verify = |options: &[&str]| {
        let (model, bundle) = (model.to_str().unwrap(), model.join("model.sig"));
        let words = ["verify", model, "--bundle", bundle.to_str().unwrap()];
        let root = ["--cert-root", root.to_str().unwrap()];
        home.run_words(words.iter().chain(&root).chain(options))
    };
    let any = verify(&["--insecure-any-identity"]).succeeded();
    assert!(any.stdout.contains("insecure"), "{}", any.stdout);
    assert_eq!(verify(&[]).code, Some(2));
    let other = verify(&["--identity", "somebody@loans.example"]);
    assert_eq!(other.code, Some(1));
    assert!(other.stderr.contains("somebody@loans.example"), "{}", other.stderr);
    let early = verify(&["--insecure-any-identity", "--at", "2001-01-01T00:00:00Z"]);
    assert_eq!(early.code, Some(1));
}

/// Keyless bundles written by model-signing 0.3.1 to 1.1.0 against the public Sigstore instance.
#[test]
fn keyless_bundles_need_their_identity_and_issuer() {
    let config: serde_json::Value = serde_json::from_slice(
        &std::fs::read(data("model-transparency/sigstore-prod.trustconfig.json")).unwrap(),
    )
    .unwrap();
    let home = Home::new();
    let root = home.write("trusted_root.json", config["trustedRoot"].to_string());
    let root = root.to_str().unwrap();
    for release in ["0.3.1", "1.0.0", "1.0.1", "1.1.0"] {
        let model = data(&format!("model-transparency/v{release}-sigstore"));
        let (model, bundle) = (model.to_str().unwrap(), model.join("model.sig"));
        let verify = |more: &[&str]| {
            let words = ["--json", "verify", model, "--bundle", bundle.to_str().unwrap()];
            let words = words.into_iter().chain(["--ignore-path", "ignore-me"]);
            home.run_words(words.chain(["--trusted-root", root]).chain(more.iter().copied()))
        };
        let any = verify(&["--insecure-any-identity"]).succeeded().json();
        assert_eq!(any["signer"]["insecure_any_identity"], true);
        let (identity, issuer) = (&any["signer"]["identity"], &any["signer"]["issuer"]);
        let (identity, issuer) = (identity.as_str().unwrap(), issuer.as_str().unwrap());
        verify(&["--identity", identity, "--issuer", issuer]).succeeded();
        let others = ["--identity", "other@example.com", "--issuer", issuer, "--identity"];
        verify(&[&others[..], &[identity]].concat()).succeeded();
        let twice = ["--require", "2", "--bundle", bundle.to_str().unwrap()];
        let ran = verify(&[&others[..], &[identity], &twice].concat());
        assert_eq!((ran.code, ran.json()["counted"].as_u64()), (Some(1), Some(1)), "{release}");
        for (identity, issuer) in [("other@example.com", issuer), (identity, "https://example.com")]
        {
            let ran = verify(&["--identity", identity, "--issuer", issuer]);
            assert_eq!(ran.code, Some(1), "{release}: {}", ran.stderr);
        }
        assert_eq!(verify(&["--identity", identity]).code, Some(2));
        assert_eq!(verify(&[]).code, Some(2));
    }
}

/// Any file, by a Sigstore bundle over its bytes.
#[test]
fn an_artifact_is_verified_by_its_bundle() {
    let data = Path::new(env!("CARGO_MANIFEST_DIR")).join("../sigstore/tests/data");
    let case = data.join("bundle-verify/happy-path-v0.3-new-mediaType/bundle.sigstore.json");
    let root = data.join("trust/public-good.trusted_root.json");
    let home = Home::new();
    let verify = |artifact: &Path| {
        let files = ["--artifact", artifact.to_str().unwrap(), "--bundle", case.to_str().unwrap()];
        let trust = ["--trusted-root", root.to_str().unwrap(), "--insecure-any-identity"];
        home.run_words(["verify"].iter().chain(&files).chain(&trust))
    };
    verify(&data.join("bundle-verify/a.txt")).succeeded();
    let other = home.write("other.txt", "other");
    assert_eq!(verify(&other).code, Some(1));
    assert_eq!(verify(&home.path("missing")).code, Some(2));
}

/// Patterns match whole names, and more evidence can be asked for than the usual.
#[test]
fn keyless_signers_can_be_a_pattern_and_evidence_can_be_required() {
    const IDENTITY: &str = "https://github.com/sigstore-conformance/extremely-dangerous-public-oidc-beacon/.github/workflows/extremely-dangerous-oidc-beacon.yml@refs/heads/main";
    const ISSUER: &str = "https://token.actions.githubusercontent.com";
    /// A key in the right form that cosigned nothing.
    const STRANGER: &str = "witness.example+9f3b8ddd+BAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHh8g";
    let data = Path::new(env!("CARGO_MANIFEST_DIR")).join("../sigstore/tests/data");
    let case = data.join("bundle-verify/happy-path-v0.3-new-mediaType/bundle.sigstore.json");
    let (artifact, root) =
        (data.join("bundle-verify/a.txt"), data.join("trust/public-good.trusted_root.json"));
    let home = Home::new();
    let verify = |more: &[&str]| {
        let files = ["--artifact", artifact.to_str().unwrap(), "--bundle", case.to_str().unwrap()];
        let trust = ["--trusted-root", root.to_str().unwrap()];
        home.run_words(["verify"].iter().chain(&files).chain(&trust).chain(more))
    };
    let pattern = |identity: &str, issuer: &str| {
        verify(&["--identity-regexp", identity, "--issuer-regexp", issuer])
    };
    let (repository, host) = ("https://github.com/sigstore-conformance/.*", "https://.*\\.com");
    pattern(repository, host).succeeded();
    for (identity, issuer) in [
        ("https://github.com/sigstore-conformance", host),
        ("github.com/sigstore-conformance/.*", host),
        ("a|b", host),
        (repository, "https://token"),
    ] {
        assert_eq!(pattern(identity, issuer).code, Some(1), "{identity} {issuer}");
    }
    pattern("(", host).failed(2, "--identity-regexp");
    pattern(repository, "a)(?:b").failed(2, "--issuer-regexp");

    let exact =
        |more: &[&str]| verify(&[&["--identity", IDENTITY, "--issuer", ISSUER], more].concat());
    exact(&["--min-logs", "1", "--min-times", "1"]).succeeded();
    exact(&["--min-logs", "2"]).failed(1, "");
    exact(&["--min-times", "3"]).failed(1, "");
    exact(&["--min-logs", "0"]).failed(2, "--min-logs");
    exact(&["--witness", STRANGER]).failed(1, "");
    exact(&["--witness", STRANGER, "--min-witnesses", "2"]).failed(2, "--min-witnesses 2 of 1");
    exact(&["--witness", "nobody"]).failed(2, "--witness");
    exact(&["--min-witnesses", "1"]).failed(2, "--witness");
}
