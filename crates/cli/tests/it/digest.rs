//! `sealwright digest`: the identity of a model.

use std::os::unix::fs::symlink;

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
    assert!(ran.stdout.contains(&format!("OMS root      {}\n", text(&value["oms_root"]))));
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
