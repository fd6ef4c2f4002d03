use std::process::ExitCode;

use serde_json::{Value, json};

use sealwright_attest::{RoleGrant, Timestamp, from_value};

use super::draft::{Draft, DraftArgs, list_of, parse_time};
use crate::clock;
use crate::error::CliError;
use crate::output::Ui;

/// End a principal's role, or all of them.
///
/// What was logged up to that time stays as it was; what is logged later counts for nothing. Changes
/// the draft only.
#[derive(Debug, clap::Args)]
pub(super) struct Args {
    #[command(flatten)]
    draft: DraftArgs,
    /// Role that ends; all, if left out.
    #[arg(long, value_name = "ROLE")]
    role: Option<String>,
    /// Last second of the role (RFC 3339); now, if left out.
    #[arg(long, value_name = "TIME", value_parser = parse_time)]
    at: Option<Timestamp>,
}

pub(super) fn run(args: &Args, ui: &Ui) -> Result<ExitCode, CliError> {
    let now = clock::now()?;
    let at = args.at.unwrap_or(now);
    let mut draft = Draft::open(&args.draft)?;
    let grants = list_of(draft.principal()?, "roles")?;
    let is_meant = |grant: &RoleGrant| args.role.as_ref().is_none_or(|role| *role == grant.role);
    let (mut kept, mut ended) = (Vec::new(), 0);
    for value in grants.drain(..) {
        let grant: RoleGrant = from_value(value.clone()).map_err(|error| {
            CliError::input(format!("a role of the principal: {error}")).hint("mend the draft")
        })?;
        if !is_meant(&grant) || grant.valid_until <= at {
            kept.push(value);
            continue;
        }
        ended += 1;
        // One that would only begin later is gone.
        if grant.valid_from <= at {
            kept.push(json!(RoleGrant { valid_until: at, ..grant }));
        }
    }
    *grants = kept.into_iter().collect::<Vec<Value>>();
    if ended == 0 {
        let what = args.role.as_deref().unwrap_or("any role");
        return Err(CliError::input(format!("the principal does not have {what} after {at}"))
            .hint("see the draft; nothing was written"));
    }
    let remarks = (at < now).then(|| {
        format!("What was signed in the role and logged between {at} and now counts no more.")
    });
    draft.finish(remarks.as_slice(), ui)
}
