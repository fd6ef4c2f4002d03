//! `trust fetch`: a TUF client.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use serde_json::{Value, json};

use sealwright_attest::TrustedRoot;
use sealwright_server::client::{ClientError, ServiceClient};
use sealwright_tuf::{Refused, RoleName, Trust, Update, UpdateError, follow_roots, update};

use crate::clock;
use crate::error::CliError;
use crate::files::{self, Access};
use crate::output::{self, GOOD, Ui};

/// Fetch trusted_root.json and signing_config.json from a TUF repository, or update them.
///
/// Begins with a root that you got by a way that you trust (--root), and follows from there. What was
/// seen is kept in DIR/tuf, so that nothing older is taken the next time; then no --root is needed.
#[derive(Debug, clap::Args)]
pub(super) struct Args {
    /// Where the repository is, such as `https://log.example/tuf`.
    #[arg(value_name = "URL")]
    url: String,
    /// Root to begin with; only for the first time.
    #[arg(long, value_name = "FILE")]
    root: Option<PathBuf>,
    /// Directory to write to.
    #[arg(long, value_name = "DIR")]
    out: PathBuf,
    /// PEM certificates to trust for https.
    #[arg(long, value_name = "FILE", env = "SEALWRIGHT_SERVICE_CA")]
    service_ca: Option<PathBuf>,
}

const STATE_DIR: &str = "tuf";
const TRUSTED_ROOT: &str = "trusted_root.json";
const SIGNING_CONFIG: &str = "signing_config.v0.2.json";
/// More than any trusted root has.
const MAX_TARGET: u64 = 4 << 20;

pub(super) fn run(args: &Args, ui: &Ui) -> Result<ExitCode, CliError> {
    let ca = args.service_ca.as_deref();
    let ca = ca.map(|path| files::read(path, "service CA", 1 << 20)).transpose()?;
    let client = ServiceClient::new(&args.url, ca.as_deref())?;
    let state = args.out.join(STATE_DIR);
    let trust = begin(&state, args.root.as_deref())?;
    fs::create_dir_all(&state).map_err(|error| {
        CliError::environment(format!("cannot create {}: {error}", state.display()))
            .hint("choose another --out")
    })?;

    let mut fetch = |name: &str, limit: usize| match client.log_file(name, limit.saturating_add(1))
    {
        Err(ClientError::Refused { status: 403 | 404, .. }) => Ok(None),
        content => content.map(Some),
    };
    let mut roots = Vec::new();
    let followed = follow_roots(&trust, &mut roots, &mut fetch);
    let trust = roots.pop().unwrap_or(trust);
    // At once, whatever comes next: nobody is led back to keys that were taken away.
    keep(&state, "root.json", trust.bytes())?;
    followed?;
    let kept = |name: &str| fs::read(state.join(name)).ok();
    let (timestamp, snapshot) = (kept("timestamp.json"), kept("snapshot.json"));
    let kept = (timestamp.as_deref(), snapshot.as_deref());
    let update = update(&trust, kept, clock::now()?, &mut fetch)?;
    keep(&state, "timestamp.json", update.timestamp.bytes())?;
    keep(&state, "snapshot.json", update.snapshot.bytes())?;

    let trusted_root = target(&update, TRUSTED_ROOT, &mut fetch)?;
    TrustedRoot::parse(&trusted_root)?;
    keep(&args.out, TRUSTED_ROOT, &trusted_root)?;
    let has_config = update.targets.content().targets.contains_key(SIGNING_CONFIG);
    if has_config {
        let config = target(&update, SIGNING_CONFIG, &mut fetch)?;
        keep(&args.out, "signing_config.json", &config)?;
        let both = json!({
            "mediaType": "application/vnd.dev.sigstore.clienttrustconfig.v0.1+json",
            "trustedRoot": document(&trusted_root)?,
            "signingConfig": document(&config)?,
        });
        keep(&args.out, "trust_config.json", format!("{both:#}\n").as_bytes())?;
    }
    let path = args.out.join(TRUSTED_ROOT);
    let (root, expires) = (trust.root().version, trust.root().expires);
    let value = json!({
        "ok": true,
        "trusted_root": output::path(&path),
        "root_version": root,
        "root_expires": expires,
        "timestamp_version": update.timestamp.content().version,
    });
    let rows = [
        ("trusted root", path.display().to_string()),
        ("by root", format!("version {root}, until {expires}")),
    ];
    ui.result(&value, &format!("{GOOD}up to date{GOOD:#}\n{}", output::fields(&rows)));
    Ok(ExitCode::SUCCESS)
}

/// The root that was trusted last, or the one to begin with.
fn begin(state: &Path, given: Option<&Path>) -> Result<Trust, CliError> {
    let known = state.join("root.json");
    let path = match given {
        _ if known.exists() => &known,
        Some(path) => path,
        None => {
            return Err(CliError::input("there is no root to begin with")
                .hint("give --root FILE, N.root.json that you got by a way that you trust"));
        }
    };
    let bytes = files::read(path, "root", RoleName::Root.max_size())?;
    Trust::begin(&bytes).map_err(|error| {
        CliError::input(format!("{}: {error}", path.display()))
            .hint("a root as an instance has it in tuf/repository/N.root.json")
    })
}

fn target(
    update: &Update,
    name: &str,
    fetch: &mut sealwright_tuf::Fetch<'_, ClientError>,
) -> Result<Vec<u8>, CliError> {
    let refused = |refused: Refused| CliError::from(UpdateError::<ClientError>::Refused(refused));
    let file = update.targets.target(name).map_err(refused)?;
    let limit = usize::try_from(file.length.min(MAX_TARGET)).unwrap_or(0);
    let content = fetch(&file.path(name), limit)?;
    let missing = || UpdateError::<ClientError>::Missing { name: name.to_owned() };
    let content = content.ok_or_else(missing)?;
    update.targets.check_target(name, &content).map_err(refused)?;
    Ok(content)
}

fn document(bytes: &[u8]) -> Result<Value, CliError> {
    serde_json::from_slice(bytes).map_err(|error| {
        CliError::failed(format!("the repository gives no JSON: {error}"))
            .hint("tell whoever runs the instance")
    })
}

fn keep(dir: &Path, name: &str, content: &[u8]) -> Result<(), CliError> {
    files::write(&dir.join(name), content, Access::Public)
}

impl From<UpdateError<ClientError>> for CliError {
    fn from(error: UpdateError<ClientError>) -> Self {
        let hint = match error {
            UpdateError::Source { source: source @ ClientError::TooLarge { .. }, .. } => {
                return Self::failed(source.to_string()).hint(LIES);
            }
            UpdateError::Source { source, .. } => return source.into(),
            UpdateError::Refused(Refused::Expired { .. }) => {
                "whoever is between may hold newer files back; or the instance was not looked after, or \
                 this machine's clock is wrong"
            }
            UpdateError::Refused(Refused::Signatures { role: RoleName::Root, .. }) => {
                "is this root the instance's? If it followed another root by itself, someone took over"
            }
            UpdateError::Missing { .. } => "check the URL: it ends in /tuf for an instance of ours",
            _ => LIES,
        };
        Self::failed(error.to_string()).hint(hint)
    }
}

const LIES: &str = "nothing was taken over: tell whoever runs the instance, by another way";
