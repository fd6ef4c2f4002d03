# METADATA
# title: May this model be used?
# description: Entry point. `data.sealwright.main.decision` is what callers read.
# entrypoint: true
package sealwright.main

import data.sealwright.approvals
import data.sealwright.freshness
import data.sealwright.gates
import data.sealwright.lib
import data.sealwright.revocation
import data.sealwright.signature
import rego.v1

default allow := false

# What the rules found must have been computed and be empty; an undefined set is not
# an empty one.
allow if {
	input_valid
	config_valid
	count(findings) == 0
	count(violations) == 0
}

decision := {
	"allow": allow,
	"violations": violations,
	"evidence": ({a.envelope_sha256 | some a in revocation.standing} | {r.envelope_sha256 | some r in revocation.in_force}),
}

# The rules may rely on a sound input and configuration.
violations contains v if {
	input_valid
	config_valid
	some v in findings
}

findings := (((signature.violations | gates.violations) | approvals.violations) | revocation.violations) | freshness.violations

violations contains v if {
	not input_valid
	v := {
		"code": "INPUT_INVALID",
		"control": "input",
		"msg": "The policy input is not a ModelDecisionInput of sealwright.dev/v1; this is a fault of the caller.",
	}
}

violations contains v if {
	not config_valid
	v := {
		"code": "CONFIG_INVALID",
		"control": "configuration",
		"msg": "The policy's data.json lacks a setting or has one of a wrong kind; compare it with the data.json of the starter policy.",
	}
}

input_valid if {
	input.apiVersion == "sealwright.dev/v1"
	input.kind == "ModelDecisionInput"
	lib.now_ns > 0
	is_string(input.request.environment)
	regex.match(`^[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?$`, input.request.environment)
	is_string(input.model.digest.sha256)
	regex.match(`^[0-9a-f]{64}$`, input.model.digest.sha256)
	is_array(input.attestations)
	is_array(input.revocations)
}

config_valid if {
	every roles in [
		lib.config.signature.roles,
		lib.config.gates.roles,
		lib.config.revocation.roles,
		lib.config.approvals.required_roles,
	] {
		lib.strings(roles)
	}
	count(approvals.required) in {2, 3}
	is_array(lib.config.gates.required)
	count(lib.config.gates.required) > 0
	every gate in lib.config.gates.required {
		gate_valid(gate)
	}
	every limit in [
		lib.config.gates.max_age_days,
		lib.config.approvals.max_age_days,
		lib.config.log.max_checkpoint_age_minutes,
		lib.config.log.max_clock_skew_minutes,
	] {
		is_number(limit)
		limit >= 0
	}
}

gate_valid(gate) if {
	is_string(gate.metric)
	is_string(gate.slice)
	gate.comparator in {">=", "<="}
	is_number(gate.threshold)
}
