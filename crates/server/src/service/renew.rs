//! New keys and certificates for the authorities, issued by their root.
//!
//! The authorities' files are kept in generations: `authority`, `authority-2`, and so on, each put into
//! place whole; the last one counts. What was before stays in the trusted root, with an end.

use std::fs;
use std::path::{Path, PathBuf};

use sealwright_attest::{Signer, Timestamp as Time, TrustedRoot};
use sealwright_authority::{certificate_valid_until, certificates_from_pem};

use super::StartError;
use super::authorities::{self, OFFLINE_DIR, Renewal, YEAR_S};
use super::authority_keys::AuthorityKeys;
use super::data::{self, TRUSTED_ROOT_FILE, create_dir, replace, write_new};
use super::trust::has_keys;
use super::tuf::{self, CeremonyError};
use crate::state::time_now;

const STAGING: &str = ".renewing-";

/// A root issues nothing in the last year of its life.
const LEAST_S: u64 = YEAR_S;

/// Who signs the new certificates.
pub enum Issuer<'a> {
    /// The present root.
    Root(&'a dyn Signer),
    /// A new root, whose key is made and belongs offline. Both authorities are renewed under it.
    NewRoot,
}

/// What was renewed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Renewed {
    /// Where the new keys and certificates are.
    pub dir: PathBuf,
    /// Where the private key of the new root is, if one was made: it belongs offline.
    pub root_key: Option<PathBuf>,
    /// The last second at which what was before counts. A running service changes over much sooner.
    pub old_until: Time,
    /// Last second of the new certificates.
    pub until: Time,
}

/// Gives the authorities new keys and certificates; both of them, or those of `parts`. What `keys` has is
/// kept elsewhere, and only gets a certificate; of what stays as it is, `keys` must have what is kept
/// elsewhere as well. The trusted root and the TUF repository follow.
///
/// # Errors
/// [`CeremonyError`].
pub fn renew(
    data_dir: &Path,
    issuer: &Issuer<'_>,
    parts: Renewal,
    keys: &AuthorityKeys,
) -> Result<Renewed, CeremonyError> {
    if !has_keys(data_dir) {
        return Err(StartError::NotInitialised { dir: data_dir.to_owned() }.into());
    }
    let now = time_now()?;
    let (number, old) = authorities::newest(data_dir)
        .ok_or_else(|| StartError::Authority { path: data_dir.join(authorities::AUTHORITY_DIR) })?;
    let root_path = old.join("root.pem");
    let pem =
        fs::read_to_string(&root_path).map_err(|error| StartError::file(&root_path, error))?;
    let root = certificates_from_pem(&pem).and_then(|mut chain| chain.pop());
    let root = root.ok_or_else(|| StartError::Authority { path: root_path.clone() })?;
    remove_unfinished(data_dir)?;
    let staging = tempfile::Builder::new()
        .prefix(STAGING)
        .tempdir_in(data_dir)
        .map_err(|error| StartError::file(data_dir, error))?;
    let organization = origin(data_dir)?;
    let root_key = match issuer {
        Issuer::Root(signer) => {
            let until = certificate_valid_until(&root)
                .map_err(|_| StartError::Authority { path: root_path.clone() })?;
            if until < now.plus_seconds(LEAST_S) {
                return Err(CeremonyError::RootEnds { at: until });
            }
            let issuing = authorities::Issuing { root: &root, signer: *signer, until };
            authorities::issue(
                staging.path(),
                &organization,
                &issuing,
                parts,
                keys,
                Some(&old),
                now,
            )
            .map_err(|error| match error {
                StartError::Authority { .. } => CeremonyError::OtherRootKey { path: root_path },
                other => other.into(),
            })?;
            None
        }
        Issuer::NewRoot => {
            let key = authorities::make(staging.path(), &organization, keys, now)?;
            let offline = data_dir.join(OFFLINE_DIR);
            create_dir(&offline)?;
            let name = format!("root-key-{}.pem", number + 1);
            let path = offline.join(&name);
            if !write_new(&offline, &name, key.as_bytes(), 0o600)? {
                return Err(StartError::AuthorityLeftover { path }.into());
            }
            Some(path)
        }
    };
    // What does not fit must not become the newest.
    authorities::open_generation(staging.path(), keys)?;
    let dir = data_dir.join(authorities::generation(number + 1));
    fs::rename(staging.path(), &dir)
        .and_then(|()| fs::File::open(data_dir)?.sync_all())
        .map_err(|error| StartError::file(&dir, error))?;
    // It has another name now.
    let _ = staging.keep();
    let until = publish(data_dir, keys, now)?;
    authorities::forget_keys_before(data_dir, number + 1)?;
    Ok(Renewed { dir, root_key, old_until: now.plus_seconds(authorities::OVERLAP_S), until })
}

/// Everybody learns of the newest certificates. What a renewal that was cut short has left undone, the
/// next start does.
fn publish(data_dir: &Path, keys: &AuthorityKeys, now: Time) -> Result<Time, CeremonyError> {
    let opened = authorities::open(data_dir, keys)?;
    let opened = opened.ok_or_else(|| StartError::Authority { path: data_dir.to_owned() })?;
    let path = data_dir.join(TRUSTED_ROOT_FILE);
    let text = fs::read_to_string(&path).map_err(|error| StartError::file(&path, error))?;
    let bad = || StartError::TrustedRoot { path: path.clone() };
    let root = TrustedRoot::parse(text.as_bytes()).map_err(|_| bad())?;
    let base_url = &root.logs().first().ok_or_else(bad)?.base_url;
    if let Some(text) = data::with_authorities(&text, &opened, base_url, now) {
        replace(data_dir, TRUSTED_ROOT_FILE, text.as_bytes())?;
    }
    let wanted =
        [(TRUSTED_ROOT_FILE, fs::read(&path).map_err(|error| StartError::file(&path, error))?)];
    tuf::renew(data_dir, &wanted.into(), now)?;
    Ok(opened.until())
}

/// The name of the instance, which is in its certificates.
fn origin(data_dir: &Path) -> Result<String, StartError> {
    let path = data_dir.join(TRUSTED_ROOT_FILE);
    let bytes = fs::read(&path).map_err(|error| StartError::file(&path, error))?;
    let root = TrustedRoot::parse(&bytes).ok();
    let name = root.as_ref().and_then(|root| Some(root.logs().first()?.key.name().to_owned()));
    name.ok_or(StartError::TrustedRoot { path })
}

fn remove_unfinished(data_dir: &Path) -> Result<(), StartError> {
    let failed = |error| StartError::file(data_dir, error);
    for entry in fs::read_dir(data_dir).map_err(failed)? {
        let entry = entry.map_err(failed)?;
        if entry.file_name().as_encoded_bytes().starts_with(STAGING.as_bytes()) {
            fs::remove_dir_all(entry.path()).map_err(failed)?;
        }
    }
    Ok(())
}
