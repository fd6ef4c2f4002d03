//! People and pipelines with keys, a role binding, a service, a model on its way to production.

use std::process::Command;
use std::sync::LazyLock;

use serde_json::{Value, json};

use crate::home::{Home, Ran, text};
use crate::server::Server;

/// Who has a key, and in which roles the owner binds them.
const PEOPLE: [(&str, &[&str]); 8] = [
    ("trainer", &["trainer"]),
    ("evaluator", &["evaluator"]),
    ("lead", &["lead-data-scientist"]),
    ("officer", &["compliance"]),
    ("head", &["lead-data-scientist", "compliance"]),
    ("handyman", &["trainer", "lead-data-scientist"]),
    ("security", &["security"]),
    ("stranger", &[]),
];

/// Unencrypted, since opening an encrypted key takes a while; tests of keys make their own.
static KEYS: LazyLock<tempfile::TempDir> = LazyLock::new(|| {
    let directory = tempfile::tempdir().unwrap();
    let openssl = |args: &[&str]| {
        let output = Command::new("openssl").args(args).current_dir(directory.path()).output();
        let output = output.expect("openssl is needed: run ./test setup");
        assert!(output.status.success(), "openssl {args:?}: {output:?}");
    };
    for name in PEOPLE.iter().map(|(name, _)| *name).chain(["owner"]) {
        let (private, public) = (format!("{name}.key"), format!("{name}.pub"));
        let curve = ["-algorithm", "EC", "-pkeyopt", "ec_paramgen_curve:P-256"];
        openssl(&[&["genpkey", "-out", &private], &curve[..]].concat());
        openssl(&["pkey", "-in", &private, "-pubout", "-out", &public]);
    }
    directory
});

impl Home {
    /// A directory with everybody's keys in `keys/`.
    pub(crate) fn with_keys() -> Self {
        let home = Self::new();
        for entry in std::fs::read_dir(KEYS.path()).unwrap() {
            let path = entry.unwrap().path();
            let name = path.file_name().unwrap().to_str().unwrap();
            home.write(format!("keys/{name}"), std::fs::read(&path).unwrap());
        }
        home
    }

    /// The example's model, predictions and gates.
    pub(crate) fn example(&self, model: &str) {
        let example = concat!(env!("CARGO_MANIFEST_DIR"), "/../../examples/loan-approval");
        for file in ["README.md", "config.json", "model.onnx", "model.safetensors"] {
            let content = std::fs::read(format!("{example}/model/{file}")).unwrap();
            self.write(format!("{model}/{file}"), content);
        }
        for file in ["predictions.csv", "gates.toml"] {
            self.write(file, std::fs::read(format!("{example}/{file}")).unwrap());
        }
    }

    /// `roles.json` with everybody's roles, valid from 2020 to 2099.
    pub(crate) fn write_roles(&self) {
        let principals: Vec<Value> = PEOPLE
            .iter()
            .filter(|(_, roles)| !roles.is_empty())
            .map(|(name, roles)| {
                let grant = |role: &&str| {
                    json!({
                        "role": role,
                        "validFrom": "2020-01-01T00:00:00Z",
                        "validUntil": "2099-01-01T00:00:00Z",
                    })
                };
                json!({
                    "name": format!("{name}@loans.example"),
                    "publicKeys": [format!("keys/{name}.pub")],
                    "roles": roles.iter().map(grant).collect::<Vec<_>>(),
                })
            })
            .collect();
        self.write("roles.json", json!({"principals": principals}).to_string());
    }
}

/// A home with keys, the example, a running service and a signed role binding.
pub(crate) struct Team {
    pub(crate) home: Home,
    pub(crate) service: Server,
}

impl Team {
    pub(crate) fn new() -> Self {
        let home = Home::with_keys();
        home.example("model");
        home.write_roles();
        let service = Server::serve(&home, "data");
        let team = Self { home, service };
        team.must("owner", "roles sign roles.json");
        team
    }

    /// Arguments that name service and trusted root.
    pub(crate) fn service_args(&self) -> String {
        format!("--service {} --trusted-root data/trusted_root.json", self.service.url())
    }

    /// A signing command as somebody, logged; must succeed.
    pub(crate) fn must(&self, who: &str, line: &str) -> Value {
        self.run_as(who, line).succeeded().json()
    }

    pub(crate) fn run_as(&self, who: &str, line: &str) -> Ran {
        let common = self.service_args();
        self.home.run(&format!("--json {line} --key keys/{who}.key {common}"))
    }

    /// What the starter policy says, and its codes in order, each once.
    pub(crate) fn decide(&self, line: &str) -> (bool, Vec<String>) {
        codes(&self.home.run(&format!("--json {}", self.policy_line(line))))
    }

    /// `verify MODEL --policy starter …`.
    pub(crate) fn policy_line(&self, line: &str) -> String {
        format!(
            "verify {line} --policy starter --roles roles.sigstore.json --owner-key keys/owner.pub \
             {}",
            self.service_args()
        )
    }

    pub(crate) fn sign(&self, model: &str) {
        self.must("trainer", &format!("sign {model}"));
    }

    pub(crate) fn evaluate(&self, model: &str) -> Value {
        let files = "--predictions predictions.csv --gates gates.toml";
        self.must("evaluator", &format!("evaluate {model} {files}"))
    }

    pub(crate) fn approve(&self, who: &str, role: &str, model: &str) -> Value {
        self.must(who, &format!("approve {model} --as {role}"))
    }

    /// Everything that the starter policy asks for.
    pub(crate) fn approve_fully(&self, model: &str) {
        self.sign(model);
        self.evaluate(model);
        self.approve("lead", "lead-data-scientist", model);
        self.approve("officer", "compliance", model);
    }

    pub(crate) fn model_digest(&self, model: &str) -> String {
        text(&self.home.json(&format!("digest {model}"))["model_digest"]).to_owned()
    }
}

/// Whether a decision allows, and the codes of what it misses, each once.
pub(crate) fn codes(ran: &Ran) -> (bool, Vec<String>) {
    let value = ran.json();
    let violations = value["verdict"]["violations"].as_array();
    let violations = violations.unwrap_or_else(|| panic!("no verdict: {ran:#?}"));
    let mut codes: Vec<String> = violations.iter().map(|v| text(&v["code"]).to_owned()).collect();
    codes.dedup();
    let allow = value["verdict"]["allow"] == true;
    assert_eq!(value["ok"], allow, "{ran:#?}");
    assert_eq!(ran.code, Some(i32::from(!allow)), "{ran:#?}");
    assert_eq!(allow, codes.is_empty(), "{ran:#?}");
    (allow, codes)
}
