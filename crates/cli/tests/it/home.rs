//! A directory to work in, and the program run in it.

use std::ffi::OsStr;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};

use serde_json::Value;

/// The program under test.
pub(crate) const SEALWRIGHT: &str = env!("CARGO_BIN_EXE_sealwright");

/// A temporary directory, gone when dropped.
pub(crate) struct Home {
    directory: tempfile::TempDir,
    cache: tempfile::TempDir,
}

/// How a command ended, and what it said.
#[derive(Debug)]
pub(crate) struct Ran {
    /// For whoever reads a failed test.
    #[expect(dead_code, reason = "shown by Debug")]
    command: String,
    pub(crate) code: Option<i32>,
    pub(crate) stdout: String,
    pub(crate) stderr: String,
}

impl Home {
    pub(crate) fn new() -> Self {
        let directory = tempfile::Builder::new().prefix("sealwright-test-").tempdir().unwrap();
        Self { directory, cache: tempfile::tempdir().unwrap() }
    }

    pub(crate) fn path(&self, name: impl AsRef<Path>) -> PathBuf {
        self.directory.path().join(name)
    }

    /// Writes a file, and the directories above it.
    pub(crate) fn write(&self, name: impl AsRef<Path>, content: impl AsRef<[u8]>) -> PathBuf {
        let path = self.path(name);
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::fs::write(&path, content).unwrap();
        path
    }

    pub(crate) fn read(&self, name: impl AsRef<Path>) -> Vec<u8> {
        let path = self.path(name);
        std::fs::read(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
    }

    pub(crate) fn read_json(&self, name: impl AsRef<Path>) -> Value {
        serde_json::from_slice(&self.read(name)).unwrap()
    }

    pub(crate) fn remove(&self, name: impl AsRef<Path>) {
        std::fs::remove_file(self.path(name)).unwrap();
    }

    /// A small model: three files, one of them in a subdirectory.
    pub(crate) fn model(&self, name: &str) -> PathBuf {
        self.write(format!("{name}/config.json"), r#"{"decision_threshold": 0.6}"#);
        self.write(format!("{name}/tokenizer/vocab.txt"), "approve\ndecline\n");
        self.write(format!("{name}/weights.safetensors"), [7; 10_000]);
        self.path(name)
    }

    /// Names of everything in a directory, in order, hidden files too.
    pub(crate) fn list(&self, name: &str) -> Vec<String> {
        let entries = std::fs::read_dir(self.path(name)).unwrap();
        let mut names: Vec<String> = entries
            .map(|entry| entry.unwrap().file_name().to_string_lossy().into_owned())
            .collect();
        names.sort();
        names
    }

    /// The permission bits of a file.
    pub(crate) fn mode(&self, name: &str) -> u32 {
        std::fs::metadata(self.path(name)).unwrap().permissions().mode() & 0o7777
    }

    /// `sealwright …` as typed in this directory; no word has a space in it.
    pub(crate) fn run(&self, line: &str) -> Ran {
        self.run_words(line.split_whitespace())
    }

    /// The same for words that have spaces in them, or are not UTF-8.
    pub(crate) fn run_words(&self, words: impl IntoIterator<Item: AsRef<OsStr>>) -> Ran {
        Ran::of(&mut self.command(words))
    }

    /// Runs a command that must succeed.
    pub(crate) fn must(&self, line: &str) -> Ran {
        self.run(line).succeeded()
    }

    /// Runs a command that must succeed, with `--json`.
    pub(crate) fn json(&self, line: &str) -> Value {
        self.must(&format!("--json {line}")).json()
    }

    /// The command, not yet run: its input is empty, nothing of the environment leaks into it.
    pub(crate) fn command(&self, words: impl IntoIterator<Item: AsRef<OsStr>>) -> Command {
        let mut command = Command::new(SEALWRIGHT);
        command.args(words);
        self.settle(&mut command);
        command
    }

    /// The same, and signals end it also where whoever runs the tests ignores some, as `nohup` does.
    pub(crate) fn command_with_signals(
        &self,
        words: impl IntoIterator<Item: AsRef<OsStr>>,
    ) -> Command {
        let mut command = Command::new("env");
        command.args(["--default-signal", SEALWRIGHT]).args(words);
        self.settle(&mut command);
        command
    }

    /// Another program in this directory, which must succeed; gives its standard output.
    pub(crate) fn tool(&self, program: &str, args: &[&str]) -> Vec<u8> {
        let output = self.tool_output(program, args);
        assert!(output.status.success(), "{program} {args:?}: {output:?}");
        output.stdout
    }

    pub(crate) fn tool_output(&self, program: &str, args: &[&str]) -> Output {
        let mut command = Command::new(program);
        command.args(args);
        self.settle(&mut command);
        command.output().unwrap_or_else(|error| panic!("{program} ({error}): run ./test setup"))
    }

    fn settle(&self, command: &mut Command) {
        command.current_dir(self.directory.path()).stdin(Stdio::null());
        command.env("XDG_CACHE_HOME", self.cache.path());
        for (name, _) in std::env::vars_os() {
            if name.to_string_lossy().starts_with("SEALWRIGHT_") {
                command.env_remove(name);
            }
        }
    }
}

impl Ran {
    pub(crate) fn of(command: &mut Command) -> Self {
        let shown = format!("{command:?}");
        let output = command.output().unwrap();
        let text = |bytes: Vec<u8>| String::from_utf8(bytes).expect("output is UTF-8");
        let (stdout, stderr) = (text(output.stdout), text(output.stderr));
        let ran = Self { command: shown, code: output.status.code(), stdout, stderr };
        assert!(!ran.stderr.contains("panicked"), "{ran:#?}");
        ran
    }

    pub(crate) fn succeeded(self) -> Self {
        assert_eq!(self.code, Some(0), "{self:#?}");
        self
    }

    /// The one JSON object on standard output.
    pub(crate) fn json(&self) -> Value {
        let value: Value =
            serde_json::from_str(&self.stdout).unwrap_or_else(|error| panic!("{error}: {self:#?}"));
        assert!(value.is_object(), "{self:#?}");
        value
    }

    /// An error as every command gives it: this exit code, nothing on standard output, and at the
    /// end of standard error one line `error:` that has `said` in it and one line `hint:`.
    #[track_caller]
    pub(crate) fn failed(&self, code: i32, said: &str) -> &Self {
        assert_eq!(self.code, Some(code), "{self:#?}");
        assert_eq!(self.stdout, "", "{self:#?}");
        self.check_error(said);
        self
    }

    /// The same with `--json`: the error is also an object on standard output.
    #[track_caller]
    pub(crate) fn failed_json(&self, code: i32, said: &str) -> &Self {
        assert_eq!(self.code, Some(code), "{self:#?}");
        let value = self.json();
        assert_eq!(value["ok"], false, "{self:#?}");
        assert_eq!(value["error"]["exit_code"], code, "{self:#?}");
        let (message, hint) = (&value["error"]["message"], &value["error"]["hint"]);
        assert!(message.as_str().unwrap().contains(said), "{said:?} is not in {self:#?}");
        assert!(!hint.as_str().unwrap().is_empty(), "{self:#?}");
        self.check_error(said);
        self
    }

    #[track_caller]
    fn check_error(&self, said: &str) {
        let lines: Vec<&str> = self.stderr.lines().collect();
        let [.., error, hint] = lines[..] else { panic!("{self:#?}") };
        assert!(error.starts_with("error: ") && error.contains(said), "{said:?}: {self:#?}");
        assert!(hint.starts_with("hint: ") && hint.len() > "hint: ".len(), "{self:#?}");
        let count = |start: &str| lines.iter().filter(|line| line.starts_with(start)).count();
        assert_eq!((count("error:"), count("hint:")), (1, 1), "{self:#?}");
        assert!(!self.stderr.contains('\x1b'), "{self:#?}");
    }
}

/// Text in a JSON value.
#[track_caller]
pub(crate) fn text(value: &Value) -> &str {
    value.as_str().unwrap_or_else(|| panic!("not a text: {value}"))
}
