//! Issuers of ID tokens: which are trusted, and their keys.
//!
//! A TOML file says which; the keys come from a file, or by OpenID Connect Discovery from the issuer's
//! own address and nowhere else.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use serde::Deserialize;
use serde_json::{Value, json};

use sealwright_attest::Timestamp;
use sealwright_authority::{
    IssuerConfig, IssuerKind, Jwks, TokenError, VerifiedIdentity, unverified_issuer,
    unverified_key_id, verify_token,
};

use super::StartError;
use super::issuer_keys::IssuerKeys;
use crate::reload::FilesRead;

/// What stock clients ask their tokens for.
const DEFAULT_AUDIENCE: &str = "sigstore";
/// Seconds by which an issuer's clock may differ from ours.
pub(super) const CLOCK_SKEW_S: u64 = 60;

/// The trusted issuers.
pub(crate) struct Issuers {
    issuers: Vec<Trusted>,
    keys: IssuerKeys,
}

struct Trusted {
    config: IssuerConfig,
    pinned: Option<Arc<Jwks>>,
}

/// Why there is no identity.
#[derive(Debug, thiserror::Error)]
pub(crate) enum IdentityError {
    /// Nobody trusts the issuer.
    #[error("tokens of the issuer {issuer:?} are not accepted here")]
    UnknownIssuer { issuer: String },
    /// The token is not right.
    #[error(transparent)]
    Token(#[from] TokenError),
    /// The issuer's keys cannot be had.
    #[error("the keys of {issuer} cannot be fetched: {problem}")]
    Keys { issuer: String, problem: String },
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct IssuersFile {
    /// PEM file with the authorities by which issuers' TLS certificates are checked; the system's
    /// otherwise.
    ca_file: Option<PathBuf>,
    issuer: Vec<IssuerEntry>,
}

/// One `[[issuer]]` of the file.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct IssuerEntry {
    /// `iss` of its tokens; `*` stands for a part of a name.
    url: String,
    /// `email`, `uri`, `username`, `spiffe`, `kubernetes`, `github` or `gitlab`.
    kind: String,
    /// `aud` of its tokens; `sigstore` by default.
    audience: Option<String>,
    /// For `uri` and `username`.
    subject_domain: Option<String>,
    /// For `spiffe`.
    trust_domain: Option<String>,
    /// For `github` and `gitlab`: where the repositories are, if not at the public ones.
    web_url: Option<String>,
    /// For `email`: the claim that names the issuer which this one federates.
    #[serde(default)]
    issuer_claim: Vec<String>,
    /// For `email`: addresses that the issuer does not say to be verified are taken too.
    #[serde(default)]
    insecure_skip_email_verified: bool,
    /// The issuer's keys (JWK set); nothing is fetched then.
    jwks_file: Option<PathBuf>,
}

impl Issuers {
    /// Reads the file, and the key files that it names (relative to it).
    pub(super) fn read(path: &Path, files: &mut FilesRead) -> Result<Self, StartError> {
        let unusable = |problem: String| StartError::Issuers { path: path.to_owned(), problem };
        let text = files.read_text(path).map_err(|error| StartError::file(path, error))?;
        let file: IssuersFile = toml::from_str(&text).map_err(|e| unusable(e.to_string()))?;
        let dir = path.parent().unwrap_or(Path::new("."));
        let keys = IssuerKeys::new(file.ca_file.map(|name| dir.join(name)).as_deref(), files)?;
        let trusted = file.issuer.into_iter().map(|entry| {
            let pinned = entry.jwks_file.as_ref().map(|name| {
                let path = dir.join(name);
                let bytes = files.read(&path).map_err(|error| StartError::file(&path, error))?;
                let keys = Jwks::parse(&bytes)
                    .map_err(|error| unusable(format!("{}: {error}", path.display())))?;
                Ok::<_, StartError>(Arc::new(keys))
            });
            Ok(Trusted { pinned: pinned.transpose()?, config: entry.check().map_err(unusable)? })
        });
        let issuers = trusted.collect::<Result<Vec<_>, StartError>>()?;
        Ok(Self { issuers, keys })
    }

    /// Where people log in: the first issuer of e-mail addresses. Others give tokens to machines.
    pub(super) fn login_url(&self) -> Option<&str> {
        let mut configs = self.issuers.iter().map(|trusted| &trusted.config);
        let login = configs.find(|it| !it.is_pattern() && it.kind().name() == "email");
        login.map(IssuerConfig::issuer)
    }

    /// `GET /api/v2/configuration` as Fulcio answers it.
    pub(super) fn configuration(&self) -> Value {
        let issuers = self.issuers.iter().map(|Trusted { config, .. }| {
            let url = if config.is_pattern() { "wildcardIssuerUrl" } else { "issuerUrl" };
            json!({
                url: config.issuer(),
                "audience": config.audience(),
                "challengeClaim": config.kind().challenge_claim(),
                "issuerType": config.kind().name(),
            })
        });
        json!({"issuers": issuers.collect::<Vec<_>>()})
    }

    /// Who somebody is, by a token; `now` in seconds since 1970. `None` if that takes keys that have to
    /// be fetched first, unless `may_fetch`: then it blocks until they are there.
    pub(super) fn identify(
        &self,
        token: &str,
        now: u64,
        may_fetch: bool,
    ) -> Result<Option<VerifiedIdentity>, IdentityError> {
        let iss = unverified_issuer(token)?;
        // Whoever is named exactly is not meant by a pattern.
        let exact = self.issuers.iter().find(|issuer| issuer.config.issuer() == iss);
        let found = exact.or_else(|| self.issuers.iter().find(|i| i.config.matches(&iss)));
        let Some(Trusted { config, pinned }) = found else {
            let issuer = iss.chars().take(200).collect();
            return Err(IdentityError::UnknownIssuer { issuer });
        };
        let kid = unverified_key_id(token)?;
        let keys = match pinned {
            Some(keys) => Arc::clone(keys),
            None => match self.keys.of(&iss, kid.as_deref(), now, may_fetch)? {
                Some(keys) => keys,
                None => return Ok(None),
            },
        };
        let time = Timestamp::from_unix(now).map_err(|_| IdentityError::Keys {
            issuer: iss,
            problem: "the clock is outside of all calendars".to_owned(),
        })?;
        Ok(Some(verify_token(token, config, &keys, time, CLOCK_SKEW_S)?))
    }
}

impl IssuerEntry {
    fn check(self) -> Result<IssuerConfig, String> {
        let Self { url, kind, .. } = &self;
        let given = [
            ("subject_domain", self.subject_domain.is_some(), &["uri", "username"][..]),
            ("trust_domain", self.trust_domain.is_some(), &["spiffe"]),
            ("web_url", self.web_url.is_some(), &["github", "gitlab"]),
            ("issuer_claim", !self.issuer_claim.is_empty(), &["email"]),
            ("insecure_skip_email_verified", self.insecure_skip_email_verified, &["email"]),
        ];
        if let Some((name, ..)) =
            given.iter().find(|(_, given, kinds)| *given && !kinds.contains(&kind.as_str()))
        {
            return Err(format!("{url}: {name} has no place in an issuer of kind {kind:?}"));
        }
        let wanted = |value: Option<String>, name: &str| {
            value.ok_or_else(|| format!("{url}: an issuer of kind {kind:?} needs {name}"))
        };
        let kind = match kind.as_str() {
            "email" => IssuerKind::Email {
                issuer_claim: self.issuer_claim.clone(),
                insecure_skip_email_verified: self.insecure_skip_email_verified,
            },
            "uri" => IssuerKind::Uri {
                subject_domain: wanted(self.subject_domain.clone(), "subject_domain")?,
            },
            "username" => IssuerKind::UserName {
                subject_domain: wanted(self.subject_domain.clone(), "subject_domain")?,
            },
            "spiffe" => IssuerKind::Spiffe {
                trust_domain: wanted(self.trust_domain.clone(), "trust_domain")?,
            },
            "kubernetes" => IssuerKind::Kubernetes,
            "github" => IssuerKind::GitHub {
                url: self.web_url.clone().unwrap_or_else(|| "https://github.com".to_owned()),
            },
            "gitlab" => IssuerKind::GitLab {
                url: self.web_url.clone().unwrap_or_else(|| "https://gitlab.com".to_owned()),
            },
            other => return Err(format!("{url}: unknown kind {other:?}")),
        };
        let audience = self.audience.as_deref().unwrap_or(DEFAULT_AUDIENCE);
        IssuerConfig::new(url, audience, kind).map_err(|error| format!("{url}: {error}"))
    }
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;

    fn read(text: &str) -> Result<Issuers, StartError> {
        let place = tempfile::tempdir().unwrap();
        let path = place.path().join("issuers.toml");
        fs::write(&path, text).unwrap();
        Issuers::read(&path, &mut FilesRead::default())
    }

    #[test]
    fn the_file_is_read_strictly() {
        let issuers = read(
            r#"
            [[issuer]]
            url = "https://oidc.example/*"
            kind = "kubernetes"
            audience = "signing"
            [[issuer]]
            url = "https://accounts.example"
            kind = "email"
            "#,
        )
        .unwrap();
        assert_eq!(
            issuers.configuration(),
            json!({"issuers": [
                {
                    "wildcardIssuerUrl": "https://oidc.example/*",
                    "audience": "signing",
                    "challengeClaim": "sub",
                    "issuerType": "kubernetes",
                },
                {
                    "issuerUrl": "https://accounts.example",
                    "audience": "sigstore",
                    "challengeClaim": "email",
                    "issuerType": "email",
                },
            ]})
        );
        let entry = |rest: &str| format!("[[issuer]]\nurl = \"https://a.example\"\n{rest}");
        for (text, problem) in [
            ("issuers = []".to_owned(), "unknown field"),
            (entry("kind = \"other\""), "unknown kind"),
            (entry("kind = \"email\"\nmore = 1"), "unknown field"),
            (entry("kind = \"spiffe\""), "needs trust_domain"),
            (entry("kind = \"github\"\ntrust_domain = \"x\""), "has no place"),
            (entry("kind = \"email\"\njwks_file = \"missing\""), "missing"),
            (entry("kind = \"email\"\naudience = \"\""), "audience"),
            ("[[issuer]]\nurl = \"http://a.example\"\nkind = \"email\"".to_owned(), "https"),
        ] {
            let error = read(&text).err().map(|error| error.to_string()).unwrap_or_default();
            assert!(error.contains(problem), "{text}: {error}");
        }
    }
}
