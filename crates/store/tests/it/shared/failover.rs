//! The database's server dies for good, and its replica takes its place.

use std::process::{Child, Stdio};

use sealwright_store::postgres::{Client, NoTls};
use sealwright_store::{Place, StoreError};

use super::front_end::{named, open};
use super::stage::{Stage, as_user, eventually, free_port, start_server};
use crate::check_log::check_answers;
use crate::fixture::{START, grow, signed_at};

/// A server that follows the one of the stage.
struct Replica {
    port: u16,
    server: Child,
}

impl Replica {
    fn of(stage: &Stage) -> Self {
        let data = stage.dir.path().join("replica");
        let (from, port) = (stage.port.to_string(), free_port());
        let copied = as_user("pg_basebackup")
            .args(["-h", "127.0.0.1", "-p", &from, "-U", "postgres", "-c", "fast", "-R", "-D"])
            .arg(&data)
            .stdout(Stdio::null())
            .status();
        assert!(copied.unwrap().success(), "pg_basebackup");
        let replica = Self { port, server: start_server(&data, port) };
        eventually("the replica follows", || {
            let sql = "SELECT FROM pg_stat_replication WHERE state = 'streaming'";
            stage.admin("postgres").query(sql, &[]).unwrap().len() == 1
        });
        replica
    }

    fn admin(&self) -> Client {
        let url = format!("postgres://postgres@127.0.0.1:{}/postgres", self.port);
        Client::connect(&url, NoTls).unwrap()
    }

    fn promote(&self) {
        let row = self.admin().query_one("SELECT pg_promote(true, 60)", &[]).unwrap();
        assert!(row.get::<_, bool>(0));
    }
}

impl Drop for Replica {
    fn drop(&mut self) {
        let _ = self.server.kill();
        let _ = self.server.wait();
    }
}

/// The log on whichever of the two takes writes.
fn place(stage: &Stage, replica: &Replica) -> Place {
    let (one, other) = (stage.port, replica.port);
    let database = format!("postgres://postgres@127.0.0.1:{one},127.0.0.1:{other}/postgres");
    Place { database, ..stage.place() }
}

#[test]
fn a_replica_that_has_everything_takes_over_and_nothing_is_lost() {
    let mut stage = Stage::new();
    let replica = Replica::of(&stage);
    let mut admin = stage.admin("postgres");
    admin.execute("ALTER SYSTEM SET synchronous_standby_names = '*'", &[]).unwrap();
    admin.query("SELECT pg_reload_conf()", &[]).unwrap();
    eventually("commits wait for the replica", || {
        let sql = "SELECT FROM pg_stat_replication WHERE sync_state = 'sync'";
        stage.admin("postgres").query(sql, &[]).unwrap().len() == 1
    });
    let place = place(&stage, &replica);
    let (mut one, mut other) = (open(&place, START).unwrap(), open(&place, START).unwrap());
    for _ in 0..5 {
        grow(&mut one, 3).unwrap();
    }
    let before = one.checkpoint().clone();
    stage.kill_server();
    assert!(other.follow().is_err());
    replica.promote();
    other.follow().unwrap();
    assert_eq!(other.checkpoint(), &before);
    check_answers(&other);
    grow(&mut other, 2).unwrap();
    one.follow().unwrap();
    grow(&mut one, 2).unwrap();
    check_answers(&one);
    assert_eq!(&stage.published(), one.checkpoint());
    assert!(one.check().unwrap().is_sound());
}

#[test]
fn a_replica_that_lost_commits_is_refused() {
    let mut stage = Stage::new();
    let replica = Replica::of(&stage);
    let place = place(&stage, &replica);
    let mut running = open(&place, START).unwrap();
    grow(&mut running, 3).unwrap();
    let size = running.size();
    eventually("the replica has it", || {
        let sql = "SELECT count(*) FROM sealwright.entries";
        let rows = replica.admin().query(sql, &[]);
        rows.is_ok_and(|rows| rows[0].get::<_, i64>(0) == i64::try_from(size).unwrap())
    });
    // What is committed from now on does not reach it in time.
    let mut admin = replica.admin();
    admin.execute("ALTER SYSTEM SET primary_conninfo = ''", &[]).unwrap();
    admin.query("SELECT pg_reload_conf()", &[]).unwrap();
    let receiver = "SELECT pid FROM pg_stat_wal_receiver";
    eventually("the replica is cut off", || {
        replica.admin().query(receiver, &[]).unwrap().is_empty()
    });
    grow(&mut running, 2).unwrap();
    let published = stage.published();
    stage.kill_server();
    replica.promote();

    let now = signed_at(&running) + 10;
    let refused = running.append(&[named("a second history")], now);
    assert!(matches!(refused, Err(StoreError::RolledBack { .. })), "{refused:?}");
    assert!(matches!(running.follow(), Err(StoreError::RolledBack { .. })));
    assert!(matches!(open(&place, now), Err(StoreError::RolledBack { .. })));
    assert_eq!(stage.published(), published);
    let row = replica.admin().query_one("SELECT count(*) FROM sealwright.entries", &[]).unwrap();
    assert_eq!(row.get::<_, i64>(0), 3);
}
