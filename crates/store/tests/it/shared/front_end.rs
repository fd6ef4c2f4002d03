//! Front ends on a stage, and what only somebody else can do to it.

use sealwright_store::postgres::{Client, NoTls};
use sealwright_store::{NewEntry, Place, StatementRecord, Store, StoreError};
use sealwright_tlog::{VerifiedCheckpoint, verify_checkpoint};

use super::stage::Stage;
use crate::fixture::{START, key};

impl Stage {
    /// A front end.
    pub(crate) fn open(&self) -> Store {
        open(&self.place(), START).unwrap()
    }

    /// The checkpoint in the bucket.
    pub(crate) fn published(&self) -> VerifiedCheckpoint {
        let note = self.object("checkpoint").unwrap();
        verify_checkpoint(&note, key().verifier()).unwrap()
    }

    pub(crate) fn delete_object(&self, path: &str) {
        assert_eq!(self.http("DELETE", path).0, 204);
    }

    /// Puts an object in the place of another one.
    pub(crate) fn put_object(&self, path: &str, content: &[u8]) {
        assert_eq!(self.send("PUT", path, content).0, 200);
    }

    /// Somebody else's connection to the server.
    pub(crate) fn admin(&self, database: &str) -> Client {
        Client::connect(&self.url(database), NoTls).unwrap()
    }

    /// Ends all connections to a database, as a network that breaks.
    pub(crate) fn disconnect(&self, database: &str) {
        let sql = "SELECT pg_terminate_backend(pid, 10000) FROM pg_stat_activity
                   WHERE datname = $1 AND pid <> pg_backend_pid()";
        self.admin("template1").query(sql, &[&database]).unwrap();
    }
}

/// Opens a front end at `now` that may start the log.
pub(crate) fn open(place: &Place, now: u64) -> Result<Store, StoreError> {
    Store::open_shared(place, &key(), true, now)
}

/// An entry that is like no other, wherever it comes to stand.
pub(crate) fn named(name: &str) -> NewEntry {
    let digest = sealwright_tlog::leaf_hash(name.as_bytes());
    NewEntry {
        body: name.as_bytes().to_vec(),
        statement: Some(StatementRecord {
            envelope_sha256: hex::encode(digest.0),
            predicate_type: "https://example.com/shared".to_owned(),
            subjects: vec![hex::encode(digest.0)],
            bundle: format!("bundle of {name}").into_bytes(),
            ..StatementRecord::default()
        }),
    }
}
