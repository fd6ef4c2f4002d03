# METADATA
# title: Accuracy and fairness gates
# description: >
#   Every gate in the configuration holds in every standing test result. The
#   thresholds are this policy's; those in the statement are the evaluator's own
#   and are not read. A gate is judged by the value, or by the end of its 95 %
#   interval that speaks against the model. The worst result counts, so a second,
#   better run cannot hide a bad one; a wrong result is withdrawn by revoking its
#   statement.
package sealwright.gates

import data.sealwright.lib
import data.sealwright.revocation
import rego.v1

settings := lib.config.gates

# Results that may fail a gate.
results := {a |
	some a in revocation.unsilenced_of(lib.result_type)
	lib.signed_as(a, settings.roles)
}

# Results that a gate may rest on: not by those who made the model, and of a certain age. Neither bounds
# what may fail one: the bytes of a model do not get better with time.
fresh := {a |
	some a in revocation.standing_of(lib.result_type)
	lib.signed_as(a, settings.roles)
	not lib.signed_model(a)
	lib.age_days(a) <= lib.config.gates.max_age_days
}

measurements(a) := [m |
	is_array(a.predicate.sealwright_metrics)
	some m in a.predicate.sealwright_metrics
	is_object(m)
]

# Each once: the same model gives the same numbers in every run.
measured := {m | some a in results; some m in measurements(a)}

measured_lately := {[m.metric, m.slice] | some a in fresh; some m in measurements(a)}

# Gates by what they are about, so that the work grows with the measurements and not with their
# number times that of the gates.
gates_of := {about: gates |
	some gate in settings.required
	about := [gate.metric, gate.slice]
	gates := {g | some g in settings.required; [g.metric, g.slice] == about}
}

# ---- what is held against the threshold -----------------------------------------------

by(gate) := object.get(gate, "judge_by", settings.judge_by)

judged(gate, m) := m.value if by(gate) == "value"

judged(gate, m) := m.ci95[0] if {
	by(gate) == "interval"
	has_interval(m)
	interval_sound(m)
	gate.comparator == ">="
}

judged(gate, m) := m.ci95[1] if {
	by(gate) == "interval"
	has_interval(m)
	interval_sound(m)
	gate.comparator == "<="
}

judged(gate, m) := m.value if {
	by(gate) == "interval"
	not has_interval(m)
	settings.without_interval == "value"
}

# One that is there and unreadable is not "none".
has_interval(m) if "ci95" in object.keys(m)

interval_sound(m) if {
	is_array(m.ci95)
	count(m.ci95) == 2
	is_number(m.ci95[0])
	is_number(m.ci95[1])
	is_number(m.value)
	in_range(m.ci95[0])
	in_range(m.ci95[1])
	m.ci95[0] <= m.value
	m.value <= m.ci95[1]
}

# All metrics of the library are shares, ratios of the smaller to the larger, or differences without a
# sign: percent, and differences with a sign, would pass thresholds that are not meant for them.
in_range(x) if {
	is_number(x)
	x >= 0
	x <= 1
}

# Rego orders values across types (null <= 0.1 is true), hence `in_range`.
holds(gate, m) if {
	gate.comparator == ">="
	x := judged(gate, m)
	in_range(x)
	in_range(m.value)
	is_number(gate.threshold)
	x >= gate.threshold
}

holds(gate, m) if {
	gate.comparator == "<="
	x := judged(gate, m)
	in_range(x)
	in_range(m.value)
	is_number(gate.threshold)
	x <= gate.threshold
}

wants_interval(gate, m) if {
	by(gate) == "interval"
	settings.without_interval == "deny"
	not has_interval(m)
}

# ---- violations ---------------------------------------------------------------------

# One sentence when nothing was measured at all, and not one for each gate.
violations contains v if {
	settings
	count(fresh) == 0
	v := {
		"code": "GATE_MISSING",
		"control": "evaluation-gates",
		"msg": sprintf(
			"No standing test result by role %v from the last %v days; run `sealwright evaluate` and attest the result with a key bound to that role.",
			[lib.either(settings.roles), settings.max_age_days],
		),
	}
}

violations contains v if {
	count(fresh) > 0
	some about, gates in gates_of
	not about in measured_lately
	some gate in gates
	v := {
		"code": "GATE_MISSING",
		"control": "evaluation-gates",
		"msg": sprintf(
			"No standing test result by role %v from the last %v days measures %v on %v; add the gate to the evaluation, and attest its result with a key bound to that role.",
			[lib.either(settings.roles), settings.max_age_days, gate.metric, gate.slice],
		),
	}
}

violations contains v if {
	some m in measured
	some gate in gates_of[[m.metric, m.slice]]
	not holds(gate, m)
	not wants_interval(gate, m)
	v := {
		"code": "GATE_FAILED",
		"control": "evaluation-gates",
		"msg": sprintf(
			"%v on %v is %v but must be %v %v; train a model that meets the gate, or revoke the test result if it is wrong.",
			[gate.metric, gate.slice, shown(gate, m), gate.comparator, gate.threshold],
		),
	}
}

violations contains v if {
	some m in measured
	some gate in gates_of[[m.metric, m.slice]]
	wants_interval(gate, m)
	v := {
		"code": "GATE_INTERVAL_MISSING",
		"control": "evaluation-gates",
		"msg": sprintf(
			"%v on %v was measured without a 95 %% interval (`ci95`), and this policy judges it by the end that speaks against the model; evaluate again, and revoke the old test result.",
			[gate.metric, gate.slice],
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

violations contains v if {
	some a in results
	failed := object.get(a.predicate, "failedTests", [])
	failed != []
	object.get(a.predicate, "result", "absent") == "PASSED"
	v := {
		"code": "GATE_FAILED",
		"control": "evaluation-gates",
		"msg": sprintf(
			"The test result by %v says PASSED and lists failed tests (%v); evaluate again, and revoke this result.",
			[a.signer.principal, failed],
		),
	}
}

shown(gate, m) := sprintf("%v, 95 %% interval %v,", [object.get(m, "value", "absent"), m.ci95]) if {
	by(gate) == "interval"
	has_interval(m)
} else := object.get(m, "value", "absent")
