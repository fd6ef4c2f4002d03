//! Which issuers of tokens are trusted, and for what.

use regex::Regex;

/// What an issuer's tokens stand for, and what of them goes into a certificate: Fulcio's kinds.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum IssuerKind {
    /// People, by `email`, which must be verified.
    Email {
        /// Where the token names the issuer that it federates, if it does: names of members from
        /// the outermost, such as `federated_claims`, `connector_id` for Dex. The certificate then
        /// names that issuer.
        issuer_claim: Vec<String>,
        /// Take tokens that do not say that the address is verified. Only for an issuer that hands
        /// out the addresses itself and leaves `email_verified` out.
        insecure_skip_email_verified: bool,
    },
    /// Anything with a URI in `sub` of this scheme, host and port: `https://example.com`.
    Uri {
        /// Scheme, host and port alone.
        subject_domain: String,
    },
    /// People without an address: `sub` is a name, and the certificate says `name!domain`.
    UserName {
        /// The domain, such as `example.com`.
        subject_domain: String,
    },
    /// Workloads: `sub` is a SPIFFE ID of this trust domain.
    Spiffe {
        /// The trust domain, such as `example.org`.
        trust_domain: String,
    },
    /// Service accounts of a Kubernetes cluster.
    Kubernetes,
    /// Workflows of GitHub Actions.
    GitHub {
        /// Where the repositories are: `https://github.com`.
        url: String,
    },
    /// Pipelines of GitLab.
    GitLab {
        /// Where the projects are: `https://gitlab.com`.
        url: String,
    },
}

/// A trusted issuer.
#[derive(Debug, Clone)]
pub struct IssuerConfig {
    pub(super) kind: IssuerKind,
    pub(super) audience: String,
    pub(super) max_age_s: u64,
    issuer: String,
    pattern: Option<Regex>,
}

/// Why an issuer cannot be configured so.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum IssuerConfigError {
    /// Not `https://`, and not `http://` of this very machine.
    #[error("the issuer {issuer:?} is not an https URL")]
    Url {
        /// The issuer.
        issuer: String,
    },
    /// No audience: any token of the issuer would do, for whomever it was made.
    #[error("the audience is empty")]
    Audience,
    /// The domain, trust domain or URL that goes with the kind is not one.
    #[error("{value:?} is not {wanted}")]
    Domain {
        /// What was given.
        value: String,
        /// What it should be.
        wanted: &'static str,
    },
    /// A pattern of issuers where one issuer must answer for a domain alone.
    #[error("a pattern of issuers cannot vouch for one domain")]
    Pattern,
}

/// Seconds after its `iat` for which a token is taken, unless configured otherwise: a day, which
/// covers the longest build jobs. Its own `exp` ends most tokens sooner; some live for a year.
pub const MAX_TOKEN_AGE_S: u64 = 86_400;

impl IssuerConfig {
    /// Trusts `issuer` (the `iss` of its tokens, exactly) for tokens made for `audience`.
    ///
    /// `issuer` may have wildcards: `*` stands for one or more of `-_a-zA-Z0-9`, so neither for a
    /// dot nor for a slash; the whole issuer must fit.
    ///
    /// # Errors
    /// [`IssuerConfigError`].
    pub fn new(issuer: &str, audience: &str, kind: IssuerKind) -> Result<Self, IssuerConfigError> {
        if !is_https(issuer) && !is_local(issuer) {
            return Err(IssuerConfigError::Url { issuer: issuer.to_owned() });
        }
        if audience.is_empty() {
            return Err(IssuerConfigError::Audience);
        }
        let pattern = if issuer.contains('*') { Some(pattern(issuer)?) } else { None };
        kind.check(pattern.is_some())?;
        let (issuer, audience) = (issuer.to_owned(), audience.to_owned());
        Ok(Self { kind, audience, max_age_s: MAX_TOKEN_AGE_S, issuer, pattern })
    }

    /// The same, with another age up to which tokens are taken, in seconds.
    #[must_use]
    pub fn with_max_age(self, max_age_s: u64) -> Self {
        Self { max_age_s, ..self }
    }

    /// Whether this is about tokens with that `iss`.
    pub fn matches(&self, iss: &str) -> bool {
        match &self.pattern {
            Some(pattern) => pattern.is_match(iss),
            None => self.issuer == iss,
        }
    }

    /// The issuer as configured, wildcards and all.
    pub fn issuer(&self) -> &str {
        &self.issuer
    }

    /// Whether the issuer has wildcards.
    pub fn is_pattern(&self) -> bool {
        self.pattern.is_some()
    }

    /// For whom tokens must be made.
    pub fn audience(&self) -> &str {
        &self.audience
    }

    /// What the tokens stand for.
    pub fn kind(&self) -> &IssuerKind {
        &self.kind
    }
}

impl IssuerKind {
    /// People by verified address, named by the issuer itself.
    pub fn email() -> Self {
        Self::Email { issuer_claim: Vec::new(), insecure_skip_email_verified: false }
    }

    /// `issuerType` in Fulcio's configuration endpoint.
    pub fn name(&self) -> &'static str {
        match self {
            Self::Email { .. } => "email",
            Self::Uri { .. } => "uri",
            Self::UserName { .. } => "username",
            Self::Spiffe { .. } => "spiffe",
            Self::Kubernetes => "kubernetes",
            Self::GitHub { .. } | Self::GitLab { .. } => "ci-provider",
        }
    }

    /// `challengeClaim` in Fulcio's configuration endpoint: which claim a proof of possession
    /// signs.
    pub fn challenge_claim(&self) -> &'static str {
        match self {
            Self::Email { .. } => "email",
            _ => "sub",
        }
    }

    fn check(&self, is_pattern: bool) -> Result<(), IssuerConfigError> {
        let (value, fits, wanted) = match self {
            Self::Uri { subject_domain: domain } => {
                let fits = split_uri(domain).is_some_and(|uri| uri.rest.is_empty());
                (domain, fits, "scheme, host and port of a URI")
            }
            Self::UserName { subject_domain: domain } => (domain, is_host(domain), "a domain name"),
            Self::Spiffe { trust_domain } => {
                if is_pattern {
                    return Err(IssuerConfigError::Pattern);
                }
                (trust_domain, is_trust_domain(trust_domain), "a SPIFFE trust domain")
            }
            Self::GitHub { url } | Self::GitLab { url } => (
                url,
                is_https(url) && !url.ends_with('/'),
                "an https URL without a slash at its end",
            ),
            Self::Email { .. } | Self::Kubernetes => return Ok(()),
        };
        if fits { Ok(()) } else { Err(IssuerConfigError::Domain { value: value.clone(), wanted }) }
    }
}

fn is_https(url: &str) -> bool {
    let plain = |c: char| c.is_ascii_graphic() && !r#""<>\^`{|}"#.contains(c);
    url.strip_prefix("https://").is_some_and(|rest| !rest.is_empty() && !rest.starts_with('/'))
        && url.chars().all(plain)
}

/// A provider on this very machine, for trying things out.
fn is_local(url: &str) -> bool {
    split_uri(url).is_some_and(|uri| {
        let host = uri.authority.split(':').next();
        uri.scheme == "http" && matches!(host, Some("localhost" | "127.0.0.1"))
    })
}

fn pattern(issuer: &str) -> Result<Regex, IssuerConfigError> {
    let parts: Vec<_> = issuer.split('*').map(regex::escape).collect();
    let expression = format!("^(?:{})$", parts.join("[-_a-zA-Z0-9]+"));
    Regex::new(&expression).map_err(|_| IssuerConfigError::Url { issuer: issuer.to_owned() })
}

/// A URI with an authority, apart.
pub(super) struct Uri<'a> {
    pub(super) scheme: &'a str,
    pub(super) authority: &'a str,
    /// Path, query and fragment.
    pub(super) rest: &'a str,
}

/// Splits `scheme://host[:port]…`; `None` for user names in it, and for what a URI may not contain.
pub(super) fn split_uri(text: &str) -> Option<Uri<'_>> {
    let plain = |c: char| c.is_ascii_graphic() && !r#""<>\^`{|}"#.contains(c);
    let (scheme, after) = text.split_once("://")?;
    let end = after.find(['/', '?', '#']).unwrap_or(after.len());
    let (authority, rest) = after.split_at_checked(end)?;
    let is_scheme = scheme.starts_with(|c: char| c.is_ascii_lowercase())
        && scheme.chars().all(|c| c.is_ascii_alphanumeric() || "+-.".contains(c));
    let (host, port) = authority.split_once(':').unwrap_or((authority, "0"));
    let is_port = !port.is_empty() && port.chars().all(|c| c.is_ascii_digit());
    let fits = is_scheme && is_host(host) && is_port && text.chars().all(plain);
    fits.then_some(Uri { scheme, authority, rest })
}

/// Letters, digits, hyphens, and dots between them.
pub(super) fn is_host(host: &str) -> bool {
    let is_label = |label: &str| {
        !label.is_empty() && label.chars().all(|c| c.is_ascii_alphanumeric() || "-_".contains(c))
    };
    host.len() <= 253 && host.split('.').all(is_label)
}

/// SPIFFE-ID §2.1.
pub(super) fn is_trust_domain(name: &str) -> bool {
    (1..=255).contains(&name.len())
        && name.chars().all(|c| c.is_ascii_lowercase() || c.is_ascii_digit() || ".-_".contains(c))
}
