//! `sealwright inspect`: everything that others made and we made, whole and in pieces.

use std::path::{Path, PathBuf};

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde_json::{Value, json};

use crate::home::{Home, Ran, text};
use crate::team::Team;

const NOTICE: &str = "not verified: nothing here has been checked against a key";

/// A file in the tests of any crate.
fn data(path: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("..").join(path)
}

fn case(name: &str) -> PathBuf {
    data("sigstore/tests/data/bundle-verify").join(name).join("bundle.sigstore.json")
}

fn inspect(home: &Home, path: &Path) -> Ran {
    home.run_words([Path::new("inspect"), path])
}

/// A file of those tests under a short name.
fn of(path: &Path) -> Home {
    let home = Home::new();
    home.write("file", std::fs::read(path).unwrap());
    home
}

/// The whole text about a file.
#[track_caller]
fn says(home: &Home, expected: &str) {
    assert_eq!(home.must("inspect file").stdout, expected);
}

/// What is wrong with a file, which is explained all the same.
#[track_caller]
fn problems(home: &Home) -> Vec<String> {
    let ran = home.run("--json inspect file");
    let value = ran.json();
    let problems = value["problems"].as_array().unwrap();
    assert_eq!(ran.code, Some(if problems.is_empty() { 0 } else { 2 }), "{ran:#?}");
    assert_eq!(value["ok"], problems.is_empty());
    problems.iter().map(|problem| text(problem).to_owned()).collect()
}

#[test]
fn a_keyless_bundle_with_a_log_entry_and_a_timestamp() {
    says(
        &of(&case("rekor2-checkpoint-cosigned")),
        "\
file: Sigstore bundle 0.3, 10 KiB
not verified: nothing here has been checked against a key

Signature
  media type   application/vnd.dev.sigstore.bundle.v0.3+json
  signed with  a keyless certificate, see below
  over         an artifact, which is not in the bundle
  its digest   SHA2_256
               a0cfc71271d6e278e57cd332ff957c3f7043fdda354c4cbb190a30d56efa01bf

Certificate
  subject      no subject
  names        URI https://github.com/sigstore-conformance/extremely-dangerous-public-oidc-beacon/.github/workflows/extremely-dangerous-oidc-beacon.yml@refs/heads/main
  OIDC issuer  https://token.actions.githubusercontent.com
  issued by    CN=sigstore-intermediate,O=sigstore.dev
  valid        2025-06-12T12:02:16Z to 2025-06-12T12:12:16Z (10 minutes)
  key          ECDSA P-256
  for          digitalSignature, codeSigning
  Fulcio says  build signer URI: https://github.com/sigstore-conformance/extremely-dangerous-public-oidc-beacon/.github/workflows/extremely-dangerous-oidc-beacon.yml@refs/heads/main
               build signer digest: 9739798945b2a848e911bcf1dddb97298cade0b1
               runner environment: github-hosted
               source repository URI: https://github.com/sigstore-conformance/extremely-dangerous-public-oidc-beacon
               source repository digest:
               9739798945b2a848e911bcf1dddb97298cade0b1
               source repository ref: refs/heads/main
               source repository id: 632596897
               source owner URI: https://github.com/sigstore-conformance
               source owner id: 131804563
               build config URI: https://github.com/sigstore-conformance/extremely-dangerous-public-oidc-beacon/.github/workflows/extremely-dangerous-oidc-beacon.yml@refs/heads/main
               build config digest: 9739798945b2a848e911bcf1dddb97298cade0b1
               build trigger: workflow_dispatch
               run URI: https://github.com/sigstore-conformance/extremely-dangerous-public-oidc-beacon/actions/runs/15609877086/attempts/1
               source visibility: public
  logged       promised at 2025-06-12T12:02:16Z by certificate log 2b30bcdc…
  serial       24:6a:39:aa:0c:8a:26:3f:d3:5f:53:f6:dd:58:48:70:55:b4:82:2e
  SHA-256      bb2b81c4f07d282f71e99007e78584dbf7b086793fabfdde7c45244a946ac639

Log entry
  log index  735
  log id     f30d5a999d92e662484244263f174cb8eacbfe8264bc583d32741799e3825dc9
  kind       hashedrekord 0.0.2 (Rekor v2)
  logged     sha256 of the signed bytes:
             a0cfc71271d6e278e57cd332ff957c3f7043fdda354c4cbb190a30d56efa01bf
  time       none of its own, as in every log of Rekor v2
  proof      8 hashes, leaf 735 in a tree of 736
  origin     log2025-alpha1.rekor.sigstage.dev
  tree size  736
  root       rs1YPY0ydAV0lxgfrq5pE4oRpUJwo3syeps5+eGUTDI=
  signed by  log2025-alpha1.rekor.sigstage.dev (key f30d5a99)
             witness.example (key 3bc3c7e4), with the time 2025-08-19T21:40:14Z

Timestamp
  time     2025-06-12T12:02:20Z
  over     the sha256 of this signature
  signer   issued by CN=sigstore-tsa-selfsigned,O=sigstore.dev, serial
           0a:35:a1:06:61:d5:e2:41:73:c6:89:96:a7:f2:7d:f2:7e:03:7c:a7
  policy   1.3.6.1.4.1.57264.2
  serial   55:97:42:c7:1e:da:e5:b6:45:23:3a:7a:c4:3a:8d:03:31:42:a5:ac
  carries  CN=sigstore-tsa,O=sigstore.dev, ECDSA P-384, until
           2035-03-26T08:14:06Z
",
    );
}

#[test]
fn a_model_signature_of_another_tool() {
    says(
        &of(&data("cli/tests/data/oms/model-transparency/v1.1.0-elliptic-key/model.sig")),
        "\
file: Sigstore bundle 0.3, 1.6 KiB
not verified: nothing here has been checked against a key

Signature
  media type   application/vnd.dev.sigstore.bundle.v0.3+json
  signed with  a key
  key hint     e8450dec4eb99dae995da9af1bc2cc9f76ed669ee2e744f57abba763df3e3f8e
  over         a DSSE envelope
  payload      application/vnd.in-toto+json
  size         926 B
  statement    56c34fe75ca78f05f58e56add9e7c283544ae330b8092b92e6004a38f7581f4b

Model signature (OpenSSF Model Signing)
  model         v1.1.0-elliptic-key
  root digest   92745110b1ab4368471cbe31664e10174e954b113a3df333db860317b2c6dec4
  model digest  not signed: made by another tool than Sealwright
  files         2 files
  method        sha256 of whole files
  links         refused
  ignored       .git, model.sig, ignore-me, .gitattributes, .gitignore, .github
  predicate     https://model_signing/signature/v1.0
",
    );
}

#[test]
fn a_checkpoint_and_a_key() {
    let checkpoint = "tlog/tests/data/rekor2/rekor2-checkpoint-cosigned/checkpoint";
    says(
        &of(&data(checkpoint)),
        "\
file: checkpoint of a log, 340 B
not verified: nothing here has been checked against a key

Checkpoint
  origin     log2025-alpha1.rekor.sigstage.dev
  tree size  736
  root       rs1YPY0ydAV0lxgfrq5pE4oRpUJwo3syeps5+eGUTDI=
  signed by  log2025-alpha1.rekor.sigstage.dev (key f30d5a99)
             witness.example (key 3bc3c7e4), with the time 2025-08-19T21:40:14Z
",
    );
    let keys = "cli/tests/data/oms/model-transparency/keys/certificate";
    says(
        &of(&data(keys).join("signing-key-pub.pem")),
        "\
file: public key (PEM), 867 B
not verified: nothing here has been checked against a key

Public key
  key          ECDSA P-384
  key id       e8450dec4eb99dae995da9af1bc2cc9f76ed669ee2e744f57abba763df3e3f8e
  use          can sign models
  DER SHA-256  c1e49d63327f85c7e2971aefd30b5a0d1c6b9b5e1a892e7f5fba995adace816d
",
    );
    let home = Home::new();
    home.write("file", "example.com/foo+530d903a+AekyeRrm56hApGFkyQR4ZCbV54Id2LKaANYcrnKv3U2k\n");
    let value = home.json("inspect file");
    assert_eq!(value["kind"], "note-key");
    assert_eq!(value["key"]["name"], "example.com/foo");
}

#[test]
fn what_we_made_ourselves() {
    let team = Team::new();
    team.approve_fully("model");
    let home = &team.home;
    let digest = team.model_digest("model");
    let value = home.json("inspect model.sig");
    assert_eq!(value["model"]["model_digest"], digest);
    assert_eq!(value["model"]["files"], 4);
    assert_eq!(value["kind"], "sigstore-bundle");
    assert_eq!((&value["verified"], &value["notice"]), (&json!(false), &json!(NOTICE)));
    let shown = home.must("inspect model.sig").stdout;
    assert!(shown.contains(&format!("  model digest  {digest}\n")), "{shown}");
    assert!(shown.contains("  files         4 files, "), "{shown}");
    assert!(shown.contains("(Rekor v2)") && shown.contains(", with the time "), "{shown}");

    let sentence = |file: &str, says: &str| {
        let shown = home.must(&format!("inspect {file}")).stdout;
        let flat = shown.split_whitespace().collect::<Vec<_>>().join(" ");
        assert!(flat.contains(says), "{says}: {shown}");
        assert!(shown.lines().all(|line| line.chars().count() <= 80), "{shown}");
    };
    sentence(
        "model.approval.compliance.sigstore.json",
        "says Approves the model as compliance for environment production until ",
    );
    sentence("model.test-result.sigstore.json", "says PASSED: 8 passed, 0 warned, 0 failed.");
    sentence("model.test-result.sigstore.json", "accuracy[overall] = 0.88");
    sentence("roles.sigstore.json", "says Binds 7 principals to roles.");
    sentence(
        "roles.sigstore.json",
        "officer@loans.example, 1 key: compliance (2020-01-01 to 2099-01-01)",
    );
    sentence("data/trusted_root.json", "URL ");
    team.must("security", "revoke model --as security --reason leaked");
    sentence(
        "model.revocation.security.sigstore.json",
        &format!("says Revokes model {digest}, as security, from "),
    );

    // A verdict, a key that is not shown, and all evidence in one file.
    let verdict = home.run(&format!("--json {}", team.policy_line("model")));
    home.write("verdict.json", &verdict.stdout);
    let value = home.json("inspect verdict.json");
    assert_eq!(value["verdict"]["answer"], "denied");
    let shown = home.must("inspect keys/owner.key").stdout;
    assert!(shown.contains("not encrypted: whoever can read the file can sign"), "{shown}");
    let files = ["model.sig", "roles.sigstore.json"];
    let lines: Vec<String> = files.map(|file| home.read_json(file).to_string()).to_vec();
    home.write("all.jsonl", lines.join("\n") + "\n");
    let value = home.json("inspect all.jsonl");
    assert_eq!(value["kind"], "json-lines");
    assert_eq!(value["lines"][1]["statement"]["principals"], 7);
    let shown = home.must("inspect all.jsonl").stdout;
    assert!(shown.contains("\nline 2: Sigstore bundle 0.3\n"), "{shown}");
}

#[test]
fn a_decision_and_a_bare_envelope() {
    let home = Home::new();
    let record = json!({
        "id": "7", "time": "2026-11-24T07:31:44Z", "uid": "u", "allowed": false,
        "mode": "enforce", "basis": "policy",
        "request": {"operation": "CREATE", "resource": "pods", "namespace": "loans", "name": "p",
            "user": "system:admin"},
        "violations": [{"code": "APPROVAL_MISSING", "message": "No approval counts."}],
    });
    home.write("file", format!("{record}\n"));
    let shown = home.must("inspect file").stdout;
    assert!(shown.contains("  because  APPROVAL_MISSING: No approval counts.\n"), "{shown}");
    assert!(shown.contains("  request  CREATE pods loans/p by system:admin\n"), "{shown}");

    let bundle = of(&case("happy-path-intoto-in-dsse-v3")).read_json("file");
    home.write("file", bundle["dsseEnvelope"].to_string());
    let value = home.json("inspect file");
    assert_eq!(value["kind"], "dsse-envelope");
    assert_eq!(value["statement"]["predicate_type"], "https://slsa.dev/provenance/v1");
    let payload = STANDARD.decode(text(&bundle["dsseEnvelope"]["payload"])).unwrap();
    home.write("file", payload);
    assert_eq!(home.json("inspect file")["kind"], "statement");

    let bundle = of(&case("rekor2-checkpoint-cosigned")).read_json("file");
    let stamps = &bundle["verificationMaterial"]["timestampVerificationData"]["rfc3161Timestamps"];
    home.write("file", STANDARD.decode(text(&stamps[0]["signedTimestamp"])).unwrap());
    assert_eq!(home.json("inspect file")["kind"], "timestamp");
    let leaf = &bundle["verificationMaterial"]["certificate"]["rawBytes"];
    home.write("file", STANDARD.decode(text(leaf)).unwrap());
    let value = home.json("inspect file");
    assert_eq!(value["kind"], "certificate");
    assert_eq!(value["certificates"][0]["names"][0]["kind"], "URI");
}

#[test]
fn every_malformed_part_is_named_and_the_rest_explained() {
    let home = of(&case("rekor2-checkpoint-cosigned"));
    assert_eq!(problems(&home), [""; 0]);
    let mut bundle = home.read_json("file");
    let material = &mut bundle["verificationMaterial"];
    material["tlogEntries"][0]["logId"]["keyId"] = json!("?");
    material["tlogEntries"][0]["canonicalizedBody"] = json!("e30=");
    material["tlogEntries"][0]["inclusionProof"]["checkpoint"]["envelope"] = json!("x\n");
    material["timestampVerificationData"]["rfc3161Timestamps"][0]["signedTimestamp"] =
        json!("MAA=");
    material["certificate"]["rawBytes"] = json!("MAA=");
    home.write("file", bundle.to_string());
    assert_eq!(
        problems(&home),
        [
            "not a Sigstore bundle: expected standard base64 with padding",
            "certificate is not a DER X.509 certificate",
            "verificationMaterial.tlogEntries[0].logId.keyId is not standard base64 with padding",
            "verificationMaterial.tlogEntries[0].canonicalizedBody is of kind \"\" \"\"",
            "verificationMaterial.tlogEntries[0].inclusionProof.checkpoint is malformed: \
             the note has no signature lines after a blank line",
            "verificationMaterial.timestampVerificationData.rfc3161Timestamps[0] \
             is not a granted RFC 3161 timestamp",
        ]
    );
    let ran = home.run("inspect file");
    assert_eq!(ran.code, Some(2));
    assert!(ran.stdout.contains("  log index  735\n") && ran.stdout.contains("\nProblems\n"));
    assert!(ran.stderr.starts_with("error: file: 6 parts of it are malformed\nhint: "), "{ran:#?}");
}

#[test]
fn what_is_of_no_known_kind_is_said_so() {
    let home = Home::new();
    for (content, said) in [
        (&b""[..], "no known kind"),
        (b"weights", "no known kind"),
        (b"\x30\x00\xff", "no known kind"),
        (b"{}", "JSON of no known kind"),
        (b"{\"mediaType\": \"text/html\"}", "media type \"text/html\" is of no known kind"),
        (b"{\"a\": 1, \"a\": 2}", "name \"a\" occurs twice"),
        (b"{\"verificationMaterial\":", "EOF"),
    ] {
        home.write("file", content);
        home.run("inspect file").failed(2, said);
        home.run("--json inspect file").failed_json(2, said);
    }
    home.run("inspect missing").failed(2, "does not exist");
    home.run("inspect .").failed(2, "not a regular file");
}

#[test]
fn no_text_can_forge_what_is_shown() {
    let evil = "x\u{1b}[2J\nverified\u{202e}";
    let home = of(&case("managed-key-happy-path"));
    let mut bundle = home.read_json("file");
    bundle["verificationMaterial"]["publicKey"]["hint"] = json!(evil);
    bundle["verificationMaterial"]["tlogEntries"][0]["kindVersion"]["kind"] = json!(evil);
    bundle[evil] = json!(1);
    home.write("file", bundle.to_string());
    let ran = home.run("inspect file");
    let shown = ran.stdout + &ran.stderr;
    assert!(shown.contains("x\\u{1b}[2J\\nverified\\u{202e}"), "{shown}");
    assert!(!shown.contains(['\u{1b}', '\u{202e}']) && !shown.contains("\nverified"), "{shown}");

    let statement = json!({
        "_type": "https://in-toto.io/Statement/v1", "predicateType": evil,
        "subject": [{"name": evil, "digest": {"sha256": evil}}], "predicate": {"a": evil},
    });
    home.write("file", statement.to_string());
    let shown = home.must("inspect file").stdout;
    assert!(!shown.contains('\u{1b}') && !shown.contains("\nverified"), "{shown}");
}

/// Every file of the tests of every crate, and every bundle of the model signature vectors.
#[test]
fn every_vector_is_explained_or_refused() {
    let home = Home::new();
    let mut files = Vec::new();
    for crate_name in ["cli", "sigstore", "server", "tlog"] {
        find(&data(crate_name).join("tests/data"), &mut files);
    }
    assert!(files.len() > 300, "{}", files.len());
    let mut explained = 0;
    for file in &files {
        let ran = inspect(&home, file);
        explained += check(&ran);
    }
    assert!(explained > 90, "{explained}");

    let vectors = std::fs::read(data("cli/tests/data/oms/oms-vectors.json")).unwrap();
    let vectors: Value = serde_json::from_slice(&vectors).unwrap();
    let mut explained = 0;
    for case in vectors["cases"].as_array().unwrap() {
        home.write("file", STANDARD.decode(text(&case["bundle_base64"])).unwrap());
        explained += check(&home.run("inspect file"));
    }
    assert!(explained > 90, "{explained}");
    for pem in vectors["pem"].as_object().unwrap().values() {
        home.write("file", text(pem));
        assert_eq!(check(&home.run("inspect file")), 1, "{pem}");
    }
}

fn find(directory: &Path, found: &mut Vec<PathBuf>) {
    for entry in std::fs::read_dir(directory).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            find(&path, found);
        } else {
            found.push(path);
        }
    }
}

/// Explained whole (1) or not (0), and in either case properly.
fn check(ran: &Ran) -> usize {
    assert!(matches!(ran.code, Some(0 | 2)), "{ran:#?}");
    assert!(!ran.stdout.contains('\u{1b}'), "{ran:#?}");
    let is_said = ran.stdout.is_empty() || ran.stdout.contains(NOTICE);
    assert!(is_said && (ran.code == Some(0)) == ran.stderr.is_empty(), "{ran:#?}");
    assert!(ran.code == Some(0) || ran.stderr.contains("\nhint: "), "{ran:#?}");
    usize::from(ran.code == Some(0))
}

/// Every value of a document in turn is something else, and some bytes of its DER: in one file.
#[test]
fn no_part_can_break_the_rest() {
    let home = Home::new();
    let oms = data("cli/tests/data/oms/model-transparency/v1.1.0-sigstore/model.sig");
    let root = data("sigstore/tests/data/trust/public-good.trusted_root.json");
    let cases = ["rekor2-checkpoint-cosigned", "happy-path-intoto-in-dsse-v3"].map(case);
    for file in cases.into_iter().chain([case("managed-key-happy-path"), oms, root]) {
        let document: Value = serde_json::from_slice(&std::fs::read(&file).unwrap()).unwrap();
        let mut places = Vec::new();
        list(&document, "", &mut places);
        let mut lines = Vec::new();
        for place in places.iter().filter(|place| !place.is_empty()) {
            for other in [json!(null), json!(7), json!(-1.5), json!("\u{0}x"), json!([]), json!({})]
            {
                let mut changed = document.clone();
                *changed.pointer_mut(place).unwrap() = other;
                lines.push(changed.to_string());
            }
            let bytes = document.pointer(place).unwrap().as_str().map(|text| STANDARD.decode(text));
            let Some(Ok(bytes)) = bytes else { continue };
            for at in (0..bytes.len()).step_by(7) {
                let mut altered = bytes.clone();
                altered[at] = altered[at].wrapping_add(1);
                let mut changed = document.clone();
                *changed.pointer_mut(place).unwrap() = json!(STANDARD.encode(altered));
                lines.push(changed.to_string());
            }
        }
        home.write("file", lines.join("\n"));
        let ran = home.run("--json inspect file");
        assert_eq!(ran.code, Some(2), "{}", ran.stderr);
        assert_eq!(ran.json()["lines"].as_array().unwrap().len(), lines.len());
        assert_eq!(home.run("inspect file").code, Some(2));
    }
}

/// JSON pointers to all values.
fn list(value: &Value, place: &str, found: &mut Vec<String>) {
    found.push(place.to_owned());
    match value {
        Value::Object(members) => {
            members.iter().for_each(|(name, value)| list(value, &format!("{place}/{name}"), found))
        }
        Value::Array(items) => items
            .iter()
            .enumerate()
            .for_each(|(at, value)| list(value, &format!("{place}/{at}"), found)),
        _ => {}
    }
}
