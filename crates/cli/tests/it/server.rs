//! A server process of ours.

use std::fs::File;
use std::io::{BufRead as _, BufReader, Read as _};
use std::path::PathBuf;
use std::process::{Child, ChildStdout, ExitStatus, Stdio};

use rustix::process::{Pid, Signal, kill_process};
use sealwright_server::client::ServiceClient;
use serde_json::Value;

use crate::home::{Home, text};

/// A server that has said that it is ready. Killed when dropped.
pub(crate) struct Server {
    child: Child,
    stdout: BufReader<ChildStdout>,
    log: PathBuf,
    pub(crate) ready: Value,
}

impl Server {
    /// `sealwright serve` with its data in that directory.
    pub(crate) fn serve(home: &Home, data: &str) -> Self {
        Self::start(home, &format!("serve --init --data {data}"))
    }

    /// Any server, on a port that the system chooses.
    pub(crate) fn start(home: &Home, line: &str) -> Self {
        let words = line.split_whitespace();
        let log = home.path(format!("{}.stderr", words.clone().next().unwrap()));
        let mut child = home
            .command(["--json"].into_iter().chain(words).chain(["--listen", "127.0.0.1:0"]))
            .stdout(Stdio::piped())
            .stderr(File::options().create(true).append(true).open(&log).unwrap())
            .spawn()
            .unwrap();
        let mut stdout = BufReader::new(child.stdout.take().unwrap());
        let mut first = String::new();
        stdout.read_line(&mut first).unwrap();
        let ready = serde_json::from_str(&first).unwrap_or_default();
        let server = Self { child, stdout, log, ready };
        assert!(server.ready["ok"] == true, "{line}: {first}{}", server.said());
        server
    }

    pub(crate) fn url(&self) -> &str {
        text(&self.ready["url"])
    }

    pub(crate) fn client(&self) -> ServiceClient {
        ServiceClient::new(self.url(), None).unwrap()
    }

    /// What it wrote to standard error.
    pub(crate) fn said(&self) -> String {
        std::fs::read_to_string(&self.log).unwrap()
    }

    /// Sends a signal.
    pub(crate) fn signal(&self, signal: Signal) {
        let id = Pid::from_child(&self.child);
        kill_process(id, signal).unwrap();
    }

    /// Waits for its end; gives the exit status and what else it had printed.
    pub(crate) fn wait(mut self) -> (ExitStatus, String) {
        let mut rest = String::new();
        self.stdout.read_to_string(&mut rest).unwrap();
        (self.child.wait().unwrap(), rest)
    }

    /// SIGTERM, and a clean end.
    pub(crate) fn stop(self) {
        self.signal(Signal::TERM);
        let log = self.log.clone();
        let (status, rest) = self.wait();
        let said = std::fs::read_to_string(log).unwrap();
        assert!(status.success(), "{status}: {said}");
        assert_eq!(rest, "");
    }

    /// SIGKILL.
    pub(crate) fn kill(self) {
        self.signal(Signal::KILL);
        assert!(!self.wait().0.success());
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
