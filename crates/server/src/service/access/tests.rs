use std::fs;

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;

use axum::http::{HeaderValue, Request, header};

use sealwright_manifest::Sha256;
use sealwright_sigstore::details::CertificateDetails;

use super::*;
use crate::http::Peer;
use crate::service::issuers::IdentityError;

const TOKEN: &str = "0123456789abcdef0123456789abcdef";
const NOW: u64 = 1_800_000_000;

fn access(text: &str) -> Result<Access, StartError> {
    let place = tempfile::tempdir().unwrap();
    let path = place.path().join("writers.toml");
    fs::write(&path, text).unwrap();
    Access::read(&path, false, &mut FilesRead::default())
}

fn shown(authorization: &[&str]) -> Credentials {
    let mut request = Request::new(());
    for value in authorization {
        let value = HeaderValue::from_str(value).unwrap();
        request.headers_mut().append(header::AUTHORIZATION, value);
    }
    Credentials::of(&request.into_parts().0)
}

fn writes(access: &Access, shown: &Credentials, project: &str) -> Option<String> {
    let grants = access.writer(shown, NOW, false).unwrap().unwrap();
    grants.name_for(&Project::parse(project).unwrap()).map(|name| name.to_string())
}

#[test]
fn only_bearers_of_whole_tokens_are_writers() {
    let hash = Sha256::of(TOKEN.as_bytes());
    let short = Sha256::of(b"short");
    let access = access(&format!(
        "[[writer]]\nname = \"ci\"\ntoken_sha256 = \"{hash}\"\n\
         [[writer]]\nname = \"weak\"\ntoken_sha256 = \"{short}\"\n"
    ))
    .unwrap();
    let who = |value: &str| writes(&access, &shown(&[value]), "");
    assert_eq!(who(&format!("Bearer {TOKEN}")).as_deref(), Some("ci"));
    assert_eq!(who(&format!("bearer  {TOKEN} ")).as_deref(), Some("ci"));
    for value in [
        TOKEN.to_owned(),
        format!("Basic {TOKEN}"),
        format!("Bearer {}", &TOKEN[1..]),
        format!("Bearer {TOKEN}0"),
        format!("Bearer {hash}"),
        "Bearer short".to_owned(),
        "Bearer ".to_owned(),
    ] {
        assert_eq!(who(&value), None, "{value}");
    }
    assert!(access.writer(&shown(&[]), NOW, false).unwrap().unwrap().is_empty());
    let twice = format!("Bearer {TOKEN}");
    assert_eq!(writes(&access, &shown(&[&twice, &twice]), ""), None);
}

#[test]
fn projects_are_granted_one_by_one() {
    let hash = |token: &str| Sha256::of(token.repeat(32).as_bytes());
    let entry = |kind: &str, token: &str, rest: &str| {
        format!("[[{kind}]]\nname = \"{token}\"\ntoken_sha256 = \"{}\"\n{rest}\n", hash(token))
    };
    let access = access(
        &[
            entry("writer", "a", ""),
            entry("writer", "b", "projects = [\"credit\"]"),
            entry("writer", "b", "projects = [\"fraud\", \"\"]"),
            entry("writer", "c", "projects = [\"*\"]"),
            entry("reader", "d", "projects = [\"credit\"]"),
            "[[reader]]\nname = \"all\"\nanybody = true\nprojects = [\"open\"]".to_owned(),
        ]
        .concat(),
    )
    .unwrap();
    let bearer = |token: &str| shown(&[&format!("Bearer {}", token.repeat(32))]);
    for (token, project, may) in [
        ("a", "", true),
        ("a", "credit", false),
        ("b", "credit", true),
        ("b", "fraud", true),
        ("b", "", true),
        ("b", "other", false),
        ("c", "", true),
        ("c", "other", true),
        ("d", "credit", false),
    ] {
        assert_eq!(writes(&access, &bearer(token), project).is_some(), may, "{token} {project}");
    }
    let reads = |shown: &Credentials| {
        let projects = access.reader(shown, NOW, false).unwrap().unwrap().projects();
        assert!(!projects.is_all());
        projects.names().map(str::to_owned).collect::<Vec<_>>()
    };
    assert_eq!(reads(&bearer("d")), ["credit", "open"]);
    // Whoever may write is not therefore a reader.
    assert_eq!(reads(&bearer("c")), ["open"]);
    assert_eq!(reads(&shown(&[])), ["open"]);
}

#[test]
fn a_certificate_counts_while_it_is_valid() {
    let mut params = rcgen::CertificateParams::new(vec!["ci.example".to_owned()]).unwrap();
    params.not_before = rcgen::date_time_ymd(2026, 1, 1);
    params.not_after = rcgen::date_time_ymd(2027, 1, 1);
    let key = rcgen::KeyPair::generate().unwrap();
    let certificate = params.self_signed(&key).unwrap();
    let details = CertificateDetails::parse(certificate.der()).unwrap();
    let (begin, end) = (details.not_before.unix(), details.not_after.unix());
    let mut request = Request::new(());
    let (address, certificate) = ("127.0.0.1:1".parse().unwrap(), Some(Arc::new(details)));
    request.extensions_mut().insert(Peer { address, certificate });
    let shown = Credentials::of(&request.into_parts().0);
    let place = tempfile::tempdir().unwrap();
    let path = place.path().join("writers.toml");
    let text = "[[writer]]\nname = \"ci\"\ncertificate = { san = \"dns:ci.example\" }\n";
    fs::write(&path, text).unwrap();
    let access = Access::read(&path, true, &mut FilesRead::default()).unwrap();
    for (now, fits) in [(begin - 1, false), (begin, true), (end, true), (end + 1, false)] {
        let grants = access.writer(&shown, now, false).unwrap().unwrap();
        assert_eq!(!grants.is_empty(), fits, "{now}");
    }
}

/// Whoever shows a token is told that it cannot be checked, and not taken for anybody.
#[test]
fn an_issuer_that_cannot_be_reached_makes_nobody_anybody() {
    let hash = Sha256::of(TOKEN.as_bytes());
    let access = access(&format!(
        "[[writer]]\nname = \"w\"\ntoken_sha256 = \"{hash}\"\n\
         [[reader]]\nname = \"auditor\"\n\
         oidc = {{ issuer = \"https://127.0.0.1:1\", audience = \"us\", subject = \"ada\" }}\n\
         [[reader]]\nname = \"all\"\nanybody = true\n",
    ))
    .unwrap();
    let part = |text: &str| URL_SAFE_NO_PAD.encode(text);
    let (head, claims) = (part(r#"{"alg":"ES256"}"#), part(r#"{"iss":"https://127.0.0.1:1"}"#));
    let token = format!("Bearer {head}.{claims}.{}", part("x"));
    let refused = access.reader(&shown(&[&token]), NOW, true);
    assert!(matches!(refused, Err(ApiError::Identity(IdentityError::Keys { .. }))), "{refused:?}");
    assert!(access.reader(&shown(&[]), NOW, true).is_ok());
    assert!(matches!(access.reader(&shown(&["Bearer x"]), NOW, true), Err(ApiError::NoReader)));
}

#[test]
fn names_of_projects() {
    for name in ["", "a", "credit", "credit-2", "a.b_c", &"a".repeat(64)] {
        assert!(Project::parse(name).is_some(), "{name}");
    }
    for name in ["A", "-a", "a-", "a b", "*", "a/b", "ä", &"a".repeat(65)] {
        assert!(Project::parse(name).is_none(), "{name}");
    }
}

#[test]
fn the_file_is_read_strictly() {
    let entry = |rest: &str| format!("[[writer]]\nname = \"x\"\n{rest}");
    let oidc = |rest: &str| {
        entry(&format!("oidc = {{ issuer = \"https://a.example\", audience = \"us\"{rest} }}"))
    };
    for (text, problem) in [
        (String::new(), "writer"),
        (entry(""), "one of token_sha256"),
        (entry("token_sha256 = \"AB\""), "writer \"x\": token_sha256"),
        (entry("token = \"y\""), "unknown field"),
        (entry("anybody = true"), "for readers alone"),
        (entry("certificate = { san = \"dns:a\" }"), "--tls-client-ca"),
        (entry("projects = [\"A\"]\ntoken_sha256 = \"y\""), "name of a project"),
        (oidc(""), "everybody would fit"),
        (oidc(", subject = \"\""), "is empty"),
        (oidc(", claims = { sub = \"x\" }"), "has no place"),
        (oidc(", subject = \"x\", jwks_file = \"none\""), "none"),
        (oidc(", subject = \"x\" }\ncertificate = { san = \"dns:a\""), "--tls-client-ca"),
        (
            entry("oidc = { issuer = \"https://*.example\", audience = \"us\", subject = \"x\" }"),
            "named exactly",
        ),
        (
            entry("oidc = { issuer = \"http://a.example\", audience = \"us\", subject = \"x\" }"),
            "not an https URL",
        ),
        ("[[writer]]\nname = \"\"\ntoken_sha256 = \"y\"".to_owned(), "a name has"),
    ] {
        let error = access(&text).err().map(|error| error.to_string()).unwrap_or_default();
        assert!(error.contains(problem), "{text}: {error}");
    }
}
