//! The schema in PostgreSQL. It says the same as the one for SQLite, where the comments are.
//!
//! Whatever comes from outside is `bytea`: it is compared byte by byte, whatever the database's locale,
//! and may hold any character.

/// The version this program writes, kept in the table `version`.
pub(super) const VERSION: i64 = 1;

/// Tables and indexes, if they are not there.
pub(super) const SCHEMA: &str = "
    CREATE TABLE IF NOT EXISTS version (version bigint NOT NULL);
    INSERT INTO version SELECT 1 WHERE NOT EXISTS (SELECT FROM version);

    -- `published` is the checkpoint that readers are shown.
    CREATE TABLE IF NOT EXISTS log (
        id integer PRIMARY KEY CHECK (id = 1),
        origin text NOT NULL,
        verifier_key text NOT NULL,
        checkpoint bytea NOT NULL,
        published bytea
    );

    CREATE TABLE IF NOT EXISTS entries (
        idx bigint PRIMARY KEY,
        leaf bytea NOT NULL UNIQUE CHECK (octet_length(leaf) = 32),
        body bytea NOT NULL
    );

    CREATE TABLE IF NOT EXISTS hashes (
        position bigint PRIMARY KEY,
        hash bytea NOT NULL CHECK (octet_length(hash) = 32)
    );

    CREATE TABLE IF NOT EXISTS checkpoints (
        size bigint PRIMARY KEY,
        note bytea NOT NULL,
        signed_at bigint NOT NULL
    );
    CREATE INDEX IF NOT EXISTS checkpoints_by_time ON checkpoints (signed_at, size);

    CREATE TABLE IF NOT EXISTS statements (
        idx bigint PRIMARY KEY REFERENCES entries (idx),
        envelope_sha256 bytea NOT NULL,
        predicate_type bytea NOT NULL,
        bundle bytea NOT NULL,
        public_key_pem bytea NOT NULL,
        project bytea NOT NULL,
        retention bytea NOT NULL,
        erased_at bigint
    );
    CREATE INDEX IF NOT EXISTS statements_by_type ON statements (predicate_type, idx);
    CREATE INDEX IF NOT EXISTS statements_by_project ON statements (project, idx);
    CREATE INDEX IF NOT EXISTS statements_by_project_and_type
        ON statements (project, predicate_type, idx);
    CREATE INDEX IF NOT EXISTS statements_by_digest ON statements (envelope_sha256, idx);
    CREATE INDEX IF NOT EXISTS statements_to_erase
        ON statements (retention, idx) WHERE erased_at IS NULL;

    CREATE TABLE IF NOT EXISTS subjects (
        sha256 bytea NOT NULL,
        idx bigint NOT NULL REFERENCES statements (idx),
        PRIMARY KEY (sha256, idx)
    );

    CREATE TABLE IF NOT EXISTS signers (
        signer bytea NOT NULL,
        idx bigint NOT NULL REFERENCES statements (idx),
        PRIMARY KEY (signer, idx)
    );
";
