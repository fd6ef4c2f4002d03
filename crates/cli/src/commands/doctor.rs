//! `doctor`: why nothing verifies with a trusted root that somebody wrote by hand.

use std::path::PathBuf;
use std::process::ExitCode;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde_json::{Value, json};

use sealwright_attest::{Timestamp, parse_strict};
use sealwright_manifest::Sha256;
use sealwright_server::service::tuf::WARN_DAYS;
use sealwright_sigstore::Trust;
use sealwright_sigstore::details::{CertificateDetails, KeyDetails};
use sealwright_tlog::VerifierKey;
use sealwright_tuf::{Document, Root};

use crate::clock;
use crate::error::CliError;
use crate::files;
use crate::output::{self, BAD, GOOD, STRONG, Ui};

/// Find what is wrong with a trusted_root.json: log ids, origins, windows, chains.
///
/// Looks for the mistakes that make stock clients say no more than "not enough verified log entries",
/// and warns of what expires within 60 days. Takes the root of a TUF repository (N.root.json) too.
/// Exit code 0 nothing found, 1 something is wrong, 2 not a trusted root at all.
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// The file.
    #[arg(value_name = "TRUSTED_ROOT")]
    file: PathBuf,
    /// Time to judge windows at; now otherwise.
    #[arg(long, value_name = "RFC3339", value_parser = Timestamp::parse)]
    at: Option<Timestamp>,
}

/// The only media type that every client knows.
const MEDIA_TYPE: &str = "application/vnd.dev.sigstore.trustedroot+json;version=0.1";

const LISTS: [&str; 4] = ["tlogs", "certificateAuthorities", "ctlogs", "timestampAuthorities"];

pub(crate) fn run(args: &Args, ui: &Ui) -> Result<ExitCode, CliError> {
    let bytes = files::read(&args.file, "trusted root", 4 << 20)?;
    let now = args.at.map_or_else(clock::now, Ok)?;
    if Document::<Root>::parse(&bytes).is_ok() {
        let mut doctor = Doctor::new(now);
        doctor.tuf_root(&bytes);
        return Ok(doctor.report(ui));
    }
    let root = parse_strict(&bytes, 4 << 20)
        .ok()
        .filter(|root| LISTS.iter().any(|list| root[list].is_array()))
        .ok_or_else(|| {
            CliError::input(format!("{} is not a trusted root", args.file.display()))
                .hint("expected trusted_root.json, with tlogs and certificateAuthorities")
        })?;
    let mut doctor = Doctor::new(now);
    doctor.root(&root);
    // Whatever else a parser that clients share minds.
    if doctor.findings.is_empty()
        && let Err(error) = Trust::parse(&bytes)
    {
        doctor.finds("", format!("it is not readable: {error}"), "write it as `serve trust` does");
    }
    Ok(doctor.report(ui))
}

/// Something that is wrong, and what to do about it.
struct Finding {
    /// The path in the document.
    place: String,
    problem: String,
    hint: String,
}

struct Doctor {
    now: Timestamp,
    findings: Vec<Finding>,
    /// What is not wrong yet.
    warnings: Vec<Finding>,
}

impl Doctor {
    fn new(now: Timestamp) -> Self {
        Self { now, findings: Vec::new(), warnings: Vec::new() }
    }

    fn report(&self, ui: &Ui) -> ExitCode {
        let is_well = self.findings.is_empty();
        let list = |findings: &[Finding]| -> Value {
            let one = |f: &Finding| json!({"place": f.place, "problem": f.problem, "hint": f.hint});
            findings.iter().map(one).collect()
        };
        let value = json!({
            "ok": is_well,
            "findings": list(&self.findings),
            "warnings": list(&self.warnings),
        });
        let mut text = match is_well {
            true => format!("{GOOD}nothing found{GOOD:#}\n"),
            false => String::new(),
        };
        let wrong = self.findings.iter().map(|finding| (format!("{BAD}wrong:{BAD:#}"), finding));
        let soon = self.warnings.iter().map(|it| (format!("{STRONG}warning:{STRONG:#}"), it));
        for (label, Finding { place, problem, hint }) in wrong.chain(soon) {
            let place = if place.is_empty() { String::new() } else { format!("{place}: ") };
            let problem = output::plain(&format!("{place}{problem}"));
            text += &format!("{label} {problem}\nhint: {}\n", output::plain(hint));
        }
        ui.result(&value, &text);
        ExitCode::from(u8::from(!is_well))
    }

    fn warns(&mut self, place: &str, problem: impl Into<String>, hint: impl Into<String>) {
        let (place, problem, hint) = (place.to_owned(), problem.into(), hint.into());
        self.warnings.push(Finding { place, problem, hint });
    }

    /// The root of a TUF repository.
    fn tuf_root(&mut self, bytes: &[u8]) {
        const NEXT: &str =
            "prepare the next one with `sealwright serve tuf rotate`, and have it signed";
        match sealwright_tuf::Trust::begin(bytes) {
            Err(error) => {
                self.finds("", error.to_string(), "publish no root before enough have signed")
            }
            Ok(trust) => {
                let (version, expires) = (trust.root().version, trust.root().expires);
                let problem = format!("version {version} of the root expires at {expires}");
                if expires <= self.now {
                    self.finds("", problem, NEXT);
                } else if expires <= self.soon() {
                    self.warns("", problem, NEXT);
                }
            }
        }
    }

    fn soon(&self) -> Timestamp {
        self.now.plus_seconds(WARN_DAYS * 24 * 60 * 60)
    }

    fn finds(&mut self, place: &str, problem: impl Into<String>, hint: impl Into<String>) {
        let (place, problem, hint) = (place.to_owned(), problem.into(), hint.into());
        self.findings.push(Finding { place, problem, hint });
    }

    fn root(&mut self, root: &Value) {
        if root["mediaType"] != MEDIA_TYPE {
            let problem = format!("{} is not known to every client", root["mediaType"]);
            self.finds("mediaType", problem, format!("write {MEDIA_TYPE}"));
        }
        for name in ["tlogs", "ctlogs"] {
            if !root[name].is_array() {
                let hint = format!("write \"{name}\": [] if there are none");
                self.finds(name, "is missing, which sigstore-python does not take", hint);
            }
        }
        for (place, log) in items(root, "tlogs") {
            self.log(&place, log, true);
        }
        for (place, log) in items(root, "ctlogs") {
            self.log(&place, log, false);
        }
        for (place, authority) in items(root, "certificateAuthorities") {
            self.authority(&place, authority, false);
        }
        for (place, authority) in items(root, "timestampAuthorities") {
            self.authority(&place, authority, true);
        }
    }

    /// A transparency log, or a certificate log.
    fn log(&mut self, place: &str, log: &Value, is_transparency: bool) {
        if log["hashAlgorithm"] != "SHA2_256" {
            self.finds(place, "hashAlgorithm is not SHA2_256", "every log's tree is of SHA-256");
        }
        self.window(&format!("{place}.publicKey"), &log["publicKey"]["validFor"]);
        let key_place = format!("{place}.publicKey.rawBytes");
        let Some(key) = decoded(&log["publicKey"]["rawBytes"]) else {
            return self.finds(&key_place, "is not base64", "the DER of the key, not its PEM");
        };
        let Some(kind) = KeyDetails::from_trusted_root(&key) else {
            let hint = "the DER of a SubjectPublicKeyInfo: `openssl pkey -pubin -outform DER`";
            return self.finds(&key_place, "is not a public key", hint);
        };
        let is_ed25519 = VerifierKey::from_spki_der("x", &key).is_ok();
        if is_ed25519 != (log["publicKey"]["keyDetails"] == "PKIX_ED25519") {
            let problem = format!(
                "keyDetails says {}, the key is {}",
                log["publicKey"]["keyDetails"], kind.kind
            );
            self.finds(&format!("{place}.publicKey"), problem, "name the key's own algorithm");
        }
        let Some(id) = decoded(&log["logId"]["keyId"]) else {
            return self.finds(
                &format!("{place}.logId.keyId"),
                "is not base64",
                "32 bytes, base64",
            );
        };
        match is_transparency && is_ed25519 {
            true => self.note_id(place, log, &key, &id),
            false if id != Sha256::of(&key).as_bytes() => self.finds(
                &format!("{place}.logId.keyId"),
                "is not the SHA-256 of the key",
                format!("write {}", STANDARD.encode(Sha256::of(&key).as_bytes())),
            ),
            false => {}
        }
    }

    /// The log id of Rekor v2 is the hash of name and key, and the name is the host of the base URL.
    fn note_id(&mut self, place: &str, log: &Value, key: &[u8], id: &[u8]) {
        let url = log["baseUrl"].as_str().unwrap_or_default();
        let Some(host) = host(url) else {
            let hint = "a URL with a scheme: clients take the log's name from its host";
            return self.finds(&format!("{place}.baseUrl"), format!("{url:?} has no host"), hint);
        };
        let id_of = |name: &str| Some(VerifierKey::from_spki_der(name, key).ok()?.log_id());
        let Some(right) = id_of(host) else { return };
        if id == right {
            return;
        }
        let without_scheme = url.split_once("://").map_or(url, |(_, rest)| rest);
        let with_port = without_scheme.split('/').next().unwrap_or_default();
        let candidates = [with_port, without_scheme, url, without_scheme.trim_end_matches('/')];
        let origin = candidates.into_iter().find(|name| id_of(name).is_some_and(|it| id == it));
        let write = format!("write {}", STANDARD.encode(right));
        let problem = match origin {
            _ if id == Sha256::of(key).as_bytes() => {
                "is the SHA-256 of the key, as for Rekor v1; with Ed25519 it is the hash of name and key"
                    .to_owned()
            }
            Some(origin) => format!(
                "is of a log named {origin:?}, but clients take the name from the host of baseUrl"
            ),
            None if id.len() == 4 && right.starts_with(id) => {
                "has only the four bytes that are in signatures".to_owned()
            }
            None => format!("is not of this key under the name {host:?}"),
        };
        let hint = match origin {
            Some(_) => format!("the log's origin must be {host:?}; then {write}"),
            None => write,
        };
        self.finds(&format!("{place}.logId.keyId"), problem, hint);
    }

    fn authority(&mut self, place: &str, authority: &Value, is_tsa: bool) {
        self.window(place, &authority["validFor"]);
        let chain: Option<Vec<_>> = items(&authority["certChain"], "certificates")
            .map(|(_, item)| CertificateDetails::parse(&decoded(&item["rawBytes"])?))
            .collect();
        let place = format!("{place}.certChain");
        let Some(chain) = chain.filter(|chain| !chain.is_empty()) else {
            let hint = "base64 of DER certificates, from the issuer (or leaf) up to the root";
            return self.finds(&place, "holds something that is no certificate, or nothing", hint);
        };
        for (index, pair) in chain.windows(2).enumerate() {
            if let [child, issuer] = pair
                && child.issuer != issuer.subject
            {
                let problem = format!("certificate {index} is not issued by the next");
                self.finds(&place, problem, "order them from the issuer (or leaf) up to the root");
            }
        }
        if chain.last().is_some_and(|last| !last.is_self_issued) {
            self.finds(&place, "does not end in a root", "add the self-signed root as the last");
        }
        if is_tsa && chain.len() < 2 {
            let hint = "add the leaf's issuer: sigstore-python wants two certificates at least";
            self.finds(&place, "has one certificate", hint);
        }
        if is_tsa && chain.first().is_some_and(|leaf| leaf.is_authority) {
            self.finds(&place, "has no leaf", "the first must be the one that signs timestamps");
        }
        let end = authority["validFor"]["end"].as_str().and_then(|end| Timestamp::parse(end).ok());
        let Some(first) = chain.iter().min_by_key(|one| one.not_after) else { return };
        // Nothing new comes from a window that has ended.
        if end.is_some_and(|end| end < self.now) {
            return;
        }
        if first.not_after < self.now {
            let problem =
                format!("the certificate of {:?} expired at {}", first.subject, first.not_after);
            self.finds(&place, problem, "end the window with validFor.end, and add the successor");
        } else if end.is_none() && first.not_after <= self.soon() {
            let problem =
                format!("the certificate of {:?} expires at {}", first.subject, first.not_after);
            self.warns(
                &place,
                problem,
                "renew it: `sealwright serve renew` on an instance of ours",
            );
        }
    }

    fn window(&mut self, place: &str, valid_for: &Value) {
        let place = format!("{place}.validFor");
        let time = |name: &str| valid_for[name].as_str().map(Timestamp::parse);
        let (start, end) = (time("start"), time("end"));
        match &start {
            None => self.finds(
                &place,
                "has no start, and clients refuse the whole",
                "write the time of the first use, such as 2026-01-01T00:00:00Z",
            ),
            Some(Err(_)) => self.finds(&place, "start is not a time", "2026-01-01T00:00:00Z"),
            Some(Ok(start)) if *start > self.now => self.finds(
                &place,
                format!("starts at {start}, which is to come: nothing of today counts"),
                "write the time of the first use",
            ),
            Some(Ok(_)) => {}
        }
        match (start, end) {
            (_, Some(Err(_))) => self.finds(&place, "end is not a time", "2026-01-01T00:00:00Z"),
            (Some(Ok(start)), Some(Ok(end))) if end < start => {
                self.finds(&place, "ends before it starts", "the two are mixed up");
            }
            _ => {}
        }
    }
}

/// The elements of a list, each with its place.
fn items<'a>(value: &'a Value, name: &'static str) -> impl Iterator<Item = (String, &'a Value)> {
    let list = value[name].as_array().map(Vec::as_slice).unwrap_or_default();
    list.iter().enumerate().map(move |(index, item)| (format!("{name}[{index}]"), item))
}

fn decoded(value: &Value) -> Option<Vec<u8>> {
    STANDARD.decode(value.as_str()?).ok()
}

/// Host of a URL with a scheme, without port.
fn host(url: &str) -> Option<&str> {
    let (_, rest) = url.split_once("://")?;
    let authority = rest.split(['/', '?', '#']).next()?;
    let host = authority.rsplit_once(':').map_or(authority, |(host, _)| host);
    (!host.is_empty()).then_some(host)
}
