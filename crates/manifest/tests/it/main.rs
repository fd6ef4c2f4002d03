//! Models on a real file system, and the fs-verity digest against the reference tool.

#![expect(clippy::unwrap_used, reason = "a panic is how a test fails")]

mod cache;
mod chunks;

use std::collections::BTreeMap;
use std::ffi::OsStr;
use std::fs;
use std::io::Write as _;
use std::os::unix::ffi::OsStrExt as _;
use std::os::unix::fs::symlink;
use std::path::Path;
use std::process::Command;
use std::sync::atomic::{AtomicU64, Ordering};

use proptest::prelude::*;
use sealwright_manifest::{
    BLOCK_SIZE, HashAlgorithm, Hashing, Identity, Manifest, ManifestError, Progress, Serialization,
    Sha256, SymlinkPolicy, WalkOptions, digest_model, identify_model, read_verified,
    resource_digests,
};

fn digest(path: &Path) -> Result<Manifest, ManifestError> {
    digest_model(path, &WalkOptions::default(), &Hashing::default())
}

/// Tells `take` the bytes of each piece that was hashed.
fn on_bytes(take: impl Fn(u64) + Sync) -> impl Fn(Progress) + Sync {
    move |progress| {
        if let Progress::Hashed(bytes) = progress {
            take(bytes);
        }
    }
}

fn reporting<'a>(progress: &'a (dyn Fn(Progress) + Sync)) -> Hashing<'a> {
    Hashing { progress, ..Hashing::default() }
}

fn write(root: &Path, name: &str, content: &[u8]) {
    let path = root.join(name);
    fs::create_dir_all(path.parent().unwrap()).unwrap();
    fs::write(path, content).unwrap();
}

fn model(files: &[(&str, &[u8])]) -> tempfile::TempDir {
    let directory = tempfile::tempdir().unwrap();
    for (name, content) in files {
        write(directory.path(), name, content);
    }
    directory
}

#[test]
fn files_are_listed_in_code_point_order_with_hidden_ones() {
    let model =
        model(&[("a/x", b"1"), ("a-b", b"2"), ("a.txt", b"3"), (".hidden", b""), ("é", b"4")]);
    fs::create_dir(model.path().join("empty")).unwrap();
    let manifest = digest(model.path()).unwrap();
    let names: Vec<_> = manifest.entries().iter().map(|e| e.name.as_str()).collect();
    assert_eq!(names, [".hidden", "a-b", "a.txt", "a/x", "é"]);
    assert_eq!(manifest.total_size(), 4);
}

#[test]
fn only_top_level_git_paths_are_ignored() {
    let model = model(&[
        (".git/config", b""),
        (".github/evil.py", b""),
        (".gitignore", b""),
        (".gitattributes", b""),
        (".gitmodules", b""),
        (".git-foo", b""),
        ("sub/.git", b""),
        ("weights", b""),
    ]);
    let names = |options: &WalkOptions| -> Vec<String> {
        let manifest = digest_model(model.path(), options, &Hashing::default()).unwrap();
        manifest.entries().iter().map(|e| e.name.clone()).collect()
    };
    let mut options = WalkOptions::default();
    assert_eq!(names(&options), [".git-foo", ".gitmodules", "sub/.git", "weights"]);
    options.ignore_paths = vec!["sub".into(), "weight".into()];
    assert_eq!(names(&options), [".git-foo", ".gitmodules", "weights"]);
    options.ignore_git_paths = false;
    assert_eq!(names(&options).len(), 7);
}

#[test]
fn one_file_is_a_model_named_by_itself() {
    let model = model(&[("model.onnx", b"weights")]);
    let file = model.path().join("model.onnx");
    let manifest = digest(&file).unwrap();
    assert_eq!(manifest.entries()[0].name, "model.onnx");
    assert_eq!(manifest, digest(model.path()).unwrap());
    assert_eq!(read_verified(&file, &manifest.entries()[0]).unwrap(), b"weights");
}

#[test]
fn what_cannot_be_identified_is_refused_by_name() {
    let place = tempfile::tempdir().unwrap();
    let root = place.path();
    let missing = digest(&root.join("missing"));
    assert!(matches!(missing, Err(ManifestError::NotFound { .. })), "{missing:?}");
    let empty = digest(root);
    assert!(matches!(empty, Err(ManifestError::Empty { .. })), "{empty:?}");
    write(root, ".git/config", b"only ignored files");
    assert!(matches!(digest(root), Err(ManifestError::Empty { .. })));

    write(root, "weights", b"w");
    symlink("weights", root.join("link")).unwrap();
    let error = digest(root).unwrap_err();
    assert_eq!(error.to_string(), "link is a symbolic link");
    fs::remove_file(root.join("link")).unwrap();
    symlink("/tmp", root.join("dir")).unwrap();
    assert_eq!(digest(root).unwrap_err().to_string(), "dir is a symbolic link");
    fs::remove_file(root.join("dir")).unwrap();

    let fifo = Command::new("mkfifo").arg(root.join("pipe")).status().unwrap();
    assert!(fifo.success());
    assert_eq!(digest(root).unwrap_err().to_string(), "pipe is a FIFO, not a regular file");
    assert!(digest(&root.join("pipe")).is_err());
    fs::remove_file(root.join("pipe")).unwrap();

    let socket = std::os::unix::net::UnixListener::bind(root.join("sock")).unwrap();
    assert_eq!(digest(root).unwrap_err().to_string(), "sock is a socket, not a regular file");
    drop(socket);
    fs::remove_file(root.join("sock")).unwrap();

    fs::write(root.join(OsStr::from_bytes(b"bad\xff")), b"").unwrap();
    let error = digest(root).unwrap_err();
    assert!(matches!(error, ManifestError::Name { .. }), "{error}");
    fs::remove_file(root.join(OsStr::from_bytes(b"bad\xff"))).unwrap();

    let deep = (0..130).fold(root.to_owned(), |path, _| path.join("d"));
    fs::create_dir_all(&deep).unwrap();
    assert!(matches!(digest(root), Err(ManifestError::TooDeep { .. })));
}

/// The file grows while it is read: the progress callback is the moment in between.
#[test]
fn a_file_that_grows_without_end_is_refused() {
    let model = model(&[("weights", &vec![7; 1 << 16])]);
    let path = model.path().join("weights");
    let hashed = AtomicU64::new(0);
    let grow = |count| {
        assert!(hashed.fetch_add(count, Ordering::Relaxed) < 1 << 24, "it goes on and on");
        let mut file = fs::OpenOptions::new().append(true).open(&path).unwrap();
        file.write_all(&vec![7; usize::try_from(count).unwrap()]).unwrap();
    };
    let result = digest_model(model.path(), &WalkOptions::default(), &reporting(&on_bytes(grow)));
    assert!(matches!(result, Err(ManifestError::ChangedWhileReading { .. })), "{result:?}");
}

#[test]
fn a_file_that_is_being_written_is_refused() {
    let model = model(&[("weights", &vec![7; 1 << 20])]);
    let path = model.path().join("weights");
    let calls = AtomicU64::new(0);
    let grow = |_| {
        if calls.fetch_add(1, Ordering::Relaxed) == 0 {
            let mut bytes = fs::read(&path).unwrap();
            bytes.push(0);
            fs::write(&path, bytes).unwrap();
        }
    };
    let result = digest_model(model.path(), &WalkOptions::default(), &reporting(&on_bytes(grow)));
    assert!(matches!(result, Err(ManifestError::ChangedWhileReading { .. })), "{result:?}");
}

#[test]
fn only_the_recorded_bytes_are_handed_out() {
    let model = model(&[("sub/weights", b"good")]);
    let entry = digest(model.path()).unwrap().entries()[0].clone();
    assert_eq!(read_verified(model.path(), &entry).unwrap(), b"good");
    for bad in [&b"evil"[..], b"goo", b"good!", b""] {
        write(model.path(), "sub/weights", bad);
        let result = read_verified(model.path(), &entry);
        assert!(matches!(result, Err(ManifestError::Mismatch { .. })), "{bad:?}: {result:?}");
    }
    // The right bytes behind a link are not the recorded file.
    write(model.path(), "elsewhere/weights", b"good");
    fs::remove_dir_all(model.path().join("sub")).unwrap();
    symlink("elsewhere", model.path().join("sub")).unwrap();
    let result = read_verified(model.path(), &entry);
    assert!(matches!(
        result,
        Err(ManifestError::Unreadable { .. } | ManifestError::Symlink { .. })
    ));
}

/// `fsverity digest` (fsverity-utils) on sizes around every block and tree-level border.
#[test]
fn tree_digest_equals_the_reference_tool() {
    let level = BLOCK_SIZE * 128;
    let sizes = [
        0,
        1,
        BLOCK_SIZE - 1,
        BLOCK_SIZE,
        BLOCK_SIZE + 1,
        2 * BLOCK_SIZE,
        2 * BLOCK_SIZE + 1,
        level - 1,
        level,
        level + 1,
        2 * level,
        2 * level + 1,
        128 * level,
        128 * level + 1,
    ];
    let directory = tempfile::tempdir().unwrap();
    for size in sizes {
        let content: Vec<u8> = (0..=250).cycle().take(size).collect();
        fs::write(directory.path().join(format!("{size:010}")), content).unwrap();
    }
    let ours: BTreeMap<_, _> = digest(directory.path())
        .unwrap()
        .entries()
        .iter()
        .map(|e| (e.name.clone(), e.fsverity.to_string()))
        .collect();
    let output = Command::new("fsverity")
        .args(["digest", "--hash-alg=sha256", "--block-size=4096", "--compact"])
        .args(ours.keys().map(|name| directory.path().join(name)))
        .output()
        .expect("fsverity is not installed: run ./test, which installs it");
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let theirs = String::from_utf8(output.stdout).unwrap();
    let theirs: Vec<_> = theirs.split_whitespace().collect();
    assert_eq!(theirs, ours.values().collect::<Vec<_>>());
}

#[test]
fn links_inside_the_model_are_followed_only_if_the_signature_says_so() {
    let model = model(&[("weights", b"w"), ("sub/data", b"d")]);
    let root = model.path();
    symlink("../weights", root.join("sub/link")).unwrap();
    let options = WalkOptions { symlinks: SymlinkPolicy::FollowFilesInside, ..Default::default() };
    let serialization = Serialization { algorithm: HashAlgorithm::Sha256, shard_size: None };
    let resources = |options: &WalkOptions| {
        resource_digests(root, options, serialization, None, 100, &Hashing::default())
    };
    let found = resources(&options).unwrap().digests;
    assert_eq!(found["sub/link"], found["weights"]);
    assert_eq!(found.len(), 3);
    assert!(matches!(resources(&WalkOptions::default()), Err(ManifestError::Symlink { .. })));
    let outside = tempfile::NamedTempFile::new().unwrap();
    let up = format!("../../../../..{}", outside.path().display());
    for target in [outside.path().to_str().unwrap(), &up, ".", "/proc/self/exe", "missing"] {
        let link = root.join("sub/other");
        symlink(target, &link).unwrap();
        let result = resources(&options);
        assert!(matches!(result, Err(ManifestError::Symlink { .. })), "{target}: {result:?}");
        fs::remove_file(link).unwrap();
    }
}

#[test]
fn shards_cover_every_byte_and_empty_files_are_unlisted() {
    let model = model(&[("a", b"0123456789"), ("empty", b"")]);
    let shards = |size, limit| {
        let shard_size = std::num::NonZero::new(size);
        let serialization = Serialization { algorithm: HashAlgorithm::Blake3, shard_size };
        resource_digests(
            model.path(),
            &WalkOptions::default(),
            serialization,
            None,
            limit,
            &Hashing::default(),
        )
    };
    let found = shards(4, 3).unwrap();
    assert_eq!(found.digests.keys().collect::<Vec<_>>(), ["a:0:4", "a:4:8", "a:8:10"]);
    assert_eq!(found.digests["a:0:4"], blake3::hash(b"0123").as_bytes());
    assert_eq!(found.unlisted, ["empty"]);
    assert_eq!(shards(5, 3).unwrap().digests.keys().collect::<Vec<_>>(), ["a:0:5", "a:5:10"]);
    assert!(matches!(shards(1, 3), Err(ManifestError::TooManyFiles { limit: 3 })));
}

/// Two streams run side by side on each core, whatever their lengths, and start and end at
/// different times.
#[test]
fn plain_digests_are_those_of_the_bytes() {
    let sizes = [0, 1, 63, 64, 4096, 70_000, 262_144, 262_145, 1 << 20, 5_000_000];
    let directory = tempfile::tempdir().unwrap();
    let content =
        |size: usize| -> Vec<u8> { (0..=250).cycle().skip(size % 7).take(size).collect() };
    for size in sizes {
        write(directory.path(), &format!("{size:07}"), &content(size));
    }
    let resources = |shard_size| {
        let serialization = Serialization { algorithm: HashAlgorithm::Sha256, shard_size };
        let options = WalkOptions::default();
        resource_digests(directory.path(), &options, serialization, None, 1000, &Hashing::default())
            .unwrap()
    };
    let manifest = digest(directory.path()).unwrap();
    let whole = resources(None).digests;
    assert_eq!(whole.len(), sizes.len());
    for (entry, size) in manifest.entries().iter().zip(sizes) {
        assert_eq!(entry.sha256, Sha256::of(&content(size)), "{size} bytes");
        assert_eq!(whole[&entry.name], entry.sha256.as_bytes(), "{size} bytes");
    }
    let shard = 100_000;
    let shards = resources(std::num::NonZero::new(shard as u64));
    assert_eq!(shards.unlisted, ["0000000"]);
    for size in sizes {
        for (index, bytes) in content(size).chunks(shard).enumerate() {
            let start = index * shard;
            let name = format!("{size:07}:{start}:{}", start + bytes.len());
            assert_eq!(shards.digests[&name], Sha256::of(bytes).as_bytes(), "{name}");
        }
    }
}

#[test]
fn resources_of_a_file_that_changes_are_refused() {
    for shard_size in [None, std::num::NonZero::new(1 << 20)] {
        let model = model(&[("a", b"1"), ("b", &vec![7; 5 << 20]), ("c", b"3")]);
        let serialization = Serialization { algorithm: HashAlgorithm::Sha256, shard_size };
        let file = fs::File::options().append(true).open(model.path().join("b")).unwrap();
        let grow = |_| (&file).write_all(b"more").unwrap();
        let options = WalkOptions::default();
        let result = resource_digests(
            model.path(),
            &options,
            serialization,
            None,
            100,
            &reporting(&on_bytes(grow)),
        );
        let refused = matches!(result, Err(ManifestError::ChangedWhileReading { .. }));
        assert!(refused, "{result:?}");
    }
}

fn identity(path: &Path) -> Result<Identity, ManifestError> {
    identify_model(path, &WalkOptions::default(), &Hashing::default())
}

/// Threads take parts of 4 MiB; the order in which they are done must not matter.
#[test]
fn the_identity_alone_is_that_of_the_whole_manifest() {
    let part = 4 << 20;
    let sizes = [0, 1, BLOCK_SIZE, 70_000, part - 1, part, part + 1, 3 * part, 5 * part + 4097];
    let directory = tempfile::tempdir().unwrap();
    for size in sizes {
        let content: Vec<u8> = (0..=250).cycle().take(size).collect();
        write(directory.path(), &format!("sub/{size}"), &content);
        let file = directory.path().join(format!("sub/{size}"));
        assert_eq!(identity(&file).unwrap(), digest(&file).unwrap().identity(), "{size} bytes");
    }
    let manifest = digest(directory.path()).unwrap();
    let hashed = AtomicU64::new(0);
    let count = |bytes| {
        hashed.fetch_add(bytes, Ordering::Relaxed);
    };
    let found =
        identify_model(directory.path(), &WalkOptions::default(), &reporting(&on_bytes(count)))
            .unwrap();
    assert_eq!(found, manifest.identity());
    assert_eq!(found.model_digest(), manifest.model_digest());
    assert_eq!(found.total_size(), hashed.into_inner());
    assert_eq!(found.file("sub/1").unwrap().fsverity, manifest.entry("sub/1").unwrap().fsverity);
    assert_eq!(found.file("1"), None);
}

#[test]
fn a_file_that_changes_while_its_parts_are_hashed_is_refused() {
    for (size, grow) in [(3, true), (3 << 20, true), (9 << 20, true), (9 << 20, false)] {
        let model = model(&[("weights", &vec![7; size])]);
        let file = fs::File::options().write(true).open(model.path().join("weights")).unwrap();
        let first = AtomicU64::new(0);
        let change = |_| {
            if first.fetch_add(1, Ordering::Relaxed) == 0 {
                file.set_len(if grow { size as u64 + 1 } else { 5 << 20 }).unwrap();
            }
        };
        let result =
            identify_model(model.path(), &WalkOptions::default(), &reporting(&on_bytes(change)));
        let refused = matches!(result, Err(ManifestError::ChangedWhileReading { .. }));
        assert!(refused, "{size} bytes: {result:?}");
    }
}

/// Files are hashed in another order than that of their names, and on several threads.
#[test]
fn the_first_error_by_name_is_the_one_that_is_told() {
    let model =
        model(&[("a", b""), ("b", b""), ("c", &vec![0; 9 << 20]), ("d", &vec![0; 1 << 20])]);
    let change = |name: &str| {
        let file = fs::File::options().append(true).open(model.path().join(name)).unwrap();
        move || (&file).write_all(b"more").unwrap()
    };
    for _ in 0..20 {
        // Only the two large ones are told of; both grow with each piece.
        let (c, d) = (change("c"), change("d"));
        let grow = |_| {
            c();
            d();
        };
        let both = digest_model(model.path(), &WalkOptions::default(), &reporting(&on_bytes(grow)))
            .unwrap_err();
        let tree =
            identify_model(model.path(), &WalkOptions::default(), &reporting(&on_bytes(grow)))
                .unwrap_err();
        assert_eq!(both.to_string(), "c was being written to while it was read");
        assert_eq!(tree.to_string(), both.to_string());
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    /// Two models never share an identity, and one model has the same on every walk.
    #[test]
    fn identity_is_injective(
        one in prop::collection::btree_map("[ab]{1,2}", "[xy]{0,2}", 1..4),
        other in prop::collection::btree_map("[ab]{1,2}", "[xy]{0,2}", 1..4),
    ) {
        let manifest = |files: &BTreeMap<String, String>| {
            let files: Vec<_> = files.iter().map(|(n, c)| (n.as_str(), c.as_bytes())).collect();
            digest(model(&files).path()).unwrap()
        };
        let (first, second) = (manifest(&one), manifest(&other));
        prop_assert_eq!(first.model_digest() == second.model_digest(), one == other);
        prop_assert_eq!(first, manifest(&one));
    }
}
