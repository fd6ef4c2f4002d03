//! Bundles: what is read, what is refused, what is signed.

use std::io::Write as _;
use std::sync::LazyLock;

use flate2::Compression;
use flate2::write::GzEncoder;
use sealwright_attest::{Curve, KeyFile, Signer};
use sealwright_policy::{
    BundleError, BundleOptions, Policy, PolicyBundle, PolicyError, SignatureError,
};
use tar::{EntryType, Header};

use crate::support::STARTER;

const MAIN: &[u8] = b"package sealwright.main\n\nimport rego.v1\n\n\
    decision := {\"allow\": false, \"violations\": set(), \"evidence\": set()}\n";

fn gzip(tar: &[u8]) -> Vec<u8> {
    let mut gzip = GzEncoder::new(Vec::new(), Compression::fast());
    gzip.write_all(tar).unwrap();
    gzip.finish().unwrap()
}

/// A header whose name is written as it is, whatever the library thinks of it.
fn header(name: &str, kind: EntryType, size: usize) -> Header {
    let mut header = Header::new_ustar();
    header.as_ustar_mut().unwrap().name[..name.len()].copy_from_slice(name.as_bytes());
    header.set_entry_type(kind);
    header.set_mode(0o644);
    header.set_size(size as u64);
    header.set_cksum();
    header
}

struct Tar(Vec<u8>);

impl Tar {
    fn new() -> Self {
        Self(Vec::new())
    }

    fn entry(mut self, name: &str, kind: EntryType, content: &[u8]) -> Self {
        self.0.extend(header(name, kind, content.len()).as_bytes());
        self.0.extend(content);
        self.0.resize(self.0.len().next_multiple_of(512), 0);
        self
    }

    fn file(self, name: &str, content: &[u8]) -> Self {
        self.entry(name, EntryType::Regular, content)
    }

    fn end(mut self) -> Vec<u8> {
        self.0.resize(self.0.len() + 1024, 0);
        gzip(&self.0)
    }
}

fn refused(bytes: &[u8]) -> BundleError {
    match PolicyBundle::read(bytes) {
        Err(error) => error,
        Ok(bundle) => panic!("accepted: {bundle:?}"),
    }
}

fn starter(options: &BundleOptions<'_>) -> Vec<u8> {
    PolicyBundle::build(&Policy::starter().unwrap(), options).unwrap()
}

fn options() -> BundleOptions<'static> {
    BundleOptions { name: "starter", revision: 7, signer: None }
}

#[test]
fn a_policy_is_the_same_in_a_bundle() {
    let bytes = starter(&options());
    assert_eq!(bytes, starter(&options()));
    let bundle = PolicyBundle::read(&bytes).unwrap();
    assert_eq!(bundle.manifest().number(), Some(7));
    assert_eq!(bundle.manifest().name(), Some("starter"));
    let roots = ["sealwright", "sealwright_test"].map(str::to_owned).to_vec();
    assert_eq!(bundle.manifest().roots, Some(roots));
    assert!(!bundle.is_signed());
    let policy = Policy::from_bundle(&bytes).unwrap();
    assert_eq!(policy.digest(), STARTER.digest());
    let tests = policy.run_tests().unwrap();
    assert!(!tests.is_empty() && tests.iter().all(|test| test.passed), "{tests:?}");
    for name in ["", "Loans", "-a", "a b", "../a"] {
        let options = BundleOptions { name, ..options() };
        assert!(PolicyBundle::build(&policy, &options).is_err(), "{name}");
    }
}

#[test]
fn folders_hold_rules_and_data() {
    let bytes = Tar::new()
        .entry("./", EntryType::Directory, b"")
        .entry("./rules/", EntryType::Directory, b"")
        .file("./rules/main.rego", MAIN)
        .file("/limits/gates/data.json", b"{\"accuracy\": 0.9}")
        .file("limits/gates/data.yaml", b"recall: 0.8")
        .file("README.md", b"read me")
        .end();
    let bundle = PolicyBundle::read(&bytes).unwrap();
    let (modules, data) = bundle.sources().unwrap();
    assert_eq!(modules.len(), 1);
    assert_eq!(modules[0].0, "rules/main.rego");
    assert_eq!(data, serde_json::json!({"limits": {"gates": {"accuracy": 0.9, "recall": 0.8}}}));
    let policy = bundle.policy().unwrap();
    // The same files in a folder are the same policy.
    let dir = tempfile::tempdir().unwrap();
    for (path, content) in bundle.files() {
        let path = dir.path().join(path);
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::fs::write(path, content).unwrap();
    }
    assert_eq!(Policy::load(dir.path()).unwrap().digest(), policy.digest());
}

#[test]
fn what_python_and_gnu_tar_write_is_read() {
    let times = b"20 mtime=1700000.25\n".as_slice();
    let bytes = Tar::new()
        .entry("PaxHeaders/main.rego", EntryType::XHeader, times)
        .file("main.rego", MAIN)
        .end();
    assert!(Policy::from_bundle(&bytes).is_ok());
}

#[test]
fn paths_that_lead_elsewhere_are_refused() {
    for name in [
        "../main.rego",
        "a/../../main.rego",
        "//etc/main.rego",
        "/../main.rego",
        "a//main.rego",
        "a/./main.rego",
        "a\\main.rego",
        "C:main.rego",
        "main.rego/",
        "m\u{430}in.rego",
        "a b.rego",
        ".hidden.rego",
        "a/.manifest",
        "a/.signatures.json",
        "._main.rego",
        "",
        ".",
        "/",
        "1/2/3/4/5/6/7/8/main.rego",
    ] {
        let error = refused(&Tar::new().file("ok.rego", MAIN).file(name, MAIN).end());
        assert!(matches!(error, BundleError::Path { .. }), "{name:?}: {error:?}");
    }
    // To others that is a directory, and then whatever its content is taken for.
    let error = refused(&Tar::new().entry("rules/", EntryType::Directory, b"hidden").end());
    assert!(matches!(error, BundleError::Kind { .. }), "{error:?}");
    let error = refused(&Tar::new().entry("../", EntryType::Directory, b"").end());
    assert!(matches!(error, BundleError::Path { .. }), "{error:?}");
}

#[test]
fn whatever_is_no_plain_file_is_refused() {
    for kind in [
        EntryType::Symlink,
        EntryType::Link,
        EntryType::Char,
        EntryType::Block,
        EntryType::Fifo,
        EntryType::Continuous,
        EntryType::GNUSparse,
        EntryType::GNULongName,
        EntryType::GNULongLink,
        EntryType::XGlobalHeader,
        EntryType::new(b'V'),
    ] {
        let error = refused(&Tar::new().file("ok.rego", MAIN).entry("x.rego", kind, b"").end());
        assert!(matches!(error, BundleError::Kind { .. }), "{kind:?}: {error:?}");
    }
    for record in ["19 path=other.rego\n", "10 size=0\n", "18 GNU.sparse.a=1\n", "15 linkpath=x\n"]
    {
        let bytes =
            Tar::new().entry("x", EntryType::XHeader, record.as_bytes()).file("a.rego", MAIN);
        let error = refused(&bytes.end());
        assert!(matches!(error, BundleError::Kind { .. } | BundleError::Tar { .. }), "{error:?}");
    }
}

#[test]
fn twins_are_refused() {
    for (one, two) in [
        ("a.rego", "a.rego"),
        ("a.rego", "./a.rego"),
        ("a.rego", "/a.rego"),
        ("a.rego", "A.rego"),
        ("a.rego", "a.rego/b.rego"),
        ("X/a.rego", "x/a.rego"),
    ] {
        let error = refused(&Tar::new().file(one, MAIN).file(two, MAIN).end());
        assert!(matches!(error, BundleError::Duplicate { .. }), "{one} {two}: {error:?}");
    }
}

#[test]
fn sizes_are_bounded() {
    let bomb = Tar::new().file("a.rego", &vec![b' '; 6 << 20]).end();
    assert!(bomb.len() < 100_000);
    assert!(matches!(refused(&bomb), BundleError::TooLarge { .. }));
    let wide =
        (0..100).fold(Tar::new(), |tar, n| tar.file(&format!("{n}.txt"), &[0; 100_000])).end();
    assert!(matches!(refused(&wide), BundleError::TooLarge { .. }));
    let many = (0..3000).fold(Tar::new(), |tar, n| tar.file(&format!("{n}.txt"), b"")).end();
    assert!(matches!(refused(&many), BundleError::TooMany { .. }));
    let claims =
        Tar(header("a.rego", EntryType::Regular, usize::MAX >> 8).as_bytes().to_vec()).end();
    assert!(matches!(refused(&claims), BundleError::TooLarge { .. }));
    let packed = vec![0; PolicyBundle::MAX_BYTES + 1];
    assert!(matches!(refused(&packed), BundleError::TooLarge { .. }));
    let few =
        (0..300).fold(Tar::new(), |tar, n| tar.file(&format!("{n}.rego"), b"package x\n")).end();
    assert!(matches!(Policy::from_bundle(&few), Err(PolicyError::TooManyFiles { .. })));
}

#[test]
fn nothing_may_be_cut_off_or_come_after() {
    let whole = Tar::new().file("a.rego", MAIN).end();
    for length in 0..whole.len() {
        refused(&whole[..length]);
    }
    let mut trailing = whole.clone();
    trailing.push(0);
    assert!(matches!(refused(&trailing), BundleError::Trailing { .. }));
    let two = [whole.clone(), whole].concat();
    assert!(matches!(refused(&two), BundleError::Trailing { .. }));
    let unfinished = Tar::new().file("a.rego", MAIN);
    refused(&gzip(&unfinished.0));
    let mut after = Tar::new().file("a.rego", MAIN).0;
    after.resize(after.len() + 1024, 0);
    let hidden = Tar(after).file("b.rego", MAIN).end();
    assert!(matches!(refused(&hidden), BundleError::Trailing { .. } | BundleError::Tar { .. }));
    for bytes in [b"".as_slice(), b"x", &gzip(b""), &gzip(b"not a tar file")] {
        refused(bytes);
    }
}

#[test]
fn what_opa_would_decide_by_is_not_passed_over() {
    for name in ["policy.wasm", "x/policy.wasm", "other.WASM", "plan.json", "patch.json"] {
        let error = refused(&Tar::new().file("a.rego", MAIN).file(name, b"{}").end());
        assert!(matches!(error, BundleError::Foreign { .. }), "{name}: {error:?}");
    }
    let extra = Tar::new().file("a.rego", MAIN).file("more.json", b"{}").end();
    assert!(matches!(Policy::from_bundle(&extra), Err(PolicyError::UnexpectedFile { .. })));
}

#[test]
fn manifests_say_what_is_inside_and_no_more() {
    let with =
        |manifest: &str| Tar::new().file(".manifest", manifest.as_bytes()).file("main.rego", MAIN);
    for good in [
        "{}",
        "{\"revision\": \"\", \"roots\": [\"\"]}",
        "{\"revision\": \"x\", \"roots\": [\"/sealwright/\"], \"rego_version\": 1, \"wasm\": []}",
        "{\"roots\": [\"a\", \"sealwright/main\"], \"metadata\": {\"by\": [1]}}",
    ] {
        assert!(Policy::from_bundle(&with(good).end()).is_ok(), "{good}");
    }
    for bad in [
        "",
        "[]",
        "{\"revision\": 1}",
        "{\"roots\": \"x\"}",
        "{\"roots\": [\"a\", \"a/b\"]}",
        "{\"rego_version\": 2}",
        "{\"more\": 1}",
        "{\"wasm\": [{\"module\": \"x\"}]}",
        "{\"file_rego_versions\": {\"a\": 0}}",
        "{\"revision\": \"a\", \"revision\": \"b\"}",
    ] {
        let error = refused(&with(bad).end());
        assert!(matches!(error, BundleError::Manifest { .. }), "{bad}: {error:?}");
    }
    for outside in
        ["{\"roots\": []}", "{\"roots\": [\"seal\"]}", "{\"roots\": [\"sealwright/main/x\"]}"]
    {
        let error = Policy::from_bundle(&with(outside).end()).unwrap_err();
        assert!(
            matches!(error, PolicyError::Bundle(BundleError::OutsideRoots { .. })),
            "{outside}: {error:?}"
        );
    }
    let data =
        with("{\"roots\": [\"sealwright/main\"]}").file("other/data.json", b"{\"a\": 1}").end();
    let error = Policy::from_bundle(&data).unwrap_err();
    assert!(matches!(error, PolicyError::Bundle(BundleError::OutsideRoots { .. })), "{error:?}");
    assert!(Policy::from_bundle(&with("{\"rego_version\": 0}").end()).is_err());
}

#[test]
fn a_signed_bundle_verifies_for_its_key_and_scope() {
    for curve in [Curve::P256, Curve::P384, Curve::P521] {
        let (key, other) = (KeyFile::generate(curve).unwrap(), KeyFile::generate(curve).unwrap());
        let options = BundleOptions { signer: Some((&key, "write")), ..options() };
        let bundle = PolicyBundle::read(&starter(&options)).unwrap();
        assert_eq!(bundle.verify_signature(key.public_key(), "write"), Ok(()));
        assert_eq!(
            bundle.verify_signature(other.public_key(), "write"),
            Err(SignatureError::Signature)
        );
        assert!(matches!(
            bundle.verify_signature(key.public_key(), ""),
            Err(SignatureError::Scope { .. })
        ));
    }
    let key = KeyFile::generate(Curve::P256).unwrap();
    let unsigned = PolicyBundle::read(&starter(&options())).unwrap();
    assert_eq!(unsigned.verify_signature(key.public_key(), ""), Err(SignatureError::Missing));
}

/// A bundle with the files of a signed one, changed by `change`, and its signature.
fn changed(change: impl Fn(&str, &[u8]) -> Option<Vec<u8>>, more: &[(&str, &[u8])]) -> Vec<u8> {
    let signed = starter(&BundleOptions { signer: Some((&*KEY, "")), ..options() });
    let mut archive = tar::Archive::new(flate2::read::GzDecoder::new(signed.as_slice()));
    let mut tar = Tar::new();
    for entry in archive.entries().unwrap() {
        let mut entry = entry.unwrap();
        let name = entry.path().unwrap().to_str().unwrap().to_owned();
        let mut content = Vec::new();
        std::io::copy(&mut entry, &mut content).unwrap();
        if let Some(content) = change(&name, &content) {
            tar = tar.file(&name, &content);
        }
    }
    more.iter().fold(tar, |tar, (name, content)| tar.file(name, content)).end()
}

static KEY: LazyLock<KeyFile> = LazyLock::new(|| KeyFile::generate(Curve::P256).unwrap());

#[test]
fn a_signature_covers_every_file() {
    let verdict =
        |bytes: &[u8]| PolicyBundle::read(bytes).unwrap().verify_signature(KEY.public_key(), "");
    let same = |_: &str, content: &[u8]| Some(content.to_vec());
    assert_eq!(verdict(&changed(same, &[])), Ok(()));
    // Blanks in a document are not part of what OPA hashes; they are in a rule.
    let spaced = |name: &str, content: &[u8]| match name {
        "data.json" | ".manifest" => Some([content, b" \n"].concat()),
        _ => Some(content.to_vec()),
    };
    assert_eq!(verdict(&changed(spaced, &[])), Ok(()));
    let edited = |name: &str, content: &[u8]| match name {
        "main.rego" => Some([content, b"\n"].concat()),
        _ => Some(content.to_vec()),
    };
    assert!(matches!(verdict(&changed(edited, &[])), Err(SignatureError::Digest { .. })));
    let renamed = |name: &str, content: &[u8]| match name {
        ".manifest" => Some(
            String::from_utf8(content.to_vec()).unwrap().replace("\"7\"", "\"8\"").into_bytes(),
        ),
        _ => Some(content.to_vec()),
    };
    assert!(matches!(verdict(&changed(renamed, &[])), Err(SignatureError::Digest { .. })));
    let without = |name: &str, content: &[u8]| (name != "gates.rego").then(|| content.to_vec());
    assert!(matches!(verdict(&changed(without, &[])), Err(SignatureError::File { .. })));
    let more: [(&str, &[u8]); 1] = [("more.txt", b"")];
    assert!(matches!(verdict(&changed(same, &more)), Err(SignatureError::File { .. })));
}

#[test]
fn other_tokens_are_no_signatures() {
    for document in [
        "",
        "{}",
        "[]",
        "{\"signatures\": []}",
        "{\"signatures\": [\"a.b.c\", \"a.b.c\"]}",
        "{\"signatures\": [\"a.b\"]}",
        "{\"signatures\": [\"a.b.c.d\"]}",
        "{\"signatures\": [1]}",
        // {"alg":"none"} and {"alg":"HS256"}
        "{\"signatures\": [\"eyJhbGciOiJub25lIn0.e30.\"]}",
        "{\"signatures\": [\"eyJhbGciOiJIUzI1NiJ9.e30.AAAA\"]}",
        "{\"signatures\": [\"eyJhbGciOiJFUzI1NiJ9.e30.AAAA\"]}",
        "{\"signatures\": [\"eyJhbGciOiJFUzI1NiJ9.e30.AAAA\"], \"plugin\": \"mine\"}",
    ] {
        let swapped = |name: &str, content: &[u8]| match name {
            ".signatures.json" => Some(document.as_bytes().to_vec()),
            _ => Some(content.to_vec()),
        };
        let bundle = PolicyBundle::read(&changed(swapped, &[])).unwrap();
        assert!(bundle.verify_signature(KEY.public_key(), "").is_err(), "{document}");
    }
}

#[test]
fn every_policy_that_comes_along_passes_its_tests_in_a_bundle() {
    for name in ["starter", "bank", "clinic"] {
        let folder = crate::support::starter_dir().join("..").join(name);
        let policy = Policy::load(&folder).unwrap();
        let options = BundleOptions { name, ..options() };
        let bundle = PolicyBundle::read(&PolicyBundle::build(&policy, &options).unwrap()).unwrap();
        // Where programs that know of no `input.json` find it, too.
        assert!(
            bundle.files().any(|(path, _)| path == "sealwright_test/input/data.json"),
            "{name}"
        );
        let again = bundle.policy().unwrap();
        assert_eq!(again.digest(), policy.digest(), "{name}");
        assert_eq!(again.check_tests().unwrap(), policy.check_tests().unwrap(), "{name}");
    }
}
