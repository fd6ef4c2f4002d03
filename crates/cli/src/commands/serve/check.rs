//! `serve check`: nothing in the store contradicts anything else.

use std::path::PathBuf;
use std::process::ExitCode;

use serde_json::json;

use sealwright_server::service::{self, InstanceReport};

use super::storage::StorageArgs;
use crate::error::CliError;
use crate::output::{self, BAD, GOOD, Ui};

#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// Directory of the instance, which must not be running.
    #[arg(long, value_name = "DIR", default_value = "sealwright-data")]
    data: PathBuf,
    #[command(flatten)]
    storage: StorageArgs,
}

pub(super) fn run(args: &Args, ui: &Ui) -> Result<ExitCode, CliError> {
    let place = args.storage.place()?;
    let InstanceReport { store, statements, bare, problems } =
        service::check(&args.data, place.as_ref())?;
    let is_sound = problems.is_empty();
    let value = json!({
        "ok": is_sound,
        "entries": store.entries,
        "checkpoints": store.checkpoints,
        "tiles": store.tiles,
        "statements": statements,
        "erased_statements": store.erased,
        "entries_without_statement": bare,
        "problems": problems,
        "more_problems": store.more,
    });
    let verdict = match is_sound {
        true => format!("{GOOD}sound{GOOD:#}"),
        false => format!("{BAD}damaged{BAD:#}"),
    };
    let rows = [
        ("entries", format!("{}, hashed anew from their bodies", store.entries)),
        ("checkpoints", format!("{}, held against the tree", store.checkpoints)),
        ("tiles", format!("{}, compared byte for byte", store.tiles)),
        ("statements", format!("{statements}, verified and held against their entries")),
        ("erased", format!("{} statements were erased; their entries are there", store.erased)),
        ("without", format!("{bare} entries have no statement, as those of Rekor's API")),
    ];
    let mut text = format!("{verdict}\n{}", output::fields(&rows));
    for problem in &problems {
        text += &format!("{BAD}{}{BAD:#}\n", output::plain(problem));
    }
    if store.more > 0 {
        text += &format!("and {} more\n", store.more);
    }
    ui.result(&value, &text);
    Ok(ExitCode::from(u8::from(!is_sound)))
}
