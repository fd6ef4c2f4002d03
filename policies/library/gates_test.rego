package sealwright.gates_test

import data.sealwright.fixtures_test as f
import rego.v1

result_with(accuracy, parity) := f.changed(f.result, {"predicate": {"sealwright_metrics": f.metrics(accuracy, parity)}})

test_no_test_result if f.codes(f.without(f.result)) == {"GATE_MISSING"}

test_signer_is_no_evaluator if f.codes(f.changed(f.result, {"signer": {"roles": ["trainer"]}})) == {"GATE_MISSING"}

test_no_metrics if {
	every value in [[], {}, null, "accuracy", 1, [1, null, "x"]] {
		f.codes(f.changed(f.result, {"predicate": {"sealwright_metrics": value}})) == {"GATE_MISSING"}
	}
}

test_one_metric_missing if {
	all := f.metrics(0.9, 0.08)
	document := f.changed(f.result, {"predicate": {"sealwright_metrics": [m | some i, m in all; i != 1]}})
	f.codes(document) == {"GATE_MISSING"}
	contains(f.messages(document), "demographic_parity_difference on race")
}

test_too_old if f.codes(f.changed(f.result, {"time": "2026-08-01T00:00:00Z"})) == {"GATE_MISSING"}

test_limits_are_inclusive if f.codes(result_with(0.876, 0.2)) == set()

test_accuracy_too_low if {
	document := result_with(0.8759, 0.08)
	f.codes(document) == {"GATE_FAILED"}
	contains(f.messages(document), "accuracy on overall is 0.8759 but must be >= 0.876")
}

test_parity_too_high if f.codes(result_with(0.9, 0.2001)) == {"GATE_FAILED"}

# Rego orders null before and strings after every number.
test_only_numbers_hold if {
	every value in ["0.9", null, true, [], {}, [1]] {
		f.codes(result_with(value, 0.08)) == {"GATE_FAILED"}
		f.codes(result_with(0.9, value)) == {"GATE_FAILED"}
	}
}

test_value_absent if f.codes(f.changed(f.result, {"predicate": {"sealwright_metrics": array.concat([{"metric": "accuracy", "slice": "overall"}], f.metrics(0.9, 0.08))}})) == {"GATE_FAILED"}

test_result_not_passed if {
	every value in ["FAILED", "WARNED", "passed", null, true] {
		f.codes(f.changed(f.result, {"predicate": {"result": value}})) == {"GATE_FAILED"}
	}
}

worse(more) := object.union(
	f.statement("e5", 14, "https://in-toto.io/attestation/test-result/v0.1", f.signer("evaluator@loans.example", ["evaluator"]), {"result": "PASSED", "sealwright_metrics": f.metrics(0.6, 0.08)}),
	more,
)

test_worst_value_counts if {
	f.codes(f.plus([worse({})])) == {"GATE_FAILED"}
	f.codes(f.plus([worse({"time": "2026-11-18T12:00:00Z"})])) == {"GATE_FAILED"}
	f.codes(f.plus([worse({"time": "2026-01-01T12:00:00Z"})])) == {"GATE_FAILED"}
}

test_a_stranger_cannot_fail_a_model if f.codes(f.plus([worse({"signer": {"roles": []}})])) == set()

test_a_wrong_result_can_be_revoked if {
	document := object.union(f.plus([worse({})]), {"revocations": [f.revocation("security-officer@loans.example", ["security"], {"envelope_sha256": "e5"}, {})]})
	f.codes(document) == set()
}

# Nobody who wants the model takes a "no" away, nor does somebody who is revoked, nor a revocation of the
# evaluator.
test_an_interested_party_cannot_revoke_a_bad_result if {
	by_approver := f.revocation("compliance-officer@loans.example", ["compliance"], {"envelope_sha256": "e5"}, {})
	by_trainer := f.revocation("trainer@loans.example", ["security"], {"envelope_sha256": "e5"}, {})
	of_signer := f.revocation("security-officer@loans.example", ["security"], {"signer": "evaluator@loans.example"}, {"effective": "2026-12-01T00:00:00Z"})
	every revocation in [by_approver, by_trainer, of_signer] {
		"GATE_FAILED" in f.codes(object.union(f.plus([worse({})]), {"revocations": [revocation]}))
	}
	by_mallory := f.revocation("mallory@loans.example", ["security"], {"envelope_sha256": "e5"}, {})
	of_mallory := object.union(
		f.revocation("security-officer@loans.example", ["security"], {"signer": "mallory@loans.example"}, {"effective": "2026-01-01T00:00:00Z"}),
		{"envelope_sha256": "r2"},
	)
	"GATE_FAILED" in f.codes(object.union(f.plus([worse({})]), {"revocations": [by_mallory, of_mallory]}))
}

test_those_who_made_the_model_do_not_test_it if {
	document := f.changed(f.result, {"signer": f.signer("trainer@loans.example", ["trainer", "evaluator"])})
	f.codes(document) == {"GATE_MISSING"}
}

test_percent_and_signs_are_not_taken_for_shares if {
	every value in [52, 1.5, -0.6] {
		"GATE_FAILED" in f.codes(f.changed(f.result, {"predicate": {"sealwright_metrics": f.metrics(0.85, value)}}))
	}
	every value in [85, 1.5, -0.6] {
		"GATE_FAILED" in f.codes(f.changed(f.result, {"predicate": {"sealwright_metrics": f.metrics(value, 0.05)}}))
	}
}

test_failed_tests_under_a_pass if f.codes(f.changed(f.result, {"predicate": {"failedTests": ["accuracy[overall]"]}})) == {"GATE_FAILED"}

# ---- the end of the interval that speaks against the model --------------------------------

gate(comparator, threshold) := {"metric": "accuracy", "slice": "overall", "comparator": comparator, "threshold": threshold}

by_interval(without) := f.and_section("gates", {"judge_by": "interval", "without_interval": without, "required": [gate(">=", 0.8), {"metric": "demographic_parity_difference", "slice": "race", "comparator": "<=", "threshold": 0.1}]})

# Accuracy and parity, each with its interval.
with_intervals(accuracy, parity) := f.changed(f.result, {"predicate": {"sealwright_metrics": [
	{"metric": "accuracy", "slice": "overall", "value": 0.85, "ci95": accuracy},
	{"metric": "demographic_parity_difference", "slice": "race", "value": 0.05, "ci95": parity},
]}})

judged(accuracy, parity) := f.codes_by(by_interval("deny"), with_intervals(accuracy, parity))

test_unfavourable_end if {
	judged([0.8, 0.9], [0, 0.1]) == set()
	judged([0.7999, 0.9], [0, 0.1]) == {"GATE_FAILED"}
	judged([0.8, 0.9], [0, 0.1001]) == {"GATE_FAILED"}
}

test_the_message_has_the_interval if {
	messages := f.messages_by(by_interval("deny"), with_intervals([0.7999, 0.9], [0, 0.1]))
	contains(messages, "accuracy on overall is 0.85, 95 % interval [0.7999, 0.9], but must be >= 0.8")
}

# An interval that cannot be one does not fall back to the value.
test_interval_unsound if {
	every interval in array.concat(f.strange, [[0.8], [0.8, 0.9, 1], ["0.8", "0.9"], [0.86, 0.9], [0.8, 0.84], [0.9, 0.8], [null, null], [0.8, "0.9"], {"0": 0.8, "1": 0.9}]) {
		judged(interval, [0, 0.1]) == {"GATE_FAILED"}
		f.codes_by(by_interval("value"), with_intervals(interval, [0, 0.1])) == {"GATE_FAILED"}
	}
}

test_interval_around_no_value if {
	every value in [null, "0.85", [], {}] {
		row := {"metric": "accuracy", "slice": "overall", "value": value, "ci95": [0.8, 0.9]}
		document := f.changed(f.result, {"predicate": {"sealwright_metrics": array.concat([row], with_intervals([0.8, 0.9], [0, 0.1]).attestations[f.result].predicate.sealwright_metrics)}})
		f.codes_by(by_interval("deny"), document) == {"GATE_FAILED"}
	}
}

without_intervals := f.changed(f.result, {"predicate": {"sealwright_metrics": [
	{"metric": "accuracy", "slice": "overall", "value": 0.85},
	{"metric": "demographic_parity_difference", "slice": "race", "value": 0.05},
]}})

test_without_interval if {
	f.codes_by(by_interval("deny"), without_intervals) == {"GATE_INTERVAL_MISSING"}
	f.codes_by(by_interval("value"), without_intervals) == set()
	worse := f.changed(f.result, {"predicate": {"sealwright_metrics": [
		{"metric": "accuracy", "slice": "overall", "value": 0.79},
		{"metric": "demographic_parity_difference", "slice": "race", "value": 0.05},
	]}})
	f.codes_by(by_interval("value"), worse) == {"GATE_FAILED"}
}

# One gate may be judged otherwise than the rest.
test_a_gate_of_its_own if {
	mixed := f.and_section("gates", {"judge_by": "value", "without_interval": "deny", "required": [object.union(gate(">=", 0.8), {"judge_by": "interval"})]})
	f.codes_by(mixed, with_intervals([0.79, 0.9], [0, 1])) == {"GATE_FAILED"}
	f.codes_by(mixed, with_intervals([0.8, 0.9], [0, 1])) == set()
	f.codes_by(mixed, without_intervals) == {"GATE_INTERVAL_MISSING"}
}
