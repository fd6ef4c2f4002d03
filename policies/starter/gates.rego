# METADATA
# title: Accuracy and fairness gates
# description: >
#   Every gate in the configuration holds in every standing test result. The
#   thresholds are this policy's; those in the statement are the evaluator's own
#   and are not read. The worst value counts, so a second, better run cannot hide
#   a bad one; a wrong result is withdrawn by revoking its statement.
package sealwright.gates

import data.sealwright.lib
import data.sealwright.revocation
import rego.v1

required := lib.list(lib.config.gates.required)

results := {a |
	some a in revocation.standing_of(lib.result_type)
	lib.signed_as(a, lib.config.gates.roles)
}

# Age bounds what a gate may rest on. It does not bound what may fail one: the
# bytes of a model do not get better with time.
fresh := {a |
	some a in results
	lib.age_days(a) <= lib.config.gates.max_age_days
}

measurements(a) := [m |
	is_array(a.predicate.sealwright_metrics)
	some m in a.predicate.sealwright_metrics
	is_object(m)
]

measured_in(statements, gate) := [m |
	some a in statements
	some m in measurements(a)
	m.metric == gate.metric
	m.slice == gate.slice
]

# Rego orders values across types (null <= 0.1 is true), hence `is_number`.
holds(gate, m) if {
	gate.comparator == ">="
	is_number(m.value)
	is_number(gate.threshold)
	m.value >= gate.threshold
}

holds(gate, m) if {
	gate.comparator == "<="
	is_number(m.value)
	is_number(gate.threshold)
	m.value <= gate.threshold
}

# One sentence when nothing was measured at all, and not one for each gate.
violations contains v if {
	count(fresh) == 0
	v := {
		"code": "GATE_MISSING",
		"control": "evaluation-gates",
		"msg": sprintf(
			"No standing test result by role %v from the last %v days; run `sealwright evaluate` and attest the result with a key bound to that role.",
			[lib.either(lib.config.gates.roles), lib.config.gates.max_age_days],
		),
	}
}

violations contains v if {
	count(fresh) > 0
	some gate in required
	count(measured_in(fresh, gate)) == 0
	v := {
		"code": "GATE_MISSING",
		"control": "evaluation-gates",
		"msg": sprintf(
			"No standing test result by role %v from the last %v days measures %v on %v; add the gate to the evaluation, and attest its result with a key bound to that role.",
			[lib.either(lib.config.gates.roles), lib.config.gates.max_age_days, gate.metric, gate.slice],
		),
	}
}

violations contains v if {
	some gate in required
	some m in measured_in(results, gate)
	not holds(gate, m)
	v := {
		"code": "GATE_FAILED",
		"control": "evaluation-gates",
		"msg": sprintf(
			"%v on %v is %v but must be %v %v; train a model that meets the gate, or revoke the test result if it is wrong.",
			[gate.metric, gate.slice, object.get(m, "value", "absent"), gate.comparator, gate.threshold],
		),
	}
}

violations contains v if {
	some a in results
	result := object.get(a.predicate, "result", "absent")
	result != "PASSED"
	v := {
		"code": "GATE_FAILED",
		"control": "evaluation-gates",
		"msg": sprintf(
			"The test result by %v says %v instead of PASSED; train a model that passes, or revoke the test result if it is wrong.",
			[a.signer.principal, result],
		),
	}
}
