//! Policies as OPA's bundles: one `.tar.gz` with rules, data, a manifest, and perhaps a signature.

use std::collections::{BTreeMap, BTreeSet};

use sealwright_attest::{PublicKey, Signer};
use sealwright_manifest::Sha256;
use serde_json::Value;

mod archive;
mod hashes;
mod manifest;
mod signature;

pub use manifest::BundleManifest;
pub use signature::SignatureError;

use crate::error::PolicyError;
use crate::files::{self, Files};
use crate::policy::Policy;

pub(crate) const MANIFEST: &str = ".manifest";
pub(crate) const SIGNATURES: &str = ".signatures.json";

/// Files that OPA would take for something that decides, and that are never read here.
const FOREIGN: [(&str, &str); 5] = [
    ("policy.wasm", "rules compiled to WebAssembly cannot be read or linted"),
    ("plan.json", "compiled plans cannot be read or linted"),
    ("plan.pb", "compiled plans cannot be read or linted"),
    ("patch.json", "a delta bundle changes what is in force, and has no digest of its own"),
    (".manifest.pb", "write the manifest as JSON"),
];

/// A bundle: unpacked and well-formed. Its rules are not read, and nobody is known to have signed it.
#[derive(Clone, Debug)]
pub struct PolicyBundle {
    /// By path, sorted; without manifest and signature.
    files: BTreeMap<String, Vec<u8>>,
    manifest: BundleManifest,
    /// As it stands in the bundle.
    manifest_bytes: Option<Vec<u8>>,
    signature: Option<Vec<u8>>,
    sha256: Sha256,
}

/// Why bytes are not a bundle.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum BundleError {
    /// Not one gzip stream.
    #[error("it is not a gzip file: {message}")]
    Gzip {
        /// What is wrong.
        message: String,
    },
    /// Not a tar archive.
    #[error("it is not a tar archive: {message}")]
    Tar {
        /// What is wrong.
        message: String,
    },
    /// Bytes after the end.
    #[error("there is something after the end of {after}")]
    Trailing {
        /// What ended.
        after: &'static str,
    },
    /// More than is read.
    #[error("{what} is larger than {limit} bytes")]
    TooLarge {
        /// The file, or the whole.
        what: String,
        /// How many bytes are allowed.
        limit: usize,
    },
    /// More entries than are read.
    #[error("more than {limit} entries")]
    TooMany {
        /// How many are allowed.
        limit: usize,
    },
    /// A path that leads out of the bundle, or that other systems would read as another.
    #[error("{path:?} cannot be a file of a bundle: {reason}")]
    Path {
        /// The path as it stands there.
        path: String,
        /// What is wrong with it.
        reason: &'static str,
    },
    /// A link, a device, or another thing that is no file.
    #[error("{path:?} is {kind}, and bundles have plain files only")]
    Kind {
        /// The path as it stands there.
        path: String,
        /// What it is.
        kind: &'static str,
    },
    /// Two files of one path, also if only the case of letters tells them apart.
    #[error("{path} is there twice")]
    Duplicate {
        /// The path.
        path: String,
    },
    /// A file that would decide elsewhere and would be left out here.
    #[error("{path} is refused: {reason}")]
    Foreign {
        /// The path.
        path: String,
        /// Why.
        reason: &'static str,
    },
    /// `.manifest` cannot be used.
    #[error(".manifest: {message}")]
    Manifest {
        /// What is wrong.
        message: String,
    },
    /// A package, or data, that is not under the roots of the manifest.
    #[error("{what} is not under the roots of .manifest")]
    OutsideRoots {
        /// A package or a place in the data.
        what: String,
    },
    /// A name that a policy cannot have.
    #[error("{name:?} is not a name for a policy: up to 63 of a-z, 0-9 and -, not - at an end")]
    Name {
        /// The name.
        name: String,
    },
}

impl BundleError {
    fn tar(error: &std::io::Error) -> Self {
        Self::Tar { message: error.to_string() }
    }
}

/// What [`PolicyBundle::build`] writes into a bundle beside the files.
pub struct BundleOptions<'a> {
    /// The policy's name: a DNS label.
    pub name: &'a str,
    /// Counts up from one bundle of that name to the next.
    pub revision: u64,
    /// Who puts OPA's own signature on it, and for which scope, if anybody does.
    pub signer: Option<(&'a dyn Signer, &'a str)>,
}

impl PolicyBundle {
    /// The largest bundle in bytes.
    pub const MAX_BYTES: usize = archive::MAX_PACKED_BYTES;

    /// Unpacks a bundle.
    ///
    /// # Errors
    /// [`BundleError`].
    pub fn read(bytes: &[u8]) -> Result<Self, BundleError> {
        let mut files = archive::unpack(bytes)?;
        for path in files.keys() {
            let base = path.rsplit('/').next().unwrap_or(path);
            let is_wasm = base.to_ascii_lowercase().ends_with(".wasm").then_some(FOREIGN[0].1);
            let foreign = FOREIGN.iter().find(|(name, _)| base.eq_ignore_ascii_case(name));
            if let Some(reason) = foreign.map(|(_, reason)| *reason).or(is_wasm) {
                return Err(BundleError::Foreign { path: path.clone(), reason });
            }
        }
        let manifest_bytes = files.remove(MANIFEST);
        let manifest = match &manifest_bytes {
            Some(bytes) => BundleManifest::parse(bytes)?,
            None => BundleManifest::default(),
        };
        let signature = files.remove(SIGNATURES);
        Ok(Self { files, manifest, manifest_bytes, signature, sha256: Sha256::of(bytes) })
    }

    /// The bundle of a policy with its tests: always the same bytes, but for a signature. Its manifest
    /// has the first parts of all packages and of the data as roots.
    ///
    /// # Errors
    /// [`PolicyError::Bundle`], [`PolicyError::BundleSignature`]; nothing else if the policy is sound.
    pub fn build(policy: &Policy, options: &BundleOptions<'_>) -> Result<Vec<u8>, PolicyError> {
        if !is_policy_name(options.name) {
            return Err(BundleError::Name { name: options.name.to_owned() }.into());
        }
        let manifest = BundleManifest {
            revision: options.revision.to_string(),
            roots: Some(roots(policy)?),
            rego_version: Some(1),
            metadata: serde_json::Map::from_iter([("name".to_owned(), options.name.into())]),
        };
        let manifest = manifest.to_bytes();
        // OPA passes over `input.json`, and its tests would find nothing there.
        let place = |path| if path == files::TEST_INPUT { files::TEST_DOCUMENT } else { path };
        let all = policy.files().all();
        let mut files: BTreeMap<&str, &[u8]> =
            all.map(|(path, bytes)| (place(path), bytes)).collect();
        files.insert(MANIFEST, &manifest);
        let signature = match options.signer {
            Some((signer, scope)) => {
                let files = files.iter().map(|(path, bytes)| (*path, *bytes));
                Some(signature::sign(files, signer, scope)?)
            }
            None => None,
        };
        if let Some(signature) = &signature {
            files.insert(SIGNATURES, signature);
        }
        let bytes = archive::pack(files)?;
        // What cannot be read back must not be handed out.
        let policy_again = Self::read(&bytes)?.policy()?;
        if policy_again.digest() != policy.digest() {
            let message = String::from("it does not read back as the same policy");
            return Err(BundleError::Tar { message }.into());
        }
        Ok(bytes)
    }

    /// SHA-256 of the bundle's bytes: what the owners sign.
    #[must_use]
    pub fn sha256(&self) -> &Sha256 {
        &self.sha256
    }

    /// What the bundle says of itself.
    #[must_use]
    pub fn manifest(&self) -> &BundleManifest {
        &self.manifest
    }

    /// The files by path, sorted, without manifest and signature.
    pub fn files(&self) -> impl Iterator<Item = (&str, &[u8])> {
        self.files.iter().map(|(path, bytes)| (path.as_str(), bytes.as_slice()))
    }

    /// Whether it has OPA's own signature, by whomever.
    #[must_use]
    pub fn is_signed(&self) -> bool {
        self.signature.is_some()
    }

    /// Checks OPA's own signature, which must be by `key` and for `scope` (usually empty).
    ///
    /// # Errors
    /// [`SignatureError`].
    pub fn verify_signature(&self, key: &PublicKey, scope: &str) -> Result<(), SignatureError> {
        let signature = self.signature.as_ref().ok_or(SignatureError::Missing)?;
        let manifest = self.manifest_bytes.iter().map(|bytes| (MANIFEST, bytes.as_slice()));
        signature::verify(signature, self.files().chain(manifest), key, scope)
    }

    /// The policy in the bundle.
    ///
    /// # Errors
    /// [`PolicyError`] as for [`Policy::load`], and if something is outside of the manifest's roots.
    pub fn policy(&self) -> Result<Policy, PolicyError> {
        if self.manifest.rego_version == Some(0) {
            let message = String::from("policies are in Rego v1, and it says rego_version 0");
            return Err(BundleError::Manifest { message }.into());
        }
        let policy = Policy::from_parts(Files::from_folder(
            self.files().map(|(path, bytes)| (path.to_owned(), bytes.to_vec())),
        )?)?;
        for package in policy.packages()? {
            if !self.manifest.contains(&package) {
                let what = format!("package {}", package.join("."));
                return Err(BundleError::OutsideRoots { what }.into());
            }
        }
        self.check_data(policy.data())?;
        Ok(policy)
    }

    /// Modules as pairs of path and text, and the data: what a [`crate::Suite`] is made of.
    ///
    /// # Errors
    /// [`PolicyError`] if a file is not readable, or data is outside of the manifest's roots.
    pub fn sources(&self) -> Result<(Vec<(String, String)>, Value), PolicyError> {
        let mut modules = Vec::new();
        for (path, bytes) in self.files().filter(|(path, _)| path.ends_with(".rego")) {
            let text = std::str::from_utf8(bytes)
                .map_err(|_| PolicyError::NotUtf8 { name: path.to_owned() })?;
            modules.push((path.to_owned(), text.to_owned()));
        }
        let data = files::merged_data(self.files())?;
        self.check_data(&data)?;
        Ok((modules, data))
    }

    /// Checks that packages of modules made of [`PolicyBundle::sources`] are under the manifest's roots.
    ///
    /// # Errors
    /// [`BundleError::OutsideRoots`].
    pub fn check_packages(&self, packages: &[Vec<String>]) -> Result<(), BundleError> {
        match packages.iter().find(|package| !self.manifest.contains(package)) {
            Some(package) => {
                Err(BundleError::OutsideRoots { what: format!("package {}", package.join(".")) })
            }
            None => Ok(()),
        }
    }

    fn check_data(&self, data: &Value) -> Result<(), BundleError> {
        outside(data, &mut Vec::new(), &self.manifest).map_or(Ok(()), |place| {
            Err(BundleError::OutsideRoots { what: format!("data.{place}") })
        })
    }
}

impl Policy {
    /// Loads the policy in a bundle, whoever made it.
    ///
    /// # Errors
    /// [`PolicyError`].
    pub fn from_bundle(bytes: &[u8]) -> Result<Self, PolicyError> {
        PolicyBundle::read(bytes)?.policy()
    }
}

/// The place of data that is under none of the roots.
fn outside(value: &Value, place: &mut Vec<String>, manifest: &BundleManifest) -> Option<String> {
    if manifest.contains(place) {
        return None;
    }
    let above = |root: &Vec<&str>| {
        root.len() >= place.len() && root.iter().zip(place.iter()).all(|(a, b)| a == b)
    };
    match value {
        Value::Object(fields) if manifest.root_paths().iter().any(above) => {
            fields.iter().find_map(|(name, value)| {
                place.push(name.clone());
                let found = outside(value, place, manifest);
                place.pop();
                found
            })
        }
        _ => Some(place.join(".")),
    }
}

/// The first parts of every package and of the data.
fn roots(policy: &Policy) -> Result<Vec<String>, PolicyError> {
    let mut roots: BTreeSet<String> =
        policy.data().as_object().into_iter().flat_map(|fields| fields.keys().cloned()).collect();
    if policy.files().test_input()?.is_some() {
        roots.insert(String::from("sealwright_test"));
    }
    roots.extend(policy.packages()?.into_iter().filter_map(|package| package.into_iter().next()));
    Ok(roots.into_iter().collect())
}

/// A DNS label.
pub(crate) fn is_policy_name(name: &str) -> bool {
    crate::input::is_label(name)
}
