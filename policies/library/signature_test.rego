package sealwright.signature_test

import data.sealwright.fixtures_test as f
import rego.v1

test_no_signature if f.codes(f.without(f.signature)) == {"SIGNATURE_MISSING"}

test_signer_is_no_trainer if {
	document := f.changed(f.signature, {"signer": {"roles": ["evaluator"]}})
	f.codes(document) == {"SIGNATURE_MISSING"}
	contains(f.messages(document), "trainer@loans.example")
}

test_role_in_the_predicate_is_ignored if f.codes(f.changed(f.signature, {"signer": {"roles": []}, "predicate": {"role": "trainer", "roles": ["trainer"]}})) == {"SIGNATURE_MISSING"}

test_other_predicate_type if f.codes(f.changed(f.signature, {"predicate_type": "https://model_signing/signature/v1.1"})) == {"SIGNATURE_MISSING"}

test_other_model if f.codes(f.changed(f.signature, {"subject_digest": "00"})) == {"SIGNATURE_MISSING"}

test_unverified if {
	every value in [false, null, "true", 1, [], {}] {
		f.codes(f.changed(f.signature, {"verified": value})) == {"SIGNATURE_MISSING"}
	}
}

test_not_in_this_log if {
	f.codes(f.changed(f.signature, {"log": {"origin": "other.example"}})) == {"SIGNATURE_MISSING"}
	f.codes(f.changed(f.signature, {"log": null})) == {"SIGNATURE_MISSING"}
}

test_logged_after_the_decision if f.codes(f.changed(f.signature, {"time": "2026-11-20T11:00:00Z"})) == {"SIGNATURE_MISSING"}
