//! What is known about a model, for whoever is about to sign something about it.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};

use serde_json::{Value, json};

use sealwright_attest::{
    Bundle, OmsPredicate, PublicKey, RoleBinding, Statement, Timestamp, TrustedRoot,
    VerificationMaterial, predicate, verify,
};
use sealwright_manifest::Sha256;
use sealwright_server::client::{Found, StatementQuery};

use crate::error::CliError;
use crate::output::{self, BAD, DIM, plain};
use crate::service::{ServiceArgs, TrustArgs, read_bundle};

/// How many numbers of a statement are shown.
const MAX_NUMBERS: usize = 6;

/// Statements about a model.
pub(crate) struct Evidence {
    /// In log order; those of files last.
    pub(crate) statements: Vec<Seen>,
    /// Statements of which only the entry is left.
    pub(crate) erased: usize,
    /// Whether the service may have kept some back.
    pub(crate) incomplete: bool,
    /// Whether role binding and trusted root were given, so that statements could be verified.
    pub(crate) has_trust: bool,
}

/// One of them.
pub(crate) struct Seen {
    pub(crate) digest: String,
    pub(crate) predicate_type: String,
    /// The key's id, as the bundle says.
    pub(crate) key: String,
    /// Who signed, if it verifies.
    pub(crate) signer: Option<Signer>,
    /// Why it does not verify.
    pub(crate) problem: Option<String>,
    predicate: Value,
}

/// A principal of the role binding, and when.
pub(crate) struct Signer {
    pub(crate) principal: String,
    roles: Vec<String>,
    time: Timestamp,
}

impl Evidence {
    /// Asks the service for everything about the model but verdicts, and reads `files`; verifies what
    /// can be verified.
    pub(crate) fn gather(
        service: &ServiceArgs,
        trust: &TrustArgs,
        model: &Sha256,
        files: &[PathBuf],
    ) -> Result<Self, CliError> {
        let trusted = trust.all_given()?;
        let mut found = Found { complete: true, ..Found::default() };
        if let Some(client) = service.client()? {
            found = client.find(&StatementQuery {
                subject: Some(model.to_string()),
                except_type: Some(predicate::VERIFICATION_SUMMARY.to_owned()),
                ..StatementQuery::default()
            })?;
        }
        let read = files.iter().map(|path| read_bundle(path));
        found.bundles.extend(read.collect::<Result<Vec<_>, _>>()?);
        let mut seen = BTreeSet::new();
        let trust = trusted.as_ref().map(|(roles, root)| (roles, root));
        let statements = found.bundles.iter().filter_map(|bundle| Seen::of(bundle, trust));
        let statements =
            statements.filter(|s| seen.insert((s.digest.clone(), s.key.clone()))).collect();
        Ok(Self {
            statements,
            erased: found.erased.len(),
            incomplete: !found.complete,
            has_trust: trusted.is_some(),
        })
    }

    /// The statement with this digest.
    pub(crate) fn statement(&self, digest: &str) -> Option<&Seen> {
        self.statements.iter().find(|seen| seen.digest == digest)
    }

    /// What whoever signs with `key` in `role` should think of first: they trained the model, or have
    /// approved it already.
    pub(crate) fn warnings(&self, key: &PublicKey, roles: Option<&RoleBinding>) -> Vec<String> {
        let id = key.id();
        let me = roles.and_then(|roles| roles.holder(&id)).map(|(principal, _)| &principal.name);
        let mine = |seen: &&Seen| {
            seen.key == id || seen.signer.as_ref().is_some_and(|s| Some(&s.principal) == me)
        };
        let mut warnings = Vec::new();
        let signed = |seen: &&Seen| OmsPredicate::is_oms_type(&seen.predicate_type);
        if self.statements.iter().filter(mine).any(|seen| signed(&seen)) {
            warnings.push(
                "you signed this model yourself: whoever trained it cannot approve it, and policies \
                 that separate duties will not count this"
                    .to_owned(),
            );
        }
        let approved = self.statements.iter().filter(mine).filter(|seen| {
            seen.predicate_type == predicate::APPROVAL && seen.predicate["decision"] == "APPROVED"
        });
        let as_roles: BTreeSet<&str> =
            approved.filter_map(|seen| seen.predicate["role"].as_str()).collect();
        if !as_roles.is_empty() {
            let as_roles = as_roles.into_iter().collect::<Vec<_>>().join(", ");
            warnings.push(format!(
                "you have approved this model already, as {as_roles}: one person counts once, in \
                 however many roles"
            ));
        }
        let doubtful = self.statements.iter().filter(|seen| seen.problem.is_some()).count();
        if doubtful > 0 {
            let statements = output::count(doubtful, "statement");
            warnings.push(format!("{statements} below could not be verified"));
        }
        if self.erased > 0 {
            let statements = output::count(self.erased, "statement");
            warnings.push(format!("{statements} about this model were erased"));
        }
        if self.incomplete {
            warnings.push("the service may keep statements back that you may not read".to_owned());
        }
        warnings
    }

    pub(crate) fn to_value(&self, cited: &BTreeSet<String>) -> Value {
        let one = |seen: &Seen| {
            json!({
                "digest": seen.digest,
                "predicate_type": seen.predicate_type,
                "key": seen.key,
                "verified": seen.signer.is_some(),
                "problem": seen.problem,
                "signer": seen.signer.as_ref().map(|s| &s.principal),
                "roles": seen.signer.as_ref().map(|s| &s.roles),
                "time": seen.signer.as_ref().map(|s| s.time),
                "says": seen.says(),
                "cited": cited.contains(&seen.digest),
            })
        };
        let unseen = |digest: &String| json!({"digest": digest, "verified": false, "cited": true});
        self.statements.iter().map(one).chain(self.unseen(cited).map(unseen)).collect()
    }

    /// What is cited although nobody has shown it.
    fn unseen<'a>(&'a self, cited: &'a BTreeSet<String>) -> impl Iterator<Item = &'a String> {
        cited.iter().filter(|digest| self.statement(digest).is_none())
    }

    /// A few lines for each statement, of at most 80 characters where words allow it.
    pub(crate) fn told(&self, cited: &BTreeSet<String>) -> String {
        let mut text = String::new();
        for digest in self.unseen(cited) {
            text += &format!("cited  not looked at\n       {DIM}{digest}{DIM:#}\n");
        }
        if self.statements.is_empty() {
            return text + "no statements about this model are known\n";
        }
        for seen in &self.statements {
            let mark = if cited.contains(&seen.digest) { "cited" } else { "known" };
            let kind = short_type(&seen.predicate_type);
            let who = match (&seen.signer, &seen.problem) {
                (Some(s), _) => {
                    let roles = if s.roles.is_empty() { "no role" } else { &s.roles.join(", ") };
                    format!("{}, by {} ({roles})", s.time, s.principal)
                }
                (None, Some(problem)) => format!("not verified: {problem}"),
                (None, None) => "not verified: no role binding was given".to_owned(),
            };
            text += &set_in(&format!("{mark}  {}: {}", plain(kind), plain(&who)), 0);
            text += &format!("       {DIM}{}{DIM:#}\n", seen.digest);
            for line in seen.says() {
                text += &set_in(&plain(&line), 7);
            }
        }
        text
    }
}

impl Seen {
    fn of(bundle: &Bundle, trust: Option<(&RoleBinding, &TrustedRoot)>) -> Option<Self> {
        let statement = Statement::parse(&bundle.envelope().payload).ok()?;
        let key = match bundle.material() {
            VerificationMaterial::PublicKey { hint } => hint.clone(),
            VerificationMaterial::Certificates(_) => String::new(),
        };
        let checked = trust.map(|(roles, root)| verify(bundle, roles, root));
        let (signer, problem) = match checked {
            None => (None, None),
            Some(Err(error)) => (None, Some(format!("{}: {error}", error.code()))),
            Some(Ok(verified)) => {
                let signer = Signer {
                    principal: verified.signer().principal().to_owned(),
                    roles: verified.signer().roles().to_vec(),
                    time: verified.logged().time(),
                };
                (Some(signer), None)
            }
        };
        Some(Self {
            digest: bundle.envelope().digest().to_string(),
            predicate_type: statement.predicate_type,
            key,
            signer,
            problem,
            predicate: statement.predicate,
        })
    }

    /// The main things it says, in words.
    pub(crate) fn says(&self) -> Vec<String> {
        let p = &self.predicate;
        let text = |name: &str| p[name].as_str().unwrap_or("?").to_owned();
        let count = |value: &Value| value.as_array().map_or(0, Vec::len);
        match self.predicate_type.as_str() {
            predicate::TEST_RESULT => {
                let mut lines = vec![text("result")];
                let metrics = p["sealwright_metrics"].as_array();
                lines.extend(metrics.into_iter().flatten().take(MAX_NUMBERS).map(|m| {
                    let part = |name: &str| m[name].as_str().unwrap_or("?");
                    format!("{} on {}: {}", part("metric"), part("slice"), m["value"])
                }));
                let more = metrics.map_or(0, Vec::len).saturating_sub(MAX_NUMBERS);
                lines.extend((more > 0).then(|| format!("and {more} more")));
                lines
            }
            predicate::APPROVAL => {
                let mut lines = vec![format!(
                    "{} as {} for {} until {}",
                    text("decision"),
                    text("role"),
                    text("environment"),
                    text("expiresOn")
                )];
                let conditions = p["conditions"].as_array().into_iter().flatten();
                lines.extend(
                    conditions.filter_map(Value::as_str).map(|c| format!("on condition: {c}")),
                );
                lines
            }
            predicate::REVOCATION => vec![format!("{} ({})", p["target"], text("reason"))],
            predicate::VULNS => {
                vec![output::count(count(&p["scanner"]["result"]), "finding")]
            }
            predicate::PROVENANCE => {
                let builder = p["runDetails"]["builder"]["id"].as_str().unwrap_or("?");
                vec![format!("built by {builder}")]
            }
            other if OmsPredicate::is_oms_type(other) => {
                vec![output::count(count(&p["resources"]), "file")]
            }
            _ => Vec::new(),
        }
    }
}

impl TrustArgs {
    /// Role binding and trusted root, if both and the owners' keys are given.
    pub(crate) fn all_given(&self) -> Result<Option<(RoleBinding, TrustedRoot)>, CliError> {
        let is_given =
            self.roles.is_some() && self.trusted_root.is_some() && !self.owners.files().is_empty();
        if !is_given {
            return Ok(None);
        }
        let (roles, root) = self.require()?;
        Ok(Some((RoleBinding::clone(&roles.newest()), root)))
    }
}

/// The short name of a known type; else its URI without the scheme.
pub(crate) fn short_type(predicate_type: &str) -> &str {
    if OmsPredicate::is_oms_type(predicate_type) {
        return "signature";
    }
    let known = predicate::known_types().find(|(_, uri)| *uri == predicate_type);
    known.map_or(predicate_type.split_once("://").map_or(predicate_type, |(_, rest)| rest), |k| k.0)
}

/// What a terminal shows in a line.
const LINE_WIDTH: usize = 80;

/// A text in lines of at most 80 characters, all but the first set in; the first by `indent`.
pub(crate) fn set_in(text: &str, indent: usize) -> String {
    let lines = output::wrap(text, LINE_WIDTH - 7);
    let mut set = String::new();
    for (number, line) in lines.iter().enumerate() {
        let indent = if number == 0 { indent } else { 7 };
        set += &format!("{:indent$}{}\n", "", line.trim_start());
    }
    set
}

/// Rows of label and value, the values broken so that no line is longer than 80 characters where words
/// allow it.
pub(crate) fn rows(rows: &[(&str, String)]) -> String {
    let width = rows.iter().map(|(label, _)| label.len()).max().unwrap_or(0);
    let mut text = String::new();
    for (label, value) in rows {
        for (number, line) in output::wrap(value, LINE_WIDTH - width - 2).iter().enumerate() {
            let label = if number == 0 { label } else { "" };
            text += &format!("{DIM}{label:width$}{DIM:#}  {}\n", line.trim_start());
        }
    }
    text
}

/// Warnings for people.
pub(crate) fn warn(warnings: &[String]) -> String {
    warnings.iter().map(|w| set_in(&format!("{BAD}warning:{BAD:#} {}", plain(w)), 0)).collect()
}

/// What was cited, by digest, with the type of each that is known.
pub(crate) fn citation(evidence: &Evidence, cited: &BTreeSet<String>) -> Vec<Value> {
    let names: BTreeMap<&str, &str> = evidence
        .statements
        .iter()
        .map(|seen| (seen.digest.as_str(), short_type(&seen.predicate_type)))
        .collect();
    let one = |digest: &String| match names.get(digest.as_str()) {
        Some(name) => json!({"name": name, "digest": {"sha256": digest}}),
        None => json!({"digest": {"sha256": digest}}),
    };
    cited.iter().map(one).collect()
}

/// A file name for people.
pub(crate) fn shown(path: &Path) -> String {
    plain(&path.display().to_string())
}
