use std::path::PathBuf;
use std::process::ExitCode;

use serde_json::json;

use sealwright_attest::{RoleGrant, Timestamp};

use super::draft::{Draft, DraftArgs, list_of, parse_time, read_authority};
use crate::clock;
use crate::error::CliError;
use crate::keyref;
use crate::output::Ui;

/// Add a principal, or give one a key, an identity or a role.
///
/// Changes the draft only; nothing counts before the owners have signed it.
#[derive(Debug, clap::Args)]
pub(super) struct Args {
    #[command(flatten)]
    draft: DraftArgs,
    /// Public key of the principal; may be repeated.
    #[arg(long = "public-key", value_name = "FILE")]
    public_keys: Vec<PathBuf>,
    /// Whom certificates of the principal are for: an e-mail address or a URI, exactly.
    #[arg(long, value_name = "SUBJECT")]
    identity: Option<String>,
    /// The OIDC issuer that vouches for the identity (keyless signatures).
    #[arg(long, value_name = "URL", requires = "identity", conflicts_with = "ca")]
    issuer: Option<String>,
    /// PEM root certificate of the authority that vouches for the identity.
    #[arg(long, value_name = "FILE", requires = "identity")]
    ca: Option<PathBuf>,
    /// Role that the principal may speak in.
    #[arg(long, value_name = "ROLE", requires = "until")]
    role: Option<String>,
    /// First second of the role (RFC 3339); now, if left out.
    #[arg(long, value_name = "TIME", value_parser = parse_time, requires = "role")]
    from: Option<Timestamp>,
    /// Last second of the role (RFC 3339).
    #[arg(long, value_name = "TIME", value_parser = parse_time, requires = "role")]
    until: Option<Timestamp>,
}

pub(super) fn run(args: &Args, ui: &Ui) -> Result<ExitCode, CliError> {
    let mut draft = Draft::open_or_new(&args.draft)?;
    let principal = draft.principal_or_new()?;
    for path in &args.public_keys {
        list_of(principal, "publicKeys")?.push(json!(keyref::read_public(path)?.pem()));
    }
    if let Some(subject) = &args.identity {
        let identity = match (&args.issuer, &args.ca) {
            (Some(issuer), _) => json!({"subject": subject, "issuer": issuer}),
            (None, Some(path)) => json!({"subject": subject, "ca": read_authority(path)?}),
            (None, None) => {
                return Err(CliError::input("an identity is somebody's word")
                    .hint("give --issuer URL for keyless signatures, or --ca FILE"));
            }
        };
        list_of(principal, "identities")?.push(identity);
    }
    if let (Some(role), Some(valid_until)) = (&args.role, args.until) {
        let valid_from = args.from.map_or_else(clock::now, Ok)?;
        if valid_until < valid_from {
            return Err(CliError::input("the role would end before it begins")
                .hint("check --from and --until"));
        }
        let grant = RoleGrant { role: role.clone(), valid_from, valid_until };
        list_of(principal, "roles")?.push(json!(grant));
    }
    draft.finish(&[], ui)
}
