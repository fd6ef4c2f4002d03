//! Reading OMS predicates of every age.

use super::*;
use crate::json::from_value;

#[derive(Deserialize)]
struct WirePredicate {
    serialization: WireSerialization,
    resources: Vec<WireResource>,
}

// An unknown parameter could change what was hashed, so there must be none.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct WireSerialization {
    method: String,
    hash_type: String,
    allow_symlinks: bool,
    #[serde(default)]
    ignore_paths: Vec<String>,
    #[serde(default)]
    shard_size: Option<serde_json::Number>,
}

// Unknown members of a resource must be ignored (OMS v1.0 §6.4.2).
#[derive(Deserialize)]
struct WireResource {
    name: String,
    digest: String,
    algorithm: String,
    // Ours if they are what our writer writes; else somebody else's, to be ignored.
    #[serde(default)]
    size: serde_json::Value,
    #[serde(default)]
    fsverity: serde_json::Value,
    #[serde(default)]
    chunks: serde_json::Value,
}

/// OMS v1.0 §6 and §8.
pub(super) fn v1(statement: &Statement) -> Result<OmsPredicate, OmsError> {
    let wire: WirePredicate =
        from_value(statement.predicate.clone()).map_err(|error| shape(error.to_string()))?;
    let serialization = serialization(&wire.serialization)?;
    let ignore_paths = wire.serialization.ignore_paths;
    check_ignore_paths(&ignore_paths)?;
    let listed = listed(&wire.resources, serialization)?;
    let root = Some(check_root(&listed, &statement.subject)?);
    let resources = unique(listed)?;
    match serialization.shard_size {
        Some(size) => check_shards(&resources, size)?,
        None => check_names(resources.keys().map(String::as_str))?,
    }
    let name = statement.subject.first().map_or("", |subject| &subject.name);
    let manifest = bound_manifest(&wire.resources, name)?;
    let symlinks = match wire.serialization.allow_symlinks {
        true => SymlinkPolicy::FollowFilesInside,
        false => SymlinkPolicy::Refuse,
    };
    Ok(OmsPredicate { resources, serialization, symlinks, ignore_paths, root, manifest })
}

/// The form of model-signing 0.2.0: every file is a subject, and nothing else is recorded.
pub(super) fn digests(statement: &Statement) -> Result<OmsPredicate, OmsError> {
    let mut listed = Vec::new();
    for Subject { name, digest, annotations } in &statement.subject {
        let algorithm = annotations.get("actual_hash_algorithm").and_then(|value| value.as_str());
        if algorithm != Some("file-sha256") {
            let found = algorithm.unwrap_or("(none)").to_owned();
            return Err(OmsError::Unsupported { what: "algorithm", found });
        }
        let digest = digest.get("sha256").ok_or_else(|| shape("a subject without sha256"))?;
        listed.push((name.clone(), digest_bytes(name, digest, HashAlgorithm::Sha256)?));
    }
    let resources = unique(listed)?;
    check_names(resources.keys().map(String::as_str))?;
    Ok(OmsPredicate {
        resources,
        serialization: Serialization { algorithm: HashAlgorithm::Sha256, shard_size: None },
        symlinks: SymlinkPolicy::Refuse,
        ignore_paths: Vec::new(),
        root: None,
        manifest: None,
    })
}

/// `PATH:START:END`: the last two numbers, decimal, without padding. A path may hold colons.
pub(super) fn shard_name(name: &str) -> Option<(&str, u64, u64)> {
    let (rest, end) = name.rsplit_once(':')?;
    let (path, start) = rest.rsplit_once(':')?;
    let number = |text: &str| text.parse().ok().filter(|n: &u64| n.to_string() == text);
    Some((path, number(start)?, number(end)?))
}

fn serialization(wire: &WireSerialization) -> Result<Serialization, OmsError> {
    let algorithm = HashAlgorithm::from_name(&wire.hash_type).ok_or_else(|| {
        OmsError::Unsupported { what: "hash_type", found: wire.hash_type.clone() }
    })?;
    let shard_size = match (wire.method.as_str(), &wire.shard_size) {
        ("files", None) => None,
        ("files", Some(_)) => return Err(shape("shard_size has no place in method files")),
        ("shards", size) => Some(size.as_ref().and_then(positive).ok_or_else(|| {
            shape("method shards needs a shard_size that is a whole number above 0")
        })?),
        (other, _) => {
            return Err(OmsError::Unsupported { what: "method", found: other.to_owned() });
        }
    };
    Ok(Serialization { algorithm, shard_size })
}

/// A positive integer; `N.0` is what the Python tool writes.
fn positive(number: &serde_json::Number) -> Option<NonZero<u64>> {
    let integer = number.as_u64().or_else(|| {
        let text = number.to_string();
        text.strip_suffix(".0")?.parse().ok()
    });
    NonZero::new(integer?)
}

/// Exact relative paths. `.` would hide the whole model, and a path that leaves it hides nothing
/// that could be meant.
fn check_ignore_paths(paths: &[String]) -> Result<(), OmsError> {
    match paths.iter().find(|path| check_name(path.trim_end_matches('/')).is_err()) {
        Some(path) => Err(shape(format!("ignore_paths: {path:?} is not a path in the model"))),
        None => Ok(()),
    }
}

fn listed(
    resources: &[WireResource],
    Serialization { algorithm, shard_size }: Serialization,
) -> Result<Vec<(String, Vec<u8>)>, OmsError> {
    if resources.is_empty() {
        return Err(shape("no resources"));
    }
    let plain = algorithm.name();
    // Every shards bundle of the Python and Go tools has this label, which v1.0 does not.
    let sharded = shard_size.map(|size| format!("{plain}-sharded-{size}"));
    let digest = |resource: &WireResource| {
        let WireResource { name, digest, algorithm: label, .. } = resource;
        if label != plain && Some(label) != sharded.as_ref() {
            return Err(OmsError::Unsupported { what: "algorithm", found: label.clone() });
        }
        Ok((name.clone(), digest_bytes(name, digest, algorithm)?))
    };
    resources.iter().map(digest).collect()
}

fn digest_bytes(name: &str, text: &str, algorithm: HashAlgorithm) -> Result<Vec<u8>, OmsError> {
    let is_lower = !text.bytes().any(|b| b.is_ascii_uppercase());
    hex::decode(text)
        .ok()
        .filter(|bytes| is_lower && bytes.len() == algorithm.digest_length())
        .ok_or_else(|| shape(format!("resource {name:?}: not a digest in lower-case hexadecimal")))
}

/// Root digest in the *listed* order: writers disagree on the order, and none may be assumed.
fn check_root(listed: &[(String, Vec<u8>)], subjects: &[Subject]) -> Result<Sha256, OmsError> {
    let [subject] = subjects else {
        return Err(shape("an OMS statement has exactly one subject"));
    };
    if subject.name.is_empty() {
        return Err(shape("the subject has no name"));
    }
    let mut hasher = Hasher::new();
    for (_, digest) in listed {
        hasher.update(digest);
    }
    let root = Sha256::from_bytes(hasher.finalize().into());
    let is_subject = subject.digest.get("sha256") == Some(&root.to_string());
    if is_subject { Ok(root) } else { Err(OmsError::Root) }
}

fn unique(listed: Vec<(String, Vec<u8>)>) -> Result<BTreeMap<String, Vec<u8>>, OmsError> {
    let mut resources = BTreeMap::new();
    for (name, digest) in listed {
        if resources.insert(name.clone(), digest).is_some() {
            return Err(OmsError::Name { name, problem: "there twice" });
        }
    }
    Ok(resources)
}

/// Plain relative paths; or one `.`, which is how the Python tools name a model that is one file.
fn check_names<'a>(names: impl Iterator<Item = &'a str> + Clone) -> Result<(), OmsError> {
    if names.clone().all(|name| name == ".") {
        return Ok(());
    }
    match names.into_iter().find(|name| check_name(name).is_err()) {
        Some(name) => {
            Err(OmsError::Name { name: name.to_owned(), problem: "not a plain relative path" })
        }
        None => Ok(()),
    }
}

/// Every file's shards: from 0 on, one after the other, all of the full size but the last.
fn check_shards(resources: &BTreeMap<String, Vec<u8>>, size: NonZero<u64>) -> Result<(), OmsError> {
    let mut files: BTreeMap<&str, Vec<(u64, u64)>> = BTreeMap::new();
    for name in resources.keys() {
        let (path, start, end) = shard_name(name)
            .ok_or_else(|| OmsError::Name { name: name.clone(), problem: "not PATH:START:END" })?;
        files.entry(path).or_default().push((start, end));
    }
    check_names(files.keys().copied())?;
    for (path, mut shards) in files {
        shards.sort_unstable();
        let mut at = 0;
        let last = shards.len().saturating_sub(1);
        for (index, (start, end)) in shards.into_iter().enumerate() {
            let length = end.checked_sub(start);
            let fits = match length {
                Some(length) if index == last => (1..=size.get()).contains(&length),
                length => length == Some(size.get()),
            };
            if start != at || !fits {
                return Err(OmsError::Shards { name: path.to_owned() });
            }
            at = end;
        }
    }
    Ok(())
}

/// The manifest that the signed extras describe; all resources have them or none. `model` is the name
/// of a file that was signed as `.`.
fn bound_manifest(resources: &[WireResource], model: &str) -> Result<Option<Manifest>, OmsError> {
    let extras: Vec<_> = resources.iter().map(extra).collect();
    if extras.iter().all(Option::is_none) {
        return Ok(None);
    }
    let entry = |(resource, extra): (&WireResource, Option<(u64, Sha256)>)| {
        let (size, fsverity) = extra?;
        let sha256 = Sha256::parse(&resource.digest).ok()?;
        let name = if resource.name == "." { model } else { &resource.name };
        let chunks = chunks(&resource.chunks, size, &fsverity);
        Some(Entry { name: name.to_owned(), size, sha256, fsverity, chunks })
    };
    let entries: Option<Vec<Entry>> = resources.iter().zip(extras).map(entry).collect();
    let entries = entries.ok_or_else(|| shape("size and fsverity are on some resources only"))?;
    Manifest::new(entries).map(Some).map_err(|error| shape(error.to_string()))
}

fn extra(resource: &WireResource) -> Option<(u64, Sha256)> {
    let fsverity = Sha256::parse(resource.fsverity.as_str()?).ok()?;
    let is_plain = resource.algorithm == "sha256";
    Some((resource.size.as_u64()?, fsverity)).filter(|_| is_plain)
}

/// The hashes of a file's chunks, if they are the file's: they help to say where a difference is, and
/// nothing rests on them.
fn chunks(value: &serde_json::Value, file_size: u64, fsverity: &Sha256) -> Option<Chunks> {
    let size = ChunkSize::from_bytes(value.get("size")?.as_u64()?)?;
    let digest = |value: &serde_json::Value| Some(*Sha256::parse(value.as_str()?).ok()?.as_bytes());
    let hashes = value.get("fsverity")?.as_array()?.iter().map(digest).collect::<Option<_>>()?;
    Chunks::new(size, hashes, file_size, fsverity)
}
