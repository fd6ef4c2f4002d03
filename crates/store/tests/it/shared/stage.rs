//! A PostgreSQL server and a bucket for one test. The tests of the program use it as well.

use std::io::{Read as _, Write as _};
use std::net::{Ipv4Addr, SocketAddr, TcpListener, TcpStream};
use std::os::unix::fs::chown;
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::sync::OnceLock;
use std::sync::atomic::{AtomicU32, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use sealwright_store::Place;

/// Nothing here takes so long.
const PATIENCE: Duration = Duration::from_secs(60);

/// A PostgreSQL server of its own, and a bucket of its own. Both end with it.
pub(crate) struct Stage {
    pub(super) dir: tempfile::TempDir,
    pub(super) port: u16,
    server: Child,
    bucket: String,
}

impl Stage {
    pub(crate) fn new() -> Self {
        let dir = tempfile::tempdir().unwrap();
        if let Some(user) = unprivileged() {
            chown(dir.path(), Some(user), Some(user)).unwrap();
        }
        let data = dir.path().join("data");
        let made = as_user("initdb")
            .args(["--auth=trust", "--username=postgres", "--no-sync", "--encoding=UTF8", "-D"])
            .arg(&data)
            .stdout(Stdio::null())
            .status();
        assert!(made.unwrap().success(), "initdb");
        let port = free_port();
        let server = start_server(&data, port);
        let bucket = bucket();
        // The stand-in takes any signature, but the client has to make one.
        component("AWS_ACCESS_KEY_ID");
        component("AWS_SECRET_ACCESS_KEY");
        let stage = Self { dir, port, server, bucket };
        stage.wait();
        stage
    }

    pub(crate) fn place(&self) -> Place {
        self.place_in("postgres", service())
    }

    /// The bucket through another address, the log in another database.
    pub(crate) fn place_in(&self, database: &str, service: SocketAddr) -> Place {
        Place {
            database: self.url(database),
            bucket: format!("s3://{}/log", self.bucket),
            endpoint: Some(format!("http://{service}")),
            insecure_plain: false,
        }
    }

    /// A database's URL.
    pub(crate) fn url(&self, database: &str) -> String {
        format!("postgres://postgres@127.0.0.1:{}/{database}", self.port)
    }

    /// The content of an object.
    pub(crate) fn object(&self, path: &str) -> Option<Vec<u8>> {
        let (status, body) = self.http("GET", path);
        (status == 200).then_some(body)
    }

    /// Status and body of the answer to a request for an object.
    pub(crate) fn http(&self, method: &str, path: &str) -> (u16, Vec<u8>) {
        self.send(method, path, b"")
    }

    /// The same with a body.
    pub(crate) fn send(&self, method: &str, path: &str, body: &[u8]) -> (u16, Vec<u8>) {
        http(method, &format!("/{}/log/{path}", self.bucket), body)
    }

    /// SIGKILL, for the server and all of its processes.
    pub(crate) fn kill_server(&mut self) {
        let pid = self.server.id().to_string();
        // Its children, one for each connection, would notice and end, but later.
        let children = Command::new("pgrep").args(["-P", &pid]).output().unwrap();
        self.server.kill().unwrap();
        self.server.wait().unwrap();
        for child in String::from_utf8(children.stdout).unwrap().lines() {
            // It may have noticed already.
            let _ = Command::new("kill").args(["-9", child]).stderr(Stdio::null()).status();
        }
    }

    pub(crate) fn restart_server(&mut self) {
        self.server = start_server(&self.dir.path().join("data"), self.port);
        self.wait();
    }

    fn wait(&self) {
        let port = self.port.to_string();
        let program = component("SEALWRIGHT_TEST_POSTGRES").join("pg_isready");
        eventually("PostgreSQL answers", || {
            let asked =
                Command::new(&program).args(["-q", "-h", "127.0.0.1", "-p", &port]).status();
            asked.unwrap().success()
        });
    }
}

impl Drop for Stage {
    fn drop(&mut self) {
        let _ = self.server.kill();
        let _ = self.server.wait();
    }
}

/// Waits for a condition.
pub(crate) fn eventually(what: &str, condition: impl Fn() -> bool) {
    let start = Instant::now();
    while !condition() {
        assert!(start.elapsed() < PATIENCE, "{what}");
        thread::sleep(Duration::from_millis(20));
    }
}

pub(super) fn start_server(data: &std::path::Path, port: u16) -> Child {
    let mut log = std::fs::OpenOptions::new();
    let log = log.create(true).append(true).open(data.with_extension("log")).unwrap();
    as_user("postgres")
        .arg("-D")
        .arg(data)
        .args(["-p", &port.to_string()])
        .args(["-c", "listen_addresses=127.0.0.1", "-c", "unix_socket_directories="])
        .stdout(Stdio::null())
        .stderr(log)
        .spawn()
        .unwrap()
}

/// A program of PostgreSQL, which will not run as root; it ends when the test does.
pub(super) fn as_user(program: &str) -> Command {
    let mut command = Command::new("setpriv");
    command.args(["--pdeathsig", "KILL"]);
    if let Some(user) = unprivileged() {
        let user = user.to_string();
        command.args(["--reuid", &user, "--regid", &user, "--clear-groups"]);
    }
    command.arg(component("SEALWRIGHT_TEST_POSTGRES").join(program));
    command.current_dir("/");
    command
}

/// `nobody`, if this is root.
fn unprivileged() -> Option<u32> {
    rustix::process::getuid().is_root().then_some(65_534)
}

fn component(variable: &str) -> PathBuf {
    let path = std::env::var_os(variable);
    path.unwrap_or_else(|| panic!("{variable} is not set; `./test setup` installs it")).into()
}

pub(super) fn free_port() -> u16 {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
    listener.local_addr().unwrap().port()
}

/// Where the stand-in for S3 listens; started once, and ended with the tests' process.
pub(crate) fn service() -> SocketAddr {
    static SERVICE: OnceLock<SocketAddr> = OnceLock::new();
    *SERVICE.get_or_init(|| {
        let port = free_port();
        let (sender, started) = std::sync::mpsc::channel();
        // It ends with the thread that started it, and that waits for it.
        thread::spawn(move || {
            let mut child = Command::new("setpriv")
                .args(["--pdeathsig", "KILL"])
                .arg(component("SEALWRIGHT_TEST_MINISTACK"))
                .env("GATEWAY_PORT", port.to_string())
                .env("BIND_HOST", "127.0.0.1")
                .env("SERVICES", "s3")
                .stdout(Stdio::null())
                .stderr(Stdio::null())
                .spawn()
                .unwrap();
            sender.send(child.id()).unwrap();
            child.wait()
        });
        started.recv().unwrap();
        let address = SocketAddr::from((Ipv4Addr::LOCALHOST, port));
        eventually("the stand-in for S3 listens", || TcpStream::connect(address).is_ok());
        address
    })
}

fn bucket() -> String {
    static NEXT: AtomicU32 = AtomicU32::new(0);
    service();
    let name = format!("bucket-{}", NEXT.fetch_add(1, Ordering::Relaxed));
    assert_eq!(http("PUT", &format!("/{name}"), b"").0, 200);
    name
}

/// Status and body of an answer of the stand-in for S3.
fn http(method: &str, path: &str, body: &[u8]) -> (u16, Vec<u8>) {
    let mut stream = TcpStream::connect(service()).unwrap();
    let head = format!(
        "{method} {path} HTTP/1.1\r\nHost: s3\r\nContent-Length: {}\r\nConnection: close\r\n\r\n",
        body.len()
    );
    stream.write_all(head.as_bytes()).unwrap();
    stream.write_all(body).unwrap();
    let mut answer = Vec::new();
    stream.read_to_end(&mut answer).unwrap();
    let end = answer.windows(4).position(|window| window == b"\r\n\r\n").unwrap() + 4;
    let status = std::str::from_utf8(&answer[9..12]).unwrap().parse().unwrap();
    (status, answer.split_off(end))
}
