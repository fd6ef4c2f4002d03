//! The Update Framework, version 1.0: how clients learn whom to trust, and learn it anew.
//!
//! ```text
//! bytes ──Document::parse──► Document<T> ──Trust, update──► Verified<T>
//!          well-formed, not trusted          signed by enough keys of the root, not expired,
//!                                            not older than what was seen
//! ```
//!
//! * [`Root`], [`Targets`], [`Snapshot`], [`Timestamp`]: what the four roles say.
//! * [`Document`]: such metadata with its signatures; read, written, signed. Not trusted.
//! * [`Trust`]: a root that is trusted, and the only way to [`Verified`] metadata.
//! * [`follow_roots`], [`update`]: a client's workflow (specification, chapter 5), over any source of
//!   bytes.
//! * [`Key`], [`canonical_json`]: what is signed with, and which bytes are signed.
//!
//! Only what a repository for trusted roots needs is here: four top-level roles, consistent snapshots,
//! no delegations. The crate opens no file, reads no clock and touches no network.

mod canonical;
mod document;
mod key;
mod metadata;
mod trust;
mod update;

pub use canonical::{NotCanonical, canonical_json};
pub use document::{AddError, Document, FormatError};
pub use key::{Key, KeyId, UnusableKey};
pub use metadata::{
    MAX_VERSION, MetaFile, Metadata, RoleKeys, RoleName, Root, Snapshot, TargetFile, Targets,
    Timestamp, is_target_name,
};
pub use trust::{Refused, Seen, Trust, Verified};
pub use update::{Fetch, MAX_ROOTS, Update, UpdateError, follow_roots, update};
