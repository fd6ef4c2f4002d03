//! `serve restore`: a backup becomes a data directory again.

use std::path::{Path, PathBuf};
use std::process::ExitCode;

use serde_json::json;

use sealwright_server::client::ServiceClient;
use sealwright_server::service::{self, RestoreOptions};

use crate::error::CliError;
use crate::files;
use crate::output::{self, BAD, GOOD, Ui};

const MAX_NOTE: usize = 64 << 10;

#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// Directory that `serve backup` wrote.
    #[arg(long, value_name = "DIR")]
    from: PathBuf,
    /// Directory of the instance: not there yet, or empty.
    #[arg(long, value_name = "DIR", default_value = "sealwright-data")]
    data: PathBuf,
    /// Directory with the private keys, if the backup was made without: log-key.pem and so on.
    #[arg(long, value_name = "DIR")]
    keys: Option<PathBuf>,
    /// Newest checkpoint that anybody has seen of the log: a file, or the URL below which a mirror
    /// or proxy has `checkpoint`. May be given several times; an older backup is refused.
    #[arg(long = "newest-checkpoint", value_name = "FILE|URL")]
    newest: Vec<String>,
    /// PEM certificates to trust for such a URL with https.
    #[arg(long, value_name = "FILE")]
    ca: Option<PathBuf>,
}

pub(super) fn run(args: &Args, ui: &Ui) -> Result<ExitCode, CliError> {
    let newest: Vec<Vec<u8>> =
        args.newest.iter().map(|place| checkpoint(place, args)).collect::<Result<_, _>>()?;
    let restored = service::restore(&RestoreOptions {
        from: &args.from,
        data_dir: &args.data,
        keys: args.keys.as_deref(),
        newest: &newest,
    })?;
    let report = &restored.report;
    let value = json!({
        "ok": true,
        "data": output::path(&args.data),
        "origin": restored.origin,
        "made": restored.made,
        "entries": report.store.entries,
        "statements": report.statements,
        "compared_with": newest.len(),
    });
    let rows = [
        ("data", args.data.display().to_string()),
        ("log", output::plain(&restored.origin)),
        ("entries", format!("{}, all of them checked", report.store.entries)),
        ("statements", format!("{}, all of them verified", report.statements)),
    ];
    ui.result(&value, &format!("{GOOD}restored{GOOD:#}\n{}", output::fields(&rows)));
    if newest.is_empty() {
        ui.note(&format!(
            "{BAD}not compared:{BAD:#} without --newest-checkpoint nobody can tell whether the log has \
             shown more than this backup has. If it has, monitors and witnesses will report a fork."
        ));
    }
    Ok(ExitCode::SUCCESS)
}

fn checkpoint(place: &str, args: &Args) -> Result<Vec<u8>, CliError> {
    if !place.starts_with("http://") && !place.starts_with("https://") {
        return files::read(Path::new(place), "checkpoint", MAX_NOTE);
    }
    let ca = args.ca.as_deref().map(|path| files::read(path, "CA", 1 << 20)).transpose()?;
    Ok(ServiceClient::new(place, ca.as_deref())?.log_checkpoint()?)
}
