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
	document := object.union(f.plus([worse({})]), {"revocations": [f.revocation("compliance-officer@loans.example", ["compliance"], {"envelope_sha256": "e5"}, {})]})
	f.codes(document) == set()
}
