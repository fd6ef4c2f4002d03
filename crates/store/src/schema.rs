//! The database's schema, and how an older database comes up to it.

use rusqlite::{Connection, params};
use sealwright_tlog::{VerifierKey, verify_checkpoint};

use crate::error::{Corruption, StoreError};

/// The version this program writes, kept in `user_version`.
const VERSION: i64 = 2;

const SCHEMA: &str = "
    -- One row: which log this is, and its latest checkpoint. The checkpoint may be newer than the
    -- one in `checkpoints` for the same size, since a log without news signs again to stay fresh.
    CREATE TABLE log (
        id INTEGER PRIMARY KEY CHECK (id = 1),
        origin TEXT NOT NULL,
        verifier_key TEXT NOT NULL,
        checkpoint BLOB NOT NULL
    ) STRICT;

    -- What is logged. `leaf` is SHA-256(0x00 || body).
    CREATE TABLE entries (
        idx INTEGER PRIMARY KEY,
        leaf BLOB NOT NULL UNIQUE CHECK (length(leaf) = 32),
        body BLOB NOT NULL
    ) STRICT;

    -- The hashes of all complete subtrees, in append order.
    CREATE TABLE hashes (
        position INTEGER PRIMARY KEY,
        hash BLOB NOT NULL CHECK (length(hash) = 32)
    ) STRICT;

    -- The first checkpoint of each tree size that was signed, and its time in seconds since 1970.
    CREATE TABLE checkpoints (
        size INTEGER PRIMARY KEY,
        note BLOB NOT NULL,
        signed_at INTEGER NOT NULL
    ) STRICT;

    -- The statement an entry stands for. One that was erased at `erased_at` (seconds since 1970)
    -- has neither bundle nor key.
    CREATE TABLE statements (
        idx INTEGER PRIMARY KEY REFERENCES entries (idx),
        envelope_sha256 TEXT NOT NULL,
        predicate_type TEXT NOT NULL,
        bundle BLOB NOT NULL,
        public_key_pem TEXT NOT NULL,
        project TEXT NOT NULL,
        retention TEXT NOT NULL,
        erased_at INTEGER
    ) STRICT;

    -- What the statements are about, by SHA-256 in hex.
    CREATE TABLE subjects (
        sha256 TEXT NOT NULL,
        idx INTEGER NOT NULL REFERENCES statements (idx),
        PRIMARY KEY (sha256, idx)
    ) STRICT, WITHOUT ROWID;
";

const SIGNERS: &str = "
    -- Who signed the statements, by whatever name the service gives them.
    CREATE TABLE signers (
        signer TEXT NOT NULL,
        idx INTEGER NOT NULL REFERENCES statements (idx),
        PRIMARY KEY (signer, idx)
    ) STRICT, WITHOUT ROWID;
";

const INDEXES: &str = "
    CREATE INDEX checkpoints_by_time ON checkpoints (signed_at, size);
    CREATE INDEX statements_by_type ON statements (predicate_type, idx);
    CREATE INDEX statements_by_project ON statements (project, idx);
    CREATE INDEX statements_by_project_and_type ON statements (project, predicate_type, idx);
    CREATE INDEX statements_to_erase ON statements (retention, idx) WHERE erased_at IS NULL;
";

/// Newer than version 2, which it changes nothing of: programs that know nothing of it keep it.
const BY_DIGEST: &str =
    "CREATE INDEX IF NOT EXISTS statements_by_digest ON statements (envelope_sha256, idx)";

/// What version 1 lacks, but for the tables that are new.
const FROM_1: &str = "
    DROP INDEX statements_by_type;
    ALTER TABLE checkpoints ADD COLUMN signed_at INTEGER NOT NULL DEFAULT 0;
    ALTER TABLE statements ADD COLUMN project TEXT NOT NULL DEFAULT '';
    ALTER TABLE statements ADD COLUMN retention TEXT NOT NULL DEFAULT '';
    ALTER TABLE statements ADD COLUMN erased_at INTEGER;
";

/// Makes the schema, or brings an older one up to this version, whole or not at all. Times of an
/// older log are read from its checkpoints, which `verifier` must have signed.
pub(crate) fn prepare(db: &mut Connection, verifier: &VerifierKey) -> Result<(), StoreError> {
    match db.pragma_query_value(None, "user_version", |row| row.get(0))? {
        VERSION if db.is_readonly("main")? => Ok(()),
        VERSION => Ok(db.execute_batch(BY_DIGEST)?),
        found @ (0 | 1) => {
            let tx = db.transaction()?;
            if found == 0 {
                tx.execute_batch(SCHEMA)?;
            } else {
                tx.execute_batch(FROM_1)?;
                fill_in_times(&tx, verifier)?;
            }
            tx.execute_batch(SIGNERS)?;
            tx.execute_batch(INDEXES)?;
            tx.execute_batch(BY_DIGEST)?;
            tx.pragma_update(None, "user_version", VERSION)?;
            Ok(tx.commit()?)
        }
        found => Err(StoreError::SchemaVersion { found, supported: VERSION }),
    }
}

fn fill_in_times(db: &Connection, verifier: &VerifierKey) -> Result<(), StoreError> {
    let mut query = db.prepare("SELECT size, note FROM checkpoints")?;
    let mut update = db.prepare("UPDATE checkpoints SET signed_at = ?2 WHERE size = ?1")?;
    let mut rows = query.query([])?;
    while let Some(row) = rows.next()? {
        let (size, note): (u64, Vec<u8>) = (row.get(0)?, row.get(1)?);
        let checkpoint = verify_checkpoint(&note, verifier)?;
        update.execute(params![size, checkpoint.cosigned_at().ok_or(Corruption::NoTime)?])?;
    }
    Ok(())
}
