//! The admission webhook, from the bytes of a review to the bytes of an answer.
//!
//! The reviews are real ones; `data/admission/ORIGIN` says where they come from.

mod cases;
mod config;
mod evidence;
mod fuzz;
mod http;
mod permits;
mod policy;
mod roles;
mod service;
mod verdicts;

use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard};

use sealwright_attest::predicate::{POLICY, REVOCATION, ROLE_BINDING};
use sealwright_attest::{Bundle, KeyFile, Signer as _, Statement, Timestamp};
use sealwright_manifest::{Manifest, Sha256};
use sealwright_server::admission::{Admission, Config, DEFAULT_PERMIT_MAX_AGE_S, MODEL_ANNOTATION};
use sealwright_server::client::{ErasedStatement, Found};
use sealwright_server::evidence::{EvidenceSource, Signers, SourceError};
use sealwright_tlog::ConsistencyProof;
use serde_json::{Value, json};

use crate::world::sign_with;
use crate::world::{ENVIRONMENT, MODEL_NAME, MemoryLog, People, approvable, model};

/// The webhook, and everything around it that a test can change.
struct Scene {
    admission: Arc<Admission>,
    service: Arc<Service>,
    people: People,
    model: Manifest,
    now: Timestamp,
    dir: tempfile::TempDir,
}

/// An attestation service in memory.
struct Service {
    state: Mutex<ServiceState>,
}

struct ServiceState {
    log: MemoryLog,
    statements: Vec<Bundle>,
    /// Beside those among the statements.
    revocations: Vec<Bundle>,
    role_bindings: Vec<Bundle>,
    permits: Vec<Bundle>,
    /// Of which nothing but the entries are left.
    erased: Vec<ErasedStatement>,
    erased_role_bindings: Vec<ErasedStatement>,
    /// Whether everything is shown.
    complete: bool,
    fault: Option<SourceError>,
    /// Shown instead of the log's own.
    checkpoint: Option<Vec<u8>>,
    /// Shown instead of the log's own.
    proof: Option<ConsistencyProof>,
    /// What happens right after the next checkpoint was asked for.
    after_checkpoint: Option<Event>,
}

type Event = Box<dyn FnOnce(&Service) + Send>;

impl Service {
    fn state(&self) -> MutexGuard<'_, ServiceState> {
        self.state.lock().unwrap()
    }

    fn log(&self, key: &KeyFile, statement: &Statement) {
        let mut state = self.state();
        let bundle = state.log.append(sign_with(key, statement), key);
        state.statements.push(bundle);
    }
}

impl EvidenceSource for Service {
    // Gives everything, also what is about other models: the webhook has to sort it out.
    fn statements_about(&self, _: &Sha256) -> Result<Found, SourceError> {
        let state = self.state();
        let (bundles, erased) = (state.statements.clone(), state.erased.clone());
        let found = Found { bundles, erased, complete: state.complete };
        state.fault.clone().map_or(Ok(found), Err)
    }

    fn statements_by(&self, predicate_type: &str, _: &Signers) -> Result<Found, SourceError> {
        let state = self.state();
        let found = match predicate_type {
            REVOCATION => state.revocations.clone().into(),
            ROLE_BINDING => Found {
                bundles: state.role_bindings.clone(),
                erased: state.erased_role_bindings.clone(),
                complete: true,
            },
            POLICY => {
                let is_policy = |bundle: &&Bundle| {
                    let statement = Statement::parse(&bundle.envelope().payload);
                    statement.is_ok_and(|statement| statement.predicate_type == POLICY)
                };
                Found {
                    bundles: state.statements.iter().filter(is_policy).cloned().collect(),
                    erased: Vec::new(),
                    complete: state.complete,
                }
            }
            other => panic!("who asks for {other}?"),
        };
        state.fault.clone().map_or(Ok(found), Err)
    }

    fn permits(&self, _: &Sha256, _: &str, _: Timestamp) -> Result<Found, SourceError> {
        let state = self.state();
        state.fault.clone().map_or(Ok(state.permits.clone().into()), Err)
    }

    fn checkpoint(&self) -> Result<Vec<u8>, SourceError> {
        let mut state = self.state();
        let shown = state.checkpoint.clone().unwrap_or_else(|| state.log.checkpoint());
        let answer = state.fault.clone().map_or(Ok(shown), Err);
        let event = state.after_checkpoint.take();
        drop(state);
        event.into_iter().for_each(|event| event(self));
        answer
    }

    fn consistency(&self, old_size: u64) -> Result<ConsistencyProof, SourceError> {
        let state = self.state();
        let shown = state.proof.clone().unwrap_or_else(|| state.log.consistency(old_size));
        state.fault.clone().map_or(Ok(shown), Err)
    }
}

impl Scene {
    /// A model that the starter policy allows.
    fn approved() -> Self {
        Self::approved_with(|_| {})
    }

    fn approved_with(configure: impl FnOnce(&mut Config)) -> Self {
        Self::at(Timestamp::parse("2026-11-24T12:00:00Z").unwrap(), configure)
    }

    /// The same at another time, with another configuration.
    fn at(now: Timestamp, configure: impl FnOnce(&mut Config)) -> Self {
        let dir = tempfile::tempdir().unwrap();
        let (people, model) = (People::new(), model("weights"));
        // The roles were bound the day before.
        let mut log = MemoryLog::new(Timestamp::from_unix(now.unix() - 86400).unwrap());
        let binding = log.append(people.role_binding(), &people.owner);
        log.set_time(now);
        let mut statements = Vec::new();
        for (key, statement) in approvable(&people, &model, now) {
            statements.push(log.append(sign_with(key, &statement), key));
        }
        let root = log.trusted_root();
        let state = ServiceState {
            log,
            statements,
            revocations: Vec::new(),
            role_bindings: vec![binding.clone()],
            permits: Vec::new(),
            erased: Vec::new(),
            erased_role_bindings: Vec::new(),
            complete: true,
            fault: None,
            checkpoint: None,
            proof: None,
            after_checkpoint: None,
        };
        let service = Arc::new(Service { state: Mutex::new(state) });
        let mut config = Config {
            role_binding: write(&dir, "roles.json", binding.to_json()),
            witnesses: Vec::new(),
            owner_keys: vec![write(&dir, "owner.pem", people.owner.public_key().pem())],
            owners_required: None,
            insecure_unlogged_roles: false,
            trusted_root: write(&dir, "trusted_root.json", root.to_json()),
            policy: None,
            policy_approval: None,
            insecure_unapproved_policy: false,
            decisions: dir.path().join("decisions.jsonl"),
            environment: ENVIRONMENT.to_owned(),
            cluster: Some("eu-1".to_owned()),
            deadline_ms: 5000,
            insecure_allow_unnamed: false,
            permit_key: None,
            permit_max_age_s: DEFAULT_PERMIT_MAX_AGE_S,
        };
        configure(&mut config);
        let admission = Arc::new(Admission::load(&config, service.clone()).unwrap());
        Self { admission, service, people, model, now, dir }
    }

    fn ask(&self, review: &Value) -> Answer {
        self.ask_bytes(&serde_json::to_vec(review).unwrap())
    }

    /// The same pod at another time, with a checkpoint of that time.
    fn ask_at(&self, now: Timestamp) -> Answer {
        self.service.state().log.set_time(now);
        let review = serde_json::to_vec(&self.pod()).unwrap();
        Answer::parse(&self.admission.answer(&review, now))
    }

    fn ask_bytes(&self, review: &[u8]) -> Answer {
        Answer::parse(&self.admission.answer(review, self.now))
    }

    /// A pod that names the approved model.
    fn pod(&self) -> Value {
        self.name_model(captured("pod-create-generateName"))
    }

    /// The review, with the approved model in the pod and, if there is one, in the old pod.
    fn name_model(&self, mut review: Value) -> Value {
        let reference = format!("{MODEL_NAME}@sha256:{}", self.model.model_digest());
        for object in ["object", "oldObject"] {
            if review["request"][object].is_object() {
                annotate(&mut review, object, MODEL_ANNOTATION, &reference);
            }
        }
        review
    }

    fn records(&self) -> Vec<Value> {
        let text = std::fs::read_to_string(self.dir.path().join("decisions.jsonl")).unwrap();
        text.lines().map(|line| serde_json::from_str(line).unwrap()).collect()
    }
}

/// An answer that is well-formed, whatever it says.
#[derive(Debug)]
struct Answer {
    uid: String,
    allowed: bool,
    status: u64,
    message: String,
    codes: String,
    decision: String,
    warnings: Vec<String>,
}

impl Answer {
    /// Fails the test if the answer is not what `k8s.io/api/admission/v1` says.
    fn parse(bytes: &[u8]) -> Self {
        let review: Value = serde_json::from_slice(bytes).unwrap();
        assert_eq!(review["apiVersion"], "admission.k8s.io/v1");
        assert_eq!(review["kind"], "AdmissionReview");
        let response = &review["response"];
        let audit = response["auditAnnotations"].as_object().unwrap();
        assert!(audit.values().all(Value::is_string), "{audit:?}");
        let text = |value: &Value| value.as_str().unwrap().to_owned();
        let warnings = response["warnings"].as_array().cloned().unwrap_or_default();
        let answer = Self {
            uid: text(&response["uid"]),
            allowed: response["allowed"].as_bool().unwrap(),
            status: response["status"]["code"].as_u64().unwrap(),
            message: text(&response["status"]["message"]),
            codes: text(&audit["codes"]),
            decision: text(&audit["decision-id"]),
            warnings: warnings.iter().map(text).collect(),
        };
        assert!(answer.message.starts_with("sealwright: "), "{answer:?}");
        assert!(answer.message.len() < 16_000);
        assert_eq!(answer.allowed, answer.codes.is_empty(), "{answer:?}");
        assert_eq!(answer.allowed, answer.status == 200, "{answer:?}");
        assert_eq!(answer.decision.len(), 32);
        // The API server cuts what is longer.
        assert!(answer.warnings.iter().all(|warning| warning.len() <= 256));
        answer
    }
}

fn data_dir() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/data/admission")
}

fn captured(name: &str) -> Value {
    let bytes = std::fs::read(data_dir().join(format!("{name}.json"))).unwrap();
    serde_json::from_slice(&bytes).unwrap()
}

fn annotate(review: &mut Value, object: &str, key: &str, value: &str) {
    let metadata = &mut review["request"][object]["metadata"];
    if !metadata["annotations"].is_object() {
        metadata["annotations"] = json!({});
    }
    metadata["annotations"][key] = json!(value);
}

fn write(dir: &tempfile::TempDir, name: &str, text: impl AsRef<[u8]>) -> PathBuf {
    let path = dir.path().join(name);
    std::fs::write(&path, text).unwrap();
    path
}
