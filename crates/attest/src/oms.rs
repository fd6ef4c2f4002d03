//! The OpenSSF Model Signing predicate, v1.0.
//!
//! Written: method `files`, SHA-256, spec order, one subject (the OMS root). Read: the same subset;
//! other methods and hashes are named in the error. Our writer adds `size` and `fsverity` to each
//! resource, which readers must ignore (OMS v1.0 §6.4.2); with them the signature covers the model
//! digest too, so that it can be found and judged by identity without the model at hand.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use sha2::{Digest as _, Sha256 as Hasher};

use sealwright_manifest::{
    Difference, Entry, GIT_PATHS, Manifest, Sha256, WalkOptions, check_name, differences,
};

use crate::statement::{Statement, Subject};

/// Predicate type of OMS v1.0.
pub const OMS_PREDICATE_TYPE: &str = "https://model_signing/signature/v1.0";

/// A checked OMS predicate: names valid and unique, root digest recomputed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct OmsPredicate {
    resources: Vec<OmsResource>,
    ignore_paths: Vec<String>,
    manifest: Option<Manifest>,
}

/// One file of the signed model.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct OmsResource {
    /// Relative name.
    pub name: String,
    /// SHA-256 of the content.
    pub sha256: Sha256,
    /// Size in bytes and fs-verity digest, in bundles that Sealwright wrote.
    pub extra: Option<(u64, Sha256)>,
}

/// Why a statement is not an OMS signature that can be used.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum OmsError {
    /// Another predicate type.
    #[error("predicate type {found:?} is not {OMS_PREDICATE_TYPE}")]
    Type {
        /// What the statement says.
        found: String,
    },
    /// A field is missing, unknown, or of the wrong type.
    #[error("not an OMS v1.0 predicate: {message}")]
    Shape {
        /// Names the field.
        message: String,
    },
    /// Valid OMS that this version cannot check.
    #[error("OMS {what} {found:?} is not supported")]
    Unsupported {
        /// `method`, `hash_type` or `allow_symlinks`.
        what: &'static str,
        /// What the predicate says.
        found: String,
    },
    /// A resource name that is not a plain relative path, or that is there twice.
    #[error("resource name {name:?} is {problem}")]
    Name {
        /// The name.
        name: String,
        /// What is wrong.
        problem: &'static str,
    },
    /// The subject is not the digest of the resources (OMS v1.0 §6.5.1).
    #[error("the statement's subject is not the root digest of its resources")]
    Root,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct WirePredicate {
    serialization: WireSerialization,
    resources: Vec<WireResource>,
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct WireSerialization {
    method: String,
    hash_type: String,
    allow_symlinks: bool,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    ignore_paths: Vec<String>,
    #[serde(default, skip_serializing)]
    shard_size: Option<serde_json::Number>,
}

// Unknown members of a resource must be ignored (OMS v1.0 §6.4.2).
#[derive(Deserialize)]
struct WireResource {
    name: String,
    digest: String,
    algorithm: String,
    size: Option<u64>,
    fsverity: Option<String>,
}

/// The OMS v1.0 statement for a model. `ignored` are the paths that were left out of the manifest
/// beside the defaults; they are recorded in ascending order, so that one model gives one payload.
pub fn oms_statement(name: &str, manifest: &Manifest, ignored: &[String]) -> Statement {
    let mut ignore_paths: Vec<String> =
        GIT_PATHS.iter().map(|&path| path.to_owned()).chain(ignored.iter().cloned()).collect();
    ignore_paths.sort_unstable();
    ignore_paths.dedup();
    let serialization = WireSerialization {
        method: "files".into(),
        hash_type: "sha256".into(),
        allow_symlinks: false,
        ignore_paths,
        shard_size: None,
    };
    let resources: Vec<_> = manifest
        .entries()
        .iter()
        .map(|Entry { name, size, sha256, fsverity }| {
            serde_json::json!({
                "name": name, "algorithm": "sha256", "digest": sha256,
                "size": size, "fsverity": fsverity,
            })
        })
        .collect();
    Statement {
        subject: vec![Subject::sha256(name, &manifest.oms_root())],
        predicate_type: OMS_PREDICATE_TYPE.to_owned(),
        predicate: serde_json::json!({"serialization": serialization, "resources": resources}),
    }
}

impl OmsPredicate {
    /// Checks an OMS statement on its own: everything of OMS v1.0 §8 but the signature, which comes
    /// before, and the files, which come after.
    ///
    /// # Errors
    /// [`OmsError`].
    pub fn from_statement(statement: &Statement) -> Result<Self, OmsError> {
        if statement.predicate_type != OMS_PREDICATE_TYPE {
            return Err(OmsError::Type { found: statement.predicate_type.clone() });
        }
        let wire: WirePredicate = serde::Deserialize::deserialize(&statement.predicate)
            .map_err(|error: serde_json::Error| shape(error.to_string()))?;
        check_supported(&wire.serialization)?;
        let ignore_paths = wire.serialization.ignore_paths;
        if ignore_paths.iter().any(|path| path == "." || path.is_empty()) {
            return Err(shape("ignore_paths must not name the whole model"));
        }
        let resources: Vec<OmsResource> =
            wire.resources.into_iter().map(OmsResource::check).collect::<Result<_, _>>()?;
        check_names(&resources)?;
        check_root(&resources, &statement.subject)?;
        let manifest = bound_manifest(&resources)?;
        Ok(Self { resources, ignore_paths, manifest })
    }

    /// The files.
    pub fn resources(&self) -> &[OmsResource] {
        &self.resources
    }

    /// The model digest, when the signature covers it; signatures by other tools do not, and their
    /// model digest is that of the manifest which [`OmsPredicate::compare`] accepted.
    pub fn model_digest(&self) -> Option<Sha256> {
        self.manifest.as_ref().map(Manifest::model_digest)
    }

    /// The manifest that the signature covers, when it covers one: what a loader needs to read
    /// verified bytes.
    pub fn manifest(&self) -> Option<&Manifest> {
        self.manifest.as_ref()
    }

    /// How to walk the model that is to be compared: recorded ignore paths and the defaults.
    pub fn walk_options(&self) -> WalkOptions {
        WalkOptions { ignore_paths: self.ignore_paths.clone(), ..WalkOptions::default() }
    }

    /// Holds a model's files against the signed ones; an empty list means that they are the same.
    pub fn compare(&self, actual: &Manifest) -> Vec<Difference> {
        let expected: BTreeMap<_, _> = self.resources.iter().map(OmsResource::pair).collect();
        let found: BTreeMap<_, _> =
            actual.entries().iter().map(|entry| (entry.name.as_str(), entry.sha256)).collect();
        let mut result = differences(&expected, &found);
        // The tree digests are signed too. With equal SHA-256 they can only differ if the signer
        // recorded something else than the file's own.
        if result.is_empty() && self.manifest.as_ref().is_some_and(|signed| signed != actual) {
            let wrong = |r: &&OmsResource| {
                let entry = actual.entry(&r.name);
                entry.map(|entry| (entry.size, entry.fsverity)) != r.extra
            };
            let names = self.resources.iter().filter(wrong).map(|r| r.name.clone());
            result.extend(names.map(Difference::Changed));
        }
        result
    }
}

fn shape(message: impl Into<String>) -> OmsError {
    OmsError::Shape { message: message.into() }
}

fn check_supported(serialization: &WireSerialization) -> Result<(), OmsError> {
    let unsupported =
        |what, found: &str| Err(OmsError::Unsupported { what, found: found.to_owned() });
    match serialization {
        WireSerialization { method, .. } if method != "files" => unsupported("method", method),
        WireSerialization { hash_type, .. } if hash_type != "sha256" => {
            unsupported("hash_type", hash_type)
        }
        WireSerialization { allow_symlinks: true, .. } => unsupported("allow_symlinks", "true"),
        WireSerialization { shard_size: Some(_), .. } => {
            Err(shape("shard_size has no place in method files"))
        }
        _ => Ok(()),
    }
}

fn check_names(resources: &[OmsResource]) -> Result<(), OmsError> {
    if resources.is_empty() {
        return Err(shape("no resources"));
    }
    let mut seen = std::collections::BTreeSet::new();
    for OmsResource { name, .. } in resources {
        let bad = |problem| Err(OmsError::Name { name: name.clone(), problem });
        if check_name(name).is_err() {
            return bad("not a plain relative path");
        }
        if !seen.insert(name) {
            return bad("there twice");
        }
    }
    Ok(())
}

/// Root digest in the *listed* order: writers disagree on the order, and none may be assumed.
fn check_root(resources: &[OmsResource], subjects: &[Subject]) -> Result<(), OmsError> {
    let mut hasher = Hasher::new();
    for resource in resources {
        hasher.update(resource.sha256.as_bytes());
    }
    let root = Sha256::from_bytes(hasher.finalize().into()).to_string();
    match subjects {
        [one] if one.digest.get("sha256") == Some(&root) => Ok(()),
        [_] => Err(OmsError::Root),
        _ => Err(shape("an OMS statement has exactly one subject")),
    }
}

/// The manifest that the signed extras describe; all resources have them or none.
fn bound_manifest(resources: &[OmsResource]) -> Result<Option<Manifest>, OmsError> {
    if resources.iter().all(|resource| resource.extra.is_none()) {
        return Ok(None);
    }
    let entry = |resource: &OmsResource| {
        let (size, fsverity) = resource.extra?;
        Some(Entry { name: resource.name.clone(), size, sha256: resource.sha256, fsverity })
    };
    let entries: Option<Vec<Entry>> = resources.iter().map(entry).collect();
    let entries = entries.ok_or_else(|| shape("size and fsverity are on some resources only"))?;
    Manifest::new(entries).map(Some).map_err(|error| shape(error.to_string()))
}

impl OmsResource {
    fn check(wire: WireResource) -> Result<Self, OmsError> {
        if wire.algorithm != "sha256" {
            return Err(OmsError::Unsupported { what: "algorithm", found: wire.algorithm });
        }
        let digest = |text: &str| {
            Sha256::parse(text).map_err(|error| shape(format!("resource {:?}: {error}", wire.name)))
        };
        let extra = match (wire.size, &wire.fsverity) {
            (Some(size), Some(fsverity)) => Some((size, digest(fsverity)?)),
            _ => None,
        };
        Ok(Self { sha256: digest(&wire.digest)?, name: wire.name, extra })
    }

    fn pair(&self) -> (&str, Sha256) {
        (&self.name, self.sha256)
    }
}
