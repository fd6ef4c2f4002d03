//! `serve tuf sign`: a key holder signs a root, and sees what.

use std::path::{Path, PathBuf};
use std::process::ExitCode;

use serde_json::json;

use sealwright_tuf::{AddError, Key, RoleName, Root, Trust};

use super::root::read_root;
use crate::error::CliError;
use crate::files::{self, Access};
use crate::keyref::SigningKeyArgs;
use crate::output::{self, GOOD, STRONG, Ui};

#[derive(Debug, clap::Args)]
pub(super) struct Args {
    /// The prepared root; the signature is added to it.
    #[arg(value_name = "FILE")]
    file: PathBuf,
    #[command(flatten)]
    key: SigningKeyArgs,
    /// The root before it, to show what changes and who still has to sign.
    #[arg(long, value_name = "FILE")]
    previous: Option<PathBuf>,
}

pub(super) fn run(args: &Args, ui: &Ui) -> Result<ExitCode, CliError> {
    let limit = RoleName::Root.max_size();
    let mut document = read_root(&files::read(&args.file, "root", limit)?)?;
    let previous = args.previous.as_ref().map(|path| {
        let bytes = files::read(path, "root", limit)?;
        Trust::begin(&bytes).map_err(|error| {
            CliError::input(format!("{}: {error}", path.display()))
                .hint("the root that is published now, as /tuf/N.root.json gives it")
        })
    });
    let previous = previous.transpose()?;
    let root = document.unverified().clone();
    let old = previous.as_ref().map(Trust::root);
    check_names(&args.file, &root)?;
    args.previous.iter().zip(old).try_for_each(|(path, old)| check_names(path, old))?;
    // Before the key is used, and before a passphrase is typed.
    ui.note(&format!("{STRONG}this root will be signed:{STRONG:#}"));
    ui.note(output::fields(&describe(&root, old)).trim_end());
    let signer = args.key.open(ui)?;
    let unusable = |error: &dyn std::fmt::Display| {
        CliError::input(error.to_string()).hint("the root's keys are on P-256 or P-384")
    };
    let key = Key::of(signer.public_key()).map_err(|error| unusable(&error))?;
    check_key(&key, &root, old)?;
    let id = document.sign(signer.as_ref()).map_err(|error| match error {
        AddError::Unusable(error) => unusable(&error),
        AddError::Sign(error) => error.into(),
    })?;
    files::write(&args.file, &document.to_json(), Access::Public)?;
    let progress = |root: &Root| {
        let threshold = root.role(RoleName::Root).map_or(0, |role| role.threshold);
        (root.count_signatures(&document), threshold)
    };
    let own = progress(&root);
    let before = old.map(progress);
    let value = json!({
        "ok": true,
        "key": id,
        "version": root.version,
        "signatures": own.0,
        "threshold": own.1,
        "previous_signatures": before.map(|it| it.0),
        "previous_threshold": before.map(|it| it.1),
    });
    let of = |(signatures, threshold): (usize, u32)| format!("{signatures} of {threshold} needed");
    let mut rows = vec![("key", key.to_string()), ("own keys", of(own))];
    rows.extend(before.map(|before| ("keys of the root before", of(before))));
    ui.result(&value, &format!("{GOOD}signed{GOOD:#}\n{}", output::fields(&rows)));
    Ok(ExitCode::SUCCESS)
}

/// A key under another one's name would pass for that one, here and at the next ceremony.
fn check_names(path: &Path, root: &Root) -> Result<(), CliError> {
    let Some((name, key)) = root.misnamed_key() else { return Ok(()) };
    let name = output::plain(name.get(..16).unwrap_or(name));
    Err(CliError::input(format!("{}: {key} goes by the name {name}", path.display()))
        .hint("do not sign it: a key's name is its digest, and this one passes for another"))
}

/// A key that neither root knows signs nothing that counts.
fn check_key(key: &Key, root: &Root, old: Option<&Root>) -> Result<(), CliError> {
    let is_of = |root: &Root| {
        root.role(RoleName::Root).is_some_and(|role| role.key_ids.contains(&key.id()))
    };
    let hint = match old {
        _ if is_of(root) => return Ok(()),
        Some(old) if is_of(old) => return Ok(()),
        Some(_) => "sign with a key of this root, or of the one before",
        None => "if it is a key of the root before, give that one: --previous FILE",
    };
    Err(CliError::input(format!("{key} is none of this root's keys")).hint(hint))
}

/// What a root says, for people.
fn describe(root: &Root, old: Option<&Root>) -> Vec<(&'static str, String)> {
    let keys = |root: &Root, name| -> Vec<Key> {
        let ids = root.role(name).into_iter().flat_map(|role| &role.key_ids);
        ids.filter_map(|id| root.keys.get(id).cloned()).collect()
    };
    let Some(holders) = root.role(RoleName::Root) else { return Vec::new() };
    let mut rows = vec![
        ("version", root.version.to_string()),
        ("expires", root.expires.to_string()),
        ("threshold", format!("{} of {} keys", holders.threshold, holders.key_ids.len())),
    ];
    // Keys are compared, not what they are called.
    let is_among = |key: &Key, keys: &[Key]| keys.iter().any(|other| other.is_same(key));
    let shown = |key: &Key, name| {
        let is_new = old.is_some_and(|old| !is_among(key, &keys(old, name)));
        output::plain(&format!("{key}{}", if is_new { ", new" } else { "" }))
    };
    let holding = keys(root, RoleName::Root);
    rows.extend(holding.iter().map(|key| ("root key", shown(key, RoleName::Root))));
    let before = old.map(|old| keys(old, RoleName::Root)).unwrap_or_default();
    let gone = before.iter().filter(|key| !is_among(key, &holding));
    rows.extend(gone.map(|key| ("no more", output::plain(&key.to_string()))));
    for name in [RoleName::Targets, RoleName::Snapshot, RoleName::Timestamp] {
        rows.extend(keys(root, name).iter().map(|key| (name.as_str(), shown(key, name))));
    }
    rows
}
