//! `serve tuf sign`: a key holder signs a root, and sees what.

use std::path::PathBuf;
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
    let role = |root: &Root, name| root.role(name).cloned();
    let Some(holders) = role(root, RoleName::Root) else { return Vec::new() };
    let mut rows = vec![
        ("version", root.version.to_string()),
        ("expires", root.expires.to_string()),
        ("threshold", format!("{} of {} keys", holders.threshold, holders.key_ids.len())),
    ];
    let is_new = |id: &String, name| {
        old.is_some_and(|old| !role(old, name).is_some_and(|it| it.key_ids.contains(id)))
    };
    let shown = |id: &String, name| {
        let key = root.keys.get(id).map_or_else(|| id.clone(), Key::to_string);
        output::plain(&format!("{key}{}", if is_new(id, name) { ", new" } else { "" }))
    };
    for id in &holders.key_ids {
        rows.push(("root key", shown(id, RoleName::Root)));
    }
    let gone =
        old.and_then(|old| role(old, RoleName::Root)).map(|it| it.key_ids).unwrap_or_default();
    for id in gone.difference(&holders.key_ids) {
        rows.push(("no more", output::plain(id.get(..16).unwrap_or(id))));
    }
    for name in [RoleName::Targets, RoleName::Snapshot, RoleName::Timestamp] {
        for id in role(root, name).into_iter().flat_map(|it| it.key_ids) {
            rows.push((name.as_str(), shown(&id, name)));
        }
    }
    rows
}
