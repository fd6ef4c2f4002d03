use std::fs::Permissions;
use std::io::{self, BufWriter, Write as _};
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use serde_json::json;

use sealwright_attest::predicate;
use sealwright_manifest::Sha256;
use sealwright_server::client::{
    Gaps, ListedSigner, ListedStatement, ServiceClient, StatementQuery,
};

use crate::error::CliError;
use crate::files::{self, Access};
use crate::gaps::{GapLine, Topics};
use crate::model::ModelArgs;
use crate::output::{self, DIM, STRONG, Ui};
use crate::service::ServiceArgs;

/// Find statements in the attestation service, and save them.
///
/// Everything that is given must apply. The list is what the service says; nothing of it is verified.
/// With --out the bundles are saved too, to be verified with `sealwright verify`, and with --export
/// all of them go into one file, for `sealwright import`.
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// About this model: its digest is computed.
    #[arg(long, value_name = "MODEL", conflicts_with = "subject")]
    model: Option<PathBuf>,
    /// About what has this SHA-256: a model digest, an OMS root, a file.
    #[arg(long, value_name = "SHA256")]
    subject: Option<String>,
    /// Of this predicate type: a URI, or a short name as for `attest`.
    #[arg(long = "type", value_name = "TYPE")]
    predicate_type: Option<String>,
    /// Not of this predicate type: `vsa` leaves out the verdicts.
    #[arg(long, value_name = "TYPE")]
    except_type: Option<String>,
    /// Signed with the key of this id.
    #[arg(long, value_name = "KEY_ID", conflicts_with_all = ["identity", "issuer"])]
    signer: Option<String>,
    /// Signed with a certificate of this identity: its subject alternative name.
    #[arg(long, value_name = "SAN")]
    identity: Option<String>,
    /// Signed with a certificate that names this OIDC issuer.
    #[arg(long, value_name = "URL")]
    issuer: Option<String>,
    /// Of this project.
    #[arg(long, value_name = "NAME")]
    project: Option<String>,
    /// Logged at this time or later.
    #[arg(long, value_name = "RFC3339")]
    since: Option<String>,
    /// Logged before this time.
    #[arg(long, value_name = "RFC3339")]
    until: Option<String>,
    /// Begin at this entry: where the last page ended.
    #[arg(long, value_name = "INDEX", default_value_t = 0)]
    from: u64,
    /// Most statements to list.
    #[arg(long, value_name = "N", default_value_t = 100, value_parser = clap::value_parser!(u32).range(1..=1000))]
    limit: u32,
    /// Save the bundles of the list in this directory, as entry-INDEX.sigstore.json.
    #[arg(long, value_name = "DIR")]
    out: Option<PathBuf>,
    /// Save all that there are, not only the list, in this file: one bundle a line, and one for each
    /// that was erased. Readable by its owner alone.
    #[arg(long, value_name = "FILE", conflicts_with_all = ["out", "from", "limit"])]
    export: Option<PathBuf>,
    #[command(flatten)]
    service: ServiceArgs,
}

pub(crate) fn run(args: &Args, ui: &Ui) -> Result<ExitCode, CliError> {
    let client = args.service.client()?.ok_or_else(|| {
        CliError::input("where to find is not said")
            .hint("give --service URL, such as http://localhost:3003")
    })?;
    let query = args.query()?;
    if let Some(path) = &args.export {
        export(&client, &query, path, ui)?;
        return Ok(ExitCode::SUCCESS);
    }
    let page = client.list(&query, args.from, args.limit)?;
    let mut saved = Vec::new();
    if let Some(directory) = &args.out {
        std::fs::create_dir_all(directory).map_err(|error| {
            CliError::environment(format!("cannot create {}: {error}", directory.display()))
                .hint("choose a directory that can be written to")
        })?;
        for statement in page.statements.iter().filter(|s| s.erased_at.is_none()) {
            let path = directory.join(format!("entry-{}.sigstore.json", statement.index));
            let mut bundle = client.bundle(statement.index)?;
            bundle.push(b'\n');
            files::write(&path, &bundle, Access::Public)?;
            saved.push(path);
        }
    }
    let value = json!({
        "ok": true,
        "verified": false,
        "statements": page.statements,
        "next": page.next,
        "saved": saved.iter().map(|path| output::path(path)).collect::<Vec<_>>(),
    });
    ui.result(&value, &table(&page.statements, page.next, &saved));
    Ok(ExitCode::SUCCESS)
}

impl Args {
    fn query(&self) -> Result<StatementQuery, CliError> {
        let subject = match (&self.model, &self.subject) {
            (Some(path), _) => Some(
                ModelArgs { path: path.clone(), ignore_paths: Vec::new() }
                    .identity()?
                    .model_digest()
                    .to_string(),
            ),
            (None, Some(subject)) => {
                let digest = subject.strip_prefix("sha256:").unwrap_or(subject);
                Sha256::parse(digest).map_err(|_| {
                    CliError::input(format!("--subject {subject:?} is not a SHA-256"))
                        .hint("give 64 hexadecimal digits, as `sealwright digest` prints them")
                })?;
                Some(digest.to_owned())
            }
            (None, None) => None,
        };
        let predicate_type = self.predicate_type.as_deref().map(predicate::resolve_type);
        let except_type = self.except_type.as_deref().map(predicate::resolve_type);
        Ok(StatementQuery {
            subject,
            predicate_type: predicate_type.map(str::to_owned),
            except_type: except_type.map(str::to_owned),
            signer: self.signer.clone(),
            identity: self.identity.clone(),
            issuer: self.issuer.clone(),
            project: self.project.clone(),
            since: self.since.clone(),
            until: self.until.clone(),
        })
    }
}

fn export(
    client: &ServiceClient,
    query: &StatementQuery,
    path: &Path,
    ui: &Ui,
) -> Result<(), CliError> {
    files::check_writable(path)?;
    let failed = |error: io::Error| {
        CliError::environment(format!("cannot write {}: {error}", path.display()))
            .hint("free some space, or choose another place for the output")
    };
    // All of it may be more than fits into memory.
    let file = tempfile::Builder::new()
        .permissions(Permissions::from_mode(0o600))
        .tempfile_in(files::parent(path))
        .map_err(failed)?;
    let mut out = BufWriter::new(file);
    let (mut count, mut fault, mut topics) = (0, None, Topics::default());
    let Gaps { erased, complete } = client.find_json(query, |bundle| {
        count += 1;
        topics.add(&bundle);
        if fault.is_none() {
            fault = writeln!(out, "{bundle}").err();
        }
        Ok(())
    })?;
    fault.map_or(Ok(()), Err).map_err(failed)?;
    if !complete {
        let message = "the service keeps statements of some projects back: the export has gaps";
        return Err(CliError::failed(message)
            .hint("show the token or certificate of a reader of all projects (\"*\")"));
    }
    for erased in topics.gaps(client, &erased)? {
        let line = serde_json::to_string(&GapLine { erased });
        writeln!(out, "{}", line.map_err(io::Error::from).map_err(failed)?).map_err(failed)?;
    }
    let file = out.into_inner().map_err(|error| failed(error.into_error()))?;
    file.as_file().sync_all().map_err(failed)?;
    file.persist(path).map_err(|error| failed(error.error))?;
    let value = json!({
        "ok": true,
        "verified": false,
        "export": output::path(path),
        "statements": count,
        "erased": erased.len(),
    });
    let mut rows =
        vec![("statements", output::count(count, "bundle")), ("file", path.display().to_string())];
    if !erased.is_empty() {
        rows.push(("erased", format!("{} more, of which only the entries are left", erased.len())));
    }
    ui.result(&value, &format!("{STRONG}exported{STRONG:#}\n{}", output::fields(&rows)));
    Ok(())
}

/// Columns of the table but the first and the last.
const TIME_WIDTH: usize = 20;
const TYPE_WIDTH: usize = 22;
/// What a terminal shows in a line.
const LINE_WIDTH: usize = 80;

fn table(statements: &[ListedStatement], next: Option<u64>, saved: &[PathBuf]) -> String {
    let widest = statements.iter().map(|s| s.index.to_string().len()).max().unwrap_or_default();
    let index_width = widest.max("index".len());
    let rest = LINE_WIDTH.saturating_sub(index_width + TIME_WIDTH + TYPE_WIDTH + 6).max(12);
    let line = |index: &str, time: &str, kind: &str, signer: &str| {
        let (kind, signer) = (cut(kind, TYPE_WIDTH), cut(signer, rest));
        let line =
            format!("{index:>index_width$}  {time:TIME_WIDTH$}  {kind:TYPE_WIDTH$}  {signer}");
        line.trim_end().to_owned() + "\n"
    };
    let mut text = String::new();
    if statements.is_empty() {
        text += "nothing was found\n";
    } else {
        let heads = line("index", "logged at", "type", "signer");
        text += &format!("{DIM}{}{DIM:#}\n", heads.trim_end());
    }
    for statement in statements {
        let signer = match &statement.erased_at {
            Some(_) => "erased".to_owned(),
            None => statement.signer.as_ref().map(signer_text).unwrap_or_default(),
        };
        let time = statement.logged_at.as_deref().unwrap_or_default();
        let kind = type_text(&statement.predicate_type);
        text += &line(&statement.index.to_string(), time, kind, &signer);
    }
    if !saved.is_empty() {
        text += &format!("{} saved\n", output::count(saved.len(), "bundle"));
    }
    if let Some(next) = next {
        text += &format!("more: --from {next}\n");
    }
    text
}

fn type_text(predicate_type: &str) -> &str {
    let known = predicate::known_types().find(|(_, uri)| *uri == predicate_type);
    match known {
        Some((short, _)) => short,
        None if predicate_type.is_empty() => "(a signed file)",
        None => predicate_type.split_once("://").map_or(predicate_type, |(_, rest)| rest),
    }
}

fn signer_text(signer: &ListedSigner) -> String {
    match (&signer.key_id, signer.identities.first()) {
        (Some(key), _) => format!("key {}", crate::service::short(key)),
        (None, Some(identity)) => identity.clone(),
        (None, None) => String::new(),
    }
}

/// Text of others in at most `width` characters.
fn cut(text: &str, width: usize) -> String {
    let text = output::plain(text);
    if text.chars().count() <= width {
        return text;
    }
    text.chars().take(width.saturating_sub(1)).chain(['…']).collect()
}

#[cfg(test)]
mod tests {
    use serde_json::Value;

    use super::*;

    fn statement(value: Value) -> ListedStatement {
        serde_json::from_value(value).unwrap()
    }

    #[test]
    fn the_table_fits_a_terminal() {
        let long = "https://example.com/a/very/long/type/of/predicate/that/nobody/can/read/v1";
        let list = [
            statement(json!({"index": 7, "digest": "", "predicateType": predicate::APPROVAL,
                "loggedAt": "2026-11-24T12:00:00Z", "signer": {"keyId": "a".repeat(64)}})),
            statement(json!({"index": 1_234_567_890, "digest": "", "predicateType": long,
                "loggedAt": "2026-11-24T12:00:00Z",
                "signer": {"identities": ["https://github.com/org/repository/.github/x.yml"]}})),
            statement(json!({"index": 8, "digest": "", "predicateType": "",
                "loggedAt": null, "erasedAt": "2026-11-24T12:00:00Z"})),
        ];
        let text = table(&list, Some(9), &[]);
        for line in text.lines() {
            let shown = line.replace("\u{1b}[2m", "").replace("\u{1b}[0m", "");
            assert!(shown.chars().count() <= LINE_WIDTH, "{line}");
        }
        assert!(text.contains("approval") && text.contains("erased"), "{text}");
        assert!(text.ends_with("more: --from 9\n"));
        assert_eq!(table(&[], None, &[]), "nothing was found\n");
    }
}
