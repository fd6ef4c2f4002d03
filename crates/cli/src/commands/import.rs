use std::io::{BufRead, BufReader, Read as _};
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde_json::{Value, json};

use sealwright_attest::{
    Bundle, LogProof, MAX_BUNDLE_SIZE, PublicKey, TrustedRoot, VerificationMaterial,
    check_log_entries, check_signature, hashedrekord_body, parse_strict,
};
use sealwright_server::client::{ClientError, ServiceClient};
use sealwright_sigstore::{EntryRequest, SigstoreBundle};

use crate::error::CliError;
use crate::files;
use crate::output::{self, BAD, GOOD, Ui, plain};
use crate::service::ServiceArgs;

/// Bring the statements of one attestation service to another.
///
/// FILE is what `sealwright find --export` wrote. Each bundle is verified, and that the old log holds it;
/// then the new service logs it anew. What verifiers of the new log see is when it was logged there.
/// That it was in the old log before stays provable to those who trust the old log: a service that was
/// started with `--trust` and the old trusted root keeps the old entry beside the bundle. Import again
/// after a break: what is there already is not logged twice. Exit code 1 if any bundle was refused.
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// File with one bundle a line.
    file: PathBuf,
    /// `trusted_root.json` of the service that the statements come from.
    #[arg(long, value_name = "FILE")]
    from_trusted_root: PathBuf,
    #[command(flatten)]
    service: ServiceArgs,
}

/// What became of one line.
struct Imported {
    index: u64,
    old: LogProof,
    /// Whether the new service gives the old entry too.
    keeps_old: bool,
}

pub(crate) fn run(args: &Args, ui: &Ui) -> Result<ExitCode, CliError> {
    let client = args.service.client()?.ok_or_else(|| {
        CliError::input("where to bring the statements is not said")
            .hint("give --service URL of the new service")
    })?;
    let path = &args.from_trusted_root;
    let root = TrustedRoot::parse(&files::read(path, "trusted root", 4 << 20)?)
        .map_err(|error| CliError::from(error).about(path.display()))?;
    let mut lines = BufReader::new(files::open(&args.file, "export")?);
    let (mut imported, mut refused) = (Vec::new(), Vec::new());
    for number in 1_u64.. {
        let Some(line) = next_line(&mut lines, args)? else { break };
        if line.trim_ascii().is_empty() {
            continue;
        }
        match import(&line, &root, &client)? {
            Ok(done) => imported.push(done),
            Err(reason) => refused.push((number, reason)),
        }
    }
    report(args, &imported, &refused, ui);
    Ok(ExitCode::from(u8::from(!refused.is_empty())))
}

/// One line of the file, which may be larger than memory.
fn next_line(lines: &mut impl BufRead, args: &Args) -> Result<Option<Vec<u8>>, CliError> {
    let limit = MAX_BUNDLE_SIZE as u64;
    let mut line = Vec::new();
    let read = lines.take(limit).read_until(b'\n', &mut line);
    let read = read.map_err(|error| files::read_error(&args.file, "export", &error))?;
    if read == MAX_BUNDLE_SIZE {
        let message = format!("{}: a line is longer than any bundle", args.file.display());
        return Err(
            CliError::input(message).hint("give a file that `sealwright find --export` wrote")
        );
    }
    Ok((read > 0).then_some(line))
}

/// Verifies one bundle and has it logged; the inner error is why this one is refused.
fn import(
    line: &[u8],
    root: &TrustedRoot,
    client: &ServiceClient,
) -> Result<Result<Imported, String>, CliError> {
    let (value, key, old) = match verify(line, root) {
        Ok(verified) => verified,
        Err(reason) => return Ok(Err(reason)),
    };
    let answer = match client.submit_json(&value, key.as_ref()) {
        Ok(answer) => answer,
        Err(error @ ClientError::Refused { status: 400..=499, .. }) => {
            return Ok(Err(error.to_string()));
        }
        Err(error) => return Err(error.into()),
    };
    let index = answer["verificationMaterial"]["tlogEntries"][0]["logIndex"].as_str();
    let Some(index) = index.and_then(|index| index.parse().ok()) else {
        return Ok(Err("the service answered without a log entry".to_owned()));
    };
    let kept = client.original_bundle(index)?;
    let keeps_old = Bundle::parse(&kept)
        .is_ok_and(|kept| kept.log_entries().iter().any(|entry| root.log(&entry.log_id).is_some()));
    Ok(Ok(Imported { index, old, keeps_old }))
}

/// The bundle, the key that is not in it, and that the old log holds it.
fn verify(line: &[u8], root: &TrustedRoot) -> Result<(Value, Option<PublicKey>, LogProof), String> {
    let said = |error: &dyn std::error::Error| error.to_string();
    let value = parse_strict(line, MAX_BUNDLE_SIZE).map_err(|error| said(&error))?;
    if let Ok(keyless) = SigstoreBundle::from_value(value.clone())
        && keyless.certificate().is_some()
    {
        let entry = EntryRequest::of_bundle(&keyless, None).map_err(|error| said(&error))?;
        let entries = log_entries(&value)?;
        let old = check_log_entries(entries.log_entries(), entry.body(), root);
        return Ok((value, None, old.map_err(|error| said(&error))?));
    }
    let bundle = Bundle::from_value(value.clone()).map_err(|error| said(&error))?;
    if let VerificationMaterial::Certificates(chain) = bundle.material() {
        let envelope = bundle.envelope();
        let leaf = chain.first().map(Vec::as_slice).unwrap_or_default();
        let entry = EntryRequest::of_message(leaf, &envelope.pae(), &envelope.signature)
            .map_err(|error| said(&error))?;
        let old = check_log_entries(bundle.log_entries(), entry.body(), root);
        return Ok((value, None, old.map_err(|error| said(&error))?));
    }
    let key = logged_key(&bundle).ok_or("no log entry names its key")?;
    check_signature(&bundle, &key).map_err(|error| said(&error))?;
    let body = hashedrekord_body(bundle.envelope(), &key);
    let old = check_log_entries(bundle.log_entries(), &body, root).map_err(|error| said(&error))?;
    Ok((value, Some(key), old))
}

/// The bundle with its log entries, whatever it signs.
fn log_entries(value: &Value) -> Result<Bundle, String> {
    let mut value = value.clone();
    if let Some(members) = value.as_object_mut()
        && members.remove("messageSignature").is_some()
    {
        // Only the entries are read of it.
        let empty = json!({"payload": "", "payloadType": "", "signatures": [{"sig": ""}]});
        members.insert("dsseEnvelope".to_owned(), empty);
    }
    Bundle::from_value(value).map_err(|error| error.to_string())
}

/// The key that the entry names. Whether the entry is right is checked with it.
fn logged_key(bundle: &Bundle) -> Option<PublicKey> {
    let body = &bundle.log_entries().first()?.canonicalized_body;
    let body: Value = serde_json::from_slice(body).ok()?;
    let key = body.pointer("/spec/hashedRekordV002/signature/verifier/publicKey/rawBytes")?;
    PublicKey::from_spki(&STANDARD.decode(key.as_str()?).ok()?).ok()
}

fn report(args: &Args, imported: &[Imported], refused: &[(u64, String)], ui: &Ui) {
    let kept = imported.iter().filter(|done| done.keeps_old).count();
    let list: Vec<_> = imported
        .iter()
        .map(|done| {
            json!({
                "index": done.index,
                "old_index": done.old.index(),
                "old_log": done.old.origin(),
                "old_log_signed_time": done.old.time(),
                "old_entry_kept": done.keeps_old,
            })
        })
        .collect();
    let problems: Vec<_> =
        refused.iter().map(|(line, reason)| json!({"line": line, "reason": reason})).collect();
    let value = json!({"ok": refused.is_empty(), "imported": list, "refused": problems});
    let verdict = match refused.is_empty() {
        true => format!("{GOOD}imported{GOOD:#}"),
        false => format!("{BAD}not all imported{BAD:#}"),
    };
    let rows = [
        ("file", args.file.display().to_string()),
        ("statements", format!("{}, each proven by the old log", imported.len())),
        ("old proofs", format!("{kept} kept by the new service")),
    ];
    let mut text = format!("{verdict}\n{}", output::fields(&rows));
    for (line, reason) in refused {
        text += &format!("{BAD}line {line}: {}{BAD:#}\n", plain(reason));
    }
    ui.result(&value, &text);
    if kept < imported.len() && !ui.is_json() {
        ui.note(&format!(
            "note: the new service keeps old entries of logs that it knows: start it with \
             --trust {}, before the first import",
            Path::new(&args.from_trusted_root).display()
        ));
    }
}
