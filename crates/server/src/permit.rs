//! Deploy permits: verdicts with a short life, which the service makes anew as long as policy allows.
//!
//! A revocation that is kept from whoever decides looks like no revocation. A permit is the other way
//! round: it must be there, and it runs out. Whoever makes permits looks at the log itself, so once the
//! revocation is logged no permit is made any more, and what is out there ends within its life.
//!
//! A permit is a verification summary (SLSA VSA version 1) about the model digest, with the result
//! `PASSED`, by [`VERIFIER_ID`], and two extension fields: `environment` and `expiresOn`.

use std::str::FromStr;

use sealwright_attest::{
    Bundle, PublicKey, Signed, Statement, Subject, Timestamp, TrustedRoot, VerifyError,
    check_signature, predicate,
};
use sealwright_manifest::Sha256;
use sealwright_policy::{Request, VSA_EXTENSION, Verdict};
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

/// `verifier.id` of permits.
pub const VERIFIER_ID: &str = "https://sealwright.dev/permits";

/// How the role binding is named among the inputs of a verdict.
pub(crate) const ROLE_BINDING: &str = "role-binding";

/// How far the clock of whoever decides may be behind the log's.
const MAX_SKEW_S: u64 = 300;

/// A permit whose signature and log entry are verified. Whether it is what is needed, and still in
/// force, is another question: [`Permit::check`].
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Permit {
    /// Names the statement: SHA-256 of its envelope's PAE.
    pub statement: Sha256,
    /// SHA-256 of the subjects: the model digest.
    pub models: Vec<String>,
    /// Where the model may be used.
    pub environment: String,
    /// Digest of the policy that allowed it.
    pub policy: String,
    /// The role binding that was in force: its statement.
    pub role_binding: String,
    /// When it was decided, as whoever made it says.
    pub decided_at: Timestamp,
    /// Last second at which it counts.
    pub expires_on: Timestamp,
    /// When it was logged: the log-signed time.
    pub logged_at: Timestamp,
    /// Its index in the log.
    pub index: u64,
    /// The log's origin.
    pub origin: String,
    /// Leaves of the tree in which it is proven.
    #[serde(skip)]
    pub(crate) tree_size: u64,
    /// Root of that tree.
    #[serde(skip)]
    pub(crate) tree_root: [u8; 32],
}

/// For how long a permit counts: a number and a unit, `s`, `m`, `h` or `d`; at most 30 days.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(try_from = "String")]
pub struct Life(u64);

/// A text is not such a duration.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{text:?} is not a duration from 1s to 30d, such as 4h or 30m")]
pub struct InvalidLife {
    /// What was given.
    pub text: String,
}

impl Life {
    /// Four hours.
    pub const DEFAULT: Self = Self(4 * 60 * 60);
    /// A day.
    pub const DAY: Self = Self(24 * 60 * 60);

    /// 30 days.
    pub const LONGEST: Self = Self(30 * 24 * 60 * 60);

    /// In seconds.
    #[must_use]
    pub const fn seconds(self) -> u64 {
        self.0
    }
}

impl FromStr for Life {
    type Err = InvalidLife;

    fn from_str(text: &str) -> Result<Self, InvalidLife> {
        let units = [('s', 1), ('m', 60), ('h', 3600), ('d', 86_400)];
        let seconds = units.iter().find_map(|(unit, length)| {
            let number = text.strip_suffix(*unit)?;
            let is_number = !number.is_empty() && number.bytes().all(|b| b.is_ascii_digit());
            is_number.then_some(())?;
            number.parse::<u64>().ok()?.checked_mul(*length)
        });
        match seconds {
            Some(seconds) if (1..=Self::LONGEST.0).contains(&seconds) => Ok(Self(seconds)),
            _ => Err(InvalidLife { text: text.chars().take(40).collect() }),
        }
    }
}

impl TryFrom<String> for Life {
    type Error = InvalidLife;

    fn try_from(text: String) -> Result<Self, InvalidLife> {
        text.parse()
    }
}

/// What is needed for a yes.
#[derive(Debug, Clone, Copy)]
pub struct Needed<'a> {
    /// The model digest.
    pub model: &'a Sha256,
    /// Where it is to be used.
    pub environment: &'a str,
    /// Digest of the policy that decides.
    pub policy: &'a str,
    /// The role binding that decides.
    pub role_binding: &'a Sha256,
    /// No permit counts for longer than this after it was decided or logged, whatever it says.
    pub max_age_s: u64,
    /// The time of the decision.
    pub now: Timestamp,
}

/// Why a permit does not count. Those further down were closer to one that does.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, thiserror::Error)]
pub enum PermitProblem {
    /// The signature, or the log's proof.
    #[error("{code}: {message}")]
    Unverified {
        /// [`VerifyError::code`].
        code: &'static str,
        /// What is wrong.
        message: String,
    },
    /// It is a statement of another kind, or a verdict that is no permit.
    #[error("it is no permit: {message}")]
    Form {
        /// What is missing.
        message: &'static str,
    },
    /// It is about another model.
    #[error("it is about another model")]
    Model,
    /// It is for another environment.
    #[error("it is for environment {found:?}")]
    Environment {
        /// What it says.
        found: String,
    },
    /// Another policy allowed it.
    #[error("it was made by the policy {found}")]
    Policy {
        /// Digest of that policy.
        found: String,
    },
    /// It was made under another role binding.
    #[error("it was made under the role binding {found}")]
    Roles {
        /// That binding's statement.
        found: String,
    },
    /// It was logged later than now, by our clock.
    #[error("it was logged at {logged}, which is yet to come")]
    Future {
        /// The log-signed time.
        logged: Timestamp,
    },
    /// It has run out.
    #[error("it ran out at {at}")]
    Expired {
        /// Its last second.
        at: Timestamp,
    },
    /// It has not run out, and is too old for whoever decides.
    #[error("it counted until {at}, {max_age_s} s after it was made")]
    TooOld {
        /// The last second at which it counted.
        at: Timestamp,
        /// What was asked for.
        max_age_s: u64,
    },
}

impl Permit {
    /// Reads a permit signed by `key` in a log of `root`.
    ///
    /// # Errors
    /// [`PermitProblem::Unverified`], [`PermitProblem::Form`].
    pub fn verify(
        bundle: &Bundle,
        key: &PublicKey,
        root: &TrustedRoot,
    ) -> Result<Self, PermitProblem> {
        let unverified = |error: VerifyError| PermitProblem::Unverified {
            code: error.code(),
            message: error.to_string(),
        };
        let signed = check_signature(bundle, key).map_err(unverified)?;
        let logged = signed.check_log(bundle, root).map_err(unverified)?;
        let Terms { environment, policy, role_binding, decided_at, expires_on } = terms(&signed)?;
        Ok(Self {
            statement: signed.digest(),
            models: signed.statement().subject_digests(),
            environment,
            policy,
            role_binding,
            decided_at,
            expires_on,
            logged_at: logged.time(),
            index: logged.index(),
            origin: logged.origin().to_owned(),
            tree_size: logged.tree_size(),
            tree_root: *logged.root(),
        })
    }

    /// Last second at which it counts for whoever believes no permit for longer than `max_age_s`.
    ///
    /// The log-signed time is that of the proof that is shown, which can be made anew; the signed time
    /// of the decision stays.
    #[must_use]
    pub fn ends(&self, max_age_s: u64) -> Timestamp {
        let made_at = self.decided_at.min(self.logged_at);
        self.expires_on.min(made_at.plus_seconds(max_age_s))
    }

    /// Whether it is what is needed, and in force.
    ///
    /// # Errors
    /// [`PermitProblem`].
    pub fn check(&self, needed: &Needed<'_>) -> Result<(), PermitProblem> {
        if !self.models.contains(&needed.model.to_string()) {
            return Err(PermitProblem::Model);
        }
        if self.environment != needed.environment {
            return Err(PermitProblem::Environment { found: self.environment.clone() });
        }
        if self.policy != needed.policy {
            return Err(PermitProblem::Policy { found: self.policy.clone() });
        }
        if self.role_binding != needed.role_binding.to_string() {
            return Err(PermitProblem::Roles { found: self.role_binding.clone() });
        }
        if self.logged_at > needed.now.plus_seconds(MAX_SKEW_S) {
            return Err(PermitProblem::Future { logged: self.logged_at });
        }
        if needed.now > self.expires_on {
            return Err(PermitProblem::Expired { at: self.expires_on });
        }
        let (at, max_age_s) = (self.ends(needed.max_age_s), needed.max_age_s);
        if needed.now > at { Err(PermitProblem::TooOld { at, max_age_s }) } else { Ok(()) }
    }
}

/// What a permit says beside the model.
struct Terms {
    environment: String,
    policy: String,
    role_binding: String,
    decided_at: Timestamp,
    expires_on: Timestamp,
}

fn terms(signed: &Signed) -> Result<Terms, PermitProblem> {
    let form = |message| PermitProblem::Form { message };
    let Statement { predicate_type, predicate, .. } = signed.statement();
    if predicate_type != predicate::VERIFICATION_SUMMARY {
        return Err(form("it is no verification summary"));
    }
    if predicate["verifier"]["id"] != VERIFIER_ID {
        return Err(form("its verifier makes no permits"));
    }
    if predicate["verificationResult"] != "PASSED" {
        return Err(form("its result is not PASSED"));
    }
    let text = |value: &Value| value.as_str().map(str::to_owned);
    let extension = |name: &str| text(&predicate[format!("{VSA_EXTENSION}{name}")]);
    let environment = extension("environment").ok_or(form("it names no environment"))?;
    let time = |text: String| Timestamp::parse(&text).ok();
    let expires_on = extension("expiresOn").and_then(time).ok_or(form("it never ends"))?;
    let decided_at = text(&predicate["timeVerified"]).and_then(time);
    let policy = text(&predicate["policy"]["digest"]["sha256"]);
    let inputs = predicate["inputAttestations"].as_array().into_iter().flatten();
    let mut bindings = inputs.filter(|input| input["name"] == ROLE_BINDING);
    let role_binding = bindings.next().and_then(|input| text(&input["digest"]["sha256"]));
    if bindings.next().is_some() {
        return Err(form("it names two role bindings"));
    }
    Ok(Terms {
        environment,
        policy: policy.ok_or(form("it names no policy"))?,
        role_binding: role_binding.ok_or(form("it names no role binding"))?,
        decided_at: decided_at.ok_or(form("it does not say when it was decided"))?,
        expires_on,
    })
}

/// The statement of a permit: what `verdict`, which allows, says until `expires_on`.
///
/// `resources` are what was decided with beside the policy: name and SHA-256.
pub(crate) fn statement(
    request: &Request,
    verdict: &Verdict,
    resources: &[(&str, Sha256)],
    expires_on: Timestamp,
) -> Statement {
    let resource_uri = format!(
        "https://sealwright.dev/model/sha256/{}?environment={}",
        request.model_digest, request.environment
    );
    let version = env!("CARGO_PKG_VERSION");
    let mut summary = verdict.summary(VERIFIER_ID, version, request.time, &resource_uri, resources);
    summary.more =
        vec![("environment", json!(request.environment)), ("expiresOn", json!(expires_on))];
    Statement {
        subject: vec![Subject::sha256(request.model_name.clone(), &request.model_digest)],
        predicate_type: predicate::VERIFICATION_SUMMARY.to_owned(),
        predicate: summary.to_predicate(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn time(text: &str) -> Timestamp {
        Timestamp::parse(text).unwrap()
    }

    #[test]
    fn lives_are_bounded() {
        for (text, seconds) in
            [("4h", Some(14_400)), ("30m", Some(1800)), ("1s", Some(1)), ("30d", Some(2_592_000))]
        {
            assert_eq!(text.parse::<Life>().ok().map(Life::seconds), seconds, "{text}");
        }
        for text in
            ["", "h", "4", "0h", "31d", "-1h", "+1h", "1.5h", "4 h", "99999999999999999999d"]
        {
            assert!(text.parse::<Life>().is_err(), "{text}");
        }
    }

    #[test]
    fn a_permit_counts_for_one_model_in_one_place_under_one_policy_until_it_ends() {
        let model = Sha256::of(b"model");
        let permit = Permit {
            statement: Sha256::of(b"statement"),
            models: vec![model.to_string()],
            environment: "prod".to_owned(),
            policy: "ab".repeat(32),
            role_binding: Sha256::of(b"roles").to_string(),
            decided_at: time("2026-11-24T12:00:00Z"),
            expires_on: time("2026-11-24T16:00:00Z"),
            logged_at: time("2026-11-24T12:00:00Z"),
            index: 7,
            origin: "log.example".to_owned(),
            tree_size: 8,
            tree_root: [0; 32],
        };
        let needed = Needed {
            model: &model,
            environment: "prod",
            policy: &permit.policy,
            role_binding: &Sha256::of(b"roles"),
            max_age_s: 86_400,
            now: time("2026-11-24T12:00:00Z"),
        };
        assert_eq!(permit.check(&needed), Ok(()));
        let at = |text: &str| permit.check(&Needed { now: time(text), ..needed });
        assert_eq!(at("2026-11-24T16:00:00Z"), Ok(()));
        let ended = PermitProblem::Expired { at: permit.expires_on };
        assert_eq!(at("2026-11-24T16:00:01Z"), Err(ended));
        // The log's clock may be a little ahead.
        assert_eq!(at("2026-11-24T11:55:00Z"), Ok(()));
        assert!(matches!(at("2026-11-24T11:54:59Z"), Err(PermitProblem::Future { .. })));
        // Whoever decides believes none for long.
        let short = Needed { max_age_s: 3600, now: time("2026-11-24T13:00:01Z"), ..needed };
        let ended = PermitProblem::TooOld { at: time("2026-11-24T13:00:00Z"), max_age_s: 3600 };
        assert_eq!(permit.check(&short), Err(ended.clone()));
        // Another proof, with a later checkpoint, makes it no younger.
        let shown_anew = Permit { logged_at: time("2026-11-24T13:00:00Z"), ..permit.clone() };
        assert_eq!(shown_anew.check(&short), Err(ended));
        let others = Needed { role_binding: &Sha256::of(b"others"), ..needed };
        assert!(matches!(permit.check(&others), Err(PermitProblem::Roles { .. })));
        let other = Sha256::of(b"other");
        let wrong = [
            Needed { model: &other, ..needed },
            Needed { environment: "staging", ..needed },
            Needed { policy: "cd", ..needed },
        ];
        assert!(wrong.iter().all(|needed| permit.check(needed).is_err()));
    }
}
