//! Why the service does not start, and what to do about it.

use std::io;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};

use sealwright_store::{StoreError, WriteFault};

use super::tuf::CeremonyError;
use crate::tls::TlsError;
use crate::traces::TracesError;

/// Why the service does not start. [`StartError::hint`] says what to do next.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    /// Plain HTTP on an address that other machines reach.
    #[error("{listen} is reachable from other machines, and there is no TLS certificate")]
    Exposed {
        /// The configured address.
        listen: SocketAddr,
    },
    /// The origin is not a bare host name.
    #[error("the log's name {origin:?} is not a bare host name")]
    Origin {
        /// The configured origin.
        origin: String,
    },
    /// Certificate or key cannot be used.
    #[error("TLS: {0}")]
    Tls(#[from] TlsError),
    /// The collector of spans has no URL that can be used.
    #[error("OTLP endpoint {0}")]
    Traces(#[from] TracesError),
    /// Somebody listens there already.
    #[error("{listen} is in use")]
    PortInUse {
        /// The configured address.
        listen: SocketAddr,
    },
    /// The system refuses to listen there.
    #[error("cannot listen on {listen}: {source}")]
    Listen {
        /// The configured address.
        listen: SocketAddr,
        /// The error as it was reported.
        source: io::Error,
    },
    /// The data directory is something else.
    #[error("{} is not a directory", path.display())]
    NotADirectory {
        /// The configured path.
        path: PathBuf,
    },
    /// The data directory cannot be written to.
    #[error("cannot write to {}", path.display())]
    ReadOnly {
        /// The directory, or a file in it.
        path: PathBuf,
    },
    /// No space is left for the data directory.
    #[error("no space is left in {}", path.display())]
    Full {
        /// The directory, or a file in it.
        path: PathBuf,
    },
    /// The disk of the data directory fails.
    #[error("the disk of {} fails: {source}", path.display())]
    Device {
        /// The data directory.
        path: PathBuf,
        /// The error as it was reported.
        source: StoreError,
    },
    /// Another service uses the data directory.
    #[error("{} is in use by another service", dir.display())]
    Locked {
        /// The data directory.
        dir: PathBuf,
    },
    /// Any other trouble with a file.
    #[error("cannot use {}: {source}", path.display())]
    File {
        /// The file or directory.
        path: PathBuf,
        /// The error as it was reported.
        source: io::Error,
    },
    /// There is a log, and its key is gone.
    #[error("the log has no key: {} is missing", path.display())]
    LogKeyMissing {
        /// Where the key should be.
        path: PathBuf,
    },
    /// There are a log's key and its trusted root, and no log.
    #[error("the log is gone: {} is missing", path.display())]
    LogMissing {
        /// Where the database should be.
        path: PathBuf,
    },
    /// The key file holds no Ed25519 key in PKCS#8 PEM.
    #[error("{} is not an Ed25519 private key in PKCS#8 PEM", path.display())]
    LogKey {
        /// The file.
        path: PathBuf,
    },
    /// The log in the directory was signed by another key, or has another name.
    #[error("{} holds another log: {source}", dir.display())]
    OtherLog {
        /// The data directory.
        dir: PathBuf,
        /// Which log is there, which was asked for.
        source: StoreError,
    },
    /// The trusted root is not one, or does not have this log in it.
    #[error("{} is not the trusted root of this log", path.display())]
    TrustedRoot {
        /// The file.
        path: PathBuf,
    },
    /// Keys were asked for, and there are none.
    #[error("{} has no keys yet", dir.display())]
    NotInitialised {
        /// The data directory.
        dir: PathBuf,
    },
    /// The file with the issuers of ID tokens cannot be used.
    #[error("{}: {problem}", path.display())]
    Issuers {
        /// The file.
        path: PathBuf,
        /// What is wrong.
        problem: String,
    },
    /// The file with the witnesses cannot be used.
    #[error("{}: {problem}", path.display())]
    Witnesses {
        /// The file.
        path: PathBuf,
        /// What is wrong.
        problem: String,
    },
    /// A file of trusted roots or authorities, for bundles that are submitted, cannot be used.
    #[error("{}: {problem}", path.display())]
    UploadTrust {
        /// The file.
        path: PathBuf,
        /// What is wrong.
        problem: String,
    },
    /// The file with the retention classes cannot be used.
    #[error("{}: {problem}", path.display())]
    Retention {
        /// The file.
        path: PathBuf,
        /// What is wrong.
        problem: String,
    },
    /// The file with the writers cannot be used.
    #[error("{}: {problem}", path.display())]
    Writers {
        /// The file.
        path: PathBuf,
        /// What is wrong.
        problem: String,
    },
    /// The file that says for what permits are made cannot be used.
    #[error("permits file {}: {problem}", path.display())]
    Permits {
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        problem: String,
    },
    /// The file with the limits cannot be used.
    #[error("{}: {problem}", path.display())]
    Limits {
        /// The file.
        path: PathBuf,
        /// What is wrong.
        problem: String,
    },
    /// What is to be recorded cannot be.
    #[error("administrative acts cannot be recorded: {problem}")]
    Audit {
        /// What is wrong.
        problem: String,
    },
    /// The log's name is too long for the certificates that would have it.
    #[error("the log's name {origin:?} has more than 64 characters")]
    OriginTooLong {
        /// The configured origin.
        origin: String,
    },
    /// A file of an authority is missing, or does not fit the others.
    #[error("{} is missing, or does not fit the other files of the authorities", path.display())]
    Authority {
        /// The file, or the directory of all of them.
        path: PathBuf,
    },
    /// A private key of an authority is neither here nor given.
    #[error("the private key {} is not there", path.display())]
    AuthorityKeyMissing {
        /// Where it would be if it were here.
        path: PathBuf,
    },
    /// The key that was given is not the one in the authority's certificate.
    #[error("{} is not a certificate of the key that was given", path.display())]
    OtherAuthorityKey {
        /// The certificate.
        path: PathBuf,
    },
    /// The key of the certificate log is of a kind that clients do not know.
    #[error("the key of the certificate log is not on P-256")]
    AuthorityKeyCurve,
    /// The root's key of an earlier attempt lies where the new one would be written.
    #[error("{} is there already, and the authorities are not", path.display())]
    AuthorityLeftover {
        /// The key.
        path: PathBuf,
    },
    /// The clock is before the time that the log signed last.
    #[error("the clock says {now}, which is before {last_signed}, the log's last signature")]
    ClockBehind {
        /// The clock, in seconds since 1970.
        now: u64,
        /// The log's last signature, in seconds since 1970.
        last_signed: u64,
    },
    /// The database was written by another version of this program.
    #[error("{} was written by another version: {source}", dir.display())]
    OtherVersion {
        /// The data directory.
        dir: PathBuf,
        /// The versions.
        source: StoreError,
    },
    /// The log contradicts itself, or is behind what it has published.
    #[error("the log in {} is damaged: {source}", dir.display())]
    Corrupt {
        /// The data directory.
        dir: PathBuf,
        /// What does not fit.
        source: StoreError,
    },
    /// The log went on elsewhere.
    #[error("the log in {} was moved to {to}", dir.display())]
    Moved {
        /// The data directory.
        dir: PathBuf,
        /// The bucket where it went on.
        to: String,
    },
    /// Keys and trusted root are of a log that is not in the database, and no other may begin.
    #[error("the database holds no log, and {} is of one that was started before", dir.display())]
    NoLog {
        /// The data directory.
        dir: PathBuf,
    },
    /// Database or bucket cannot be used.
    #[error("the shared log cannot be used")]
    Shared(#[source] StoreError),
    /// This program was built without PostgreSQL and S3.
    #[error("this program was built without PostgreSQL and S3")]
    NotBuilt,
    /// What clients trust could not be made or renewed.
    #[error(transparent)]
    Ceremony(Box<CeremonyError>),
    /// The system gives no threads.
    #[error("cannot start threads")]
    Threads(#[source] io::Error),
}

impl StartError {
    /// What the operator can do next, in one or two sentences.
    pub fn hint(&self) -> &'static str {
        match self {
            Self::Exposed { .. } => {
                "give a TLS certificate and key, or listen on 127.0.0.1; insecure_plain_http \
                 allows plain HTTP behind a TLS proxy"
            }
            Self::Origin { .. } => {
                "use the host name by which clients reach the service, such as log.example: no \
                 scheme, port or path"
            }
            Self::Tls(_) => "the certificate chain and its unencrypted private key are PEM files",
            Self::Traces(_) => "give the collector's base URL, such as http://127.0.0.1:4318",
            Self::PortInUse { .. } => {
                "is the service running already? Choose another port, or port 0 for any free one"
            }
            Self::Listen { .. } => {
                "the address must be one of this machine's; ports below 1024 need a privilege"
            }
            Self::NotADirectory { .. } => "choose a directory; a new one is created",
            Self::ReadOnly { .. } => {
                "the service needs to write there: check the owner, the mode and how it is mounted"
            }
            Self::Full { .. } => "free some space; nothing that was acknowledged is lost",
            Self::Device { .. } => {
                "look at the system's log; if the disk is well, start again: nothing that was \
                 acknowledged is lost"
            }
            Self::Locked { .. } => "stop the other service, or use another data directory",
            Self::File { .. } => "check that the path exists and who may use it",
            Self::LogKeyMissing { .. } => {
                "put the key back from a backup. A log cannot go on with another key; to start a \
                 new log, use an empty directory"
            }
            Self::LogMissing { .. } => {
                "put the whole directory back from a backup. A log cannot begin anew with its old key; \
                 to start a new log, use an empty directory"
            }
            Self::LogKey { .. } => "put the key back from a backup",
            Self::OtherLog { .. } => {
                "a log keeps its name and its key: use those it was started with, or an empty \
                 directory"
            }
            Self::TrustedRoot { .. } => {
                "remove the file to have it written again from the log's key"
            }
            Self::NotInitialised { .. } => {
                "make them with `sealwright serve init --data DIR`, or start with --init"
            }
            Self::Issuers { .. } => {
                "write [[issuer]] with url and kind (email, uri, username, spiffe, kubernetes, \
                 github, gitlab)"
            }
            Self::Witnesses { .. } => {
                "write quorum = N, and [[witness]] with url and vkey (and ca for https)"
            }
            Self::Writers { .. } => {
                "write [[writer]] with name, and token_sha256 (the SHA-256 of a token in hex), oidc or \
                 certificate"
            }
            Self::Permits { .. } => {
                "see docs/permits.md for what the file says; paths in it are relative to it"
            }
            Self::Limits { .. } => {
                "write writes = { per_second = 5.0, burst = 50 }, and the same for reads and writer"
            }
            Self::UploadTrust { .. } => {
                "give a trusted_root.json with --trust, certificates of authorities in PEM with \
                 --trust-root-ca"
            }
            Self::Retention { .. } => {
                "write [[class]] with name and keep (such as P10Y), and predicate_types or projects"
            }
            Self::Audit { .. } => {
                "the configuration is another than the last time, which goes into the log first: look at \
                 the disk, and at audit-key.pem"
            }
            Self::OriginTooLong { .. } => "use a shorter host name",
            Self::Authority { .. } => "put the directory `authority` back from a backup",
            Self::AuthorityKeyMissing { .. } => {
                "if it is kept elsewhere, say where: --ca-key, --ct-key, --tsa-key; otherwise put it back \
                 from a backup"
            }
            Self::OtherAuthorityKey { .. } => {
                "give the key that the certificate was made for, or none if it is in the data directory; \
                 `sealwright serve renew` makes a certificate for another key"
            }
            Self::AuthorityKeyCurve => "`sealwright key generate --curve p256` makes one that fits",
            Self::AuthorityLeftover { .. } => {
                "an earlier start ended halfway: if no authority was ever used, remove the file"
            }
            Self::ClockBehind { .. } => {
                "set the clock right. If the log has signed times in the future, wait for them, or \
                 start a new log"
            }
            Self::OtherVersion { .. } => "use the version of the program that wrote it",
            Self::Corrupt { source: StoreError::ImmutableDiffers { .. }, .. } => {
                "what is published is of entries that the database lost: bring back the database that has \
                 them (a replica that is promoted must be a synchronous one), or restore both together"
            }
            Self::Corrupt { .. } => {
                "do not delete anything. Restore a complete and recent copy of the directory, with \
                 the service stopped"
            }
            Self::Moved { .. } => {
                "serve it from there, with --database and --bucket; going on here would make a second \
                 history"
            }
            Self::NoLog { .. } => {
                "move the log there with `sealwright serve migrate`, or name the right database; for a \
                 new log, use an empty data directory"
            }
            Self::Shared(_) => {
                "check the URLs of database and bucket, who may use them (AWS_ACCESS_KEY_ID and the \
                 like), and that they can be reached; nothing that was acknowledged is lost"
            }
            Self::NotBuilt => "build it with the feature `scale-out`",
            Self::Ceremony(error) => error.hint(),
            Self::Threads(_) => "raise the limit on processes for this user",
        }
    }

    /// Sorts an error of the file system.
    pub(super) fn file(path: &Path, source: io::Error) -> Self {
        let path = path.to_owned();
        match source.kind() {
            io::ErrorKind::PermissionDenied | io::ErrorKind::ReadOnlyFilesystem => {
                Self::ReadOnly { path }
            }
            io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded => Self::Full { path },
            io::ErrorKind::NotADirectory => Self::NotADirectory { path },
            _ => Self::File { path, source },
        }
    }

    /// Sorts an error of the store in `dir`.
    pub(super) fn store(dir: &Path, error: StoreError) -> Self {
        let dir = dir.to_owned();
        match error {
            StoreError::Locked { dir } => Self::Locked { dir },
            StoreError::ClockBehind { now, last_signed } => Self::ClockBehind { now, last_signed },
            StoreError::Unwritable { fault: WriteFault::Full, .. } => Self::Full { path: dir },
            StoreError::Unwritable { fault: WriteFault::ReadOnly, .. } => {
                Self::ReadOnly { path: dir }
            }
            StoreError::Unwritable { fault: WriteFault::Device, .. } => {
                Self::Device { path: dir, source: error }
            }
            StoreError::File { path, source } => Self::file(&path, source),
            StoreError::WrongOrigin { .. } | StoreError::WrongKey { .. } => {
                Self::OtherLog { dir, source: error }
            }
            StoreError::Moved { to } => Self::Moved { dir, to },
            StoreError::NoLog => Self::NoLog { dir },
            StoreError::NotBuilt => Self::NotBuilt,
            StoreError::Unreachable { .. }
            | StoreError::Place { .. }
            | StoreError::NotEmpty { .. }
            | StoreError::LeaseLost
            | StoreError::LeaseBusy => Self::Shared(error),
            StoreError::SchemaVersion { .. } => Self::OtherVersion { dir, source: error },
            _ => Self::Corrupt { dir, source: error },
        }
    }
}
