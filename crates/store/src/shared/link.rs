//! The connection to PostgreSQL: made anew when it breaks, but never while a lease is held.

use std::collections::HashMap;
use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

use postgres::config::{Host, SslMode, TargetSessionAttrs};
use postgres::error::SqlState;
use postgres::{Client, Config, Statement};
use rustls::{ClientConfig, RootCertStore};
use tokio_postgres_rustls::MakeRustlsConnect;

use super::Place;
use crate::error::{StoreError, WriteFault};

/// A host that does not answer is given up after this time, by either side.
const SILENCE: Duration = Duration::from_secs(20);

/// What each session is set to. Commits wait for the disk, and longer if the database's owner wants
/// them to wait for replicas as well. The server gives up a silent client as the client does it: its
/// lock goes then.
const SESSION: &str = "
    SET search_path = sealwright;
    SET client_min_messages = warning;
    SET default_transaction_isolation = 'read committed';
    SET tcp_keepalives_idle = 10;
    SET tcp_keepalives_interval = 3;
    SET tcp_keepalives_count = 3;
    SET tcp_user_timeout = 20000;
    SELECT set_config('synchronous_commit', 'on', false)
        WHERE current_setting('synchronous_commit') = 'off';
";

/// The lock that makes a sequencer, one for each database: `sealwrgt` in ASCII.
const LOCK: i64 = 0x7365_616c_7772_6774;

/// A connection that may be gone.
pub(super) struct Link {
    config: Config,
    tls: MakeRustlsConnect,
    live: Option<Live>,
    is_leased: bool,
}

/// A connection that was there when it was last used.
pub(super) struct Live {
    pub(super) client: Client,
    statements: HashMap<String, Statement>,
}

impl Live {
    /// A statement, prepared once for each connection.
    pub(super) fn statement(&mut self, sql: &str) -> Result<Statement, postgres::Error> {
        if let Some(statement) = self.statements.get(sql) {
            return Ok(statement.clone());
        }
        let statement = self.client.prepare(sql)?;
        self.statements.insert(sql.to_owned(), statement.clone());
        Ok(statement)
    }
}

impl Link {
    /// A connection that is made when it is first used.
    pub(super) fn new(place: &Place) -> Result<Self, StoreError> {
        let unusable = |source: postgres::Error| StoreError::Place {
            what: "the database's URL",
            problem: std::error::Error::source(&source)
                .map_or_else(|| source.to_string(), ToString::to_string),
        };
        let mut config: Config = place.database.parse().map_err(unusable)?;
        require_tls(&mut config, place.insecure_plain)?;
        if config.get_application_name().is_none() {
            config.application_name("sealwright");
        }
        config
            .target_session_attrs(TargetSessionAttrs::ReadWrite)
            .connect_timeout(Duration::from_secs(10))
            .tcp_user_timeout(SILENCE)
            .keepalives_idle(Duration::from_secs(10))
            .keepalives_interval(Duration::from_secs(3))
            .keepalives_retries(3);
        Ok(Self { config, tls: tls()?, live: None, is_leased: false })
    }

    /// Does something with the connection. One that turns out to be broken is made anew, and it is
    /// done again, once; so it must be a thing that can be done twice. Not so while a lease is held: it
    /// is lost with the connection.
    pub(super) fn with<T>(
        &mut self,
        mut run: impl FnMut(&mut Live) -> Result<T, postgres::Error>,
    ) -> Result<T, StoreError> {
        let mut is_second = false;
        loop {
            let live = match &mut self.live {
                Some(live) => live,
                None if self.is_leased => return Err(StoreError::LeaseLost),
                None => self.live.insert(connect(&self.config, &self.tls)?),
            };
            let error = match run(live) {
                Ok(value) => return Ok(value),
                Err(error) => error,
            };
            if !is_broken(live, &error) {
                return Err(sort(error));
            }
            self.live = None;
            if self.is_leased {
                tracing::warn!(%error, "the connection to the database broke while appending");
                return Err(StoreError::LeaseLost);
            }
            if is_second {
                return Err(unreachable(error));
            }
            is_second = true;
        }
    }

    /// Waits for the lock. A front end that holds it and has stopped, but whose kernel still answers,
    /// loses it after a minute without a word, within a transaction or outside.
    pub(super) fn begin_lease(&mut self) -> Result<(), StoreError> {
        self.is_leased = false;
        let sql = format!(
            "SET lock_timeout = '30s'; SET idle_session_timeout = '60s';
             SET idle_in_transaction_session_timeout = '60s';
             SELECT pg_advisory_lock({LOCK}); SET lock_timeout = 0"
        );
        self.with(|live| live.client.batch_execute(&sql))?;
        self.is_leased = true;
        Ok(())
    }

    pub(super) fn end_lease(&mut self) {
        self.is_leased = false;
        let Some(live) = &mut self.live else { return };
        let sql = format!(
            "SELECT pg_advisory_unlock({LOCK}); SET idle_session_timeout = 0;
             SET idle_in_transaction_session_timeout = 0"
        );
        if live.client.batch_execute(&sql).is_err() {
            // The lock goes with the connection.
            self.live = None;
        }
    }

    pub(super) fn rollback(&mut self) {
        let Some(live) = &mut self.live else { return };
        if live.client.batch_execute("ROLLBACK").is_err() {
            self.live = None;
        }
    }
}

fn connect(config: &Config, tls: &MakeRustlsConnect) -> Result<Live, StoreError> {
    let mut client = config.connect(tls.clone()).map_err(unreachable)?;
    client.batch_execute(SESSION).map_err(sort)?;
    let row = client.query_one("SHOW fsync", &[]).map_err(sort)?;
    if row.get::<_, &str>(0) != "on" {
        return Err(StoreError::Place {
            what: "the database",
            problem: "it runs with fsync off, and would lose what it has acknowledged".to_owned(),
        });
    }
    Ok(Live { client, statements: HashMap::new() })
}

/// Refuses to send passwords and statements to other machines unencrypted.
fn require_tls(config: &mut Config, insecure_plain: bool) -> Result<(), StoreError> {
    let is_local = |host: &Host| match host {
        Host::Unix(_) => true,
        Host::Tcp(name) => {
            name == "localhost" || name.parse::<IpAddr>().is_ok_and(|address| address.is_loopback())
        }
    };
    let hosts = config.get_hosts();
    let addresses = config.get_hostaddrs();
    if insecure_plain || (hosts.iter().all(is_local) && addresses.iter().all(IpAddr::is_loopback)) {
        return Ok(());
    }
    if config.get_ssl_mode() == SslMode::Disable {
        return Err(StoreError::Place {
            what: "the database's URL",
            problem: "it asks for a connection to another machine without TLS".to_owned(),
        });
    }
    config.ssl_mode(SslMode::Require);
    Ok(())
}

/// The system's authorities, or those that `SSL_CERT_FILE` names.
fn tls() -> Result<MakeRustlsConnect, StoreError> {
    let mut roots = RootCertStore::empty();
    let found = rustls_native_certs::load_native_certs();
    for error in &found.errors {
        tracing::warn!(%error, "a certificate of an authority cannot be read");
    }
    roots.add_parsable_certificates(found.certs);
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let config = ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .map_err(|error| StoreError::Unreachable { what: "the database", source: Box::new(error) })?
        .with_root_certificates(roots)
        .with_no_client_auth();
    Ok(MakeRustlsConnect::new(config))
}

/// Whether the connection is no longer of use: it broke, the server is going down, or it has become a
/// replica.
fn is_broken(live: &Live, error: &postgres::Error) -> bool {
    error.is_closed()
        || live.client.is_closed()
        || error.code().is_some_and(|code| {
            [
                SqlState::ADMIN_SHUTDOWN,
                SqlState::CRASH_SHUTDOWN,
                SqlState::CANNOT_CONNECT_NOW,
                SqlState::IDLE_SESSION_TIMEOUT,
                SqlState::IDLE_IN_TRANSACTION_SESSION_TIMEOUT,
                SqlState::READ_ONLY_SQL_TRANSACTION,
            ]
            .contains(code)
        })
}

fn unreachable(error: postgres::Error) -> StoreError {
    StoreError::Unreachable { what: "the database", source: Box::new(error) }
}

/// Sorts an error of the database.
fn sort(error: postgres::Error) -> StoreError {
    let fault = match error.code() {
        Some(&SqlState::LOCK_NOT_AVAILABLE) => return StoreError::LeaseBusy,
        Some(&SqlState::DISK_FULL) => WriteFault::Full,
        Some(&SqlState::IO_ERROR) => WriteFault::Device,
        Some(_) => return StoreError::Database(Box::new(error)),
        None if std::error::Error::source(&error).is_some_and(|it| it.is::<std::io::Error>()) => {
            return unreachable(error);
        }
        None => return StoreError::Database(Box::new(error)),
    };
    StoreError::Unwritable { fault, source: Box::new(error) }
}
