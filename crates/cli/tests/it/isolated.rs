//! Tests that mount something run once more, in a process that has a mount namespace of its own: no
//! root is needed, and nothing stays mounted whatever happens.

use std::path::{Path, PathBuf};
use std::process::Command;

const INSIDE: &str = "SEALWRIGHT_TEST_ISOLATED";

/// Runs `body` of the test `name` (its path in this binary) where it may mount.
pub(crate) fn isolated(name: &str, body: impl FnOnce()) {
    if std::env::var(INSIDE).is_ok_and(|inside| inside == name) {
        return body();
    }
    let output = Command::new("unshare")
        .args(["--map-root-user", "--mount"])
        .arg(std::env::current_exe().unwrap())
        .args(["--exact", name, "--nocapture"])
        .env(INSIDE, name)
        .output()
        .expect("unshare (util-linux) is needed to mount without root");
    let said = String::from_utf8_lossy(&output.stdout);
    let cause = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{said}\n{cause}");
    assert!(said.contains("1 passed"), "{name} is not the name of the test: {said}");
}

/// A file system in memory, mounted; a directory in which one is mounted could not be removed.
pub(crate) struct Memory {
    at: PathBuf,
}

/// Mounts a file system in memory with that many KiB at a directory, which is made.
#[must_use]
pub(crate) fn mount_memory(at: &Path, size_kib: u32) -> Memory {
    std::fs::create_dir_all(at).unwrap();
    mount(&["-t", "tmpfs", "-o", &format!("size={size_kib}k"), "none"], at);
    Memory { at: at.to_owned() }
}

impl Memory {
    /// Changes the options: `ro`, `size=4m`.
    pub(crate) fn remount(&self, options: &str) {
        mount(&["-o", &format!("remount,{options}")], &self.at);
    }
}

impl Drop for Memory {
    fn drop(&mut self) {
        let _ = Command::new("umount").arg("--lazy").arg(&self.at).status();
    }
}

fn mount(args: &[&str], at: &Path) {
    let output = Command::new("mount").args(args).arg(at).output().unwrap();
    assert!(output.status.success(), "mount {args:?} {}: {output:?}", at.display());
}
