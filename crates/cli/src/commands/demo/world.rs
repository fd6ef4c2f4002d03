//! The stage: keys, roles, and two servers, all made with the commands that a user would type.

use std::path::{Path, PathBuf};

use serde_json::{Value, json};

use sealwright_attest::{Timestamp, check_signature};
use sealwright_manifest::Manifest;

use super::process::{HINT, Runner, Server};
use super::{Story, example};
use crate::clock;
use crate::error::CliError;
use crate::files::{self, Access};
use crate::keyref;
use crate::service::read_bundle;

const YEAR: u64 = 365 * 24 * 60 * 60;

/// Everybody who has a key, and in which roles the owner binds them. The engineer is nobody's.
const PEOPLE: [(&str, &[&str]); 6] = [
    ("trainer", &["trainer"]),
    ("evaluator", &["evaluator"]),
    ("data-science-lead", &["lead-data-scientist"]),
    ("compliance-officer", &["compliance"]),
    ("head-of-lending", &["lead-data-scientist", "compliance"]),
    ("engineer", &[]),
];

/// Everything that runs.
pub(super) struct World {
    pub(super) runner: Runner,
    directory: PathBuf,
    service: Server,
    admission: Server,
}

/// What the admission controller answered.
pub(super) struct Answer {
    pub(super) allowed: bool,
    pub(super) reason: String,
}

impl World {
    /// Unpacks the model, makes keys and roles, starts both servers.
    pub(super) fn start(directory: &Path, story: &mut Story<'_>) -> Result<Self, CliError> {
        story.chapter("The stage");
        example::unpack(&directory.join("model"))?;
        for (name, bytes) in [
            ("predictions.csv", example::PREDICTIONS),
            ("gates.toml", example::GATES),
            ("inference.json", example::INFERENCE),
        ] {
            files::write_new(&directory.join(name), bytes, Access::Public)?;
        }
        let runner = Runner::new(directory)?;
        let digest = runner.must(&["digest", "model"])?;
        let count = digest["manifest"]["files"].as_array().map_or(0, Vec::len);
        story.done(
            "train",
            "a loan-approval model, trained on mortgage applications",
            &format!("{count} files, model digest:\n{}", text(&digest["model_digest"])),
        );
        make_keys(directory, &runner)?;
        story.done(
            "keys",
            "a key for each person and pipeline, encrypted on disk",
            "data-science-lead, compliance-officer, trainer, evaluator, …",
        );
        let listen = "127.0.0.1:0";
        let service =
            runner.serve(&["serve", "--init", "--data", "service", "--listen", listen])?;
        let url = text(&service.ready["url"]).to_owned();
        story.done("serve", "the attestation service", &format!("an append-only log at {url}"));
        bind_roles(directory, &runner, &url)?;
        story.done(
            "roles",
            "the owner binds keys to roles",
            "who may speak as lead-data-scientist, compliance, trainer, evaluator",
        );
        let admission = runner.serve(&[
            "admission",
            "--service",
            &url,
            "--trusted-root",
            "service/trusted_root.json",
            "--roles",
            "roles.sigstore.json",
            "--owner-key",
            "keys/owner.pub",
            "--listen",
            listen,
            "--tls-dir",
            "tls",
            "--decisions",
            "decisions.jsonl",
        ])?;
        story.done(
            "admission",
            "the admission controller, as Kubernetes calls it",
            text(&admission.ready["url"]),
        );
        Ok(Self { runner, directory: directory.to_owned(), service, admission })
    }

    /// A path in the demo's directory.
    pub(super) fn path(&self, name: &str) -> PathBuf {
        self.directory.join(name)
    }

    /// Runs a signing command as somebody, and has the statement logged.
    pub(super) fn sign_as(&self, who: &str, args: &[&str]) -> Result<Value, CliError> {
        let key = key_reference(who);
        let service = text(&self.service.ready["url"]);
        let common = [
            "--key",
            &key,
            "--passphrase-file",
            "keys/passphrase",
            "--service",
            service,
            "--trusted-root",
            "service/trusted_root.json",
        ];
        self.runner.must(&[args, &common].concat())
    }

    /// Asks for a pod with this model, as the API server does.
    pub(super) fn ask(&self, name: &str, model_digest: &str) -> Result<Answer, CliError> {
        let url = text(&self.admission.ready["url"]);
        let ca = files::read(&self.path("tls/ca.pem"), "CA", 1 << 20)?;
        let review = review(name, model_digest);
        let answer = post(url, &ca, &review)?;
        let response = &answer["response"];
        let message = text(&response["status"]["message"]);
        Ok(Answer { allowed: response["allowed"] == true, reason: message.to_owned() })
    }

    /// The manifest that `bundle` signs, after the signature of `who` on it was checked.
    pub(super) fn signed_manifest(&self, bundle: &str, who: &str) -> Result<Manifest, CliError> {
        let key = keyref::read_public(&self.path(&format!("keys/{who}.pub")))?;
        let signed = check_signature(&read_bundle(&self.path(bundle))?, &key)?;
        let manifest = signed.oms().and_then(|oms| oms.manifest()).cloned();
        manifest.ok_or_else(|| CliError::failed(format!("{bundle} binds no manifest")))
    }

    /// Copies the model directory.
    pub(super) fn copy_model(&self, to: &str) -> Result<(), CliError> {
        if let Some(parent) = self.path(to).parent() {
            std::fs::create_dir_all(parent).map_err(|error| {
                CliError::environment(format!("cannot create {}: {error}", parent.display()))
                    .hint(HINT)
            })?;
        }
        example::unpack(&self.path(to))
    }

    /// Changes a file of the demo in place.
    pub(super) fn edit(
        &self,
        name: &str,
        change: impl FnOnce(Vec<u8>) -> Vec<u8>,
    ) -> Result<(), CliError> {
        let path = self.path(name);
        let bytes = files::read(&path, "model file", 1 << 20)?;
        files::write(&path, &change(bytes), Access::Public)
    }
}

/// A text in an answer; empty if there is none.
pub(super) fn text(value: &Value) -> &str {
    value.as_str().unwrap_or_default()
}

/// The key of somebody.
pub(super) fn key_reference(who: &str) -> String {
    format!("file:keys/{who}.key")
}

fn make_keys(directory: &Path, runner: &Runner) -> Result<(), CliError> {
    std::fs::create_dir(directory.join("keys")).map_err(|error| {
        CliError::environment(format!("cannot create keys: {error}")).hint(HINT)
    })?;
    // One for all, and fresh for each demo: nothing here should look like a real secret.
    let passphrase = format!("demo-{}\n", std::process::id());
    let file = directory.join("keys/passphrase");
    files::write_new(&file, passphrase.as_bytes(), Access::Private)?;
    for who in PEOPLE.iter().map(|(who, _)| *who).chain(["owner"]) {
        let output = format!("keys/{who}");
        // `--keep` may name a place in a work tree, and these keys protect nothing.
        let passphrase = ["--passphrase-file", "keys/passphrase", "--insecure-any-place"];
        runner.must(&[&["key", "generate", "--output", &output][..], &passphrase].concat())?;
    }
    Ok(())
}

fn bind_roles(directory: &Path, runner: &Runner, service: &str) -> Result<(), CliError> {
    let now = clock::now()?;
    let (from, until): (Timestamp, Timestamp) = (now, now.plus_seconds(YEAR));
    let bound = PEOPLE.iter().filter(|(_, roles)| !roles.is_empty());
    let principals: Vec<Value> = bound
        .map(|(who, roles)| {
            let grant = |role| json!({"role": role, "validFrom": from, "validUntil": until});
            json!({
                "name": format!("{who}@loans.example"),
                "publicKeys": [format!("keys/{who}.pub")],
                "roles": roles.iter().map(grant).collect::<Vec<_>>(),
            })
        })
        .collect();
    let roles = json!({"principals": principals});
    let roles = serde_json::to_string_pretty(&roles).unwrap_or_default() + "\n";
    files::write_new(&directory.join("roles.json"), roles.as_bytes(), Access::Public)?;
    runner.must(&[
        "roles",
        "sign",
        "roles.json",
        "--key",
        &key_reference("owner"),
        "--passphrase-file",
        "keys/passphrase",
        "--service",
        service,
        "--trusted-root",
        "service/trusted_root.json",
    ])?;
    Ok(())
}

/// Calls the webhook as kube-apiserver does: over HTTPS, trusting the CA it was configured with.
fn post(url: &str, ca: &[u8], review: &Value) -> Result<Value, CliError> {
    let failed = |error: &dyn std::fmt::Display| {
        CliError::environment(format!("the admission controller did not answer: {error}"))
            .hint(HINT)
    };
    let ca = ureq::tls::Certificate::from_pem(ca).map_err(|error| failed(&error))?;
    let tls = ureq::tls::TlsConfig::builder()
        .unversioned_rustls_crypto_provider(sealwright_server::tls::provider())
        .root_certs(ureq::tls::RootCerts::from(vec![ca]))
        .build();
    let agent = ureq::Agent::config_builder()
        .tls_config(tls)
        .proxy(None)
        .timeout_global(Some(std::time::Duration::from_secs(10)))
        .build()
        .new_agent();
    let body = agent
        .post(url)
        .content_type("application/json")
        .send(review.to_string())
        .and_then(|mut response| response.body_mut().read_to_vec())
        .map_err(|error| failed(&error))?;
    serde_json::from_slice(&body).map_err(|error| failed(&error))
}

/// What kube-apiserver sends when somebody creates a pod.
fn review(name: &str, model_digest: &str) -> Value {
    json!({
        "kind": "AdmissionReview",
        "apiVersion": "admission.k8s.io/v1",
        "request": {
            "uid": "00000000-0000-4000-8000-000000000001",
            "kind": {"group": "", "version": "v1", "kind": "Pod"},
            "resource": {"group": "", "version": "v1", "resource": "pods"},
            "requestKind": {"group": "", "version": "v1", "kind": "Pod"},
            "requestResource": {"group": "", "version": "v1", "resource": "pods"},
            "name": name,
            "namespace": "lending",
            "operation": "CREATE",
            "userInfo": {"username": "system:serviceaccount:lending:deployer", "groups": []},
            "object": {
                "kind": "Pod",
                "apiVersion": "v1",
                "metadata": {
                    "name": name,
                    "namespace": "lending",
                    "annotations": {
                        "sealwright.dev/model": format!("loan-approval@sha256:{model_digest}"),
                    },
                },
                "spec": {"containers": [{"name": "scorer", "image": "registry.example/scorer:1"}]},
            },
            "oldObject": null,
            "dryRun": false,
            "options": {"kind": "CreateOptions", "apiVersion": "meta.k8s.io/v1"},
        },
    })
}
