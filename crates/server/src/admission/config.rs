//! From files to an [`Admission`] that is ready to answer.

use std::fs;
use std::io::{self, ErrorKind::InvalidInput};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use sealwright_attest::{
    Bundle, BundleError, KeyError, Owners, OwnersError, PublicKey, RoleBinding, RoleBindingError,
    TrustError, TrustedRoot,
};
use sealwright_manifest::Sha256;
use sealwright_policy::{ActivationError, Policy, PolicyError};
use serde::Deserialize;

use super::admit::{Admission, PermitRule};
use super::metrics::Metrics;
use super::policy::{PolicyFiles, PolicyInForce};
use super::record::DecisionLog;
use crate::evidence::{EvidenceSource, LogMemory, RoleBindings, Witnesses, WitnessesError};
use crate::permit::Life;
use crate::text;

/// Largest file that is read, in bytes: that of a bundle.
const MAX_FILE: u64 = 64 << 20;

/// A day: several lives of a permit.
pub const DEFAULT_PERMIT_MAX_AGE_S: u64 = Life::DAY.seconds();

/// Everything that an operator decides about the webhook, apart from its sockets.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Config {
    /// The signed role binding, a Sigstore bundle.
    pub role_binding: PathBuf,
    /// The owners' public keys in PEM, one or several a file, by which the role binding is signed.
    pub owner_keys: Vec<PathBuf>,
    /// How many owners must have signed; without this 2, or 1 if there is only one key.
    #[serde(default)]
    pub owners_required: Option<usize>,
    /// Takes a role binding that is in no log: nobody can then see who has been given a role for a day.
    #[serde(default)]
    pub insecure_unlogged_roles: bool,
    /// `trusted_root.json` with the log whose statements count.
    pub trusted_root: PathBuf,
    /// Keys of witnesses (C2SP vkeys of type 4). Policy is told which of them cosigned the checkpoint, and
    /// says how many it wants.
    #[serde(default)]
    pub witnesses: Vec<String>,
    /// The policy's bundle; the starter policy that is built in, if there is none.
    #[serde(default)]
    pub policy: Option<PathBuf>,
    /// The owners' signatures of the statement that puts the bundle into force.
    #[serde(default)]
    pub policy_approval: Option<PathBuf>,
    /// Takes a policy, which may then be a folder as well, on nobody's word: whoever can write its
    /// files can let in what they like.
    #[serde(default)]
    pub insecure_unapproved_policy: bool,
    /// The decisions file, JSON Lines; created if it is not there. Keep it where it outlives the
    /// container.
    pub decisions: PathBuf,
    /// The environment that approvals must name, such as `prod`: a DNS label.
    pub environment: String,
    /// The cluster's name for records and policies: a DNS label.
    #[serde(default)]
    pub cluster: Option<String>,
    /// How long one answer may take, in milliseconds, 100 to 29,000. Must be less than the
    /// `timeoutSeconds` of the webhook configuration, or the API server gives up first and shows
    /// no reason.
    #[serde(default = "default_deadline_ms")]
    pub deadline_ms: u64,
    /// Lets pods without a model annotation pass, unchecked and with a warning. Whoever can create
    /// a pod can then run any model by leaving the annotation out; for the time of introduction
    /// only.
    #[serde(default)]
    pub insecure_allow_unnamed: bool,
    /// The public key in PEM of the service that makes permits. With it, a model is let in only if
    /// policy allows it *and* a permit by this key is in force.
    #[serde(default)]
    pub permit_key: Option<PathBuf>,
    /// For how long after it was logged a permit counts at most, in seconds, whatever it says.
    #[serde(default = "default_permit_max_age_s")]
    pub permit_max_age_s: u64,
}

/// Why the webhook cannot start. Each names the file.
#[derive(Debug, thiserror::Error)]
pub enum ConfigError {
    /// A file cannot be read.
    #[error("cannot read {}", path.display())]
    Read {
        /// The file.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
    /// An owner's key is not a public key that can be used.
    #[error("{} is not an owner's public key", path.display())]
    OwnerKey {
        /// The file.
        path: PathBuf,
        /// What is wrong.
        source: KeyError,
    },
    /// The permit key is not a public key that can be used.
    #[error("{} is not the public key of a service that makes permits", path.display())]
    PermitKey {
        /// The file.
        path: PathBuf,
        /// What is wrong.
        source: KeyError,
    },
    /// There are no such owners.
    #[error(transparent)]
    Owners(#[from] OwnersError),
    /// The role binding is not a bundle.
    #[error("{} is not a role binding", path.display())]
    RoleBindingFormat {
        /// The file.
        path: PathBuf,
        /// What is wrong.
        source: BundleError,
    },
    /// The role binding is not signed by the owners, or not sound.
    #[error("{} is not a role binding of the owners", path.display())]
    RoleBinding {
        /// The file.
        path: PathBuf,
        /// What is wrong.
        source: RoleBindingError,
    },
    /// The trusted root cannot be used.
    #[error("{} is not a trusted root", path.display())]
    TrustedRoot {
        /// The file.
        path: PathBuf,
        /// What is wrong.
        source: TrustError,
    },
    /// The trusted root has no log: every pod would be denied.
    #[error("{} names no transparency log with an Ed25519 key", path.display())]
    NoLog {
        /// The file.
        path: PathBuf,
    },
    /// Nobody approved the policy.
    #[error("the policy {} needs the owners' approval", path.display())]
    PolicyUnapproved {
        /// The bundle or folder.
        path: PathBuf,
    },
    /// An approval, and no policy.
    #[error("{} approves a policy, and none is given", path.display())]
    ApprovalAlone {
        /// The file.
        path: PathBuf,
    },
    /// The approval is not a file of bundles.
    #[error("{} is not an approval of a policy", path.display())]
    ApprovalFormat {
        /// The file.
        path: PathBuf,
        /// What is wrong.
        source: BundleError,
    },
    /// The policy does not come into force.
    #[error("the policy {} does not come into force", path.display())]
    PolicyNotInForce {
        /// The bundle.
        path: PathBuf,
        /// Why.
        source: ActivationError,
    },
    /// The clock cannot be used.
    #[error("the system's clock")]
    Clock {
        /// What is wrong.
        source: Box<dyn std::error::Error + Send + Sync>,
    },
    /// The witnesses cannot be used.
    #[error(transparent)]
    Witnesses(#[from] WitnessesError),
    /// The policy cannot be used.
    #[error("{} is not a policy", path.display())]
    Policy {
        /// The folder.
        path: PathBuf,
        /// What is wrong.
        source: PolicyError,
    },
    /// The built-in policy cannot be used; a fault of the program.
    #[error("the built-in policy is broken")]
    StarterPolicy {
        /// What is wrong.
        source: PolicyError,
    },
    /// The decisions file cannot be written.
    #[error("cannot append to the decisions file {}", path.display())]
    Decisions {
        /// The file.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
    /// `environment` or `cluster` is not a DNS label.
    #[error("{field} {found:?} is not a DNS label: up to 63 of a-z, 0-9 and -, not - at an end")]
    Label {
        /// The field.
        field: &'static str,
        /// What stands there.
        found: String,
    },
    /// `deadline_ms` is out of range.
    #[error("deadline_ms {found} is not between 100 and 29000; the API server waits 30 s at most")]
    Deadline {
        /// What stands there.
        found: u64,
    },
}

fn default_deadline_ms() -> u64 {
    5000
}

fn default_permit_max_age_s() -> u64 {
    DEFAULT_PERMIT_MAX_AGE_S
}

impl Admission {
    /// Loads everything that `config` names. No file is read again later; newer role
    /// bindings of the owners are taken from the log.
    ///
    /// # Errors
    /// [`ConfigError`].
    pub fn load(config: &Config, source: Arc<dyn EvidenceSource>) -> Result<Self, ConfigError> {
        check_label("environment", &config.environment)?;
        config.cluster.iter().try_for_each(|cluster| check_label("cluster", cluster))?;
        if !(100..=29_000).contains(&config.deadline_ms) {
            return Err(ConfigError::Deadline { found: config.deadline_ms });
        }
        let (root, root_digest) = load_root(&config.trusted_root)?;
        let files = PolicyFiles {
            policy: config.policy.as_ref(),
            approval: config.policy_approval.as_ref(),
            insecure_unapproved: config.insecure_unapproved_policy,
        };
        let policy = PolicyInForce::load(
            &files,
            || load_owners(&config.owner_keys, config.owners_required),
            &root,
        )?;
        Ok(Self {
            roles: load_roles(
                &config.role_binding,
                load_owners(&config.owner_keys, config.owners_required)?,
                (!config.insecure_unlogged_roles).then_some(&root),
            )?,
            root,
            root_digest,
            policy,
            environment: config.environment.clone(),
            cluster: config.cluster.clone(),
            insecure_allow_unnamed: config.insecure_allow_unnamed,
            deadline_ms: config.deadline_ms,
            permits: permit_rule(config)?,
            source,
            memory: LogMemory::new(Witnesses::parse(&config.witnesses)?),
            publisher: None,
            metrics: Metrics::new(),
            decisions: DecisionLog::open(&config.decisions).map_err(|source| {
                ConfigError::Decisions { path: config.decisions.clone(), source }
            })?,
        })
    }
}

/// The owners whose keys are in these files; two of them must sign if there are several, unless
/// `required` says otherwise.
pub(crate) fn load_owners(
    files: &[PathBuf],
    required: Option<usize>,
) -> Result<Owners, ConfigError> {
    let mut keys = Vec::new();
    for path in files {
        let pem = String::from_utf8_lossy(&read(path)?).into_owned();
        keys.extend(
            PublicKey::from_pem_all(&pem)
                .map_err(|source| ConfigError::OwnerKey { path: path.clone(), source })?,
        );
    }
    let required = required.unwrap_or_else(|| keys.len().clamp(1, 2));
    Ok(Owners::new(keys, required)?)
}

/// Without a root the binding need not be logged.
pub(crate) fn load_roles(
    binding: &Path,
    owners: Owners,
    root: Option<&TrustedRoot>,
) -> Result<RoleBindings, ConfigError> {
    let path = binding.to_owned();
    let bundles = Bundle::parse_all(&read(binding)?)
        .map_err(|source| ConfigError::RoleBindingFormat { path: path.clone(), source })?;
    let binding = RoleBinding::verify(&bundles, &owners, root)
        .map_err(|source| ConfigError::RoleBinding { path, source })?;
    Ok(RoleBindings::new(owners, binding))
}

fn permit_rule(config: &Config) -> Result<Option<PermitRule>, ConfigError> {
    let Some(path) = &config.permit_key else { return Ok(None) };
    let pem = String::from_utf8_lossy(&read(path)?).into_owned();
    let key = PublicKey::from_pem(&pem)
        .map_err(|source| ConfigError::PermitKey { path: path.clone(), source })?;
    Ok(Some(PermitRule { key, max_age_s: config.permit_max_age_s }))
}

/// A folder or a bundle, on nobody's word; the built-in policy, if there is none.
pub(crate) fn load_policy(path: Option<&Path>) -> Result<Policy, ConfigError> {
    let Some(path) = path else {
        return Policy::starter().map_err(|source| ConfigError::StarterPolicy { source });
    };
    let policy = match fs::metadata(path) {
        Ok(meta) if meta.is_file() => Policy::from_bundle(&read(path)?),
        _ => Policy::load(path),
    };
    policy.map_err(|source| ConfigError::Policy { path: path.to_owned(), source })
}

fn load_root(file: &Path) -> Result<(TrustedRoot, Sha256), ConfigError> {
    let (path, bytes) = (file.to_owned(), read(file)?);
    let root = sealwright_sigstore::trusted_root(&bytes)
        .map_err(|source| ConfigError::TrustedRoot { path: path.clone(), source })?;
    if root.logs().is_empty() {
        return Err(ConfigError::NoLog { path });
    }
    Ok((root, Sha256::of(&bytes)))
}

/// Reads a regular file of at most [`MAX_FILE`] bytes: reading a FIFO or a device may never end.
pub(super) fn read(path: &Path) -> Result<Vec<u8>, ConfigError> {
    let failed = |source| ConfigError::Read { path: path.to_owned(), source };
    let size = match fs::metadata(path).map_err(failed)? {
        meta if meta.is_file() => meta.len(),
        _ => return Err(failed(io::Error::new(InvalidInput, "not a regular file"))),
    };
    if size > MAX_FILE {
        return Err(failed(io::Error::new(InvalidInput, "too large")));
    }
    fs::read(path).map_err(failed)
}

fn check_label(field: &'static str, text: &str) -> Result<(), ConfigError> {
    if text::is_dns_label(text) {
        return Ok(());
    }
    Err(ConfigError::Label { field, found: text::line(text, 100) })
}
