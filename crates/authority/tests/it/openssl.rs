//! OpenSSL on files in a directory of its own.

use std::path::PathBuf;
use std::process::{Command, Output};

use sealwright_authority::certificate_pem;
use tempfile::TempDir;

pub(crate) struct OpenSsl(TempDir);

impl OpenSsl {
    pub(crate) fn new() -> Self {
        Self(TempDir::new().unwrap())
    }

    pub(crate) fn file(&self, name: &str, content: impl AsRef<[u8]>) -> PathBuf {
        let path = self.0.path().join(name);
        std::fs::write(&path, content).unwrap();
        path
    }

    pub(crate) fn pem(&self, name: &str, der: &[u8]) -> PathBuf {
        self.file(name, certificate_pem(der))
    }

    pub(crate) fn read(&self, name: &str) -> Vec<u8> {
        std::fs::read(self.0.path().join(name)).unwrap()
    }

    /// Standard output of a command that must succeed.
    pub(crate) fn run(&self, arguments: &[&str]) -> String {
        let output = self.try_run(arguments);
        let text = |bytes| String::from_utf8_lossy(bytes).into_owned();
        assert!(output.status.success(), "{arguments:?}: {}", text(&output.stderr));
        text(&output.stdout)
    }

    pub(crate) fn try_run(&self, arguments: &[&str]) -> Output {
        let mut openssl = Command::new("openssl");
        openssl.current_dir(self.0.path()).args(arguments).output().unwrap()
    }
}
