//! Tests that mount something run once more, in a process that has a mount namespace of its own: no
//! root is needed, and nothing stays mounted whatever happens.

use std::path::Path;
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

/// Mounts a file system in memory with that many KiB at a directory, which is made.
pub(crate) fn mount_memory(at: &Path, size_kib: u32) {
    std::fs::create_dir_all(at).unwrap();
    mount(&["-t", "tmpfs", "-o", &format!("size={size_kib}k"), "none"], at);
}

/// Changes the options of what is mounted there: `ro`, `size=4m`.
pub(crate) fn remount(at: &Path, options: &str) {
    mount(&["-o", &format!("remount,{options}")], at);
}

fn mount(args: &[&str], at: &Path) {
    let output = Command::new("mount").args(args).arg(at).output().unwrap();
    assert!(output.status.success(), "mount {args:?} {}: {output:?}", at.display());
}
