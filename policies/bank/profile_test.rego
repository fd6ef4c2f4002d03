# What this policy demands, each demand refused once. The input that it allows is `input.json`; change both with
# `data.json`.
package sealwright.profile_test

import data.sealwright.main
import rego.v1

allowed_input := data.sealwright_test.input

codes(document) := {v.code | some v in main.violations with input as document}

of_type(type) := [i | some i, a in allowed_input.attestations; a.predicate_type == type]

without(type) := object.union(allowed_input, {"attestations": [a | some a in allowed_input.attestations; a.predicate_type != type]})

# Every statement of the type, with changes.
changed(type, changes) := object.union(allowed_input, {"attestations": [maybe(a, type, changes) | some a in allowed_input.attestations]})

maybe(a, type, changes) := object.union(a, changes) if {
	a.predicate_type == type
} else := a

signature := "https://model_signing/signature/v1.0"

result := "https://in-toto.io/attestation/test-result/v0.1"

approval := "https://sealwright.dev/predicate/approval/v0.1"

test_the_input_is_allowed if {
	decision := main.decision with input as allowed_input
	decision.allow
	count(decision.evidence) == count(allowed_input.attestations)
}

test_a_signature if codes(without(signature)) == {"SIGNATURE_MISSING"}

test_test_results if {
	codes(without(result)) == {"GATE_MISSING"}
	codes(changed(result, {"predicate": {"result": "FAILED"}})) == {"GATE_FAILED"}
}

test_every_gate if {
	every gate in data.sealwright.config.gates.required {
		some i in of_type(result)
		rows := [row | some row in allowed_input.attestations[i].predicate.sealwright_metrics; [row.metric, row.slice] != [gate.metric, gate.slice]]
		codes(changed(result, {"predicate": {"sealwright_metrics": rows}})) == {"GATE_MISSING"}
	}
}

# One after the other of those who approve is left out.
test_every_role if {
	every i in of_type(approval) {
		codes(object.union(allowed_input, {"attestations": [a | some j, a in allowed_input.attestations; i != j]})) == {"APPROVAL_MISSING"}
	}
	count(of_type(approval)) == count(data.sealwright.config.approvals.required_roles)
}

test_different_people if "SAME_PERSON" in codes(changed(approval, {"signer": {"principal": "one@example", "key": "one", "roles": data.sealwright.config.approvals.required_roles}}))

test_the_trainer_does_not_approve if {
	some i in of_type(signature)
	signer := allowed_input.attestations[i].signer
	codes(changed(approval, {"signer": {"key": signer.key}})) & {"SELF_APPROVAL"} == {"SELF_APPROVAL"}
}

test_for_this_environment if codes(object.union(allowed_input, {"request": {"environment": "elsewhere"}})) == {"APPROVAL_MISSING"}

test_a_rejection if "REJECTED" in codes(changed(approval, {"predicate": {"decision": "REJECTED"}}))

test_no_revocation if {
	some role in data.sealwright.config.revocation.roles
	some i in of_type(signature)
	recall := object.union(allowed_input.attestations[i], {
		"envelope_sha256": "0000000000000000000000000000000000000000000000000000000000000000",
		"predicate_type": "https://sealwright.dev/predicate/revocation/v0.1",
		"signer": {"principal": "security@example", "key": "key", "roles": [role]},
		"predicate": {"target": {"model_sha256": allowed_input.model.digest.sha256}, "reason": "recall"},
	})
	codes(object.union(allowed_input, {"revocations": [recall]})) == {"MODEL_REVOKED"}
}

test_a_recent_view_of_the_log if codes(object.union(allowed_input, {"log": {"checkpoint_time": "2026-11-20T08:00:00Z"}})) == {"LOG_STALE"}

# ---- beyond two approvals -----------------------------------------------------------------

provenance := "https://slsa.dev/provenance/v1"

vulnerabilities := "https://in-toto.io/attestation/vulns/v0.2"

vex := "https://openvex.dev/ns/v0.2.0"

model_scan := "https://sealwright.dev/predicate/model-scan/v0.1"

bom := "https://cyclonedx.org/bom"

test_by_the_end_that_speaks_against_the_model if {
	some i in of_type(result)
	rows := [object.remove(row, ["ci95"]) | some row in allowed_input.attestations[i].predicate.sealwright_metrics]
	codes(changed(result, {"predicate": {"sealwright_metrics": rows}})) == {"GATE_INTERVAL_MISSING"}
	wide := [object.union(row, {"ci95": [0, 1]}) | some row in allowed_input.attestations[i].predicate.sealwright_metrics]
	codes(changed(result, {"predicate": {"sealwright_metrics": wide}})) == {"GATE_FAILED"}
}

test_witnesses if codes(object.union(allowed_input, {"log": {"witnesses": ["stranger.example"]}})) == {"LOG_NOT_WITNESSED"}

test_expiry if codes(changed(signature, {"time": "2020-01-01T00:00:00Z"})) == {"MODEL_EXPIRED"}

test_builders if {
	codes(without(provenance)) == {"PROVENANCE_MISSING", "INPUTS_UNKNOWN"}
	codes(changed(provenance, {"predicate": {"runDetails": {"builder": {"id": "https://laptop.example"}}}})) == {"BUILDER_NOT_ALLOWED"}
	codes(changed(provenance, {"signer": {"principal": "stranger@example"}})) == {"BUILDER_NOT_ALLOWED"}
}

test_level if {
	some builder in data.sealwright.config.provenance.builders
	low := object.union(data.sealwright.config, {"provenance": {"builders": [object.union(builder, {"level": 1})]}})
	found := {v.code | some v in main.violations with input as allowed_input with data.sealwright.config as low}
	found == {"BUILD_LEVEL_TOO_LOW"}
}

test_pinned_inputs if codes(changed(provenance, {"predicate": {"buildDefinition": {"resolvedDependencies": [{"uri": "https://data.example/latest"}]}}})) == {"INPUT_NOT_PINNED"}

test_vulnerabilities if {
	codes(without(vulnerabilities)) == {"VULNERABILITY_SCAN_MISSING"}
	codes(changed(vulnerabilities, {"predicate": {"scanner": {"result": [{"id": "CVE-2026-9999"}]}}})) == {"VULNERABILITY"}
}

test_scan_of_the_files if {
	codes(without(model_scan)) == {"MODEL_SCAN_MISSING"}
	codes(changed(model_scan, {"predicate": {"result": "FINDINGS", "findings": [{"id": "pickle-reduce", "severity": "critical"}]}})) == {"MODEL_SCAN_MISSING", "MODEL_SCAN_FINDINGS"}
}

test_licences if "LICENCE_NOT_ALLOWED" in codes(changed(bom, {"predicate": {"components": [{"type": "data", "name": "scraped"}]}}))

test_bill_of_materials if codes(without(bom)) == {"BOM_MISSING"}

test_excuses if codes(without(vex)) == {"VULNERABILITY"}
