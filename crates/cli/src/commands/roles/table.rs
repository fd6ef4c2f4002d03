//! Role tables in files, signed or not, and how they are shown.

use std::path::Path;

use serde_json::{Value, json};

use sealwright_attest::{
    Bundle, CertificateIdentity, EndedKey, Owners, Principal, RoleBinding, RoleChange, RoleTable,
    Statement, parse_strict,
};

use crate::error::CliError;
use crate::files;
use crate::keyref;
use crate::output::plain;

/// Largest draft that is read.
const MAX_DRAFT: usize = 4 << 20;

/// What a file says, and whose word it is.
pub(super) struct Read {
    pub(super) table: RoleTable,
    /// Whether the owners' signatures were checked; none for a draft, which has none.
    pub(super) verified: Option<bool>,
}

/// Reads a draft or a signed role binding; signatures are checked if the owners are known.
pub(super) fn read(path: &Path, owners: Option<&Owners>) -> Result<Read, CliError> {
    let bytes = files::read(path, "role binding", sealwright_attest::MAX_BUNDLE_SIZE)?;
    let Ok(bundles) = Bundle::parse_all(&bytes) else {
        let table = RoleTable::parse(&read_draft(path)?)?;
        return Ok(Read { table, verified: None });
    };
    let about = |error| CliError::from(error).about(path.display());
    if let Some(owners) = owners {
        let binding = RoleBinding::verify(&bundles, owners, None).map_err(about)?;
        return Ok(Read { table: binding.table().clone(), verified: Some(true) });
    }
    let table = RoleTable::of_statement(&statement(path, &bundles)?).map_err(about)?;
    Ok(Read { table, verified: Some(false) })
}

/// The one statement in all of these bundles; nobody's word yet.
pub(super) fn statement(path: &Path, bundles: &[Bundle]) -> Result<Statement, CliError> {
    let mut payloads = bundles.iter().map(|bundle| &bundle.envelope().payload);
    let first = payloads.next().map(Vec::as_slice).unwrap_or_default();
    if payloads.any(|payload| payload != first) {
        return Err(CliError::input(format!("{} holds different statements", path.display()))
            .hint("one file holds the signatures of different owners over one statement"));
    }
    Statement::parse(first).map_err(|error| {
        CliError::input(format!("{}: {error}", path.display()))
            .hint("make one with `sealwright roles sign`")
    })
}

/// The predicate in a draft: the JSON file, with the keys and certificates that it names by path put in
/// their place.
pub(super) fn read_draft(path: &Path) -> Result<Value, CliError> {
    let mut predicate = parse_draft(path)?;
    inline(&mut predicate, &files::parent(path))?;
    Ok(predicate)
}

/// The JSON in a draft as it stands.
pub(super) fn parse_draft(path: &Path) -> Result<Value, CliError> {
    let bytes = files::read(path, "role binding", MAX_DRAFT)?;
    parse_strict(&bytes, MAX_DRAFT).map_err(|error| {
        CliError::input(format!("{}: {error}", path.display()))
            .hint("a role binding is one JSON object; see `sealwright roles sign --help`")
    })
}

/// Replaces paths in `publicKeys` and in `ca` of identities by the PEM text of the files.
pub(super) fn inline(predicate: &mut Value, directory: &Path) -> Result<(), CliError> {
    fn list<'a>(value: &'a mut Value, name: &str) -> impl Iterator<Item = &'a mut Value> {
        value.get_mut(name).and_then(Value::as_array_mut).into_iter().flatten()
    }
    let path = |text: &Value| {
        text.as_str().filter(|text| !text.contains("-----BEGIN")).map(|text| directory.join(text))
    };
    for principal in list(predicate, "principals") {
        for key in list(principal, "publicKeys") {
            if let Some(path) = path(key) {
                *key = json!(keyref::read_public(&path)?.pem());
            }
        }
        for identity in list(principal, "identities") {
            if let Some(ca) = identity.get_mut("ca")
                && let Some(path) = path(ca)
            {
                *ca = json!(files::read_text(&path, "certificate")?);
            }
        }
    }
    Ok(())
}

/// Changes as lines for people.
pub(super) fn change_lines(changes: &[RoleChange]) -> String {
    if changes.is_empty() {
        return "nothing changes\n".to_owned();
    }
    changes.iter().map(|change| format!("{}\n", plain(&change.to_string()))).collect()
}

/// The principals for `--json`.
pub(super) fn principals_value(table: &RoleTable) -> Value {
    let principal = |principal: &Principal| {
        let mut value = json!({
            "name": principal.name,
            "key_ids": principal.keys.iter().map(|key| key.id()).collect::<Vec<_>>(),
            "roles": principal.roles,
        });
        if !principal.identities.is_empty() {
            let identity = |identity: &CertificateIdentity| {
                let mut value = identity.to_value();
                value["keyId"] = identity.id().into();
                value
            };
            value["identities"] = principal.identities.iter().map(identity).collect();
        }
        if !principal.ended.is_empty() {
            value["ended"] = json!(principal.ended);
        }
        value
    };
    table.principals().iter().map(principal).collect()
}

/// The principals for people.
pub(super) fn principals_text(table: &RoleTable) -> String {
    let mut text = String::new();
    for principal in table.principals() {
        text += &format!("{}\n", plain(&principal.name));
        for grant in &principal.roles {
            let role = plain(&grant.role);
            text += &format!("  {role}  {} to {}\n", grant.valid_from, grant.valid_until);
        }
        for identity in &principal.identities {
            text += &format!("  as {}\n", plain(&identity.to_string()));
        }
        for EndedKey { key_id, counts_before, reason } in &principal.ended {
            text += &format!("  key {key_id} {reason}: counts only before {counts_before}\n");
        }
    }
    text
}
