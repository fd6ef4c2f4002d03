package sealwright.tee_test

import data.sealwright.fixtures_test as f
import rego.v1

measurement := "00112233445566778899aabbccddeeff00112233445566778899aabbccddeeff"

config := f.and_section("tee", {
	"tag_roles": ["trainer"],
	"required_for_tags": ["phi", "restricted"],
	"evidence_roles": ["attester"],
	"platforms": ["sev-snp", "tdx"],
	"measurements": [measurement],
	"tcb_statuses": ["UpToDate"],
	"max_age_hours": 24,
})

bom(id, tags) := f.statement(id, 30, "https://cyclonedx.org/bom", f.signer("trainer@loans.example", ["trainer"]), {"metadata": {"component": {"name": "m", "tags": tags}}})

conditions := {
	"platform": "sev-snp",
	"measurement": measurement,
	"tcbStatus": "UpToDate",
	"debug": false,
	"nonce": "00112233445566778899aabbccddeeff",
	"nonceVerified": true,
	"evidenceTime": "2026-11-20T09:00:00Z",
}

report(id, changes) := object.union(
	f.statement(id, 31, "https://in-toto.io/attestation/scai/v0.3", f.signer("attester@loans.example", ["attester"]), {"attributes": [{"attribute": "https://sealwright.dev/attribute/tee/v0.1", "conditions": conditions}]}),
	object.union({"time": "2026-11-20T09:01:00Z"}, changes),
)

codes(statements) := f.codes_by(config, f.plus(statements))

test_not_asked_for if f.codes(f.base) == set()

# ---- tags -------------------------------------------------------------------------------

test_no_tag_no_environment if {
	codes([bom("b0", [])]) == set()
	codes([bom("b0", ["public"])]) == set()
}

test_tagged if {
	every tag in ["phi", "PHI", " phi ", "restricted"] {
		codes([bom("b0", ["public", tag])]) == {"TEE_REQUIRED"}
		codes([bom("b0", ["public", tag]), report("t0", {})]) == set()
	}
}

# If the tags are not known, the model is taken for a tagged one.
test_tags_unknown if {
	codes([]) == {"TEE_REQUIRED"}
	contains(f.messages_by(config, f.base), "no standing bill of materials by role trainer tells its tags")
	every tags in [null, {}, "", "public", 0, true, [null], ["public", 1], [[]]] {
		codes([bom("b0", tags)]) == {"TEE_REQUIRED"}
	}
	codes([object.union(bom("b0", []), {"signer": {"roles": []}})]) == {"TEE_REQUIRED"}
}

test_a_second_bill_takes_no_tag_away if codes([bom("b0", ["phi"]), bom("b1", [])]) == {"TEE_REQUIRED"}

# ---- evidence -----------------------------------------------------------------------------

tagged(statements) := codes(array.concat([bom("b0", ["phi"])], statements))

saying(changes) := tagged([object.union(report("t0", {}), {"predicate": {"attributes": [{"attribute": "https://sealwright.dev/attribute/tee/v0.1", "conditions": object.union(conditions, changes)}]}})])

test_attested if tagged([report("t0", {})]) == set()

test_every_condition_is_needed if {
	every key, _ in conditions {
		without := object.remove(conditions, [key])
		document := object.union(report("t0", {}), {"predicate": {"attributes": [{"attribute": "https://sealwright.dev/attribute/tee/v0.1", "conditions": without}]}})
		tagged([document]) == {"TEE_REQUIRED"}
	}
}

refused(key) if {
	every value in [value | some value in f.strange; value != conditions[key]] {
		saying({key: value}) == {"TEE_REQUIRED"}
	}
}

test_strange_platforms if refused("platform")

test_strange_measurements if refused("measurement")

test_strange_statuses if refused("tcbStatus")

test_strange_debug if refused("debug")

test_strange_nonces if refused("nonce")

test_strange_answers if refused("nonceVerified")

test_strange_times if refused("evidenceTime")

test_conditions_unreadable if {
	every value in f.strange {
		document := object.union(report("t0", {}), {"predicate": {"attributes": [{"attribute": "https://sealwright.dev/attribute/tee/v0.1", "conditions": value}]}})
		tagged([document]) == {"TEE_REQUIRED"}
		tagged([object.union(report("t0", {}), {"predicate": {"attributes": value}})]) == {"TEE_REQUIRED"}
	}
}

test_too_old if {
	tagged([report("t0", {"time": "2026-11-19T09:59:59Z"})]) == {"TEE_REQUIRED"}
	saying({"evidenceTime": "2026-11-19T09:59:59Z"}) == {"TEE_REQUIRED"}
	saying({"evidenceTime": "2026-11-20T10:05:01Z"}) == {"TEE_REQUIRED"}
}

test_other_platform_or_status if {
	saying({"platform": "sgx"}) == {"TEE_REQUIRED"}
	saying({"platform": "SEV-SNP"}) == {"TEE_REQUIRED"}
	saying({"tcbStatus": "OutOfDate"}) == {"TEE_REQUIRED"}
	saying({"measurement": upper(measurement)}) == {"TEE_REQUIRED"}
}

test_only_by_the_role if tagged([report("t0", {"signer": {"roles": ["trainer"]}})]) == {"TEE_REQUIRED"}

test_a_nonce_counts_once if tagged([report("t0", {}), report("t1", {})]) == {"TEE_REQUIRED"}

test_another_attribute if {
	tagged([object.union(report("t0", {}), {"predicate": {"attributes": [{"attribute": "https://sealwright.dev/attribute/tee/v0.2", "conditions": conditions}]}})]) == {"TEE_REQUIRED"}
}

test_the_message_shows_what_was_offered if {
	messages := f.messages_by(config, f.plus([bom("b0", ["phi"]), report("t0", {"time": "2026-11-01T00:00:00Z"})]))
	contains(messages, "its bill of materials is tagged so")
	contains(messages, "(offered: ")
}
