//! `serve tuf status`: what there is, what has expired, what somebody has to do.

use std::process::ExitCode;

use serde_json::json;

use sealwright_attest::Timestamp;
use sealwright_server::service::tuf::{self, RoleStatus, Status};

use super::DataArgs;
use crate::clock;
use crate::error::CliError;
use crate::output::{self, BAD, GOOD, STRONG, Ui};

#[derive(Debug, clap::Args)]
pub(super) struct Args {
    #[command(flatten)]
    instance: DataArgs,
    /// Time to judge expiries at; now otherwise.
    #[arg(long, value_name = "RFC3339", value_parser = Timestamp::parse)]
    at: Option<Timestamp>,
}

pub(super) fn run(args: &Args, ui: &Ui) -> Result<ExitCode, CliError> {
    let now = args.at.map_or_else(clock::now, Ok)?;
    let status = tuf::status(&args.instance.data, now)?;
    let is_well = status.problems.is_empty();
    let value = json!({
        "ok": is_well,
        "waiting": status.waiting.as_ref().map(|waiting| json!({
            "file": output::path(&waiting.path),
            "signatures": waiting.signatures,
        })),
        "roles": status.roles.iter().map(|role| json!({
            "role": role.role.as_str(), "version": role.version, "expires": role.expires,
        })).collect::<Vec<_>>(),
        "root_keys": status.root_keys.iter().map(|(id, _)| id).collect::<Vec<_>>(),
        "threshold": status.threshold,
        "online_key": status.online_key,
        "certificates": status.certificates.iter().map(|it| json!({
            "name": it.name, "until": it.until,
        })).collect::<Vec<_>>(),
        "problems": status.problems,
        "warnings": status.warnings,
    });
    ui.result(&value, &text(&status));
    Ok(ExitCode::from(u8::from(!is_well)))
}

fn text(status: &Status) -> String {
    let mut rows: Vec<(&str, String)> = Vec::new();
    for RoleStatus { role, version, expires } in &status.roles {
        rows.push((role.as_str(), format!("version {version}, until {expires}")));
    }
    if let Some(waiting) = &status.waiting {
        let what = format!(
            "{} waits for signatures: {} of {} in this file",
            waiting.path.display(),
            waiting.signatures,
            status.threshold
        );
        rows.push(("root", what));
    }
    let threshold = format!("{} of {} keys", status.threshold, status.root_keys.len());
    rows.push(("threshold", threshold));
    rows.extend(status.root_keys.iter().map(|(_, key)| ("root key", key.clone())));
    let online = status.online_key.get(..16).unwrap_or_default().to_owned();
    rows.push(("online key", online));
    rows.extend(status.certificates.iter().map(|it| (it.name, format!("until {}", it.until))));
    let verdict = match (status.problems.is_empty(), &status.waiting) {
        (false, _) => format!("{BAD}not well{BAD:#}"),
        (true, Some(_)) => format!("{STRONG}waiting{STRONG:#}"),
        (true, None) => format!("{GOOD}well{GOOD:#}"),
    };
    let mut text = format!("{verdict}\n{}", output::fields(&rows));
    for problem in &status.problems {
        text += &format!("{BAD}problem:{BAD:#} {}\n", output::plain(problem));
    }
    for warning in &status.warnings {
        text += &format!("{STRONG}warning:{STRONG:#} {}\n", output::plain(warning));
    }
    text
}
