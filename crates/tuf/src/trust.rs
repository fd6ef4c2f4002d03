//! From documents to what may be believed (specification, §5.3 to §5.6).

use std::collections::{BTreeMap, BTreeSet};

use sealwright_attest::Timestamp as Time;

use crate::document::{Document, FormatError};
use crate::metadata::{
    MetaFile, Metadata, RoleName, Root, Snapshot, TargetFile, Targets, Timestamp,
};

/// Why metadata is not believed.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Refused {
    /// It is not metadata.
    #[error("{role}: {source}")]
    Format {
        /// Which role's.
        role: RoleName,
        /// What is wrong.
        source: FormatError,
    },
    /// Too few of the keys have signed that must.
    #[error(
        "{role}: {valid} of the {threshold} signatures that version {root} of the root asks for"
    )]
    Signatures {
        /// Which role's.
        role: RoleName,
        /// Different keys that have signed.
        valid: usize,
        /// How many must.
        threshold: u32,
        /// The root that says so.
        root: u64,
    },
    /// The next root is another than the next.
    #[error("root: version {found} where {expected} has to follow")]
    RootVersion {
        /// The one that must come.
        expected: u64,
        /// The one that came.
        found: u64,
    },
    /// The root does not name files by version and digest.
    #[error("root: the repository has no consistent snapshots")]
    NotConsistent,
    /// It counts no more. Whoever gives it out may hold the newer one back.
    #[error("{role}: version {version} expired at {expires}")]
    Expired {
        /// Which role's.
        role: RoleName,
        /// Its version.
        version: u64,
        /// When.
        expires: Time,
    },
    /// It is older than what was seen before.
    #[error("{what}: version {found}, after version {seen} was seen")]
    RolledBack {
        /// The role, or the file in the snapshot.
        what: String,
        /// What was seen.
        seen: u64,
        /// What came.
        found: u64,
    },
    /// A file that was in the snapshot before is not there any more.
    #[error("snapshot: {name} is not there any more")]
    Dropped {
        /// The file.
        name: String,
    },
    /// It is not the one that the metadata above it names: parts of different states were mixed.
    #[error("{role}: not the file that is meant")]
    Mixed {
        /// Which role's.
        role: RoleName,
    },
    /// There is no such target.
    #[error("there is no target {name:?}")]
    NoTarget {
        /// The name that was asked for.
        name: String,
    },
    /// The content is not the target.
    #[error("{name} has another length or digest than the targets metadata says")]
    TargetContent {
        /// The target.
        name: String,
    },
}

/// Metadata that may be believed: signed by enough keys of a trusted root, current, and not older than
/// what was seen. Made by [`Trust`] alone.
#[derive(Debug, Clone)]
pub struct Verified<T> {
    content: T,
    bytes: Vec<u8>,
}

impl<T> Verified<T> {
    /// What it says.
    pub fn content(&self) -> &T {
        &self.content
    }

    /// The file as it came: to be kept for the next time.
    pub fn bytes(&self) -> &[u8] {
        &self.bytes
    }
}

/// Versions that a client has seen, behind which nothing may go back.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Seen {
    timestamp: u64,
    snapshot: u64,
    meta: BTreeMap<String, u64>,
}

/// A root that is trusted.
#[derive(Debug, Clone)]
pub struct Trust {
    root: Root,
    bytes: Vec<u8>,
}

impl Trust {
    /// Begins with a root that the caller got by a way they trust. It must be signed by its own keys,
    /// which proves only that it is whole. It may have expired: newer ones may follow.
    ///
    /// # Errors
    /// [`Refused::Format`], [`Refused::Signatures`], [`Refused::NotConsistent`].
    pub fn begin(bytes: &[u8]) -> Result<Self, Refused> {
        let document = parse::<Root>(bytes)?;
        signed_by(&document, document.unverified())?;
        Self::of(&document, bytes)
    }

    /// Goes on to the root that follows (§5.3.4, §5.3.5): signed by enough keys of this one, and enough
    /// of its own.
    ///
    /// # Errors
    /// [`Refused`].
    pub fn advance(&self, bytes: &[u8]) -> Result<Self, Refused> {
        let document = parse::<Root>(bytes)?;
        let (found, expected) = (document.unverified().version, self.root.version + 1);
        signed_by(&document, &self.root)?;
        if found != expected {
            return Err(Refused::RootVersion { expected, found });
        }
        signed_by(&document, document.unverified())?;
        Self::of(&document, bytes)
    }

    fn of(document: &Document<Root>, bytes: &[u8]) -> Result<Self, Refused> {
        let root = document.unverified().clone();
        match root.consistent_snapshot {
            true => Ok(Self { root, bytes: bytes.to_vec() }),
            false => Err(Refused::NotConsistent),
        }
    }

    /// The root.
    pub fn root(&self) -> &Root {
        &self.root
    }

    /// The file as it came.
    pub fn bytes(&self) -> &[u8] {
        &self.bytes
    }

    /// Whether the root itself still counts (§5.3.10).
    ///
    /// # Errors
    /// [`Refused::Expired`].
    pub fn check_expiry(&self, now: Time) -> Result<(), Refused> {
        current(&self.root, now)
    }

    /// What was seen, from the files of the last time. A file that the root's present keys have not
    /// signed is forgotten: whoever stole the keys before could have counted its version up as far as
    /// they liked (§5.3.11).
    pub fn seen(&self, timestamp: Option<&[u8]>, snapshot: Option<&[u8]>) -> Seen {
        let mut seen = Seen::default();
        if let Some(timestamp) = timestamp.and_then(|bytes| self.signed::<Timestamp>(bytes).ok()) {
            seen.timestamp = timestamp.version;
            seen.snapshot = timestamp.snapshot.version;
        }
        if let Some(snapshot) = snapshot.and_then(|bytes| self.signed::<Snapshot>(bytes).ok()) {
            seen.snapshot = seen.snapshot.max(snapshot.version);
            seen.meta = snapshot.versions();
        }
        seen
    }

    /// The timestamp (§5.4).
    ///
    /// # Errors
    /// [`Refused`].
    pub fn timestamp(
        &self,
        bytes: &[u8],
        seen: &Seen,
        now: Time,
    ) -> Result<Verified<Timestamp>, Refused> {
        self.check_expiry(now)?;
        let content = self.signed::<Timestamp>(bytes)?;
        not_older("timestamp", seen.timestamp, content.version)?;
        not_older("snapshot", seen.snapshot, content.snapshot.version)?;
        current(&content, now)?;
        Ok(Verified { content, bytes: bytes.to_vec() })
    }

    /// The snapshot that the timestamp means (§5.5).
    ///
    /// # Errors
    /// [`Refused`].
    pub fn snapshot(
        &self,
        timestamp: &Verified<Timestamp>,
        bytes: &[u8],
        seen: &Seen,
        now: Time,
    ) -> Result<Verified<Snapshot>, Refused> {
        let content: Snapshot = self.meant(&timestamp.content.snapshot, bytes)?;
        let listed = content.versions();
        for (name, version) in &seen.meta {
            let listed = listed.get(name).ok_or_else(|| Refused::Dropped { name: name.clone() })?;
            not_older(name, *version, *listed)?;
        }
        current(&content, now)?;
        Ok(Verified { content, bytes: bytes.to_vec() })
    }

    /// The targets that the snapshot means (§5.6).
    ///
    /// # Errors
    /// [`Refused`].
    pub fn targets(
        &self,
        snapshot: &Verified<Snapshot>,
        bytes: &[u8],
        now: Time,
    ) -> Result<Verified<Targets>, Refused> {
        let content: Targets = self.meant(&snapshot.content.targets, bytes)?;
        current(&content, now)?;
        Ok(Verified { content, bytes: bytes.to_vec() })
    }

    /// Metadata that other metadata names by length, digest and version.
    fn meant<T: Metadata>(&self, meant: &MetaFile, bytes: &[u8]) -> Result<T, Refused> {
        let mixed = Refused::Mixed { role: T::ROLE };
        if !meant.fits(bytes) {
            return Err(mixed);
        }
        let content = self.signed::<T>(bytes)?;
        if content.version() == meant.version { Ok(content) } else { Err(mixed) }
    }

    /// Whatever enough keys of the root have signed, however old.
    fn signed<T: Metadata>(&self, bytes: &[u8]) -> Result<T, Refused> {
        let document = parse::<T>(bytes)?;
        signed_by(&document, &self.root)?;
        Ok(document.unverified().clone())
    }
}

impl Verified<Targets> {
    /// What is said of a target.
    ///
    /// # Errors
    /// [`Refused::NoTarget`].
    pub fn target(&self, name: &str) -> Result<&TargetFile, Refused> {
        let target = self.content.targets.get(name);
        target.ok_or_else(|| Refused::NoTarget { name: name.to_owned() })
    }

    /// Whether this content is the target (§5.7.3).
    ///
    /// # Errors
    /// [`Refused::NoTarget`], [`Refused::TargetContent`].
    pub fn check_target(&self, name: &str, content: &[u8]) -> Result<(), Refused> {
        match self.target(name)?.fits(content) {
            true => Ok(()),
            false => Err(Refused::TargetContent { name: name.to_owned() }),
        }
    }
}

impl Root {
    /// How many different keys of this root's `T` role have signed the document. A key under two names
    /// counts once.
    pub fn count_signatures<T: Metadata>(&self, document: &Document<T>) -> usize {
        let ids = self.role(T::ROLE).map(|role| &role.key_ids).into_iter().flatten();
        let keys = ids.filter_map(|id| Some((id, self.keys.get(id)?)));
        let signed = keys.filter(|(id, key)| document.is_signed_by(id, key));
        signed.map(|(_, key)| key.material()).collect::<BTreeSet<_>>().len()
    }
}

fn parse<T: Metadata>(bytes: &[u8]) -> Result<Document<T>, Refused> {
    Document::parse(bytes).map_err(|source| Refused::Format { role: T::ROLE, source })
}

/// The threshold of a role in a root.
fn signed_by<T: Metadata>(document: &Document<T>, root: &Root) -> Result<(), Refused> {
    let valid = root.count_signatures(document);
    // Every root that was read has all roles; without one, nothing is enough.
    let threshold = root.role(T::ROLE).map_or(u32::MAX, |role| role.threshold);
    if usize::try_from(threshold).is_ok_and(|threshold| valid >= threshold) {
        return Ok(());
    }
    Err(Refused::Signatures { role: T::ROLE, valid, threshold, root: root.version })
}

/// The expiry must be later than now (§5.3.10, §5.4.4, §5.5.6, §5.6.5).
fn current<T: Metadata>(content: &T, now: Time) -> Result<(), Refused> {
    let (version, expires) = (content.version(), content.expires());
    match now < expires {
        true => Ok(()),
        false => Err(Refused::Expired { role: T::ROLE, version, expires }),
    }
}

fn not_older(what: &str, seen: u64, found: u64) -> Result<(), Refused> {
    match seen <= found {
        true => Ok(()),
        false => Err(Refused::RolledBack { what: what.to_owned(), seen, found }),
    }
}
