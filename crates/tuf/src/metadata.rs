//! What the four roles say (specification, chapter 4).

use std::collections::{BTreeMap, BTreeSet};

use serde_json::{Map, Value, json};

use sealwright_attest::Timestamp as Time;
use sealwright_manifest::Sha256;

use crate::document::FormatError;
use crate::key::{Key, KeyId};

/// The largest version: what every client's numbers hold.
pub const MAX_VERSION: u64 = (1 << 53) - 1;

const SPEC_VERSION: &str = "1.0.31";
const TARGETS_FILE: &str = "targets.json";
const MAX_KEYS: usize = 256;
const MAX_FILES: usize = 10_000;

/// A top-level role.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum RoleName {
    /// Says who the others are.
    Root,
    /// Says what the files are.
    Targets,
    /// Says which targets metadata is the current one.
    Snapshot,
    /// Says which snapshot is the current one, and that somebody still says so.
    Timestamp,
}

impl RoleName {
    /// All of them.
    pub const ALL: [Self; 4] = [Self::Root, Self::Targets, Self::Snapshot, Self::Timestamp];

    /// The role's name in metadata.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Root => "root",
            Self::Targets => "targets",
            Self::Snapshot => "snapshot",
            Self::Timestamp => "timestamp",
        }
    }

    /// Most bytes of the role's metadata: what stock clients allow.
    pub const fn max_size(self) -> usize {
        match self {
            Self::Root => 512_000,
            Self::Targets => 5_000_000,
            Self::Snapshot => 2_000_000,
            Self::Timestamp => 16_384,
        }
    }

    /// The name of the role's file with consistent snapshots (§6.2).
    pub fn file_name(self, version: u64) -> String {
        match self {
            Self::Timestamp => "timestamp.json".to_owned(),
            _ => format!("{version}.{}.json", self.as_str()),
        }
    }
}

impl std::fmt::Display for RoleName {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(self.as_str())
    }
}

/// What one of the roles says. There are the four of this crate.
pub trait Metadata: sealed::Content + Clone {
    /// Which.
    const ROLE: RoleName;

    /// Counts up by one with each change.
    fn version(&self) -> u64;

    /// From this second on the metadata counts no more.
    fn expires(&self) -> Time;
}

pub(crate) mod sealed {
    use serde_json::Value;

    use super::{FormatError, Members};

    pub trait Content: Sized {
        fn read(members: &mut Members) -> Result<Self, FormatError>;
        fn write(&self) -> Value;
    }
}

/// Who may sign for a role, and how many of them must.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RoleKeys {
    /// Names of keys.
    pub key_ids: BTreeSet<KeyId>,
    /// One or more.
    pub threshold: u32,
}

/// Root metadata (§4.3): all keys, and which of them signs for which role.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Root {
    /// Version.
    pub version: u64,
    /// Expiry.
    pub expires: Time,
    /// Whether files have version or digest in their names.
    pub consistent_snapshot: bool,
    /// Keys by name.
    pub keys: BTreeMap<KeyId, Key>,
    /// All four roles.
    pub roles: BTreeMap<RoleName, RoleKeys>,
}

/// Targets metadata (§4.5). Delegations are not read.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Targets {
    /// Version.
    pub version: u64,
    /// Expiry.
    pub expires: Time,
    /// Files by name.
    pub targets: BTreeMap<String, TargetFile>,
}

/// Snapshot metadata (§4.4).
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Snapshot {
    /// Version.
    pub version: u64,
    /// Expiry.
    pub expires: Time,
    /// The current targets metadata.
    pub targets: MetaFile,
    /// Metadata of delegated roles by file name, which is looked at only so that it does not go back.
    pub others: BTreeMap<String, MetaFile>,
}

/// Timestamp metadata (§4.6).
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Timestamp {
    /// Version.
    pub version: u64,
    /// Expiry.
    pub expires: Time,
    /// The current snapshot.
    pub snapshot: MetaFile,
}

/// Metadata that other metadata names.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct MetaFile {
    /// Its version.
    pub version: u64,
    /// Its length in bytes, if said.
    pub length: Option<u64>,
    /// Its SHA-256, if said.
    pub sha256: Option<Sha256>,
}

/// A file that clients want.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TargetFile {
    /// Bytes.
    pub length: u64,
    /// SHA-256 of the content.
    pub sha256: Sha256,
}

/// Whether a file may be called so: one component of a path, of letters, digits, `.`, `_` and `-`.
pub fn is_target_name(name: &str) -> bool {
    let is_plain = |b: u8| b.is_ascii_alphanumeric() || matches!(b, b'.' | b'_' | b'-');
    (1..=128).contains(&name.len()) && name.bytes().all(is_plain) && !name.starts_with('.')
}

impl MetaFile {
    /// What names this metadata.
    pub fn of(version: u64, content: &[u8]) -> Self {
        let (length, sha256) = (content.len() as u64, Sha256::of(content));
        Self { version, length: Some(length), sha256: Some(sha256) }
    }

    /// Whether `content` has the length and the digest that are said.
    pub fn fits(&self, content: &[u8]) -> bool {
        self.length.is_none_or(|length| length == content.len() as u64)
            && self.sha256.as_ref().is_none_or(|digest| *digest == Sha256::of(content))
    }

    fn read(value: Value) -> Result<Self, FormatError> {
        let mut members = Members::of(value, "an entry of meta")?;
        Ok(Self {
            version: members.version()?,
            length: members.has("length").then(|| members.number("length")).transpose()?,
            sha256: members.has("hashes").then(|| members.sha256()).transpose()?,
        })
    }

    fn write(&self) -> Value {
        let mut value = json!({"version": self.version});
        if let Some(length) = self.length {
            value["length"] = json!(length);
        }
        if let Some(digest) = &self.sha256 {
            value["hashes"] = json!({"sha256": digest.to_string()});
        }
        value
    }
}

impl TargetFile {
    /// What names this content.
    pub fn of(content: &[u8]) -> Self {
        Self { length: content.len() as u64, sha256: Sha256::of(content) }
    }

    /// Whether `content` is what is meant.
    pub fn fits(&self, content: &[u8]) -> bool {
        *self == Self::of(content)
    }

    /// Where the file called `name` is, below the repository (§6.2).
    pub fn path(&self, name: &str) -> String {
        format!("targets/{}.{name}", self.sha256)
    }
}

impl Snapshot {
    /// Files and their versions, all of them.
    pub(crate) fn versions(&self) -> BTreeMap<String, u64> {
        let others = self.others.iter().map(|(name, file)| (name.clone(), file.version));
        others.chain([(TARGETS_FILE.to_owned(), self.targets.version)]).collect()
    }
}

impl Root {
    /// Who signs for a role.
    pub fn role(&self, role: RoleName) -> Option<&RoleKeys> {
        self.roles.get(&role)
    }

    /// The first key whose name is not its own ([`Key::id`]). Clients need not care, and old roots have
    /// such keys; but people who compare names would take one key for another.
    pub fn misnamed_key(&self) -> Option<(&KeyId, &Key)> {
        self.keys.iter().find(|(name, key)| **name != key.id())
    }
}

macro_rules! metadata {
    ($name:ident) => {
        impl Metadata for $name {
            const ROLE: RoleName = RoleName::$name;

            fn version(&self) -> u64 {
                self.version
            }

            fn expires(&self) -> Time {
                self.expires
            }
        }
    };
}

metadata!(Root);
metadata!(Targets);
metadata!(Snapshot);
metadata!(Timestamp);

/// What all roles have.
fn common<T: Metadata>(content: &T) -> Value {
    json!({
        "_type": T::ROLE.as_str(),
        "spec_version": SPEC_VERSION,
        "version": content.version(),
        "expires": content.expires(),
    })
}

impl sealed::Content for Root {
    fn read(members: &mut Members) -> Result<Self, FormatError> {
        let keys = members.map("keys", MAX_KEYS, Key::read)?;
        let mut roles = Members::of(members.take("roles")?, "roles")?;
        let roles = RoleName::ALL.into_iter().map(|role| {
            let who = RoleKeys::read(roles.take(role.as_str())?)?;
            match who.key_ids.iter().all(|id| keys.contains_key(id)) {
                true => Ok((role, who)),
                false => Err(FormatError::of("a role names a key that is not there")),
            }
        });
        Ok(Self {
            roles: roles.collect::<Result<_, _>>()?,
            keys,
            version: members.version()?,
            expires: members.expires()?,
            consistent_snapshot: members.flag("consistent_snapshot")?,
        })
    }

    fn write(&self) -> Value {
        let mut value = common(self);
        value["consistent_snapshot"] = json!(self.consistent_snapshot);
        value["keys"] = self.keys.iter().map(|(id, key)| (id.clone(), key.to_value())).collect();
        value["roles"] =
            self.roles.iter().map(|(role, who)| (role.to_string(), who.write())).collect();
        value
    }
}

impl RoleKeys {
    fn read(value: Value) -> Result<Self, FormatError> {
        let mut members = Members::of(value, "a role")?;
        let Value::Array(listed) = members.take("keyids")? else {
            return Err(FormatError::of("keyids is not a list"));
        };
        let count = listed.len();
        let ids = listed.into_iter().map(|id| match id {
            Value::String(id) => Ok(id),
            _ => Err(FormatError::of("a keyid is not a text")),
        });
        let key_ids: BTreeSet<_> = ids.collect::<Result<_, _>>()?;
        if key_ids.len() != count {
            return Err(FormatError::of("a keyid is there twice"));
        }
        let threshold = u32::try_from(members.number("threshold")?).unwrap_or(0);
        match threshold {
            0 => Err(FormatError::of("a threshold is not a positive number")),
            _ => Ok(Self { key_ids, threshold }),
        }
    }

    fn write(&self) -> Value {
        json!({"keyids": self.key_ids, "threshold": self.threshold})
    }
}

impl sealed::Content for Targets {
    fn read(members: &mut Members) -> Result<Self, FormatError> {
        let targets = members.map("targets", MAX_FILES, |value| {
            let mut members = Members::of(value, "a target")?;
            Ok(TargetFile { length: members.number("length")?, sha256: members.sha256()? })
        })?;
        Ok(Self { version: members.version()?, expires: members.expires()?, targets })
    }

    fn write(&self) -> Value {
        let mut value = common(self);
        let file = |file: &TargetFile| json!({"length": file.length, "hashes": {"sha256": file.sha256.to_string()}});
        value["targets"] = self.targets.iter().map(|(name, it)| (name.clone(), file(it))).collect();
        value
    }
}

impl sealed::Content for Snapshot {
    fn read(members: &mut Members) -> Result<Self, FormatError> {
        let mut others = members.map("meta", MAX_FILES, MetaFile::read)?;
        let targets = others.remove(TARGETS_FILE);
        Ok(Self {
            version: members.version()?,
            expires: members.expires()?,
            targets: targets.ok_or_else(|| FormatError::of("meta has no targets.json"))?,
            others,
        })
    }

    fn write(&self) -> Value {
        let mut value = common(self);
        value["meta"] =
            self.others.iter().map(|(name, file)| (name.clone(), file.write())).collect();
        value["meta"][TARGETS_FILE] = self.targets.write();
        value
    }
}

impl sealed::Content for Timestamp {
    fn read(members: &mut Members) -> Result<Self, FormatError> {
        let mut meta = members.map("meta", 1, MetaFile::read)?;
        let snapshot = meta.remove("snapshot.json");
        Ok(Self {
            version: members.version()?,
            expires: members.expires()?,
            snapshot: snapshot.ok_or_else(|| FormatError::of("meta has no snapshot.json"))?,
        })
    }

    fn write(&self) -> Value {
        let mut value = common(self);
        value["meta"] = json!({"snapshot.json": self.snapshot.write()});
        value
    }
}

/// The members of an object, taken out one by one. Others are ignored, as the specification wants.
pub struct Members {
    members: Map<String, Value>,
    what: &'static str,
}

impl Members {
    pub(crate) fn of(value: Value, what: &'static str) -> Result<Self, FormatError> {
        match value {
            Value::Object(members) => Ok(Self { members, what }),
            _ => Err(FormatError::of(format!("{what} is not an object"))),
        }
    }

    pub(crate) fn has(&self, name: &str) -> bool {
        self.members.contains_key(name)
    }

    pub(crate) fn take(&mut self, name: &str) -> Result<Value, FormatError> {
        let what = self.what;
        self.members.remove(name).ok_or_else(|| FormatError::of(format!("{what} has no {name}")))
    }

    pub(crate) fn text(&mut self, name: &str) -> Result<String, FormatError> {
        match self.take(name)? {
            Value::String(text) => Ok(text),
            _ => Err(FormatError::of(format!("{name} is not a text"))),
        }
    }

    fn number(&mut self, name: &str) -> Result<u64, FormatError> {
        let number = self.take(name)?.as_u64().filter(|number| *number <= MAX_VERSION);
        number.ok_or_else(|| FormatError::of(format!("{name} is not a number from 0 to 2^53 - 1")))
    }

    fn flag(&mut self, name: &str) -> Result<bool, FormatError> {
        let flag = self.take(name)?.as_bool();
        flag.ok_or_else(|| FormatError::of(format!("{name} is neither true nor false")))
    }

    fn version(&mut self) -> Result<u64, FormatError> {
        match self.number("version")? {
            0 => Err(FormatError::of("version is not positive")),
            version => Ok(version),
        }
    }

    /// One spelling only: `2026-01-31T12:00:00Z` (§4.2.1).
    fn expires(&mut self) -> Result<Time, FormatError> {
        let text = self.text("expires")?;
        let time = Time::parse(&text).ok().filter(|time| time.to_string() == text);
        time.ok_or_else(|| FormatError::of("expires is not a time such as 2026-01-31T12:00:00Z"))
    }

    fn sha256(&mut self) -> Result<Sha256, FormatError> {
        let text = Members::of(self.take("hashes")?, "hashes")?.text("sha256")?;
        Sha256::parse(&text).map_err(|_| FormatError::of("sha256 is not a digest in hexadecimal"))
    }

    fn map<T>(
        &mut self,
        name: &str,
        limit: usize,
        read: impl Fn(Value) -> Result<T, FormatError>,
    ) -> Result<BTreeMap<String, T>, FormatError> {
        match self.take(name)? {
            Value::Object(members) if members.len() <= limit => {
                members.into_iter().map(|(name, value)| Ok((name, read(value)?))).collect()
            }
            _ => {
                Err(FormatError::of(format!("{name} is not an object of at most {limit} members")))
            }
        }
    }

    /// The members that every role has.
    pub(crate) fn check_type(&mut self, role: RoleName) -> Result<(), FormatError> {
        let (found, spec) = (self.text("_type")?, self.text("spec_version")?);
        if found != role.as_str() {
            return Err(FormatError::of(format!("this is metadata of another role than {role}")));
        }
        match spec.split('.').next() {
            Some("1") => Ok(()),
            _ => Err(FormatError::of("spec_version is not 1")),
        }
    }
}
