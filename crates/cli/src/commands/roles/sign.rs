use std::path::{Path, PathBuf};
use std::process::ExitCode;

use serde_json::{Value, json};

use sealwright_attest::{
    Bundle, Owners, OwnersError, RoleBinding, RoleChange, RoleTable, Statement,
    VerificationMaterial,
};

use super::{latest, table};
use crate::error::CliError;
use crate::files::{self, Access};
use crate::keyref::SigningKeyArgs;
use crate::output::{self, GOOD, Ui};
use crate::owners::read_bundles;
use crate::service::{KeyId, ServiceArgs, TrustArgs, seal_payload};

/// Sign a role binding with an owner's key; with --add, as another owner.
///
/// FILE is JSON: {"revision": 1, "principals": [{"name", "publicKeys": [PEM …], "identities":
/// [{"subject", "issuer"} or {"subject", "ca"}], "roles": [{"role", "validFrom", "validUntil"}]}]}.
/// A text in `publicKeys` or `ca` that is not PEM is the path of a PEM file, relative to FILE. What
/// is signed is shown before.
#[derive(Debug, clap::Args)]
pub(super) struct Args {
    /// JSON file with the principals; with --add, what must be what the other owner signed.
    #[arg(value_name = "FILE", required_unless_present = "add")]
    file: Option<PathBuf>,
    /// Add a signature to this file, which another owner has signed.
    #[arg(long, value_name = "FILE")]
    add: Option<PathBuf>,
    /// Role binding in force, signed or not: show what changes, and refuse a revision that is not newer.
    #[arg(long, value_name = "FILE")]
    previous: Option<PathBuf>,
    #[command(flatten)]
    key: SigningKeyArgs,
    /// Sign without being asked.
    #[arg(long)]
    yes: bool,
    /// Where to write the bundle [default: roles.sigstore.json, or the file of --add].
    #[arg(long, short, value_name = "FILE")]
    output: Option<PathBuf>,
    #[command(flatten)]
    service: ServiceArgs,
    #[command(flatten)]
    trust: TrustArgs,
}

/// What is to be signed, and what others have signed of it.
struct Signing {
    payload: Vec<u8>,
    table: RoleTable,
    others: Vec<Bundle>,
    output: PathBuf,
}

pub(super) fn run(args: &Args, ui: &Ui) -> Result<ExitCode, CliError> {
    let (root, owners) = (args.trust.root()?, args.trust.owners.owners()?);
    let signing = match &args.add {
        Some(path) => Signing::another(args, path, owners.as_ref())?,
        None => Signing::first(args)?,
    };
    let changes = changes(args, &signing, owners.as_ref())?;
    files::check_writable(&signing.output)?;
    // Before a passphrase is asked: it is asked for this.
    let shown = shown(&signing, &changes, args.previous.as_deref());
    ui.confirm(&shown, "Sign this?", args.yes)?;
    let signer = args.key.open(ui)?;
    let key = signer.public_key();
    signing.check_signer(&key.id(), owners.as_ref())?;
    if let Some(client) = args.service.client()? {
        let alone = Owners::new(vec![key.clone()], 1)?;
        let owners = owners.as_ref().unwrap_or(&alone);
        latest::check(&client, owners, &signing.payload, &signing.table)?;
    }

    let Signing { payload, table, mut others, output } = signing;
    let (service, root) = (&args.service, root.as_ref());
    let sealed = seal_payload(payload, KeyId::Hint, signer.as_ref(), service, root)?;
    others.push(sealed.bundle().clone());
    files::write(&output, to_file(&others).as_bytes(), Access::Public)?;
    let made = sealed.at(output);
    let standing = Standing::of(&others, owners.as_ref())?;

    let mut value = made.to_value();
    value["ok"] = json!(true);
    value["revision"] = json!(table.revision());
    value["changes"] = json!(changes);
    value["principals"] = table::principals_value(&table);
    value["owners"] = standing.to_value();
    let mut rows = vec![("principals", table.principals().len().to_string())];
    rows.extend((table.revision() > 0).then(|| ("revision", table.revision().to_string())));
    rows.push(("signed by", standing.to_string(&made.path)));
    rows.extend(made.rows());
    ui.result(&value, &format!("{GOOD}roles bound{GOOD:#}\n{}", output::fields(&rows)));
    Ok(ExitCode::SUCCESS)
}

/// The file with these signatures.
pub(super) fn to_file(bundles: &[Bundle]) -> String {
    Bundle::to_json_lines(bundles)
}

impl Signing {
    fn first(args: &Args) -> Result<Self, CliError> {
        let file = args.file.as_deref().unwrap_or(Path::new(""));
        let statement = RoleBinding::statement(table::read_draft(file)?)?;
        Ok(Self {
            table: RoleTable::of_statement(&statement)?,
            payload: statement.to_payload(),
            others: Vec::new(),
            output: args.output.clone().unwrap_or_else(|| "roles.sigstore.json".into()),
        })
    }

    fn another(args: &Args, path: &Path, owners: Option<&Owners>) -> Result<Self, CliError> {
        let others = read_bundles(path)?;
        let statement = table::statement(path, &others)?;
        let about = |error| CliError::from(error).about(path.display());
        let table = RoleTable::of_statement(&statement).map_err(about)?;
        if let Some(owners) = owners {
            for (number, bundle) in (1..).zip(&others) {
                owners.signature(bundle, number)?;
            }
        }
        if let Some(file) = &args.file {
            check_same(file, path, &statement, &table)?;
        }
        let payload = others.first().map(|bundle| bundle.envelope().payload.clone());
        Ok(Self {
            payload: payload.unwrap_or_default(),
            table,
            others,
            output: args.output.clone().unwrap_or_else(|| path.to_owned()),
        })
    }

    /// Refuses before anything is logged what no verifier would take.
    fn check_signer(&self, key_id: &str, owners: Option<&Owners>) -> Result<(), CliError> {
        let has_signed = |bundle: &Bundle| matches!(bundle.material(), VerificationMaterial::PublicKey { hint } if hint == key_id);
        if let Some(place) = self.others.iter().position(has_signed) {
            let (number, key_id) = (place.saturating_add(1), key_id.to_owned());
            return Err(OwnersError::Twice { number, key_id }.into());
        }
        match owners {
            Some(owners) if !owners.keys().iter().any(|key| key.id() == key_id) => {
                let number = self.others.len().saturating_add(1);
                Err(OwnersError::NotOwner { number, found: key_id.to_owned() }.into())
            }
            _ => Ok(()),
        }
    }
}

/// The draft beside must say what the other owner signed.
fn check_same(
    draft: &Path,
    signed: &Path,
    statement: &Statement,
    table: &RoleTable,
) -> Result<(), CliError> {
    let drafted = RoleBinding::statement(table::read_draft(draft)?)?;
    if drafted.predicate == statement.predicate {
        return Ok(());
    }
    let changes = RoleTable::of_statement(&drafted)?.changes_since(Some(table));
    let changes: Vec<_> = changes.iter().map(ToString::to_string).collect();
    Err(CliError::failed(format!(
        "{} is not what was signed in {}: {}",
        draft.display(),
        signed.display(),
        if changes.is_empty() { "another revision".to_owned() } else { changes.join("; ") }
    ))
    .hint("ask the other owner what was signed; nothing was signed now"))
}

/// What changes against `--previous`, of which the revision must be lower.
fn changes(
    args: &Args,
    signing: &Signing,
    owners: Option<&Owners>,
) -> Result<Vec<RoleChange>, CliError> {
    let Some(path) = &args.previous else { return Ok(signing.table.changes_since(None)) };
    let previous = table::read(path, owners)?.table;
    let (old, new) = (previous.revision(), signing.table.revision());
    if new <= old && (old, new) != (0, 0) {
        return Err(CliError::input(format!("revision {new} is not newer than {old}, in force"))
            .hint("write \"revision\": a higher number into the draft"));
    }
    Ok(signing.table.changes_since(Some(&previous)))
}

fn shown(signing: &Signing, changes: &[RoleChange], previous: Option<&Path>) -> String {
    let against =
        previous.map_or("nothing (give --previous)".to_owned(), |p| p.display().to_string());
    let revision = match signing.table.revision() {
        0 => "none: verifiers cannot tell which binding is the newest".to_owned(),
        revision => revision.to_string(),
    };
    let rows = output::fields(&[("revision", revision), ("compared with", against)]);
    format!("You sign:\n{rows}{}", table::change_lines(changes))
}

/// How many owners have signed, as far as that is known.
enum Standing {
    /// Nobody said who the owners are.
    Unknown { signatures: usize },
    /// Owners' signatures, all of them valid.
    Known { signed: usize, required: usize, owners: usize },
}

impl Standing {
    fn of(bundles: &[Bundle], owners: Option<&Owners>) -> Result<Self, CliError> {
        let Some(owners) = owners else { return Ok(Self::Unknown { signatures: bundles.len() }) };
        let required = owners.required();
        let signed = match owners.verify(bundles, None) {
            Ok(signed) => signed.signers().len(),
            Err(OwnersError::TooFew { found, .. }) => found,
            Err(error) => return Err(error.into()),
        };
        Ok(Self::Known { signed, required, owners: owners.keys().len() })
    }

    fn to_value(&self) -> Value {
        match self {
            Self::Unknown { signatures } => json!({"signed": signatures}),
            Self::Known { signed, required, .. } => {
                json!({"signed": signed, "required": required, "enough": signed >= required})
            }
        }
    }

    fn to_string(&self, path: &Path) -> String {
        match self {
            Self::Unknown { signatures: 1 } => {
                "1 owner (another adds theirs with `sealwright roles sign --add`)".to_owned()
            }
            Self::Unknown { signatures } => {
                format!("{signatures} (give --owner-key to check the others)")
            }
            Self::Known { signed, required, .. } if signed < required => format!(
                "{signed} of {required} owners; next: `sealwright roles sign --add {}`",
                path.display()
            ),
            Self::Known { signed: 1, .. } => "1 owner, who can change it alone".to_owned(),
            Self::Known { signed, owners, .. } => format!("{signed} of {owners} owners: enough"),
        }
    }
}
