//! From the claims of a verified token to what a certificate says, kind by kind, as Fulcio does it
//! (its `oid-info.md`, `config/identity/config.yaml`, and the principals of each kind).

use std::collections::BTreeMap;

use serde_json::{Map, Value};

use super::TokenError;
use super::issuer::{IssuerKind, is_host, is_trust_domain, split_uri};
use crate::identity::{Claim, Subject, VerifiedIdentity};

pub(super) type Claims = Map<String, Value>;

/// Longest name in a certificate. RFC 5280 sets no limit; a token is not longer than 16 KiB.
const MAX_NAME: usize = 2048;

/// Where a GitHub Actions token has what the extensions say. `{url}` is the server's address.
const GITHUB: [(Claim, &str); 20] = [
    (Claim::GithubWorkflowTrigger, "{event_name}"),
    (Claim::GithubWorkflowSha, "{sha}"),
    (Claim::GithubWorkflowName, "{workflow}"),
    (Claim::GithubWorkflowRepository, "{repository}"),
    (Claim::GithubWorkflowRef, "{ref}"),
    (Claim::BuildSignerUri, "{url}/{job_workflow_ref}"),
    (Claim::BuildSignerDigest, "{job_workflow_sha}"),
    (Claim::RunnerEnvironment, "{runner_environment}"),
    (Claim::SourceRepositoryUri, "{url}/{repository}"),
    (Claim::SourceRepositoryDigest, "{sha}"),
    (Claim::SourceRepositoryRef, "{ref}"),
    (Claim::SourceRepositoryIdentifier, "{repository_id}"),
    (Claim::SourceRepositoryOwnerUri, "{url}/{repository_owner}"),
    (Claim::SourceRepositoryOwnerIdentifier, "{repository_owner_id}"),
    (Claim::BuildConfigUri, "{url}/{workflow_ref}"),
    (Claim::BuildConfigDigest, "{workflow_sha}"),
    (Claim::BuildTrigger, "{event_name}"),
    (Claim::RunInvocationUri, "{url}/{repository}/actions/runs/{run_id}/attempts/{run_attempt}"),
    (Claim::SourceRepositoryVisibilityAtSigning, "{repository_visibility}"),
    (Claim::DeploymentEnvironment, "{environment?}"),
];
const GITHUB_SUBJECT: &str = "{url}/{job_workflow_ref}";

/// The same for GitLab. `{refs}` is `refs/heads/` or `refs/tags/`, by `ref_type`.
const GITLAB: [(Claim, &str); 15] = [
    (Claim::BuildSignerUri, "https://{ci_config_ref_uri}"),
    // Not there if the configuration is of another instance.
    (Claim::BuildSignerDigest, "{ci_config_sha?}"),
    (Claim::RunnerEnvironment, "{runner_environment}"),
    (Claim::SourceRepositoryUri, "{url}/{project_path}"),
    (Claim::SourceRepositoryDigest, "{sha}"),
    (Claim::SourceRepositoryRef, "{refs}{ref}"),
    (Claim::SourceRepositoryIdentifier, "{project_id}"),
    (Claim::SourceRepositoryOwnerUri, "{url}/{namespace_path}"),
    (Claim::SourceRepositoryOwnerIdentifier, "{namespace_id}"),
    (Claim::BuildConfigUri, "https://{ci_config_ref_uri}"),
    (Claim::BuildConfigDigest, "{ci_config_sha?}"),
    (Claim::BuildTrigger, "{pipeline_source}"),
    (Claim::RunInvocationUri, "{url}/{project_path}/-/jobs/{job_id}"),
    (Claim::SourceRepositoryVisibilityAtSigning, "{project_visibility}"),
    (Claim::DeploymentEnvironment, "{environment?}"),
];
const GITLAB_SUBJECT: &str = "https://{ci_config_ref_uri}";

/// `iss` and `sub` are those of the token, which is verified.
pub(super) fn identity(
    kind: &IssuerKind,
    claims: &Claims,
    iss: &str,
    sub: &str,
) -> Result<VerifiedIdentity, TokenError> {
    let mut issuer = iss.to_owned();
    let mut challenge = sub.to_owned();
    let mut said = BTreeMap::new();
    let subject = match kind {
        IssuerKind::Email { issuer_claim, insecure_skip_email_verified: skip } => {
            let email = email(claims, *skip)?;
            if !issuer_claim.is_empty() {
                issuer = federated_issuer(claims, issuer_claim)?;
            }
            challenge.clone_from(&email);
            Subject::Email(email)
        }
        IssuerKind::Uri { subject_domain } => uri(sub, subject_domain)?,
        IssuerKind::UserName { subject_domain } => user_name(sub, subject_domain)?,
        IssuerKind::Spiffe { trust_domain } => spiffe(sub, trust_domain)?,
        IssuerKind::Kubernetes => service_account(claims, sub)?,
        IssuerKind::GitHub { url } => {
            let lookup = |name: &str| match name {
                "url" => Ok(Some(url.clone())),
                _ => optional_text(claims, name),
            };
            said = fill_all(&GITHUB, &lookup)?;
            ci_subject(&fill(GITHUB_SUBJECT, &lookup)?, url)?
        }
        IssuerKind::GitLab { url } => {
            let lookup = |name: &str| match name {
                "url" => Ok(Some(url.clone())),
                "refs" => gitlab_refs(claims).map(Some),
                _ => optional_text(claims, name),
            };
            said = fill_all(&GITLAB, &lookup)?;
            ci_subject(&fill(GITLAB_SUBJECT, &lookup)?, url)?
        }
    };
    said.insert(Claim::TokenSubject, sub.to_owned());
    let email = claims.get("email").and_then(Value::as_str).map(str::to_owned);
    let other_challenges = [Some(sub.to_owned()), email].into_iter().flatten().collect();
    Ok(VerifiedIdentity { subject, issuer, challenge, other_challenges, claims: said })
}

fn wrong(name: &str, problem: &'static str) -> TokenError {
    TokenError::Claim { name: name.to_owned(), problem }
}

fn email(claims: &Claims, skip_verified: bool) -> Result<String, TokenError> {
    let email = text(claims, "email")?;
    // Some issuers write the boolean as a string; Fulcio takes that, too.
    let verified = match claims.get("email_verified") {
        Some(Value::Bool(verified)) => *verified,
        Some(Value::String(verified)) => verified == "true",
        _ => false,
    };
    if !verified && !skip_verified {
        return Err(wrong("email_verified", "is not true"));
    }
    if !is_email(&email) {
        return Err(wrong("email", "is not an e-mail address"));
    }
    Ok(email)
}

/// An address that an `rfc822Name` can carry (RFC 5280 §4.2.1.6), without quoted parts.
fn is_email(text: &str) -> bool {
    let Some((local, domain)) = text.split_once('@') else { return false };
    let is_local = |c: char| c.is_ascii_graphic() && !r#""(),:;<>@[\]"#.contains(c);
    text.len() <= 254
        && (1..=64).contains(&local.len())
        && local.chars().all(is_local)
        && !local.split('.').any(str::is_empty)
        && domain.contains('.')
        && is_host(domain)
}

fn federated_issuer(claims: &Claims, path: &[String]) -> Result<String, TokenError> {
    let name = path.join(".");
    let (last, outer) = path.split_last().ok_or_else(|| wrong(&name, "is missing"))?;
    let inner = outer.iter().try_fold(claims, |claims, name| claims.get(name)?.as_object());
    inner
        .and_then(|claims| text(claims, last).ok())
        .filter(|issuer| !issuer.is_empty())
        .ok_or_else(|| wrong(&name, "is missing"))
}

/// Scheme, host and port must be the configured ones.
fn uri(sub: &str, domain: &str) -> Result<Subject, TokenError> {
    let (Some(uri), Some(wanted)) = (split_uri(sub), split_uri(domain)) else {
        return Err(wrong("sub", "is not a URI"));
    };
    if sub.len() > MAX_NAME {
        return Err(wrong("sub", "is too long"));
    }
    if (uri.scheme, uri.authority) != (wanted.scheme, wanted.authority) {
        return Err(wrong("sub", "is not of the issuer's domain"));
    }
    Ok(Subject::Uri(sub.to_owned()))
}

fn user_name(sub: &str, domain: &str) -> Result<Subject, TokenError> {
    // What follows the exclamation mark says who vouches; what has an at sign would pass for an
    // address.
    if sub.contains(['!', '@']) || sub.len() > MAX_NAME {
        return Err(wrong("sub", "is not a user name"));
    }
    Ok(Subject::UserName(format!("{sub}!{domain}")))
}

/// SPIFFE-ID §2: scheme, trust domain, and the path of a workload.
fn spiffe(sub: &str, trust_domain: &str) -> Result<Subject, TokenError> {
    let is_segment = |segment: &str| {
        !matches!(segment, "" | "." | "..")
            && segment.chars().all(|c| c.is_ascii_alphanumeric() || ".-_".contains(c))
    };
    let id = sub.strip_prefix("spiffe://").and_then(|rest| rest.split_once('/'));
    let Some((domain, _)) = id.filter(|(domain, path)| {
        is_trust_domain(domain) && path.split('/').all(is_segment) && sub.len() <= MAX_NAME
    }) else {
        return Err(wrong("sub", "is not the SPIFFE ID of a workload"));
    };
    if domain != trust_domain {
        return Err(wrong("sub", "is not of the issuer's trust domain"));
    }
    Ok(Subject::Uri(sub.to_owned()))
}

/// The claim says which account it is; `sub` says the same in every token that Kubernetes makes.
fn service_account(claims: &Claims, sub: &str) -> Result<Subject, TokenError> {
    let kubernetes = claims.get("kubernetes.io").and_then(Value::as_object);
    let kubernetes = kubernetes.ok_or_else(|| wrong("kubernetes.io", "is missing"))?;
    let account = kubernetes.get("serviceaccount").and_then(Value::as_object);
    let account = account.ok_or_else(|| wrong("kubernetes.io", "has no serviceaccount"))?;
    let (namespace, name) = (text(kubernetes, "namespace")?, text(account, "name")?);
    if !is_host(&namespace) || !is_host(&name) {
        return Err(wrong("kubernetes.io", "has names that Kubernetes does not give"));
    }
    if sub != format!("system:serviceaccount:{namespace}:{name}") {
        return Err(wrong("sub", "is of another service account"));
    }
    let uri = format!("https://kubernetes.io/namespaces/{namespace}/serviceaccounts/{name}");
    Ok(Subject::Uri(uri))
}

fn gitlab_refs(claims: &Claims) -> Result<String, TokenError> {
    match text(claims, "ref_type")?.as_str() {
        "branch" => Ok("refs/heads/".to_owned()),
        "tag" => Ok("refs/tags/".to_owned()),
        _ => Err(wrong("ref_type", "is neither branch nor tag")),
    }
}

/// A build's URI on the server at `url`, with what a URI cannot have (branches may be named so)
/// percent-encoded.
fn ci_subject(text: &str, url: &str) -> Result<Subject, TokenError> {
    let is_at_server = text.strip_prefix(url).is_some_and(|rest| rest.starts_with('/'));
    let mut uri = String::new();
    for byte in text.bytes() {
        let plain = byte.is_ascii_graphic() && !br#""<>\^`{|}%"#.contains(&byte);
        if plain {
            uri.push(char::from(byte));
        } else {
            uri.push_str(&format!("%{byte:02X}"));
        }
    }
    if !is_at_server || uri.len() > MAX_NAME || split_uri(&uri).is_none() {
        return Err(wrong("sub", "is of a build whose URI is not the server's"));
    }
    Ok(Subject::Uri(uri))
}

/// A claim by its name; `None` if there is none.
type Lookup<'a> = &'a dyn Fn(&str) -> Result<Option<String>, TokenError>;

fn fill_all(
    templates: &[(Claim, &str)],
    lookup: Lookup<'_>,
) -> Result<BTreeMap<Claim, String>, TokenError> {
    let mut filled = BTreeMap::new();
    for (claim, template) in templates {
        let value = fill(template, lookup)?;
        // Fulcio leaves out what is empty.
        if !value.is_empty() {
            filled.insert(*claim, value);
        }
    }
    Ok(filled)
}

/// Puts claims in the place of `{name}`; with `{name?}`, nothing if there is none.
fn fill(template: &str, lookup: Lookup<'_>) -> Result<String, TokenError> {
    let mut filled = String::new();
    for part in template.split_inclusive('}') {
        let (plain, name) = part.split_once('{').unwrap_or((part, ""));
        filled.push_str(plain);
        let name = name.trim_end_matches('}');
        if name.is_empty() {
            continue;
        }
        let value = match name.strip_suffix('?') {
            Some(name) => lookup(name)?.unwrap_or_default(),
            None => lookup(name)?.ok_or_else(|| wrong(name, "is missing"))?,
        };
        filled.push_str(&value);
    }
    Ok(filled)
}

/// A claim that must be there, as [`optional_text`].
pub(super) fn text(claims: &Claims, name: &str) -> Result<String, TokenError> {
    optional_text(claims, name)?.ok_or_else(|| wrong(name, "is missing"))
}

/// A claim as text: a string, an integer or a boolean. Without control characters.
fn optional_text(claims: &Claims, name: &str) -> Result<Option<String>, TokenError> {
    let value = match claims.get(name) {
        None | Some(Value::Null) => return Ok(None),
        Some(Value::String(text)) => text.clone(),
        Some(Value::Number(number)) if number.is_u64() || number.is_i64() => number.to_string(),
        Some(Value::Bool(value)) => value.to_string(),
        Some(_) => return Err(wrong(name, "is not text")),
    };
    if value.chars().any(char::is_control) {
        return Err(wrong(name, "has control characters"));
    }
    Ok(Some(value))
}
