//! The demo's other processes: this same binary, started for real.

use std::fs::File;
use std::io::{BufRead as _, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdout, Command, Stdio};

use serde_json::Value;

use crate::error::CliError;

/// What to do when the demo breaks down.
pub(super) const HINT: &str =
    "run it again with --keep DIR, and look at the log files and statements in DIR";

/// Runs `sealwright` with the demo's directory as working directory.
pub(super) struct Runner {
    binary: PathBuf,
    directory: PathBuf,
}

/// What a command said with `--json`.
pub(super) struct Answer {
    pub(super) code: i32,
    pub(super) value: Value,
}

/// A server that ends when this value does.
pub(super) struct Server {
    child: Child,
    /// Kept open: a server whose output nobody takes any more would fail to write.
    _output: BufReader<ChildStdout>,
    /// What it said when it was ready.
    pub(super) ready: Value,
}

impl Runner {
    pub(super) fn new(directory: &Path) -> Result<Self, CliError> {
        let binary = std::env::current_exe().map_err(|error| {
            CliError::environment(format!("cannot find this program: {error}")).hint(HINT)
        })?;
        Ok(Self { binary, directory: directory.to_owned() })
    }

    /// Runs a command to its end.
    pub(super) fn run(&self, args: &[&str]) -> Result<Answer, CliError> {
        let output = self.command(args).output().map_err(|error| start_error(args, &error))?;
        let value = serde_json::from_slice(&output.stdout).map_err(|_| {
            CliError::environment(format!(
                "`sealwright {}` gave no answer: {}",
                args.join(" "),
                String::from_utf8_lossy(&output.stderr).trim()
            ))
            .hint(HINT)
        })?;
        Ok(Answer { code: output.status.code().unwrap_or(-1), value })
    }

    /// Runs a command that must succeed.
    pub(super) fn must(&self, args: &[&str]) -> Result<Value, CliError> {
        let Answer { code, value } = self.run(args)?;
        if code == 0 {
            return Ok(value);
        }
        let message = value["error"]["message"].as_str().unwrap_or("no message");
        Err(CliError::environment(format!("`sealwright {}`: {message}", args.join(" "))).hint(HINT))
    }

    /// Starts a server and waits until it says on standard output that it is ready.
    ///
    /// What it logs goes to a file in the demo's directory, named after the command.
    pub(super) fn serve(&self, args: &[&str]) -> Result<Server, CliError> {
        let log = self.directory.join(format!("{}.log", args.first().unwrap_or(&"server")));
        let stderr = File::create(&log).map_err(|error| start_error(args, &error))?;
        let mut child = self
            .command(args)
            .arg("--exit-with-parent")
            .stdout(Stdio::piped())
            .stderr(stderr)
            .spawn()
            .map_err(|error| start_error(args, &error))?;
        let stdout = child.stdout.take();
        let mut output =
            BufReader::new(stdout.ok_or_else(|| CliError::environment("no pipe").hint(HINT))?);
        let mut line = String::new();
        let _ = output.read_line(&mut line);
        match serde_json::from_str(&line) {
            Ok(ready) => Ok(Server { child, _output: output, ready }),
            Err(_) => {
                let _ = child.kill();
                let _ = child.wait();
                let said = std::fs::read_to_string(&log).unwrap_or_default();
                Err(CliError::environment(format!("`sealwright {}`: {said}", args.join(" ")))
                    .hint(HINT))
            }
        }
    }

    fn command(&self, args: &[&str]) -> Command {
        let mut command = Command::new(&self.binary);
        command.arg("--json").args(args).current_dir(&self.directory).stdin(Stdio::null());
        // Settings of whoever runs the demo must not leak into it.
        for (name, _) in std::env::vars_os() {
            if name.to_str().is_some_and(|name| name.starts_with("SEALWRIGHT_")) {
                command.env_remove(name);
            }
        }
        command
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn start_error(args: &[&str], error: &std::io::Error) -> CliError {
    CliError::environment(format!("cannot start `sealwright {}`: {error}", args.join(" ")))
        .hint(HINT)
}
