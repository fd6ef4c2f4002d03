package sealwright.model_scan_test

import data.sealwright.fixtures_test as f
import rego.v1

config := f.and_section("model_scan", {"roles": ["scanner"], "max_age_days": 30, "accepted_severities": ["info"]})

scan(id, changes) := object.union(
	f.statement(id, 30, "https://sealwright.dev/predicate/model-scan/v0.1", f.signer("scanner@loans.example", ["scanner"]), {
		"scanner": {"uri": "https://scanner.example", "version": "1"},
		"scannedOn": "2026-11-19T11:00:00Z",
		"result": "CLEAN",
		"findings": [{"id": "safetensors", "severity": "info"}],
		"skipped": [],
	}),
	changes,
)

codes(changes) := f.codes_by(config, f.plus([scan("s0", changes)]))

test_clean if codes({}) == set()

test_not_asked_for if f.codes(f.base) == set()

test_none if f.codes_by(config, f.base) == {"MODEL_SCAN_MISSING"}

test_in_no_role if codes({"signer": {"roles": ["trainer"]}}) == {"MODEL_SCAN_MISSING"}

test_too_old if codes({"time": "2026-10-01T00:00:00Z"}) == {"MODEL_SCAN_MISSING"}

both := {"MODEL_SCAN_MISSING", "MODEL_SCAN_FINDINGS"}

test_findings if {
	document := f.plus([scan("s0", {"predicate": {"result": "FINDINGS", "findings": [{"id": "pickle-reduce", "severity": "critical"}]}})])
	f.codes_by(config, document) == both
	contains(f.messages_by(config, document), "says FINDINGS, with the findings [\"pickle-reduce\"]")
}

test_severity_not_accepted if {
	every severity in array.concat(f.strange, ["low", "critical", "INFO", "info "]) {
		codes({"predicate": {"findings": [{"id": "x", "severity": severity}]}}) == both
	}
	codes({"predicate": {"findings": [{"id": "x"}]}}) == both
}

test_only_clean_is_clean if {
	every result in array.concat(f.strange, ["clean", "CLEAN ", "FINDINGS", "INCOMPLETE"]) {
		codes({"predicate": {"result": result}}) == both
	}
}

test_findings_unreadable if {
	every findings in [null, {}, "", 0, true, "none", [null], ["info"], [[]], [1]] {
		codes({"predicate": {"findings": findings}}) == both
	}
}

test_files_left_out if {
	every skipped in [null, {}, "", 0, ["weights.bin"], [null]] {
		codes({"predicate": {"skipped": skipped}}) == both
	}
}

# A clean one does not excuse another, however old.
test_every_scan_counts if {
	bad := scan("s1", {"time": "2025-01-01T00:00:00Z", "predicate": {"result": "FINDINGS"}})
	f.codes_by(config, f.plus([scan("s0", {}), bad])) == {"MODEL_SCAN_FINDINGS"}
	revoked := object.union(f.plus([scan("s0", {}), bad]), {"revocations": [f.revocation("security-officer@loans.example", ["security"], {"envelope_sha256": "s1"}, {})]})
	f.codes_by(config, revoked) == set()
}

test_a_stranger_cannot_fail_a_model if {
	f.codes_by(config, f.plus([scan("s0", {}), scan("s1", {"signer": {"roles": []}, "predicate": {"result": "FINDINGS"}})])) == set()
}

test_other_versions_do_not_count if codes({"predicate_type": "https://sealwright.dev/predicate/model-scan/v0.2"}) == {"MODEL_SCAN_MISSING"}
