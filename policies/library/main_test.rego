package sealwright.main_test

import data.sealwright.fixtures_test as f
import data.sealwright.main
import rego.v1

test_good_is_allowed if f.allowed(f.base)

test_good_decision if {
	decision := main.decision with input as f.base with data.sealwright.config as f.config
	decision == {"allow": true, "violations": set(), "evidence": {"e0", "e1", "e2", "e3"}}
}

test_nothing_is_allowed_by_nothing if {
	every document in [{}, {"x": 1}, {"attestations": f.base.attestations}] {
		not f.allowed(document)
		"INPUT_INVALID" in f.codes(document)
	}
}

# Every message can be built whatever the statements say.
test_no_message_gets_lost if {
	strange := [object.union(a, {"predicate": {"decision": [], "environment": {}, "expiresOn": 1, "result": {}}}) | some a in f.base.attestations]
	f.codes(f.with_({"attestations": strange})) == {"APPROVAL_MISSING", "GATE_FAILED", "REJECTED"}
	nothing := [{"verified": true, "predicate_type": a.predicate_type, "subject_digest": f.digest, "predicate": {}} | some a in f.base.attestations]
	f.codes(f.with_({"attestations": nothing})) == {"SIGNATURE_MISSING", "GATE_MISSING", "APPROVAL_MISSING"}
}

test_unknown_predicate_types_change_nothing if f.codes(f.plus([f.statement("e8", 18, "https://example.com/new/v1", f.signer("somebody@loans.example", []), {"x": 1})])) == set()

test_environment if {
	every environment in [{}, [], "", true, 1, null, "Prod!", "-prod", "prod\n"] {
		document := f.with_({"request": {"environment": environment}})
		not f.allowed(document)
		"INPUT_INVALID" in f.codes(document)
	}
}

test_digest if {
	every digest in [{}, "", null, "5d41", upper(f.digest)] {
		document := f.with_({"model": {"digest": {"sha256": digest}}})
		not f.allowed(document)
		"INPUT_INVALID" in f.codes(document)
	}
}

test_time if {
	every time in [{}, "", null, 1795514400, "2026-02-29T00:00:00Z", "2026-11-20 10:00:00Z"] {
		document := f.with_({"evaluation": {"time": time}})
		not f.allowed(document)
		"INPUT_INVALID" in f.codes(document)
	}
}
