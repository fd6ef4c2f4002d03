package sealwright.approvals_test

import data.sealwright.fixtures_test as f
import rego.v1

test_no_compliance if {
	document := f.without(f.compliance)
	f.codes(document) == {"APPROVAL_MISSING"}
	contains(f.messages(document), "No approval by role compliance")
	contains(f.messages(document), "sealwright approve --as compliance")
}

test_no_lead if {
	document := f.without(f.lead)
	f.codes(document) == {"APPROVAL_MISSING"}
	contains(f.messages(document), "No approval by role lead-data-scientist")
}

# What keeps an approval from counting, and the words that say so.
obstacle(changes, words) if {
	document := f.changed(f.compliance, changes)
	f.codes(document) == {"APPROVAL_MISSING"}
	contains(f.messages(document), words)
}

test_obstacles if {
	obstacle({"predicate": {"environment": "staging"}}, "is for environment staging")
	obstacle({"predicate": {"environment": null}}, "is for environment null")
	obstacle({"predicate": {"expiresOn": "2026-11-20T09:59:59Z"}}, "expired: 2026-11-20T09:59:59Z")
	obstacle({"predicate": {"expiresOn": "2026-11-20T10:00:00Z"}}, "expired")
	obstacle({"predicate": {"expiresOn": "2027-02-30T00:00:00Z"}}, "expired: 2027-02-30T00:00:00Z")
	obstacle({"predicate": {"expiresOn": "never"}}, "expired: never")
	obstacle({"predicate": {"expiresOn": 99999999999}}, "expired")
	obstacle({"time": "2026-08-01T00:00:00Z"}, "older than 90 days")
	obstacle({"log": null}, "not in the log log.example")
	obstacle({"signer": {"roles": []}}, "is not bound to role compliance")
	obstacle({"signer": {"roles": ["lead-data-scientist"]}}, "is not bound to role compliance")
}

test_no_expiry if {
	without_expiry := [object.remove(a.predicate, ["expiresOn"]) | some a in f.base.attestations][f.compliance]
	document := f.with_({"attestations": [a | some i, a in f.base.attestations; i != f.compliance]})
	again := object.union(document, {"attestations": array.concat(document.attestations, [f.statement("e3", 13, "https://sealwright.dev/predicate/approval/v0.1", f.signer("compliance-officer@loans.example", ["compliance"]), without_expiry)])})
	f.codes(again) == {"APPROVAL_MISSING"}
	contains(f.messages(again), "absent")
}

# The claim narrows what the signer is bound to, and never widens it.
test_claims_another_role if f.codes(f.changed(f.compliance, {"predicate": {"role": "security"}})) == {"APPROVAL_MISSING"}

test_bound_to_both_roles_claims_one if f.codes(f.changed(f.compliance, {"signer": {"roles": ["compliance", "lead-data-scientist"]}})) == set()

test_same_person if {
	both := f.signer("data-science-lead@loans.example", ["lead-data-scientist", "compliance"])
	f.codes(f.changed(f.compliance, {"signer": both})) == {"SAME_PERSON"}
}

test_same_key_under_two_names if f.codes(f.changed(f.compliance, {"signer": {"key": "key of data-science-lead@loans.example"}})) == {"SAME_PERSON"}

test_a_second_person_mends_same_person if {
	both := f.signer("data-science-lead@loans.example", ["lead-data-scientist", "compliance"])
	document := f.changed(f.compliance, {"signer": both})
	other := f.statement("e6", 15, "https://sealwright.dev/predicate/approval/v0.1", f.signer("second-officer@loans.example", ["compliance"]), f.approval("compliance"))
	f.codes(object.union(document, {"attestations": array.concat(document.attestations, [other])})) == set()
}

test_self_approval if {
	document := f.changed(f.lead, {"signer": f.signer("trainer@loans.example", ["trainer", "lead-data-scientist"])})
	f.codes(document) == {"SELF_APPROVAL"}
	contains(f.messages(document), "trainer@loans.example approved as lead-data-scientist but also signed this model")
}

test_self_approval_by_key if f.codes(f.changed(f.lead, {"signer": {"key": "key of trainer@loans.example"}})) == {"SELF_APPROVAL"}

# A second signature, even in no role, makes its signer a party.
test_any_signature_makes_a_party if {
	signature := f.statement("e7", 16, "https://model_signing/signature/v1.0", f.signer("compliance-officer@loans.example", ["compliance"]), {})
	f.codes(f.plus([signature])) == {"SELF_APPROVAL"}
}

rejection(index, changes) := object.union(
	f.statement("e8", index, "https://sealwright.dev/predicate/approval/v0.1", f.signer("compliance-officer@loans.example", ["compliance"]), object.union(f.approval("compliance"), {"decision": "REJECTED"})),
	changes,
)

test_rejection_after_approval if f.codes(f.plus([rejection(17, {})])) == {"REJECTED"}

# An approval signed before a rejection can be logged after it.
test_later_in_the_log_is_not_reconsidered if f.codes(f.plus([rejection(5, {})])) == {"REJECTED"}

naming(index, digest) := object.union(document, {"attestations": array.concat(document.attestations, [rejection(17, {})])}) if {
	document := f.changed(index, {"predicate": {"evidence": [{"digest": {"sha256": digest}}]}})
}

test_approval_that_names_the_rejection if f.codes(naming(f.compliance, "e8")) == set()

test_approval_that_names_something_else if f.codes(naming(f.compliance, "e7")) == {"REJECTED"}

test_approval_by_somebody_else_that_names_it if f.codes(naming(f.lead, "e8")) == {"REJECTED"}

test_rejection_by_somebody_else_in_the_role if f.codes(f.plus([rejection(5, {"signer": f.signer("second-officer@loans.example", ["compliance"])})])) == {"REJECTED"}

test_rejection_for_another_environment if f.codes(f.plus([rejection(17, {"predicate": {"environment": "staging"}})])) == set()

test_rejection_by_a_stranger if f.codes(f.plus([rejection(17, {"signer": {"roles": []}})])) == set()

test_neither_yes_nor_no_is_no if {
	every decision in ["approved", "", null, true, 1, []] {
		f.codes(f.plus([rejection(17, {"predicate": {"decision": decision}})])) == {"REJECTED"}
	}
}

# Nobody else can take a "no" away.
test_revoking_a_rejection if {
	by_lead := f.revocation("data-science-lead@loans.example", ["lead-data-scientist"], {"envelope_sha256": "e8"}, {})
	by_signer := f.revocation("compliance-officer@loans.example", ["compliance"], {"envelope_sha256": "e8"}, {})
	f.codes(object.union(f.plus([rejection(17, {})]), {"revocations": [by_lead]})) == {"REJECTED"}
	f.codes(object.union(f.plus([rejection(17, {})]), {"revocations": [by_signer]})) == set()
}

test_three_roles_need_three_people if {
	attestations := array.concat([f.base.attestations[f.signature], f.base.attestations[f.result]], [
		f.statement("e2", 12, "https://sealwright.dev/predicate/approval/v0.1", f.signer("first@loans.example", ["lead-data-scientist", "security"]), f.approval("lead-data-scientist")),
		f.statement("e3", 13, "https://sealwright.dev/predicate/approval/v0.1", f.signer("second@loans.example", ["compliance", "security"]), f.approval("compliance")),
		f.statement("e4", 14, "https://sealwright.dev/predicate/approval/v0.1", f.signer("first@loans.example", ["lead-data-scientist", "security"]), f.approval("security")),
		f.statement("e5", 15, "https://sealwright.dev/predicate/approval/v0.1", f.signer("second@loans.example", ["compliance", "security"]), f.approval("security")),
	])
	third := f.statement("e6", 16, "https://sealwright.dev/predicate/approval/v0.1", f.signer("third@loans.example", ["security"]), f.approval("security"))
	roles := ["lead-data-scientist", "compliance", "security"]
	three_roles := f.and_section("approvals", {"required_roles": roles})
	two_people := f.codes_by(three_roles, f.with_({"attestations": attestations}))
	three_people := f.codes_by(three_roles, f.with_({"attestations": array.concat(attestations, [third])}))
	two_people == {"SAME_PERSON"}
	three_people == set()
}

# Who signed the provenance trained the model, or let it be trained.
test_the_builder_may_not_approve if {
	provenance := f.statement("e7", 16, "https://slsa.dev/provenance/v1", f.signer("compliance-officer@loans.example", []), {"buildDefinition": {}})
	f.codes(f.plus([provenance])) == {"SELF_APPROVAL"}
}

test_two_keys_of_one_person if {
	second_key := f.statement("e6", 15, "https://sealwright.dev/predicate/approval/v0.1", {"principal": "data-science-lead@loans.example", "key": "another key", "roles": ["lead-data-scientist", "compliance"]}, f.approval("compliance"))
	f.codes(object.union(f.without(f.compliance), {"attestations": array.concat(f.without(f.compliance).attestations, [second_key])})) == {"SAME_PERSON"}
}

test_approved_in_the_future if f.codes(f.changed(f.compliance, {"time": "2026-11-20T10:05:01Z"})) == {"APPROVAL_MISSING"}

test_approval_for_another_model if {
	document := f.changed(f.compliance, {"subject_digest": "00"})
	f.codes(document) == {"APPROVAL_MISSING"}
}
