# METADATA
# title: May this model be used?
# description: Entry point. `data.sealwright.main.decision` is what callers read.
# entrypoint: true
package sealwright.main

import data.sealwright.approvals
import data.sealwright.configuration
import data.sealwright.expiry
import data.sealwright.freshness
import data.sealwright.gates
import data.sealwright.inputs
import data.sealwright.lib
import data.sealwright.licences
import data.sealwright.model_scan
import data.sealwright.provenance
import data.sealwright.revocation
import data.sealwright.signature
import data.sealwright.tee
import data.sealwright.vulnerabilities
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

findings := union({
	approvals.violations,
	expiry.violations,
	freshness.violations,
	gates.violations,
	inputs.violations,
	licences.violations,
	model_scan.violations,
	provenance.violations,
	revocation.violations,
	signature.violations,
	tee.violations,
	vulnerabilities.violations,
})

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
		"msg": sprintf(
			"The policy's data.json is not a configuration of these rules: %v; see docs/policy-library.md.",
			[concat("; ", configuration.texts)],
		),
	}
}

config_valid if {
	is_object(data.sealwright.config)
	count(configuration.faults) == 0
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
