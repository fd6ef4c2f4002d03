//! The statements that entries stand for: found, given back, erased.

use crate::error::StoreError;
use crate::store::Store;

/// Most bytes of a predicate type, a signer, a project or a retention class: they are in indexes.
pub const MAX_TEXT: usize = 1024;

/// What the store keeps of a statement, beside the entry.
#[derive(Clone, Debug, PartialEq, Eq, Default)]
pub struct StatementRecord {
    /// SHA-256 of the envelope in hex.
    pub envelope_sha256: String,
    /// Type of the predicate, a URI.
    pub predicate_type: String,
    /// SHA-256 of each subject in hex.
    pub subjects: Vec<String>,
    /// Who signed it, by whatever names the caller finds statements again. The store does not
    /// look at them.
    pub signers: Vec<String>,
    /// The project it belongs to; empty for none.
    pub project: String,
    /// How long it is to be kept, by the name of a class that means something to the caller; empty
    /// for none.
    pub retention: String,
    /// The bundle as its signer made it.
    pub bundle: Vec<u8>,
    /// The public key that verified it.
    pub public_key_pem: String,
}

/// A statement as it was stored.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StoredStatement {
    /// Index of its entry in the log.
    pub index: u64,
    /// SHA-256 of the envelope in hex.
    pub envelope_sha256: String,
    /// Type of the predicate.
    pub predicate_type: String,
    /// The project it belongs to; empty for none.
    pub project: String,
    /// The class of its retention; empty for none.
    pub retention: String,
    /// The rest of it, or when that was erased.
    pub payload: Payload,
}

/// What can be erased of a statement.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Payload {
    /// It is there.
    Kept {
        /// The bundle as its signer made it.
        bundle: Vec<u8>,
        /// The public key that verified it.
        public_key_pem: String,
    },
    /// It was erased.
    Erased {
        /// When, in seconds since 1970.
        at: u64,
    },
}

/// Which statements to find: those to which all of this applies. The default finds all.
#[derive(Clone, Debug, PartialEq, Eq, Default)]
pub struct Filter {
    /// They are about the subject with this SHA-256 (hex).
    pub subject: Option<String>,
    /// Their predicate is of this type.
    pub predicate_type: Option<String>,
    /// Their predicate is not of this type.
    pub except_type: Option<String>,
    /// They have this signer.
    pub signer: Option<String>,
    /// They are this statement: [`StatementRecord::envelope_sha256`].
    pub envelope_sha256: Option<String>,
    /// They belong to this project; the empty one for those that belong to none.
    pub project: Option<String>,
    /// Their index is this or a later one.
    pub from: Option<u64>,
    /// Their index is before this one.
    pub until: Option<u64>,
}

impl Store {
    /// The statement with this index; `None` if the log has no such index, or knows only the hash.
    ///
    /// # Errors
    /// When the database fails.
    pub fn statement(&self, index: u64) -> Result<Option<StoredStatement>, StoreError> {
        if index >= self.size() {
            return Ok(None);
        }
        self.db.statement_at(index)
    }

    /// Indexes of statements, in log order, at most `limit`. Those that were erased are among them.
    ///
    /// # Errors
    /// When the database fails.
    pub fn find(&self, filter: &Filter, limit: u32) -> Result<Vec<u64>, StoreError> {
        let until = filter.until.unwrap_or(u64::MAX).min(self.size());
        let from = filter.from.unwrap_or(0).min(until);
        self.db.find(filter, from..until, limit)
    }

    /// Indexes below `until` of statements of a retention class that are not erased yet, in log
    /// order, at most `limit`.
    ///
    /// # Errors
    /// When the database fails.
    pub fn find_to_erase(
        &self,
        retention: &str,
        until: u64,
        limit: u32,
    ) -> Result<Vec<u64>, StoreError> {
        self.db.find_to_erase(retention, until.min(self.size()), limit)
    }

    /// The first index whose entry was logged at `time` (seconds since 1970) or later, by the time of
    /// the first checkpoint with it; the size of the log, if there is none yet.
    ///
    /// # Errors
    /// When the database fails.
    pub fn index_at(&self, time: u64) -> Result<u64, StoreError> {
        Ok(self.db.size_before(time)?.min(self.size()))
    }

    /// Erases bundle and key of a statement at `now` (seconds since 1970); entry, hashes, subjects and
    /// signers stay, and with them every proof. Returns when it was erased, also if that was before;
    /// `None` if there is no such statement.
    ///
    /// It stays erased when somebody submits it again. When this returns the database holds no copy;
    /// backups and the medium below are not the store's.
    ///
    /// # Errors
    /// When the database fails.
    pub fn erase(&mut self, index: u64, now: u64) -> Result<Option<u64>, StoreError> {
        if index >= self.size() {
            return Ok(None);
        }
        self.db.erase(index, now)?;
        Ok(self.db.statement_at(index)?.and_then(|statement| match statement.payload {
            Payload::Erased { at } => Some(at),
            Payload::Kept { .. } => None,
        }))
    }
}
