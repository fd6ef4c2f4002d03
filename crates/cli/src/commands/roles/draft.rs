//! Drafts of role bindings: changed in place, with the next revision, and shown as what changes.

use std::path::{Path, PathBuf};
use std::process::ExitCode;

use serde_json::{Map, Value, json};

use sealwright_attest::{
    CertificateAuthority, CertificateIdentity, EndReason, EndedKey, RoleTable, Timestamp,
};

use super::table;
use crate::error::CliError;
use crate::files::{self, Access};
use crate::keyref;
use crate::output::{self, GOOD, Ui};

/// Which draft, and whose part of it.
#[derive(Debug, clap::Args)]
pub(super) struct DraftArgs {
    /// JSON file with the principals, which is changed.
    #[arg(value_name = "FILE")]
    file: PathBuf,
    /// The person or the pipeline.
    #[arg(long, value_name = "NAME")]
    pub(super) principal: String,
    /// The role binding that was signed last, for the next revision; every roles*.sigstore.json beside
    /// FILE is looked at as well.
    #[arg(long, value_name = "FILE")]
    published: Option<PathBuf>,
}

/// A draft being changed.
pub(super) struct Draft<'a> {
    args: &'a DraftArgs,
    value: Value,
    before: Option<RoleTable>,
}

impl<'a> Draft<'a> {
    /// Reads the draft.
    pub(super) fn open(args: &'a DraftArgs) -> Result<Self, CliError> {
        let before = RoleTable::parse(&table::read_draft(&args.file)?)
            .map_err(|error| CliError::from(error).about(args.file.display()))?;
        Ok(Self { args, value: table::parse_draft(&args.file)?, before: Some(before) })
    }

    /// The same, or an empty one if there is no such file.
    pub(super) fn open_or_new(args: &'a DraftArgs) -> Result<Self, CliError> {
        if args.file.exists() {
            return Self::open(args);
        }
        Ok(Self { args, value: json!({"principals": []}), before: None })
    }

    /// The principal, who must be there.
    pub(super) fn principal(&mut self) -> Result<&mut Map<String, Value>, CliError> {
        let (name, file) = (&self.args.principal, self.args.file.display());
        self.find().ok_or_else(|| {
            CliError::input(format!("{file} has no principal {name:?}"))
                .hint("see who is there with `sealwright roles diff`, or add them: `roles add`")
        })
    }

    /// The principal, who is made if not there.
    pub(super) fn principal_or_new(&mut self) -> Result<&mut Map<String, Value>, CliError> {
        if self.find().is_none()
            && let Some(list) = self.value.get_mut("principals").and_then(Value::as_array_mut)
        {
            list.push(json!({"name": self.args.principal, "roles": []}));
        }
        self.principal()
    }

    fn find(&mut self) -> Option<&mut Map<String, Value>> {
        let name = self.args.principal.as_str();
        let list = self.value.get_mut("principals").and_then(Value::as_array_mut);
        list.into_iter().flatten().find(|p| p["name"] == name).and_then(Value::as_object_mut)
    }

    /// Says since when a key or an identity of the principal no longer counts.
    pub(super) fn end(&mut self, ended: &EndedKey) -> Result<(), CliError> {
        let list = list_of(self.principal()?, "ended")?;
        let key_id = &ended.key_id;
        let old = list.iter().position(|old| old["keyId"] == key_id.as_str());
        if let Some(old) = old {
            let at = list.remove(old);
            let at = at["countsBefore"].as_str().and_then(|text| Timestamp::parse(text).ok());
            if at.is_some_and(|at| at <= ended.counts_before) {
                return Err(CliError::input(format!(
                    "the key {key_id} already counts only for what was logged before that time"
                ))
                .hint("see the draft: an end can be moved to an earlier time only"));
            }
        }
        list.push(json!(ended));
        Ok(())
    }

    /// Gives the draft its revision, checks it as a verifier will, writes it, and says what changed and
    /// what is next.
    pub(super) fn finish(mut self, remarks: &[String], ui: &Ui) -> Result<ExitCode, CliError> {
        let revision = self.next_revision()?;
        self.value["revision"] = json!(revision);
        let mut predicate = self.value.clone();
        table::inline(&mut predicate, &files::parent(&self.args.file))?;
        let table = RoleTable::parse(&predicate)?;
        let changes = table.changes_since(self.before.as_ref());
        if changes.is_empty() {
            return Err(CliError::input("the draft says so already").hint("nothing was written"));
        }
        let mut bytes = serde_json::to_vec_pretty(&self.value).unwrap_or_default();
        bytes.push(b'\n');
        files::write(&self.args.file, &bytes, Access::Public)?;
        let file = self.args.file.display();
        let next = [
            format!("sealwright roles sign {file} --key OWNER -o roles-{revision}.sigstore.json"),
            format!(
                "sealwright roles sign --add roles-{revision}.sigstore.json --key ANOTHER-OWNER"
            ),
            format!(
                "sealwright roles publish roles-{revision}.sigstore.json --service URL \
                 --owner-key OWNER.pub --owner-key ANOTHER-OWNER.pub"
            ),
        ];
        let value = json!({
            "ok": true,
            "draft": output::path(&self.args.file),
            "revision": revision,
            "changes": changes,
            "remarks": remarks,
            "next": next,
        });
        let mut text = format!("{GOOD}draft changed{GOOD:#}\n");
        text += &output::fields(&[("draft", file.to_string()), ("revision", revision.to_string())]);
        text += &table::change_lines(&changes);
        text += &remarks.iter().map(|remark| format!("{remark}\n")).collect::<String>();
        text += &format!("next:\n  {}\n", next.join("\n  "));
        ui.result(&value, &text);
        Ok(ExitCode::SUCCESS)
    }

    /// One more than all that was signed; the draft's own, if that is higher already.
    fn next_revision(&self) -> Result<u64, CliError> {
        let mut files = signed_beside(&self.args.file)?;
        files.extend(self.args.published.clone());
        let mut signed = 0;
        for file in files {
            signed = signed_revision(&file)?.max(signed);
        }
        let own = self.before.as_ref().map(RoleTable::revision).unwrap_or_default();
        Ok(if own > signed { own } else { signed.saturating_add(1) })
    }
}

/// The signed role bindings beside a draft, by their names.
fn signed_beside(draft: &Path) -> Result<Vec<PathBuf>, CliError> {
    let directory = files::parent(draft);
    let failed = |error| files::read_error(&directory, "directory", &error);
    let mut found = Vec::new();
    for entry in std::fs::read_dir(&directory).map_err(failed)? {
        let entry = entry.map_err(failed)?;
        let name = entry.file_name();
        let name = name.to_string_lossy();
        if name.starts_with("roles") && name.contains(".sigstore.json") {
            found.push(entry.path());
        }
    }
    Ok(found)
}

/// The revision in a signed role binding. Nobody's word, and enough to count on from: verifiers refuse
/// two bindings with one revision.
fn signed_revision(path: &Path) -> Result<u64, CliError> {
    let read = table::read(path, None)?;
    match read.verified {
        Some(_) => Ok(read.table.revision()),
        None => Err(CliError::input(format!("{} is not signed", path.display()))
            .hint("the next revision is counted from what the owners signed last")),
    }
}

/// The list under a name, made if it is not there.
pub(super) fn list_of<'a>(
    principal: &'a mut Map<String, Value>,
    name: &str,
) -> Result<&'a mut Vec<Value>, CliError> {
    principal.entry(name.to_owned()).or_insert_with(|| json!([])).as_array_mut().ok_or_else(|| {
        CliError::input(format!("{name} of the principal is not a list"))
            .hint("see `sealwright roles sign --help` for the form of a role binding")
    })
}

/// A key or an identity of a principal.
#[derive(Debug, clap::Args)]
#[group(multiple = false)]
pub(super) struct OwnKeyArgs {
    /// The key: a public key file, or its id (64 hexadecimal digits).
    #[arg(long, value_name = "FILE|ID")]
    key: Option<String>,
    /// The identity, by the subject of its certificates.
    #[arg(long, value_name = "SUBJECT")]
    identity: Option<String>,
}

impl OwnKeyArgs {
    /// The end of it.
    pub(super) fn ended(
        &self,
        draft: &Draft<'_>,
        counts_before: Timestamp,
        reason: EndReason,
    ) -> Result<EndedKey, CliError> {
        let key_id = match (&self.key, &self.identity) {
            (Some(key), _) => key_id(key)?,
            (None, Some(subject)) => draft.identity_id(subject)?,
            (None, None) => return Err(CliError::input("no key").hint("give --key FILE")),
        };
        Ok(EndedKey { key_id, counts_before, reason })
    }
}

impl Draft<'_> {
    fn identity_id(&self, subject: &str) -> Result<String, CliError> {
        let principals = self.before.as_ref().map(RoleTable::principals).unwrap_or_default();
        let own = principals.iter().filter(|p| p.name == self.args.principal);
        let found: Vec<_> = own
            .flat_map(|principal| &principal.identities)
            .filter(|identity| identity.subject() == subject)
            .map(CertificateIdentity::id)
            .collect();
        match &found[..] {
            [id] => Ok(id.clone()),
            [] => Err(CliError::input(format!("the principal has no identity {subject:?}"))
                .hint("see the draft")),
            _ => Err(CliError::input(format!("the principal has several identities {subject:?}"))
                .hint("name it by its id: `sealwright --json roles show` has them as keyId")),
        }
    }
}

/// The id that a text stands for: itself, or that of the public key in a file.
pub(super) fn key_id(text: &str) -> Result<String, CliError> {
    if text.len() == 64 && text.bytes().all(|b| matches!(b, b'0'..=b'9' | b'a'..=b'f')) {
        return Ok(text.to_owned());
    }
    Ok(keyref::read_public(&keyref::file_path(text)?)?.id())
}

/// An RFC 3339 time on the command line.
pub(super) fn parse_time(text: &str) -> Result<Timestamp, String> {
    Timestamp::parse(text).map_err(|error| error.to_string())
}

/// An authority's certificate file, checked.
pub(super) fn read_authority(path: &Path) -> Result<String, CliError> {
    let pem = files::read_text(path, "certificate")?;
    CertificateAuthority::from_pem(&pem).map_err(|error| {
        CliError::input(format!("{}: {error}", path.display()))
            .hint("--ca is one self-signed certificate in PEM")
    })?;
    Ok(pem)
}
