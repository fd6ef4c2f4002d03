//! What a revocation will stop: permits and verdicts in the log that rest on what is revoked.
//!
//! Nothing of it is verified: it is what the service says, for whoever is about to sign.

use std::collections::{BTreeMap, BTreeSet};

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde_json::{Value, json};

use sealwright_attest::{RoleBinding, Statement, Timestamp, predicate};
use sealwright_manifest::Sha256;
use sealwright_policy::VSA_EXTENSION;
use sealwright_server::client::{ClientError, ServiceClient, StatementQuery};

use crate::error::CliError;
use crate::output::{self, plain};

/// Verdicts are looked at that were logged in the last so many days.
const DAYS: u64 = 30;
/// Most verdicts that are looked at.
const MAX_VERDICTS: usize = 100_000;
/// Most statements of a signer.
const MAX_STATEMENTS: usize = 100_000;
/// Most lines of each kind that are shown.
const MAX_LINES: usize = 20;

/// What is revoked.
pub(crate) enum Target {
    Model,
    Statement(String),
    Signer(String),
}

/// What rests on it.
#[derive(Default)]
pub(crate) struct Impact {
    permits: Vec<Value>,
    /// The latest yes by model, environment, cluster and namespace, and how many there were.
    verdicts: BTreeMap<Vec<String>, (Value, usize)>,
    models: BTreeSet<String>,
    /// Statements of the signer that no longer count, and those from before, which still do.
    withdrawn: usize,
    kept: usize,
    notes: Vec<String>,
}

/// What a verdict says, as far as it matters here.
struct Said {
    model: String,
    environment: String,
    place: [String; 2],
    workload: String,
    time: String,
    expires_on: Option<Timestamp>,
    inputs: BTreeSet<String>,
}

impl Impact {
    /// Looks through the verdicts that the service has.
    pub(crate) fn look(
        client: &ServiceClient,
        model: &Sha256,
        target: &Target,
        roles: Option<&RoleBinding>,
        (effective, now): (Timestamp, Timestamp),
    ) -> Result<Self, CliError> {
        let mut impact = Self::default();
        let mut subject = Some(model.to_string());
        let resting_on = match target {
            Target::Model => None,
            Target::Statement(digest) => Some(BTreeSet::from([digest.clone()])),
            Target::Signer(name) => {
                subject = None;
                Some(impact.statements_of(client, name, roles, effective)?)
            }
        };
        let since = Timestamp::from_unix(now.unix().saturating_sub(DAYS * 86_400)).unwrap_or(now);
        let query = StatementQuery {
            subject,
            predicate_type: Some(predicate::VERIFICATION_SUMMARY.to_owned()),
            since: Some(since.to_string()),
            ..StatementQuery::default()
        };
        let mut looked_at = 0;
        if resting_on.as_ref().is_none_or(|digests| !digests.is_empty()) {
            let looked = client.find_json(&query, |bundle| {
                looked_at += 1;
                if looked_at > MAX_VERDICTS {
                    return Err(ClientError::TooLarge { limit: MAX_VERDICTS });
                }
                if let Some(said) = Said::of(&bundle)
                    && resting_on.as_ref().is_none_or(|on| !said.inputs.is_disjoint(on))
                {
                    impact.take(said, now);
                }
                Ok(())
            });
            match looked {
                Ok(_) => {}
                Err(_) if looked_at > MAX_VERDICTS => impact.notes.push(format!(
                    "only the first {MAX_VERDICTS} verdicts of {DAYS} days were looked at"
                )),
                Err(error) => return Err(error.into()),
            }
        }
        Ok(impact)
    }

    /// Digests of what the principal, or the key with this id, said since the revocation takes effect.
    fn statements_of(
        &mut self,
        client: &ServiceClient,
        name: &str,
        roles: Option<&RoleBinding>,
        effective: Timestamp,
    ) -> Result<BTreeSet<String>, CliError> {
        let principal = roles.and_then(|roles| roles.principals().iter().find(|p| p.name == *name));
        let mut keys: Vec<String> =
            principal.iter().flat_map(|p| p.keys.iter().map(|key| key.id())).collect();
        if Sha256::parse(name).is_ok() {
            keys.push(name.to_owned());
        }
        if keys.is_empty() {
            self.notes.push(match roles {
                Some(_) => {
                    format!("the role binding has no principal {name:?}: nothing is stopped")
                }
                None => {
                    "without --roles and --owner-key nobody can say which keys are meant".into()
                }
            });
        }
        let mut digests = BTreeSet::new();
        for key in keys {
            let query = StatementQuery { signer: Some(key), ..StatementQuery::default() };
            let mut next = Some(0);
            while let Some(from) = next.filter(|_| digests.len() < MAX_STATEMENTS) {
                let page = client.list(&query, from, 1000)?;
                next = page.next;
                for listed in page.statements {
                    let time = listed.logged_at.as_deref();
                    let time = time.and_then(|time| Timestamp::parse(time).ok());
                    if time.is_some_and(|time| time < effective) {
                        self.kept += 1;
                    } else {
                        digests.insert(listed.digest);
                    }
                }
            }
        }
        self.withdrawn = digests.len();
        if self.kept > 0 {
            let kept = output::count(self.kept, "statement");
            self.notes.push(format!(
                "not stopped: {kept} from before {effective}; an earlier --effective stops them, too"
            ));
        }
        Ok(digests)
    }

    fn take(&mut self, said: Said, now: Timestamp) {
        self.models.insert(said.model.clone());
        if let Some(expires_on) = said.expires_on {
            if expires_on >= now {
                self.permits.push(json!({
                    "model_digest": said.model,
                    "environment": said.environment,
                    "expires_on": expires_on,
                }));
            }
            return;
        }
        let [cluster, namespace] = said.place;
        let latest = json!({
            "model_digest": said.model,
            "environment": said.environment,
            "cluster": cluster,
            "namespace": namespace,
            "workload": said.workload,
            "time": said.time,
        });
        let key = vec![said.model, said.environment, cluster, namespace];
        // In log order: the last one is the latest.
        let count = self.verdicts.get(&key).map_or(0, |(_, count)| *count);
        self.verdicts.insert(key, (latest, count + 1));
    }

    pub(crate) fn to_value(&self) -> Value {
        let verdicts = self.verdicts.values().map(|(latest, count)| {
            let mut value = latest.clone();
            value["verdicts"] = json!(count);
            value
        });
        json!({
            "verified": false,
            "permits": self.permits,
            "verdicts": verdicts.collect::<Vec<_>>(),
            "models": self.models,
            "statements_withdrawn": self.withdrawn,
            "statements_kept": self.kept,
            "notes": self.notes,
        })
    }

    /// Lines of at most 80 characters, but for long names.
    pub(crate) fn told(&self, target: &Target) -> String {
        let mut text = String::from("It will stop, as far as the service says:\n");
        let text_of = |value: &Value| plain(value.as_str().unwrap_or_default());
        let mut lines = Vec::new();
        for permit in &self.permits {
            lines.push(format!("permit    {}", text_of(&permit["model_digest"])));
            lines.push(format!(
                "          for {} until {}: it is not renewed",
                text_of(&permit["environment"]),
                text_of(&permit["expires_on"])
            ));
        }
        cut(&mut lines, "permits");
        let mut more = Vec::new();
        for (latest, count) in self.verdicts.values() {
            more.push(format!("running   {}", text_of(&latest["model_digest"])));
            let place = ["cluster", "namespace", "workload"].map(|name| text_of(&latest[name]));
            let place: Vec<String> = place.into_iter().filter(|part| !part.is_empty()).collect();
            more.push(format!(
                "          in {} {}",
                text_of(&latest["environment"]),
                place.join(" ")
            ));
            let verdicts = output::count(*count, "verdict");
            more.push(format!("          {verdicts}, last {}", text_of(&latest["time"])));
        }
        cut(&mut more, "verdicts");
        lines.extend(more);
        if lines.is_empty() {
            lines.push(format!("nothing that was allowed in the last {DAYS} days"));
        }
        if let Target::Signer(_) = target {
            let statements = output::count(self.withdrawn, "statement");
            let models = output::count(self.models.len(), "model");
            lines.push(format!("{statements} of the signer, which {models} rest on"));
        }
        for line in lines {
            text += &format!("  {line}\n");
        }
        text += "What runs already goes on until it is started anew.\n";
        self.notes.iter().for_each(|note| text += &crate::evidence::set_in(&plain(note), 0));
        text
    }
}

fn cut(lines: &mut Vec<String>, what: &str) {
    if lines.len() > MAX_LINES {
        let more = lines.len() - MAX_LINES;
        lines.truncate(MAX_LINES);
        lines.push(format!("and {more} more lines of {what}; --json has all"));
    }
}

impl Said {
    /// Of an unverified bundle; none if it is no yes, or of a dry run.
    fn of(bundle: &Value) -> Option<Self> {
        let payload = STANDARD.decode(bundle.pointer("/dsseEnvelope/payload")?.as_str()?).ok()?;
        let statement = Statement::parse(&payload).ok()?;
        let predicate = &statement.predicate;
        let extension = |name: &str| &predicate[format!("{VSA_EXTENSION}{name}")];
        if predicate["verificationResult"] != "PASSED" || *extension("dryRun") == true {
            return None;
        }
        let request = extension("request");
        let of_request = |name: &str| request[name].as_str().unwrap_or_default().to_owned();
        let expires_on = extension("expiresOn").as_str();
        let inputs = predicate["inputAttestations"].as_array().into_iter().flatten();
        let digest = |input: &Value| Some(input.pointer("/digest/sha256")?.as_str()?.to_owned());
        Some(Self {
            model: statement.subject_digests().first()?.clone(),
            environment: of_request("environment"),
            place: [of_request("cluster"), of_request("namespace")],
            workload: of_request("workload"),
            time: predicate["timeVerified"].as_str().unwrap_or_default().to_owned(),
            expires_on: expires_on.and_then(|time| Timestamp::parse(time).ok()),
            inputs: inputs.filter_map(digest).collect(),
        })
    }
}
