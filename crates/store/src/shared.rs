//! A log that several front ends share: the database is PostgreSQL, and tiles and checkpoint are in an
//! S3-compatible bucket.
//!
//! # Who may append
//!
//! Whoever holds a session-level advisory lock of PostgreSQL, taken for each batch and held from
//! before the transaction until the checkpoint is published. Every front end can append; whoever dies
//! loses the lock with its connection, and the next one finishes what it left, before anything else.
//!
//! # Who must not publish
//!
//! A front end that has lost its connection may not know it yet, and may be about to replace the
//! checkpoint in the bucket with its own, which somebody else's has followed in the meantime. So that
//! object is written only in the place of the very one that was read under the lock (`If-Match`);
//! a bucket that does not know such conditions is refused. Tiles are the same whoever writes them, and
//! are written only where there is none (`If-None-Match`). What front ends show to readers comes from
//! the database, which is told, under the lock, what has been published.
//!
//! # Databases that forget
//!
//! Before anything is signed, the checkpoint in the bucket is held against the database. One that is
//! behind it, since it is a replica that lost commits or an old copy, is refused: nothing more is
//! appended until it has what was published.

#[cfg(feature = "scale-out")]
mod bucket;
#[cfg(feature = "scale-out")]
mod leave;
#[cfg(feature = "scale-out")]
mod link;
#[cfg(feature = "scale-out")]
mod luggage;
#[cfg(feature = "scale-out")]
mod postgres;
#[cfg(feature = "scale-out")]
mod postgres_schema;

use sealwright_tlog::LogKey;

use crate::error::StoreError;
use crate::store::Store;

/// Where a log is that several front ends share.
#[derive(Clone, PartialEq, Eq)]
pub struct Place {
    /// URL of the PostgreSQL database, version 14 or later: `postgres://USER:PASSWORD@HOST/NAME`. All
    /// that belongs to the log is in the schema `sealwright`.
    pub database: String,
    /// The bucket, and the prefix of all its objects: `s3://NAME` or `s3://NAME/PREFIX`. Who may use
    /// it is said by `AWS_ACCESS_KEY_ID`, `AWS_SECRET_ACCESS_KEY`, `AWS_REGION` and the like, or by
    /// the instance's own role.
    pub bucket: String,
    /// URL of an S3-compatible service, if it is not Amazon's.
    pub endpoint: Option<String>,
    /// Allows other machines to be spoken to without TLS.
    pub insecure_plain: bool,
}

impl std::fmt::Debug for Place {
    /// Without the database's password.
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Place({})", self.bucket)
    }
}

/// What [`Store::move_to`] has moved.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Moved {
    /// Entries, each with its hashes.
    pub entries: u64,
    /// Statements, those that were erased among them.
    pub statements: u64,
    /// Checkpoints: the first one of each size that was signed.
    pub checkpoints: u64,
    /// By how many subjects statements are found.
    pub subjects: u64,
    /// By how many signers.
    pub signers: u64,
}

impl Store {
    /// Opens the log at `place`, or, if there is none and `may_start`, starts one there with an empty
    /// tree signed at `now` (seconds since 1970). Publishes what somebody else's crash left
    /// unpublished.
    ///
    /// Blocks, and must not be called or dropped on an async thread.
    ///
    /// # Errors
    /// [`StoreError`].
    #[cfg(feature = "scale-out")]
    pub fn open_shared(
        place: &Place,
        key: &LogKey,
        may_start: bool,
        now: u64,
    ) -> Result<Self, StoreError> {
        let db = postgres::Postgres::open(place, true)?;
        let bucket = bucket::Bucket::open(place)?;
        bucket.probe()?;
        let how = crate::store::Opening::Serve { may_start };
        Self::load(Box::new(db), Box::new(bucket), key.origin(), key, how, now)
    }

    /// Opens the log at `place` for [`Store::check`]: nothing is started, published or mended.
    ///
    /// # Errors
    /// As [`Store::open_shared`].
    #[cfg(feature = "scale-out")]
    pub fn open_shared_as_it_is(place: &Place, key: &LogKey, now: u64) -> Result<Self, StoreError> {
        let db = postgres::Postgres::open(place, false)?;
        let bucket = bucket::Bucket::open(place)?;
        let how = crate::store::Opening::Look;
        Self::load(Box::new(db), Box::new(bucket), key.origin(), key, how, now)
    }

    /// This program was built without what a shared log needs.
    ///
    /// # Errors
    /// Always [`StoreError::NotBuilt`].
    #[cfg(not(feature = "scale-out"))]
    pub fn open_shared(
        _place: &Place,
        _key: &LogKey,
        _may_start: bool,
        _now: u64,
    ) -> Result<Self, StoreError> {
        Err(StoreError::NotBuilt)
    }

    /// This program was built without what a shared log needs.
    ///
    /// # Errors
    /// Always [`StoreError::NotBuilt`].
    #[cfg(not(feature = "scale-out"))]
    pub fn open_shared_as_it_is(
        _place: &Place,
        _key: &LogKey,
        _now: u64,
    ) -> Result<Self, StoreError> {
        Err(StoreError::NotBuilt)
    }

    /// This program was built without what a shared log needs.
    ///
    /// # Errors
    /// Always [`StoreError::NotBuilt`].
    #[cfg(not(feature = "scale-out"))]
    pub fn move_to(
        _dir: &std::path::Path,
        _key: &LogKey,
        _place: &Place,
        _progress: &mut dyn FnMut(u64, u64),
    ) -> Result<Moved, StoreError> {
        Err(StoreError::NotBuilt)
    }
}
