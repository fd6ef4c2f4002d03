//! Appending, in batches: what has to happen in which order, so that nothing acknowledged is lost and
//! no second tree of a size is ever signed.

use std::collections::HashMap;

use sealwright_tlog::merkle::stored_hash_count;
use sealwright_tlog::tile::MAX_ENTRY_LEN;
use sealwright_tlog::{VerifiedCheckpoint, leaf_hash, stored_hashes_for_leaf, tree_hash};

use crate::database::{Database, EntryRow, StatementRow, Transaction, hashes_for};
use crate::error::{Corruption, StoreError};
use crate::hook::Step;
use crate::statements::MAX_TEXT;
use crate::store::{
    Appended, NewEntry, Store, checkpoint_row, published_checkpoint, refuse_rollback, sign,
    signed_at, size_of, stored_head,
};

impl Store {
    /// Appends a batch: one transaction, one checkpoint signed at `now` (seconds since 1970).
    ///
    /// Returns when all of it is durable and published. After an error the batch may be in the
    /// log nevertheless, if only publishing failed; it is not visible then, and appending it
    /// again is safe, since an entry that is there already is found, not added.
    ///
    /// # Errors
    /// [`StoreError`].
    pub fn append(&mut self, entries: &[NewEntry], now: u64) -> Result<Vec<Appended>, StoreError> {
        self.append_by(entries, &|| now)
    }

    /// [`Store::append`] by a clock, which is read when nobody else may append any more: where the log
    /// is shared, that may be long after this was called, and the checkpoint says when it was signed.
    ///
    /// # Errors
    /// [`StoreError`].
    pub fn append_by(
        &mut self,
        entries: &[NewEntry],
        clock: &dyn Fn() -> u64,
    ) -> Result<Vec<Appended>, StoreError> {
        check_entries(entries)?;
        self.leased(|store| store.append_leased(entries, clock()))
    }

    /// The latest checkpoint, signed again with the time `now` (seconds since 1970) if it is older
    /// than `max_age_s` seconds. The new one is durable before it is returned.
    ///
    /// # Errors
    /// [`StoreError`].
    pub fn refresh_checkpoint(
        &mut self,
        now: u64,
        max_age_s: u64,
    ) -> Result<&VerifiedCheckpoint, StoreError> {
        self.refresh_checkpoint_by(&|| now, max_age_s)
    }

    /// [`Store::refresh_checkpoint`] by a clock, as [`Store::append_by`] reads it.
    ///
    /// # Errors
    /// [`StoreError`].
    pub fn refresh_checkpoint_by(
        &mut self,
        clock: &dyn Fn() -> u64,
        max_age_s: u64,
    ) -> Result<&VerifiedCheckpoint, StoreError> {
        self.leased(|store| store.refresh_leased(clock(), max_age_s))?;
        Ok(&self.published)
    }

    /// Does something while nobody else may append.
    fn leased<T>(
        &mut self,
        work: impl FnOnce(&mut Self) -> Result<T, StoreError>,
    ) -> Result<T, StoreError> {
        self.db.begin_lease()?;
        let done = self.settle().and_then(|()| work(self));
        self.db.end_lease();
        done
    }

    fn append_leased(
        &mut self,
        entries: &[NewEntry],
        now: u64,
    ) -> Result<Vec<Appended>, StoreError> {
        let now = self.check_clock(now)?;
        let size = size_of(&self.head);
        let tx = Transaction::begin(&*self.db)?;
        let plan = Plan::of(&*self.db, entries, size)?;
        let mut hashes = hashes_for(&*self.db, |hashes| tree_hash(size, hashes))?;
        let mut stored = Vec::new();
        for entry in &plan.new {
            let complete = stored_hashes_for_leaf(entry.index, entry.leaf, &hashes)?;
            for (position, hash) in (stored_hash_count(entry.index)..).zip(complete) {
                hashes.add(position, hash);
                stored.push((position, hash));
            }
        }
        if !plan.new.is_empty() {
            self.db.insert_entries(&plan.new, &stored)?;
        }
        if !plan.statements.is_empty() {
            self.db.insert_statements(&plan.statements)?;
        }
        if plan.new.is_empty() {
            if !plan.statements.is_empty() {
                tx.commit()?;
            }
            return Ok(plan.appended);
        }
        let head = sign(&self.key, size.saturating_add(plan.new.len() as u64), &hashes, now)?;
        self.db.insert_checkpoint(&checkpoint_row(&head)?)?;
        self.db.set_checkpoint(head.note(), self.head.note())?;
        self.hook.at(Step::Signed)?;
        tx.commit()?;
        self.head = head;
        self.hook.at(Step::Committed)?;
        self.publish(size_of(&self.published))?;
        Ok(plan.appended)
    }

    fn refresh_leased(&mut self, now: u64, max_age_s: u64) -> Result<(), StoreError> {
        let now = self.check_clock(now)?;
        if now.saturating_sub(signed_at(&self.head)?) <= max_age_s {
            return Ok(());
        }
        let size = size_of(&self.head);
        let hashes = hashes_for(&*self.db, |hashes| tree_hash(size, hashes))?;
        let tx = Transaction::begin(&*self.db)?;
        let head = sign(&self.key, size, &hashes, now)?;
        self.db.set_checkpoint(head.note(), self.head.note())?;
        self.hook.at(Step::Signed)?;
        tx.commit()?;
        self.head = head;
        self.hook.at(Step::Committed)?;
        self.publish(size_of(&self.published))
    }

    /// Brings memory and the published files up to what the database says. After a commit that
    /// failed halfway only the database knows whether it happened; after a failed publication, by
    /// whomever, it is still owed.
    fn settle(&mut self) -> Result<(), StoreError> {
        let row = self.db.log_row()?.ok_or(Corruption::MissingRow)?;
        if row.checkpoint != self.head.note() {
            let head = stored_head(&*self.db, &self.key)?;
            refuse_rollback(&self.head, &head)?;
            self.head = head;
        }
        if self.db.is_shared() {
            self.settle_published()
        } else if self.head == self.published {
            Ok(())
        } else {
            self.publish(size_of(&self.published))
        }
    }

    /// Others may have published, or have died before they could. The bucket is asked each time,
    /// before anything is signed: a database that was put in the place of one that knew more must not
    /// go on from where it is.
    fn settle_published(&mut self) -> Result<(), StoreError> {
        let (published, version) =
            published_checkpoint(&*self.objects, &*self.db, &self.key, &self.head)?;
        self.version = version;
        let from = published.as_ref().map_or(0, size_of);
        if let Some(published) = published {
            // A bucket that is behind what was shown already is put right, and shown to nobody.
            if refuse_rollback(&self.published, &published).is_ok() {
                self.published = published;
            }
        }
        if self.is_publishing_owed()? { self.publish(from) } else { Ok(()) }
    }

    /// Whether the bucket or the other front ends do not know of the latest checkpoint yet.
    pub(crate) fn is_publishing_owed(&self) -> Result<bool, StoreError> {
        let is_told = self.db.published()?.as_deref() == Some(self.head.note());
        Ok(!is_told || !self.has_published_latest()?)
    }

    /// Whether the file that readers see has the latest checkpoint.
    pub(crate) fn has_published_latest(&self) -> Result<bool, StoreError> {
        let published = self.objects.checkpoint()?;
        Ok(published.is_some_and(|published| published.note == self.head.note()))
    }

    /// The time to sign with at `now`; refuses to go back.
    pub(crate) fn check_clock(&self, now: u64) -> Result<u64, StoreError> {
        let last_signed = signed_at(&self.head)?;
        if last_signed.saturating_sub(now) > self.max_step_back_s {
            return Err(StoreError::ClockBehind { now, last_signed });
        }
        Ok(now.max(last_signed))
    }
}

/// What becomes of a batch.
struct Plan<'a> {
    /// Where each entry of the batch is then.
    appended: Vec<Appended>,
    /// Those that are not there yet, in log order.
    new: Vec<EntryRow<'a>>,
    /// Statements of new entries, and of old ones that have none yet.
    statements: Vec<StatementRow<'a>>,
}

impl<'a> Plan<'a> {
    fn of(db: &dyn Database, entries: &'a [NewEntry], size: u64) -> Result<Self, StoreError> {
        let leaves: Vec<_> = entries.iter().map(|entry| leaf_hash(&entry.body)).collect();
        let mut known = db.indexes_of(&leaves)?;
        let mut plan = Self { appended: Vec::new(), new: Vec::new(), statements: Vec::new() };
        // By index, so that of two statements for one entry the first counts.
        let mut brought = HashMap::new();
        let mut next = size;
        for (entry, leaf) in entries.iter().zip(leaves) {
            let (index, duplicate) = match known.get(&leaf) {
                Some(index) => (*index, true),
                None => {
                    plan.new.push(EntryRow { index: next, leaf, body: &entry.body });
                    known.insert(leaf, next);
                    next = next.saturating_add(1);
                    (next.saturating_sub(1), false)
                }
            };
            let place = plan.appended.len();
            plan.appended.push(Appended { index, duplicate, statement_added: false });
            if let Some(record) = &entry.statement {
                brought.entry(index).or_insert((place, record));
            }
        }
        // Somebody may bring the statement of an entry that was logged without it.
        let old: Vec<u64> = brought.keys().copied().filter(|index| *index < size).collect();
        let without = if old.is_empty() { old } else { db.without_statement(&old)? };
        for (index, (place, record)) in brought {
            if index >= size || without.contains(&index) {
                if let Some(appended) = plan.appended.get_mut(place) {
                    appended.statement_added = true;
                }
                plan.statements.push(StatementRow { index, record, erased_at: None });
            }
        }
        Ok(plan)
    }
}

impl NewEntry {
    /// Whether the store takes it. One that it does not take would fail the whole batch.
    ///
    /// # Errors
    /// [`StoreError::EntryTooLong`], [`StoreError::MalformedDigest`], [`StoreError::TextTooLong`].
    pub fn check(&self) -> Result<(), StoreError> {
        check_entries(std::slice::from_ref(self))
    }
}

fn check_entries(entries: &[NewEntry]) -> Result<(), StoreError> {
    for (position, entry) in entries.iter().enumerate() {
        let len = entry.body.len();
        if len > MAX_ENTRY_LEN {
            return Err(StoreError::EntryTooLong { position, len });
        }
        let Some(statement) = &entry.statement else { continue };
        let texts = [&statement.predicate_type, &statement.project, &statement.retention];
        for text in texts.into_iter().chain(&statement.signers) {
            if text.len() > MAX_TEXT {
                return Err(StoreError::TextTooLong { position, len: text.len() });
            }
        }
        for digest in statement.subjects.iter().chain([&statement.envelope_sha256]) {
            if !is_sha256_hex(digest) {
                return Err(StoreError::MalformedDigest { position, digest: digest.clone() });
            }
        }
    }
    Ok(())
}

fn is_sha256_hex(digest: &str) -> bool {
    digest.len() == 64 && digest.bytes().all(|b| matches!(b, b'0'..=b'9' | b'a'..=b'f'))
}
