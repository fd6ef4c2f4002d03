//! `sealwright digest`: the identity of a model.

use std::io::Write as _;
use std::os::unix::fs::symlink;
use std::path::Path;
use std::time::{Duration, Instant};

use rustix::fs::{AtFlags, StatxFlags};
use sealwright_manifest::Sha256;
use serde_json::json;

use crate::home::{Home, Ran, text};

fn digest(home: &Home, line: &str) -> String {
    text(&home.json(&format!("digest {line}"))["model_digest"]).to_owned()
}

#[test]
fn the_model_digest_can_be_checked_without_sealwright() {
    let home = Home::new();
    home.model("model");
    let value = home.json("digest model");
    let canonical = text(&value["canonical_manifest"]);
    assert_eq!(value["model_digest"], json!(Sha256::of(canonical.as_bytes())));

    let files = value["manifest"]["files"].as_array().unwrap();
    let mut lines = canonical.lines();
    assert_eq!(Some(text(&value["manifest"]["version"])), lines.next());
    assert_eq!(Some("fsverity-sha256-4096"), lines.next());
    assert_eq!(Some("3"), lines.next());
    let mut all_digests = Vec::new();
    for (file, line) in files.iter().zip(lines.by_ref()) {
        let name = text(&file["name"]);
        let path = format!("model/{name}");
        // The oracles of both digests are other programs.
        let verity = home.tool("fsverity", &["digest", "--compact", &path]);
        let verity = String::from_utf8(verity).unwrap();
        assert_eq!(text(&file["fsverity"]), verity.trim());
        let plain = String::from_utf8(home.tool("sha256sum", &[&path])).unwrap();
        assert_eq!(text(&file["sha256"]), &plain[..64]);
        let size = home.read(&path).len();
        assert_eq!(file["size"], size);
        assert_eq!(line, format!("{} {size} {} {name}", verity.trim(), name.len()));
        all_digests.extend(hex::decode(text(&file["sha256"])).unwrap());
    }
    assert_eq!(lines.next(), None);
    assert_eq!(value["oms_root"], json!(Sha256::of(&all_digests)));
    assert_eq!(value["name"], "model");
    assert_eq!(value["size"], 27 + 16 + 10_000);
}

#[test]
fn people_get_the_same_in_words() {
    let home = Home::new();
    home.model("model");
    let value = home.json("digest model");
    let ran = home.must("digest --files model");
    assert!(ran.stdout.contains(&format!("model digest  {}\n", text(&value["model_digest"]))));
    let root = format!("OMS root      {}\n", text(&value["oms_root"]));
    assert!(!ran.stdout.contains(&root), "it costs time that nobody asked for");
    assert!(home.must("digest --oms-root model").stdout.contains(&root));
    assert!(ran.stdout.contains("content       3 files, 9.8 KiB\n"), "{ran:#?}");
    assert!(ran.stdout.contains("\"tokenizer/vocab.txt\"\n"), "{ran:#?}");
    assert_eq!(ran.stderr, "");
}

#[test]
fn the_way_to_a_model_is_not_part_of_it() {
    let home = Home::new();
    let model = home.model("model");
    symlink(&model, home.path("current")).unwrap();
    let expected = digest(&home, "model");
    let name = home.path("").file_name().unwrap().to_str().unwrap().to_owned();
    for path in ["model/", "./model", "model/.", "model/tokenizer/..", "current", "current/"]
        .map(str::to_owned)
        .into_iter()
        .chain([model.to_str().unwrap().to_owned(), format!("../{name}/model")])
    {
        assert_eq!(digest(&home, &path), expected, "{path}");
    }
    let inside = Ran::of(home.command(["--json", "digest", "."]).current_dir(&model)).succeeded();
    assert_eq!(inside.json()["model_digest"], expected);
    assert_eq!(inside.json()["name"], "model");

    // Nor are owners, modes and times; names and contents are.
    home.tool("chmod", &["-R", "go-rwx", "model"]);
    home.tool("touch", &["-d", "2001-01-01", "model/config.json"]);
    assert_eq!(digest(&home, "model"), expected);
    std::fs::rename(model.join("config.json"), model.join("Config.json")).unwrap();
    assert_ne!(digest(&home, "model"), expected);
}

#[test]
fn one_file_is_a_model_too() {
    let home = Home::new();
    home.write("model.gguf", "weights");
    home.write("only/model.gguf", "weights");
    let value = home.json("digest model.gguf");
    assert_eq!(value["name"], "model.gguf");
    assert_eq!(value["manifest"]["files"][0]["name"], "model.gguf");
    assert_eq!(digest(&home, "only"), text(&value["model_digest"]));
}

#[test]
fn paths_can_be_left_out() {
    let home = Home::new();
    home.model("model");
    let expected = digest(&home, "model");
    home.write("model/logs/a.txt", "a");
    home.write("model/logs/deep/b.txt", "b");
    home.write("model/notes.txt", "n");
    assert_ne!(digest(&home, "model"), expected);
    for ignored in [
        "--ignore-path logs --ignore-path notes.txt",
        "--ignore-path ./logs/ --ignore-path=notes.txt",
        "--ignore-path logs/a.txt --ignore-path logs//deep --ignore-path ./notes.txt",
        "--ignore-path logs --ignore-path notes.txt --ignore-path not-there",
    ] {
        assert_eq!(digest(&home, &format!("model {ignored}")), expected, "{ignored}");
    }
    // No globs, no prefixes of names.
    for ignored in ["--ignore-path log --ignore-path *.txt", "--ignore-path LOGS"] {
        assert_ne!(digest(&home, &format!("model {ignored}")), expected, "{ignored}");
    }
    for outside in ["/model/logs", "../model/logs", "logs/../..", "."] {
        let ran = home.run(&format!("digest model --ignore-path {outside}"));
        ran.failed(2, "is not a path below MODEL");
    }
}

#[test]
fn the_repository_around_a_model_is_left_out() {
    let home = Home::new();
    home.model("model");
    let expected = digest(&home, "model");
    home.tool("git", &["init", "--quiet", "model"]);
    home.write("model/.gitattributes", "*.safetensors filter=lfs");
    home.write("model/.gitignore", "*.tmp");
    assert_eq!(digest(&home, "model"), expected);
    // Only at the top, and no other hidden files.
    home.write("model/tokenizer/.gitignore", "x");
    assert_ne!(digest(&home, "model"), expected);
    home.remove("model/tokenizer/.gitignore");
    home.write("model/.hidden", "x");
    assert_ne!(digest(&home, "model"), expected);
}

#[test]
fn a_file_that_did_not_change_is_not_read_again() {
    let home = Home::with_keys();
    let place = tempfile::tempdir().unwrap();
    let model = place.path().join("model");
    std::fs::create_dir(&model).unwrap();
    std::fs::write(model.join("config.json"), "{}").unwrap();
    std::fs::write(model.join("weights"), vec![7; 3 << 20]).unwrap();
    let model = model.to_str().unwrap();
    let digest = |options: &str| home.json(&format!("digest {model} {options}"));
    let truth = digest("");
    assert_eq!(truth["cached_size"], 0);

    if !is_kept(place.path()) {
        assert_eq!(digest("--cached"), truth);
        return;
    }
    // The file must be two seconds old before its digest is kept.
    let deadline = Instant::now() + Duration::from_secs(60);
    while digest("--cached")["cached_size"] == 0 {
        assert!(Instant::now() < deadline, "nothing is ever found in the cache");
    }
    let cached = digest("--cached");
    assert_eq!(cached["cached_size"], 3 << 20, "not the small file");
    assert_eq!(cached["canonical_manifest"], truth["canonical_manifest"]);
    assert_eq!(cached["oms_root"], truth["oms_root"]);
    assert_eq!(digest(""), truth);
    let said = home.must(&format!("digest --cached {model}")).stdout;
    assert!(said.contains("2 files, 3.0 MiB (3.0 MiB unchanged, not read again)\n"), "{said}");

    let sign = format!("sign {model} --key keys/trainer.key --output model.sig");
    assert_eq!(home.json(&sign)["cached_size"], 3 << 20);
    assert_eq!(home.json(&format!("{sign} --no-cache"))["cached_size"], 0);
    // One byte, in place: nothing old is signed.
    let mut file = std::fs::File::options().write(true).open(place.path().join("model/weights"));
    file.as_mut().unwrap().write_all(b"8").unwrap();
    drop(file);
    let verify = format!("verify {model} --bundle model.sig --key keys/trainer.pub");
    let refused = home.run(&verify);
    assert_eq!(refused.code, Some(1));
    assert!(refused.stdout.contains("changed: weights: chunk 1 of 6 differs\n"), "{refused:#?}");
    assert_eq!(home.json(&sign)["cached_size"], 0);
    home.must(&verify);
}

/// Whether digests are kept there: on ext4 and Btrfs, by a kernel that numbers its mounts. Elsewhere
/// everything is read each time.
fn is_kept(place: &Path) -> bool {
    const UNIQUE: StatxFlags = StatxFlags::from_bits_retain(0x4000);
    let kind = rustix::fs::statfs(place).unwrap().f_type;
    let found = rustix::fs::statx(rustix::fs::CWD, place, AtFlags::empty(), UNIQUE).unwrap();
    [0xef53, 0x9123_683e].contains(&kind)
        && StatxFlags::from_bits_retain(found.stx_mask).contains(UNIQUE)
}
