//! Why a witness does not start.

use std::io;
use std::net::SocketAddr;
use std::path::PathBuf;

use sealwright_store::StoreError;
use sealwright_tlog::KeyError;
use sealwright_tlog::witness::RecallError;

use crate::tls::TlsError;

/// Why a witness does not start.
#[derive(Debug, thiserror::Error)]
pub enum WitnessStartError {
    /// Others could read what is sent.
    #[error("{listen} can be reached from other machines, and there is no TLS certificate")]
    Exposed {
        /// The address.
        listen: SocketAddr,
    },
    /// The certificate or its key cannot be used.
    #[error(transparent)]
    Tls(#[from] TlsError),
    /// Nobody can listen there.
    #[error("cannot listen on {listen}: {source}")]
    Listen {
        /// The address.
        listen: SocketAddr,
        /// The error as it was reported.
        source: io::Error,
    },
    /// There is no key, and none was to be made.
    #[error("{} has no witness key yet", dir.display())]
    NotInitialised {
        /// The data directory.
        dir: PathBuf,
    },
    /// The name cannot be that of a witness.
    #[error("the witness cannot be named so: {0}")]
    Name(KeyError),
    /// The witness has another name than the one given.
    #[error("the witness is named {found:?}, not {given:?}")]
    OtherName {
        /// The name given.
        given: String,
        /// The name in the data directory.
        found: String,
    },
    /// The key or its public half is missing, damaged, or the two do not fit.
    #[error("{} is missing, or is not the key of this witness", path.display())]
    Key {
        /// The file.
        path: PathBuf,
    },
    /// A record is damaged or another witness's.
    #[error("{} cannot be taken up again: {source}", path.display())]
    Record {
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        source: RecallError,
    },
    /// The data directory cannot be used.
    #[error("cannot use the data directory: {0}")]
    Store(#[source] StoreError),
    /// Trouble with a file.
    #[error("cannot use {}: {source}", path.display())]
    File {
        /// The file.
        path: PathBuf,
        /// The error as it was reported.
        source: io::Error,
    },
    /// The system gives no threads or signals.
    #[error("cannot start: {0}")]
    System(#[source] io::Error),
}

impl WitnessStartError {
    /// What the operator can do next.
    pub fn hint(&self) -> &'static str {
        match self {
            Self::Exposed { .. } => {
                "give a TLS certificate and key, or listen on 127.0.0.1; --insecure-plain-http \
                 allows plain HTTP behind a TLS proxy"
            }
            Self::Tls(_) => "the certificate chain and its unencrypted private key are PEM files",
            Self::Listen { .. } => "choose another address, or port 0 for any free one",
            Self::NotInitialised { .. } => "make one with --init --name NAME",
            Self::Name(_) => "a name has no white space and no `+`, such as witness.example/w1",
            Self::OtherName { .. } => "a witness keeps its name; leave --name out",
            Self::Key { .. } => "put the key and the file `vkey` back from a backup",
            Self::Record { .. } => {
                "put the newest copy of the file back. Without it the witness would cosign a \
                 second history: do not just delete it"
            }
            Self::Store(StoreError::Locked { .. }) => "stop the other witness",
            Self::Store(_) | Self::File { .. } => "check that the path exists and who may use it",
            Self::System(_) => "raise the limits on processes and open files for this user",
        }
    }

    /// Whether what was asked for is at fault, and not the machine.
    pub fn is_input(&self) -> bool {
        matches!(
            self,
            Self::Exposed { .. }
                | Self::Tls(_)
                | Self::NotInitialised { .. }
                | Self::Name(_)
                | Self::OtherName { .. }
        )
    }
}
