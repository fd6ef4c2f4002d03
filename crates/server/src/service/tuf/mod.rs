//! The instance's TUF repository: how clients learn of its trusted root, and of every change to it.
//!
//! ```text
//! <data_dir>/tuf/repository/N.root.json        all roots that there ever were
//! <data_dir>/tuf/repository/N.targets.json     what the files are
//! <data_dir>/tuf/repository/N.snapshot.json    which targets metadata is the current one
//! <data_dir>/tuf/repository/timestamp.json     which snapshot is, and that somebody still says so
//! <data_dir>/tuf/repository/targets/…          trusted_root.json, signing_config.v0.2.json
//! <data_dir>/tuf/online/<key id>.pem           the key of the last three roles, mode 0600
//! <data_dir>/tuf/1.root.json                   a first root that waits for signatures
//! <data_dir>/offline/tuf-root-N.pem            private keys of the root: nothing here needs them
//! ```
//!
//! The root is signed by people, offline. The other three roles are signed by the service with a key that
//! lies beside them, since it must publish its trusted root by itself; a new root takes that key away.

mod ceremony;
mod error;
mod files;
mod repository;
mod status;
#[cfg(test)]
mod tests;

use std::path::PathBuf;

use serde::Deserialize;

pub use ceremony::{Published, RootChange, init, publish, rotate};
pub use error::CeremonyError;
pub use status::{Certificate, RoleStatus, Status, WARN_DAYS, WaitingRoot, status};

pub(super) use ceremony::create;
pub(super) use files::file;
pub(super) use repository::{renew, wanted};

/// Who signs the root, when a repository is made.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct RootKeys {
    /// How many keys are made, if none are given; 3 by default.
    #[serde(default = "RootKeys::default_count")]
    pub count: u32,
    /// How many of them must sign; 2 by default.
    #[serde(default = "RootKeys::default_threshold")]
    pub threshold: u32,
    /// Public keys (PEM) that people hold already. The root waits until enough of them have signed.
    #[serde(default)]
    pub public: Vec<PathBuf>,
}

impl RootKeys {
    fn default_count() -> u32 {
        3
    }

    fn default_threshold() -> u32 {
        2
    }
}

impl Default for RootKeys {
    fn default() -> Self {
        Self {
            count: Self::default_count(),
            threshold: Self::default_threshold(),
            public: Vec::new(),
        }
    }
}

/// What a new repository is made of.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct TufMade {
    /// Private keys of the root, each of which belongs in a place of its own, offline.
    pub root_keys: Vec<PathBuf>,
    /// The first root: what clients begin with. If it waits for signatures, it is not published yet.
    pub root: PathBuf,
    /// Whether it waits for signatures.
    pub waits: bool,
}
