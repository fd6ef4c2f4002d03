//! The canonical form of a model: read back, it gives the same files, so two models cannot share one
//! digest; and the names of shards.

#![no_main]

use libfuzzer_sys::fuzz_target;
use sealwright_attest::{OMS_PREDICATE_TYPE, OmsPredicate, Statement, Subject};
use sealwright_manifest::{
    CANONICAL_VERSION, Entry, FileIdentity, Identity, Manifest, Sha256, check_name, differences,
};

type File = (String, u64, [u8; 32]);

fuzz_target!(|data: (Vec<File>, u8)| {
    let (files, shard_size) = data;
    let identity = |files: &[File]| {
        Identity::new(
            files
                .iter()
                .map(|(name, size, digest)| FileIdentity {
                    name: name.clone(),
                    size: *size,
                    fsverity: Sha256::from_bytes(*digest),
                    chunks: None,
                })
                .collect(),
        )
    };
    shards(&files, u64::from(shard_size));
    let Ok(model) = identity(&files) else { return };
    assert!(files.iter().all(|(name, _, _)| check_name(name).is_ok()));
    let _ = model.total_size();

    // The order of the files does not matter; the form can be read in one way only.
    let mut turned = files.clone();
    turned.reverse();
    assert_eq!(identity(&turned).unwrap(), model);
    let text = model.canonical();
    assert_eq!(parse(&text).as_deref(), Some(model.files()));
    assert_eq!(model.model_digest(), Sha256::of(text.as_bytes()));

    // A manifest of the same files has the same identity.
    let entry = |file: &FileIdentity| Entry {
        name: file.name.clone(),
        size: file.size,
        sha256: file.fsverity,
        fsverity: file.fsverity,
        chunks: None,
    };
    let manifest = Manifest::new(model.files().iter().map(entry).collect()).unwrap();
    assert_eq!(manifest.canonical(), text);
    assert_eq!(manifest.total_size(), model.total_size());
    let by_name = model.files().iter().map(|file| (file.name.as_str(), file.fsverity)).collect();
    assert_eq!(differences(&by_name, &by_name), []);
});

/// The canonical form, read by its lengths.
fn parse(text: &str) -> Option<Vec<FileIdentity>> {
    let rest = text.strip_prefix(CANONICAL_VERSION)?.strip_prefix("\nfsverity-sha256-4096\n")?;
    let (count, mut rest) = rest.split_once('\n')?;
    let mut files = Vec::new();
    while !rest.is_empty() {
        let (digest, after) = rest.split_once(' ')?;
        let (size, after) = after.split_once(' ')?;
        let (length, after) = after.split_once(' ')?;
        let name = after.get(..length.parse().ok()?)?;
        rest = after.get(name.len()..)?.strip_prefix('\n')?;
        files.push(FileIdentity {
            name: name.to_owned(),
            size: size.parse().ok()?,
            fsverity: Sha256::parse(digest).ok()?,
            chunks: None,
        });
    }
    (files.len().to_string() == count).then_some(files)
}

/// A file cut into shards is one file again; with one shard left out it is refused.
fn shards(files: &[File], shard_size: u64) {
    let mut resources = Vec::new();
    let mut names = std::collections::BTreeSet::new();
    for (name, size, digest) in files.iter().take(4) {
        let (size, digest) = (size % 600, hex::encode(digest));
        let mut at = 0;
        while at < size && shard_size > 0 {
            let end = size.min(at + shard_size);
            resources.push(serde_json::json!({
                "name": format!("{name}:{at}:{end}"), "algorithm": "sha256", "digest": digest,
            }));
            names.insert(name);
            at = end;
        }
    }
    let read = |resources: &[serde_json::Value]| {
        let digests: Vec<u8> = resources
            .iter()
            .flat_map(|resource| hex::decode(resource["digest"].as_str().unwrap()).unwrap())
            .collect();
        OmsPredicate::from_statement(&Statement {
            subject: vec![Subject::sha256("model", &Sha256::of(&digests))],
            predicate_type: OMS_PREDICATE_TYPE.to_owned(),
            predicate: serde_json::json!({
                "serialization": {
                    "method": "shards", "hash_type": "sha256", "allow_symlinks": false,
                    "shard_size": shard_size,
                },
                "resources": resources,
            }),
        })
    };
    let Ok(whole) = read(&resources) else { return };
    assert_eq!(whole.file_count(), names.len());
    // What is left out at the end of a file is not noticed; before that it is.
    let first = &resources[0]["name"];
    let next = resources.get(1).map(|resource| &resource["name"]);
    let path = |name: &serde_json::Value| {
        let name = name.as_str().unwrap();
        name.rsplitn(3, ':').last().unwrap().to_owned()
    };
    if next.is_some_and(|next| path(next) == path(first)) {
        assert!(read(&resources[1..]).is_err());
    }
}
