//! Who may submit statements, and who may read them: what the file of `--writers` says.
//!
//! What a statement says counts by its signature alone. But whoever may submit can say so much about a
//! model that nobody can read it all, so an instance that strangers reach should know its writers; and
//! what is known about a model may be nobody else's business.

mod projects;
mod recognise;

use std::path::{Path, PathBuf};
use std::sync::Arc;

use serde::Deserialize;

use super::StartError;
use super::issuer_keys::IssuerKeys;
use crate::error::ApiError;
use crate::reload::FilesRead;

pub(crate) use projects::{Project, Projects};
pub(crate) use recognise::Credentials;
use recognise::{Way, WayEntry};

const MAX_NAME: usize = 100;

/// The writers and readers of an instance.
pub(crate) struct Access {
    writers: Vec<Party>,
    /// Everybody may read, if nobody is named.
    readers: Option<Vec<Party>>,
    keys: IssuerKeys,
}

/// Somebody who is known.
struct Party {
    name: Arc<str>,
    way: Way,
    projects: Projects,
}

/// What somebody may do, by all the entries that fit.
#[derive(Debug, Default)]
pub(crate) struct Grants {
    list: Vec<(Arc<str>, Projects)>,
    /// Whether an entry fits that does not fit everybody.
    is_recognised: bool,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct AccessFile {
    /// PEM file with the authorities by which issuers' TLS certificates are checked; the system's
    /// otherwise.
    ca_file: Option<PathBuf>,
    writer: Vec<PartyEntry>,
    reader: Option<Vec<PartyEntry>>,
}

/// One `[[writer]]` or `[[reader]]`.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct PartyEntry {
    /// For the service's log output, and for limits.
    name: String,
    /// Names of projects; `""` for statements of none, `"*"` for all. Those of none by default.
    projects: Option<Vec<String>>,
    /// SHA-256 of a token, 64 lower-case hexadecimal digits.
    token_sha256: Option<String>,
    /// What an ID token must say.
    oidc: Option<recognise::OidcEntry>,
    /// What a client's certificate must say.
    certificate: Option<recognise::CertificateEntry>,
    /// Whoever it is. For readers alone.
    anybody: Option<bool>,
}

impl Access {
    /// Reads the file, and the key files that it names (relative to it).
    pub(super) fn read(
        path: &Path,
        has_client_ca: bool,
        files: &mut FilesRead,
    ) -> Result<Self, StartError> {
        let unusable = |problem: String| StartError::Writers { path: path.to_owned(), problem };
        let text = files.read_text(path).map_err(|error| StartError::file(path, error))?;
        let file: AccessFile = toml::from_str(&text).map_err(|e| unusable(e.to_string()))?;
        let dir = path.parent().unwrap_or(Path::new("."));
        let keys = IssuerKeys::new(file.ca_file.map(|name| dir.join(name)).as_deref(), files)?;
        let mut parties = |entries: Vec<PartyEntry>, is_reader: bool| {
            let mut party = |entry: PartyEntry| {
                let about = if is_reader { "reader" } else { "writer" };
                let about = format!("{about} {:?}", entry.name);
                if entry.certificate.is_some() && !has_client_ca {
                    return Err(unusable(format!(
                        "{about}: a certificate needs --tls-client-ca, the authorities for it"
                    )));
                }
                if entry.anybody.is_some() && !is_reader {
                    return Err(unusable(format!("{about}: anybody is for readers alone")));
                }
                entry.check(dir, files).map_err(|problem| unusable(format!("{about}: {problem}")))
            };
            entries.into_iter().map(&mut party).collect::<Result<Vec<_>, _>>()
        };
        let writers = parties(file.writer, false)?;
        let readers = file.reader.map(|entries| parties(entries, true)).transpose()?;
        Ok(Self { writers, readers, keys })
    }

    /// What whoever shows this may write; `now` in seconds since 1970. `None` if that takes keys that
    /// have to be fetched first, unless `may_fetch`: then it blocks until they are there.
    pub(crate) fn writer(
        &self,
        shown: &Credentials,
        now: u64,
        may_fetch: bool,
    ) -> Result<Option<Grants>, ApiError> {
        self.grants(&self.writers, shown, now, may_fetch)
    }

    /// The same for reading. Whoever shows something that nobody here knows is refused, not given what
    /// anybody is given: they would not learn that more is kept from them.
    pub(crate) fn reader(
        &self,
        shown: &Credentials,
        now: u64,
        may_fetch: bool,
    ) -> Result<Option<Grants>, ApiError> {
        let Some(readers) = &self.readers else {
            let list = vec![(Arc::from("anybody"), Projects::all())];
            return Ok(Some(Grants { list, is_recognised: false }));
        };
        let Some(grants) = self.grants(readers, shown, now, may_fetch)? else { return Ok(None) };
        if shown.is_any && !grants.is_recognised {
            // A writer is known, and still no reader.
            match self.grants(&self.writers, shown, now, may_fetch)? {
                Some(grants) if grants.is_empty() => return Err(ApiError::NoReader),
                Some(_) => {}
                None => return Ok(None),
            }
        }
        Ok(Some(grants))
    }

    fn grants(
        &self,
        parties: &[Party],
        shown: &Credentials,
        now: u64,
        may_fetch: bool,
    ) -> Result<Option<Grants>, ApiError> {
        let mut grants = Grants::default();
        let mut trouble = None;
        for Party { name, way, projects } in parties {
            match way.fits(shown, &self.keys, now, may_fetch) {
                Ok(Some(true)) => {
                    grants.is_recognised |= !matches!(way, Way::Anybody);
                    grants.list.push((Arc::clone(name), projects.clone()));
                }
                Ok(Some(false)) => {}
                Ok(None) => return Ok(None),
                // Another entry may still fit.
                Err(error) => trouble = Some(error),
            }
        }
        match trouble {
            Some(error) if !grants.is_recognised => Err(error.into()),
            _ => Ok(Some(grants)),
        }
    }
}

impl Grants {
    /// Whether nobody was recognised.
    pub(crate) fn is_empty(&self) -> bool {
        self.list.is_empty()
    }

    /// The name of the first entry that has this project.
    pub(crate) fn name_for(&self, project: &Project) -> Option<Arc<str>> {
        let granted = self.list.iter().find(|(_, projects)| projects.contains(project.as_str()));
        granted.map(|(name, _)| Arc::clone(name))
    }

    /// All projects of all entries.
    pub(crate) fn projects(&self) -> Projects {
        self.list.iter().fold(Projects::none(), |all, (_, projects)| all.union(projects))
    }
}

impl PartyEntry {
    fn check(self, dir: &Path, files: &mut FilesRead) -> Result<Party, String> {
        let Self { name, projects, token_sha256, oidc, certificate, anybody } = self;
        let is_printable = !name.chars().any(char::is_control);
        if name.trim().is_empty() || name.len() > MAX_NAME || !is_printable {
            return Err(format!("a name has 1 to {MAX_NAME} printable characters"));
        }
        let entries = [
            token_sha256.map(WayEntry::Token),
            oidc.map(WayEntry::Oidc),
            certificate.map(WayEntry::Certificate),
            anybody.filter(|anybody| *anybody).map(|_| WayEntry::Anybody),
        ];
        let mut entries = entries.into_iter().flatten();
        let (Some(entry), None) = (entries.next(), entries.next()) else {
            return Err("give one of token_sha256, oidc and certificate".to_owned());
        };
        let projects = Projects::parse(&projects.unwrap_or_else(|| vec![String::new()]))?;
        Ok(Party { name: name.into(), way: entry.check(dir, files)?, projects })
    }
}

#[cfg(test)]
mod tests;
