# A decision that is allowed, and ways to change one thing in it.
package sealwright.fixtures_test

import data.sealwright.main
import rego.v1

digest := "5d41402abc4b2a76b9719d911017c592ae1f3a2b7a9f6a2c0a0f9b1e2d3c4b5a"

signature := 0

result := 1

lead := 2

compliance := 3

statement(id, index, type, signer, predicate) := {
	"envelope_sha256": id,
	"verified": true,
	"predicate_type": type,
	"subject_digest": digest,
	"time": "2026-11-19T12:00:00Z",
	"time_source": "log-signed",
	"signer": signer,
	"log": {"origin": "log.example", "index": index},
	"predicate": predicate,
}

signer(principal, roles) := {"principal": principal, "key": concat("", ["key of ", principal]), "roles": roles}

approval(role) := {
	"decision": "APPROVED",
	"role": role,
	"environment": "prod",
	"expiresOn": "2027-02-01T00:00:00Z",
}

# A value for every gate; `accuracy` on overall and `demographic_parity_difference` on
# race as given. What the evaluator compared them with is not the policy's business.
metrics(accuracy, parity) := array.concat(
	[measured("accuracy", "overall", accuracy), measured("demographic_parity_difference", "race", parity)],
	[
		measured("balanced_accuracy", "overall", 0.7),
		measured("roc_auc", "overall", 0.8),
		measured("demographic_parity_ratio", "race", 0.9),
		measured("equal_opportunity_difference", "race", 0.05),
		measured("demographic_parity_difference", "sex", 0.02),
		measured("equal_opportunity_difference", "sex", 0.02),
	],
)

measured(metric, slice, value) := {
	"metric": metric,
	"slice": slice,
	"value": value,
	"sampleSize": 789,
	"comparator": "<=",
	"threshold": 1,
	"passed": true,
}

base := {
	"apiVersion": "sealwright.dev/v1",
	"kind": "ModelDecisionInput",
	"evaluation": {"id": "decision-1", "time": "2026-11-20T10:00:00Z", "purpose": "deploy", "policy_sha256": "0"},
	"request": {"environment": "prod", "namespace": "loans", "dry_run": false},
	"model": {"name": "loan-approval", "digest": {"sha256": digest}},
	"attestations": [
		statement("e0", 10, "https://model_signing/signature/v1.0", signer("trainer@loans.example", ["trainer"]), {"resources": []}),
		statement("e1", 11, "https://in-toto.io/attestation/test-result/v0.1", signer("evaluator@loans.example", ["evaluator"]), {"result": "PASSED", "sealwright_metrics": metrics(0.9, 0.08)}),
		statement("e2", 12, "https://sealwright.dev/predicate/approval/v0.1", signer("data-science-lead@loans.example", ["lead-data-scientist"]), approval("lead-data-scientist")),
		statement("e3", 13, "https://sealwright.dev/predicate/approval/v0.1", signer("compliance-officer@loans.example", ["compliance"]), approval("compliance")),
	],
	"revocations": [],
	"log": {"origin": "log.example", "checkpoint_time": "2026-11-20T09:50:00Z", "tree_size": 40},
	"rejected": [],
}

with_(changes) := object.union(base, changes)

# The attestation at `index` merged with `changes`; objects are merged, arrays replaced.
changed(index, changes) := with_({"attestations": [merged(i, a, index, changes) | some i, a in base.attestations]})

merged(i, a, index, changes) := object.union(a, changes) if {
	i == index
} else := a

without(index) := with_({"attestations": [a | some i, a in base.attestations; i != index]})

plus(more) := with_({"attestations": array.concat(base.attestations, more)})

revoked(target, roles) := with_({"revocations": [revocation("security-officer@loans.example", roles, target, {})]})

revocation(principal, roles, target, more) := object.union(
	statement("e9", 20, "https://sealwright.dev/predicate/revocation/v0.1", signer(principal, roles), {"target": target, "reason": "recall"}),
	{"predicate": more},
)

# ---- by which configuration -------------------------------------------------------------

# The sections that are about these four statements. Not the `data.json` beside the rules: whatever an owner
# writes there, these tests are about the rules.
config := {
	"signature": {"roles": ["trainer"]},
	"gates": {
		"roles": ["evaluator"],
		"max_age_days": 90,
		"judge_by": "value",
		"required": [
			{"metric": "accuracy", "slice": "overall", "comparator": ">=", "threshold": 0.876},
			{"metric": "balanced_accuracy", "slice": "overall", "comparator": ">=", "threshold": 0.6},
			{"metric": "roc_auc", "slice": "overall", "comparator": ">=", "threshold": 0.7},
			{"metric": "demographic_parity_ratio", "slice": "race", "comparator": ">=", "threshold": 0.8},
			{"metric": "demographic_parity_difference", "slice": "race", "comparator": "<=", "threshold": 0.2},
			{"metric": "equal_opportunity_difference", "slice": "race", "comparator": "<=", "threshold": 0.1},
			{"metric": "demographic_parity_difference", "slice": "sex", "comparator": "<=", "threshold": 0.1},
			{"metric": "equal_opportunity_difference", "slice": "sex", "comparator": "<=", "threshold": 0.1},
		],
	},
	"approvals": {"required_roles": ["lead-data-scientist", "compliance"], "max_age_days": 90},
	"revocation": {"roles": ["lead-data-scientist", "compliance", "security"]},
	"log": {"max_checkpoint_age_minutes": 60, "max_clock_skew_minutes": 5},
}

# One more section, or settings of one.
and_section(name, settings) := object.union(config, {name: settings})

codes(document) := codes_by(config, document)

codes_by(configuration, document) := {v.code | some v in main.violations with input as document with data.sealwright.config as configuration}

messages(document) := messages_by(config, document)

messages_by(configuration, document) := concat("\n", [v.msg | some v in main.violations with input as document with data.sealwright.config as configuration])

allowed(document) if main.allow with input as document with data.sealwright.config as config

# Values that are none of what a setting or a field is.
strange := [null, true, -1, "", "NaN", [], {}, [null]]
