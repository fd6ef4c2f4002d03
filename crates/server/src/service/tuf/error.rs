//! Why a ceremony did not come about: making, changing or renewing what clients trust.

use std::path::PathBuf;

use sealwright_attest::Timestamp;
use sealwright_tuf::Refused;

use crate::service::StartError;

/// Why the instance's trust was not changed. [`CeremonyError::hint`] says what to do next.
#[derive(Debug, thiserror::Error)]
pub enum CeremonyError {
    /// A file or directory cannot be used.
    #[error(transparent)]
    Instance(#[from] Box<StartError>),
    /// There is no repository.
    #[error("{} has no TUF repository", dir.display())]
    NoRepository {
        /// The data directory.
        dir: PathBuf,
    },
    /// There is one already.
    #[error("{} has a TUF repository already", dir.display())]
    Exists {
        /// The data directory.
        dir: PathBuf,
    },
    /// A key of an earlier attempt lies where a new one would be written.
    #[error("{} is there already, and the TUF repository is not", path.display())]
    Leftover {
        /// The key.
        path: PathBuf,
    },
    /// The first root is not signed yet.
    #[error("the first root still waits for signatures: {}", path.display())]
    Waiting {
        /// Where it is.
        path: PathBuf,
    },
    /// A threshold that nobody, or not enough people, could reach.
    #[error(
        "{threshold} signatures by {keys} keys: the threshold must be from 1 to the number of keys"
    )]
    Threshold {
        /// How many keys.
        keys: usize,
        /// How many must sign.
        threshold: u32,
    },
    /// A key that cannot be in a root.
    #[error("{}: {problem}", path.display())]
    Key {
        /// The file.
        path: PathBuf,
        /// What is wrong.
        problem: String,
    },
    /// The name of a key fits none of the root's keys, or several.
    #[error("{name:?} names {found} of the root's keys, not one")]
    KeyName {
        /// What was given.
        name: String,
        /// How many it fits.
        found: usize,
    },
    /// A root is not one that can follow.
    #[error(transparent)]
    Refused(#[from] Refused),
    /// A key goes by another one's name.
    #[error("{key} goes by the name {name}, which is not its own")]
    KeyMisnamed {
        /// The name.
        name: String,
        /// The key.
        key: String,
    },
    /// Clients that follow the root would not find their way.
    #[error("clients that follow this root would refuse what is published with it: {problem}")]
    Outcome {
        /// What they would say.
        problem: String,
    },
    /// A root gives the online roles to a key that is not here.
    #[error("the root wants targets, snapshot and timestamp signed by a key that is not in {}", path.display())]
    OnlineKey {
        /// Where it should be.
        path: PathBuf,
    },
    /// The repository on disk contradicts itself.
    #[error("{} is damaged: {problem}", path.display())]
    Damaged {
        /// The file.
        path: PathBuf,
        /// What does not fit.
        problem: String,
    },
    /// The key is not the one of the authorities' root.
    #[error("the key is not that of the authorities' root, {}", path.display())]
    OtherRootKey {
        /// The root's certificate.
        path: PathBuf,
    },
    /// The root's own certificate ends too soon for it to make others.
    #[error("the authorities' root itself ends at {at}")]
    RootEnds {
        /// When.
        at: Timestamp,
    },
    /// No randomness, or a key that does not sign.
    #[error("a key could not be made, or did not sign")]
    Signing,
}

impl CeremonyError {
    /// What the operator can do next.
    pub fn hint(&self) -> &'static str {
        match self {
            Self::Instance(error) => error.hint(),
            Self::NoRepository { .. } => "make one with `sealwright serve tuf init --data DIR`",
            Self::Exists { .. } => "change its root with `sealwright serve tuf rotate`",
            Self::Leftover { .. } => {
                "move the keys of an earlier root away before there are new ones; if clients never got \
                 that root, remove them"
            }
            Self::Waiting { .. } => {
                "sign it with `sealwright serve tuf sign --key REF FILE`, then `serve tuf publish FILE`"
            }
            Self::Threshold { .. } => "choose --tuf-threshold (or --threshold) to fit the keys",
            Self::Key { .. } => {
                "a public key in PEM on P-256 or P-384, as `sealwright key generate` makes them"
            }
            Self::KeyName { .. } => {
                "give the first characters of the key's name, as `serve tuf status` shows it"
            }
            Self::Refused(Refused::Signatures { .. }) => {
                "let more key holders sign it: `sealwright serve tuf sign --key REF FILE`. A new root \
                 needs enough keys of the old one and of its own"
            }
            Self::Refused(Refused::RootVersion { .. }) => {
                "prepare the next root anew with `sealwright serve tuf rotate`"
            }
            Self::Refused(Refused::Expired { .. }) => {
                "prepare another one with `sealwright serve tuf rotate`, and have it signed in time"
            }
            Self::Refused(_) => "a root as `sealwright serve tuf rotate` writes it",
            Self::KeyMisnamed { .. } => {
                "do not sign it and do not publish it: a key's name is its digest, and this one passes for \
                 another. Prepare the root anew with `sealwright serve tuf rotate`"
            }
            Self::Outcome { .. } => "prepare the root anew with `sealwright serve tuf rotate`",
            Self::OnlineKey { .. } => {
                "prepare roots on this instance (`serve tuf rotate`), or put its key back from a backup"
            }
            Self::Damaged { .. } => {
                "put the directory `tuf` back from a backup. Versions that clients have seen must not \
                 come again with other content"
            }
            Self::OtherRootKey { .. } => {
                "give the key that `serve init` wrote to offline/root-key.pem; --new-root makes a new one"
            }
            Self::RootEnds { .. } => "make a new root with --new-root",
            Self::Signing => "try again",
        }
    }

    /// Whether another command line or file mends it, and nothing of the machine.
    pub fn is_input(&self) -> bool {
        match self {
            Self::Instance(error) => matches!(**error, StartError::NotInitialised { .. }),
            Self::Damaged { .. } | Self::Signing => false,
            _ => true,
        }
    }
}

impl From<StartError> for CeremonyError {
    fn from(error: StartError) -> Self {
        match error {
            StartError::Ceremony(error) => *error,
            error => Self::Instance(Box::new(error)),
        }
    }
}
