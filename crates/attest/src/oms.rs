//! The OpenSSF Model Signing predicate.
//!
//! Written: v1.0, method `files`, SHA-256, spec order, one subject (the OMS root). Read: v1.0 whole
//! (files and shards; SHA-256, BLAKE2b, BLAKE3; recorded link policy), and the `Digests/v0.1` form of
//! model-signing 0.2. Our writer adds `size` and `fsverity` to each resource, which readers must
//! ignore (OMS v1.0 §6.4.2); with them the signature covers the model digest too, so that it can be
//! found and judged by identity without the model at hand. Large files have `chunks` as well: the
//! hashes of one inner level of their trees, by which a difference is located.

use std::collections::{BTreeMap, BTreeSet};
use std::num::NonZero;

use serde::{Deserialize, Serialize};
use sha2::{Digest as _, Sha256 as Hasher};

use sealwright_manifest::{
    ChunkSize, Chunks, Difference, Entry, GIT_PATHS, HashAlgorithm, Identity, Manifest, Resources,
    Serialization, Sha256, SymlinkPolicy, WalkOptions, check_name, differences,
};

use crate::statement::{Statement, Subject};

mod read;

/// Predicate type of OMS v1.0.
pub const OMS_PREDICATE_TYPE: &str = "https://model_signing/signature/v1.0";

/// Predicate type of model-signing 0.2, which is read and never written.
pub const OMS_DIGESTS_TYPE: &str = "https://model_signing/Digests/v0.1";

/// A checked OMS predicate: names valid and unique, shards without gaps, root digest recomputed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct OmsPredicate {
    /// Resource name → digest; with shards the name is `PATH:START:END`.
    resources: BTreeMap<String, Vec<u8>>,
    serialization: Serialization,
    symlinks: SymlinkPolicy,
    ignore_paths: Vec<String>,
    root: Option<Sha256>,
    /// What the extra members describe, in signatures that Sealwright made.
    manifest: Option<Manifest>,
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
    #[error("not an OMS predicate: {message}")]
    Shape {
        /// Names the field.
        message: String,
    },
    /// A method or hash that OMS v1.0 does not define.
    #[error("OMS {what} {found:?} is not one of OMS v1.0")]
    Unsupported {
        /// `method`, `hash_type` or `algorithm`.
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
    /// The shards of a file leave out a part of it, overlap, or are of the wrong size.
    #[error("the shards of {name:?} do not cover it piece by piece")]
    Shards {
        /// The file.
        name: String,
    },
    /// The subject is not the digest of the resources (OMS v1.0 §6.5.1).
    #[error("the statement's subject is not the root digest of its resources")]
    Root,
}

#[derive(Serialize)]
struct WireSerialization {
    method: &'static str,
    hash_type: &'static str,
    allow_symlinks: bool,
    ignore_paths: Vec<String>,
}

/// How a signature is written, where there is a choice; by default as OMS v1.0 says.
#[derive(Debug, Clone, Copy, Default)]
pub struct OmsForm {
    /// The top-level paths of git were not left out of the manifest, and are not recorded as ignored.
    pub with_git_paths: bool,
    /// The model is one file, and its resource is named `.`, as the reference implementation up to
    /// 1.1.1 wants it (OMS v1.0 §6.1.2 wants the base name).
    pub file_as_dot: bool,
}

/// The OMS v1.0 statement for a model. `ignored` are the paths that were left out of the manifest
/// beside the defaults; they are recorded in ascending order, so that one model gives one payload.
pub fn oms_statement(name: &str, manifest: &Manifest, ignored: &[String]) -> Statement {
    oms_statement_as(name, manifest, ignored, OmsForm::default())
}

/// [`oms_statement`] in another form.
pub fn oms_statement_as(
    name: &str,
    manifest: &Manifest,
    ignored: &[String],
    form: OmsForm,
) -> Statement {
    let git_paths = if form.with_git_paths { &[][..] } else { &GIT_PATHS[..] };
    let mut ignore_paths: Vec<String> =
        git_paths.iter().map(|&path| path.to_owned()).chain(ignored.iter().cloned()).collect();
    ignore_paths.sort_unstable();
    ignore_paths.dedup();
    let serialization = WireSerialization {
        method: "files",
        hash_type: "sha256",
        allow_symlinks: false,
        ignore_paths,
    };
    let resources: Vec<_> = manifest
        .entries()
        .iter()
        .map(|Entry { name, size, sha256, fsverity, chunks }| {
            let name = if form.file_as_dot { "." } else { name };
            let mut resource = serde_json::json!({
                "name": name, "algorithm": "sha256", "digest": sha256,
                "size": size, "fsverity": fsverity,
            });
            if let Some(chunks) = chunks {
                let hashes = chunks.hashes().iter().copied().map(Sha256::from_bytes);
                resource["chunks"] = serde_json::json!({
                    "size": chunks.size().bytes(), "fsverity": hashes.collect::<Vec<_>>(),
                });
            }
            resource
        })
        .collect();
    Statement {
        subject: vec![Subject::sha256(name, &manifest.oms_root())],
        predicate_type: OMS_PREDICATE_TYPE.to_owned(),
        predicate: serde_json::json!({"serialization": serialization, "resources": resources}),
    }
}

/// What a verifier has to hash, and how.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum OmsHashing {
    /// Tree digests, which signatures of ours cover: [`sealwright_manifest::identify_model`] with
    /// chunks of this size. Compare with [`OmsPredicate::compare_identity`].
    Identity {
        /// The size of the signed chunks, if there are any.
        chunk_size: Option<ChunkSize>,
    },
    /// Plain SHA-256 of whole files: [`sealwright_manifest::digest_model`] gives it, together with
    /// the model digest. Compare with [`OmsPredicate::compare`].
    Manifest,
    /// Something else: [`sealwright_manifest::resource_digests`], at most `limit` resources. Compare
    /// with [`OmsPredicate::compare_resources`].
    Resources {
        /// Method and hash.
        serialization: Serialization,
        /// The number of signed resources, and one more.
        limit: usize,
    },
}

impl OmsPredicate {
    /// Checks an OMS statement on its own: everything of OMS v1.0 §8 but the signature, which comes
    /// before, and the files, which come after.
    ///
    /// # Errors
    /// [`OmsError`].
    pub fn from_statement(statement: &Statement) -> Result<Self, OmsError> {
        match statement.predicate_type.as_str() {
            OMS_PREDICATE_TYPE => read::v1(statement),
            OMS_DIGESTS_TYPE => read::digests(statement),
            other => Err(OmsError::Type { found: other.to_owned() }),
        }
    }

    /// Whether statements of this type are read by [`OmsPredicate::from_statement`].
    pub fn is_oms_type(predicate_type: &str) -> bool {
        [OMS_PREDICATE_TYPE, OMS_DIGESTS_TYPE].contains(&predicate_type)
    }

    /// Method and hash of the signature.
    pub fn serialization(&self) -> Serialization {
        self.serialization
    }

    /// The root digest that the signature has as subject, recomputed from its resources; `None` for
    /// the form of model-signing 0.2, which has none.
    pub fn root(&self) -> Option<Sha256> {
        self.root
    }

    /// What to compute of the model for a comparison.
    pub fn hashing(&self) -> OmsHashing {
        let Serialization { algorithm, shard_size } = self.serialization;
        let is_plain = algorithm == HashAlgorithm::Sha256
            && shard_size.is_none()
            && self.symlinks == SymlinkPolicy::Refuse;
        match (&self.manifest, is_plain) {
            (Some(manifest), true) => {
                let chunks = manifest.entries().iter().find_map(|entry| entry.chunks.as_ref());
                OmsHashing::Identity { chunk_size: chunks.map(Chunks::size) }
            }
            (None, true) => OmsHashing::Manifest,
            (_, false) => OmsHashing::Resources {
                serialization: self.serialization,
                limit: self.resources.len().saturating_add(sealwright_manifest::MAX_FILES),
            },
        }
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

    /// How to walk the model that is to be compared: recorded ignore paths, recorded link policy, and
    /// the defaults (OMS v1.0 §8.4 (4): git's paths are left out whatever was recorded, and missing if
    /// they are signed; a caller who wants them says so).
    pub fn walk_options(&self) -> WalkOptions {
        WalkOptions {
            ignore_paths: self.ignore_paths.clone(),
            symlinks: self.symlinks,
            ..WalkOptions::default()
        }
    }

    /// How many files are signed.
    pub fn file_count(&self) -> usize {
        self.paths(None).len()
    }

    /// The files that are signed, by name. `single_file` is the base name of a model that is one file.
    pub fn paths(&self, single_file: Option<&str>) -> BTreeSet<String> {
        let path = |name: &String| match (self.path_of(name), single_file) {
            (".", Some(base)) => base.to_owned(),
            (path, _) => path.to_owned(),
        };
        self.resources.keys().map(path).collect()
    }

    /// Holds a model's files against the signed ones; an empty list means that they are the same.
    ///
    /// `single_file` is the base name of a model that is one file, `None` for a directory.
    pub fn compare(&self, actual: &Manifest, single_file: Option<&str>) -> Vec<Difference> {
        let digests = actual
            .entries()
            .iter()
            .map(|entry| (entry.name.clone(), entry.sha256.as_bytes().to_vec()))
            .collect();
        let found = Resources { digests, unlisted: Vec::new() };
        let mut result = self.compare_resources(&found, single_file);
        // The tree digests are signed too. With equal SHA-256 they can only differ if the signer
        // recorded something else than the file's own. Files that were added say nothing of them.
        let is_addition = |difference: &Difference| matches!(difference, Difference::Added(_));
        if let Some(signed) = self.manifest.as_ref().filter(|_| result.iter().all(is_addition)) {
            let trees = signed.identity().differences(&actual.identity());
            result.extend(trees.into_iter().filter(|difference| !is_addition(difference)));
        }
        result
    }

    /// The same by the tree digests alone, for a signature of ours: where [`OmsPredicate::hashing`]
    /// says [`OmsHashing::Identity`]. A signature without them matches no model.
    pub fn compare_identity(&self, actual: &Identity) -> Vec<Difference> {
        match &self.manifest {
            Some(signed) => signed.identity().differences(actual),
            None => self.resources.keys().cloned().map(Difference::Missing).collect(),
        }
    }

    /// The same for resources of any kind.
    pub fn compare_resources(
        &self,
        actual: &Resources,
        single_file: Option<&str>,
    ) -> Vec<Difference> {
        let expected: BTreeMap<String, &[u8]> = self
            .resources
            .iter()
            .map(|(name, digest)| (self.shown(name, single_file), digest.as_slice()))
            .collect();
        let expected = expected.iter().map(|(name, digest)| (name.as_str(), *digest)).collect();
        let found = actual
            .digests
            .iter()
            .map(|(name, digest)| (name.as_str(), digest.as_slice()))
            .collect();
        differences(&expected, &found)
    }

    /// A lone `.` stands for the file that the model is.
    fn shown(&self, name: &str, single_file: Option<&str>) -> String {
        match single_file {
            Some(base) if self.path_of(name) == "." => format!("{base}{}", &name[1..]),
            _ => name.to_owned(),
        }
    }

    fn path_of<'a>(&self, name: &'a str) -> &'a str {
        match self.serialization.shard_size {
            None => name,
            Some(_) => read::shard_name(name).map_or(name, |(path, _, _)| path),
        }
    }
}

fn shape(message: impl Into<String>) -> OmsError {
    OmsError::Shape { message: message.into() }
}
