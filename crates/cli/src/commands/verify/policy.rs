//! `verify --policy`: the same decision as the admission controller's, for a person or a CI job.

use std::path::{Path, PathBuf};

use serde_json::{Value, json};

use sealwright_attest::predicate::{POLICY, ROLE_BINDING};
use sealwright_attest::{Bundle, Signer, Statement, Subject, TrustedRoot, predicate};
use sealwright_manifest::Sha256;
use sealwright_policy::{Policy, PolicyApproval, Request, Verdict, decide};
use sealwright_server::client::Found;
use sealwright_server::evidence::{
    self, Denial, EvidenceSource, LogMemory, RolesRecord, Signers, SourceError,
    check_policy_in_force, code,
};
use sealwright_tlog::ConsistencyProof;

use crate::clock;
use crate::commands::policy::approval::{activate, approval_text, approval_value};
use crate::commands::verify::Args;
use crate::error::CliError;
use crate::files;
use crate::keyref::{self, PassphraseArgs};
use crate::output::{self, BAD, GOOD, Ui, fields, plain};
use crate::owners::read_bundles;
use crate::policy::PolicyChoice;
use crate::service::{KeyId, Sealed, seal};

/// What to decide, and on which evidence.
#[derive(Debug, Clone, clap::Args)]
pub(crate) struct PolicyArgs {
    /// Decide by this policy: a directory, a bundle, or `starter` for the built-in one.
    #[arg(long, value_name = "DIR|FILE")]
    policy: Option<PolicyChoice>,
    /// The owners' approval of the bundle: without it, the policy is the caller's own choice.
    #[arg(long, value_name = "FILE", requires = "policy")]
    policy_approval: Option<PathBuf>,
    /// Environment that the model is to run in.
    #[arg(long, value_name = "NAME", default_value = "production")]
    environment: String,
    /// A bundle to take as evidence, instead of asking a service; may be repeated.
    #[arg(long = "attestation", value_name = "FILE", requires = "checkpoint")]
    attestations: Vec<PathBuf>,
    /// The log's newest checkpoint (`/api/v2/checkpoint`), with --attestation.
    #[arg(long, value_name = "FILE")]
    checkpoint: Option<PathBuf>,
    /// Sign the verdict with this key and log it in the service: `file:PATH` or a path.
    #[arg(long, value_name = "REF", requires = "policy")]
    sign_key: Option<String>,
}

/// `verifier.id` of verdicts of the command line.
const VERIFIER_ID: &str = "https://sealwright.dev/verifier/cli";

impl PolicyArgs {
    pub(crate) fn is_given(&self) -> bool {
        self.policy.is_some()
    }

    /// Who signs the verdict, if somebody does.
    pub(crate) fn signer(
        &self,
        passphrase: &PassphraseArgs,
        ui: &Ui,
    ) -> Result<Option<Box<dyn Signer + Send + Sync>>, CliError> {
        let open = |reference: &String| keyref::open_signer(reference, passphrase, ui);
        self.sign_key.as_ref().map(open).transpose()
    }
}

/// A verdict, and what it was made with.
pub(crate) struct Decided {
    pub(crate) verdict: Verdict,
    /// By whose word the policy decided; none if it is the caller's own choice.
    approval: Option<PolicyApproval>,
    resource_uri: String,
    roles: RolesRecord,
    root: TrustedRoot,
    root_digest: Sha256,
}

/// Gathers the evidence about the model and decides.
pub(crate) fn decide_model(args: &Args, model_digest: Sha256) -> Result<Decided, CliError> {
    let Some(choice) = &args.policy.policy else {
        return Err(CliError::input("no policy").hint("give --policy DIR"));
    };
    let (roles, root) = args.trust.require()?;
    let source = source(args)?;
    let (policy, approval) = match &args.policy.policy_approval {
        None => (choice.load()?, None),
        Some(approval) => {
            let (policy, approval) = approved(args, choice, approval, source.as_ref(), &root)?;
            (policy, Some(approval))
        }
    };
    let memory = LogMemory::new(args.signer.keyless.witnesses()?);
    let gathered = evidence::gather(source.as_ref(), &roles, &root, &memory, &model_digest)
        .map_err(|denial| no_evidence(&denial))?;
    let time = clock::now()?;
    let request = Request {
        id: format!("verify-{time}"),
        time,
        purpose: "verify".to_owned(),
        environment: args.policy.environment.clone(),
        cluster: None,
        namespace: None,
        workload: None,
        principal: None,
        dry_run: false,
        model_name: args.model.name()?,
        model_digest,
        rejected: gathered.ignored,
    };
    let verdict = decide(&policy, &request, Some(&gathered.log.view()), &gathered.verified);
    Ok(Decided {
        verdict,
        approval,
        resource_uri: format!(
            "https://sealwright.dev/model/sha256/{model_digest}?environment={}",
            request.environment
        ),
        roles: RolesRecord::of(&gathered.roles),
        root,
        root_digest: args.trust.root_digest()?,
    })
}

/// The policy on the owners' word, if it is the newest that they approved.
fn approved(
    args: &Args,
    choice: &PolicyChoice,
    approval: &Path,
    source: &dyn EvidenceSource,
    root: &TrustedRoot,
) -> Result<(Policy, PolicyApproval), CliError> {
    let bundle = choice.path().ok_or_else(|| {
        CliError::input("the built-in policy needs no approval")
            .hint("leave --policy-approval out, or give --policy BUNDLE")
    })?;
    let owners = &args.trust.owners;
    let (policy, approval) = activate(bundle, approval, owners, Some(root))?.into_parts();
    check_policy_in_force(source, &owners.require()?, root, &approval, clock::now()?)
        .map_err(|denial| no_evidence(&denial))?;
    Ok((policy, approval))
}

/// No answer is nobody's verdict; an answer that contradicts the log is one.
fn no_evidence(denial: &Denial) -> CliError {
    let message = denial.to_string();
    match denial.code {
        code::SERVICE_UNREACHABLE | code::SERVICE_ANSWER => CliError::environment(message)
            .hint("check --service URL, and that `sealwright serve` is running there"),
        code::POLICY_SUPERSEDED | code::POLICY_CONFLICT | code::POLICY_EXPIRED => {
            CliError::failed(message).hint("get the newest bundle, and its approval")
        }
        code::LOG_CHECKPOINT_INVALID => CliError::failed(message)
            .hint("the trusted root must be that of the log which is asked"),
        code::ROLES_AMBIGUOUS | code::ROLES_UNREADABLE | code::ROLES_ERASED => {
            CliError::failed(message).hint("the owners have to sign and publish another revision")
        }
        code::NO_BY_LOST_KEY => {
            CliError::failed(message).hint("see \"Noes of an ended key\" in docs/roles.md")
        }
        _ => CliError::failed(message)
            .hint("fetch the newest checkpoint; if it stays so, the log hides something"),
    }
}

/// The service, or the files that were given instead.
fn source(args: &Args) -> Result<Box<dyn EvidenceSource>, CliError> {
    if let Some(checkpoint) = &args.policy.checkpoint {
        let bundles = args.policy.attestations.iter().map(|path| read_bundles(path));
        return Ok(Box::new(FileSource {
            bundles: bundles.collect::<Result<Vec<_>, _>>()?.concat(),
            checkpoint: files::read(checkpoint, "checkpoint", 1 << 20)?,
        }));
    }
    let client = args.service.client()?.ok_or_else(|| {
        CliError::input("a policy decision needs evidence")
            .hint("give --service URL, or --attestation FILE … with --checkpoint FILE")
    })?;
    Ok(Box::new(client))
}

/// Evidence in files: a verifier needs no network.
struct FileSource {
    bundles: Vec<Bundle>,
    checkpoint: Vec<u8>,
}

impl EvidenceSource for FileSource {
    fn statements_about(&self, _model: &Sha256) -> Result<Found, SourceError> {
        // Statements about other models are left out by the decision itself.
        Ok(self.bundles.clone().into())
    }

    fn statements_by(
        &self,
        predicate_type: &str,
        _signers: &Signers,
    ) -> Result<Found, SourceError> {
        // Revocations that were given are among the statements.
        let is_wanted = |bundle: &&Bundle| {
            let statement = Statement::parse(&bundle.envelope().payload);
            [ROLE_BINDING, POLICY].contains(&predicate_type)
                && statement.is_ok_and(|statement| statement.predicate_type == predicate_type)
        };
        Ok(self.bundles.iter().filter(is_wanted).cloned().collect::<Vec<_>>().into())
    }

    fn checkpoint(&self) -> Result<Vec<u8>, SourceError> {
        Ok(self.checkpoint.clone())
    }

    fn consistency(&self, _old_size: u64) -> Result<ConsistencyProof, SourceError> {
        let reason = "files hold no consistency proof".to_owned();
        Err(SourceError::Unreachable { reason })
    }
}

impl Decided {
    /// The verdict as it is said outside of the process: a verification summary.
    fn summary(&self) -> Value {
        let input = &self.verdict.input;
        let resources = [
            ("role-binding", self.roles.statement),
            ("trusted-root", self.root_digest),
            ("policy-input", input.digest()),
        ];
        let (version, time) = (env!("CARGO_PKG_VERSION"), input.evaluation.time);
        self.verdict
            .summary(VERIFIER_ID, version, time, &self.resource_uri, &resources)
            .to_predicate()
    }

    /// Signs the verdict, and has it logged.
    pub(crate) fn sign(&self, args: &Args, signer: &dyn Signer) -> Result<Sealed, CliError> {
        if args.service.service.is_none() {
            return Err(CliError::input("a signed verdict is logged in a service")
                .hint("give --service URL, or leave --sign-key out"));
        }
        let digest = Sha256::parse(&self.verdict.input.model.digest.sha256)
            .map_err(|_| CliError::input("the model digest is not a SHA-256"))?;
        let statement = Statement {
            subject: vec![Subject::sha256(self.verdict.input.model.name.clone(), &digest)],
            predicate_type: predicate::VERIFICATION_SUMMARY.to_owned(),
            predicate: self.summary(),
        };
        seal(&statement, KeyId::Hint, signer, &args.service, Some(&self.root))
    }

    /// For `--json`.
    pub(crate) fn to_value(&self, signed: Option<&Sealed>) -> Value {
        let verdict = &self.verdict;
        json!({
            "allow": verdict.allow,
            "violations": verdict.violations,
            "policy_digest": verdict.policy_digest,
            "policy_approval": approval_value(self.approval.as_ref()),
            "policy_input": verdict.input,
            "verification_summary": self.summary(),
            "roles": self.roles,
            "signed": signed.map(Sealed::to_value),
        })
    }

    /// For people.
    pub(crate) fn told(&self, signed: Option<&Sealed>) -> String {
        let verdict = &self.verdict;
        let environment = &verdict.input.request.environment;
        let mut rows = Vec::new();
        let mut text = if verdict.allow {
            rows.push(("model digest", verdict.input.model.digest.sha256.clone()));
            rows.push(("environment", environment.clone()));
            rows.push(("evidence", output::count(verdict.evidence.len(), "statement")));
            rows.push(("policy", verdict.policy_digest.clone()));
            rows.push(("approved", approval_text(self.approval.as_ref())));
            format!("{GOOD}allowed{GOOD:#}\n")
        } else {
            format!("{BAD}refused{BAD:#} for {environment}\n")
        };
        for violation in &verdict.violations {
            text += &format!("{BAD}{}{BAD:#}  {}\n", violation.code, plain(&violation.message));
        }
        rows.push(("roles", roles_text(&self.roles)));
        rows.extend(signed.map(|signed| ("verdict", signed.logged_text())));
        text + &fields(&rows)
    }
}

/// Which role binding decided, for people.
fn roles_text(roles: &RolesRecord) -> String {
    let revision = match roles.revision {
        0 => "without a revision".to_owned(),
        revision => format!("revision {revision}"),
    };
    let signed = match roles.owners {
        1 => "signed by one owner, who can change it alone".to_owned(),
        owners => format!("signed by {owners} owners"),
    };
    let logged = if roles.logged { "" } else { "; insecure: it is in no log" };
    format!("{revision}, {signed}{logged}")
}
