package sealwright.revocation_test

import data.sealwright.fixtures_test as f
import rego.v1

test_model_revoked if {
	document := f.revoked({"model_sha256": f.digest}, ["security"])
	f.codes(document) == {"MODEL_REVOKED"}
	contains(f.messages(document), "security-officer@loans.example revoked this model (recall)")
}

test_every_revoking_role if {
	every role in ["lead-data-scientist", "compliance", "security"] {
		f.codes(f.revoked({"model_sha256": f.digest}, [role])) == {"MODEL_REVOKED"}
	}
}

test_other_roles_cannot_revoke if {
	f.codes(f.revoked({"model_sha256": f.digest}, ["trainer", "evaluator"])) == set()
	f.codes(f.revoked({"model_sha256": f.digest}, [])) == set()
}

test_another_model if f.codes(f.revoked({"model_sha256": "00"}, ["security"])) == set()

test_several_in_any_order if {
	targets := [{"signer": "somebody@loans.example"}, {"envelope_sha256": "00"}, {"model_sha256": "00"}]
	every first in targets {
		every second in targets {
			all := [f.revocation("security-officer@loans.example", ["security"], target, {}) | some target in [first, second]]
			f.codes(f.with_({"revocations": all})) == set()
		}
	}
}

# A revocation that does not say what it is for is read in the widest sense.
test_no_target if {
	every target in [{}, null, "model", {"something": "else"}, {"model_sha256": null}] {
		f.codes(f.revoked(target, ["security"])) == {"MODEL_REVOKED"}
	}
}

test_not_in_the_log if {
	r := f.revocation("security-officer@loans.example", ["security"], {"model_sha256": f.digest}, {})
	f.codes(f.with_({"revocations": [object.union(r, {"log": null, "time": null})]})) == {"MODEL_REVOKED"}
}

at(effective) := f.with_({"revocations": [f.revocation("security-officer@loans.example", ["security"], {"model_sha256": f.digest}, {"effective": effective})]})

test_effective if {
	f.codes(at("2026-11-20T10:00:00Z")) == {"MODEL_REVOKED"}
	f.codes(at("2026-11-20T10:00:01Z")) == set()
	f.codes(at("soon")) == {"MODEL_REVOKED"}
	f.codes(at(null)) == {"MODEL_REVOKED"}
}

test_statement_revoked if {
	f.codes(f.revoked({"envelope_sha256": "e0"}, ["security"])) == {"SIGNATURE_MISSING"}
	f.codes(f.revoked({"envelope_sha256": "e1"}, ["security"])) == {"GATE_MISSING"}
	f.codes(f.revoked({"envelope_sha256": "e3"}, ["security"])) == {"APPROVAL_MISSING"}
	contains(f.messages(f.revoked({"envelope_sha256": "e3"}, ["security"])), "was revoked")
}

signer_revoked(name, effective) := f.with_({"revocations": [f.revocation("security-officer@loans.example", ["security"], {"signer": name}, {"effective": effective})]})

test_signer_revoked if {
	f.codes(signer_revoked("compliance-officer@loans.example", "2026-11-19T12:00:00Z")) == {"APPROVAL_MISSING"}
	f.codes(signer_revoked("key of compliance-officer@loans.example", "2026-11-19T00:00:00Z")) == {"APPROVAL_MISSING"}
	f.codes(signer_revoked("compliance-officer@loans.example", null)) == {"APPROVAL_MISSING"}
}

test_signed_before_the_signer_was_revoked if f.codes(signer_revoked("compliance-officer@loans.example", "2026-11-19T12:00:01Z")) == set()

# Signing a model is not undone by being revoked: the signer still may not approve.
test_revoked_signer_stays_a_party if {
	signature := f.statement("e7", 16, "https://model_signing/signature/v1.0", f.signer("compliance-officer@loans.example", ["compliance"]), {})
	document := object.union(f.plus([signature]), {"revocations": [f.revocation("security-officer@loans.example", ["security"], {"envelope_sha256": "e7"}, {})]})
	f.codes(document) == {"SELF_APPROVAL"}
}

# One revocation that names no statement does not hide those that do, in whatever order they come.
test_revocations_of_several_kinds if {
	of_statement := f.revocation("security-officer@loans.example", ["security"], {"envelope_sha256": "e3"}, {})
	of_signer := f.revocation("security-officer@loans.example", ["security"], {"signer": "leaver@loans.example"}, {})
	every ids in [["00", "ff"], ["ff", "00"]] {
		revocations := [object.union(of_statement, {"envelope_sha256": ids[0]}), object.union(of_signer, {"envelope_sha256": ids[1]})]
		f.codes(f.with_({"revocations": revocations})) == {"APPROVAL_MISSING"}
		f.codes(f.with_({"revocations": array.reverse(revocations)})) == {"APPROVAL_MISSING"}
	}
}
