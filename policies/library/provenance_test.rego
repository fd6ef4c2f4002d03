package sealwright.provenance_test

import data.sealwright.fixtures_test as f
import rego.v1

config := f.and_section("provenance", {
	"builders": [
		{"id": "https://builder.example/hardened/v1", "signers": ["builder@loans.example"], "level": 3},
		{"id": "https://builder.example/laptop/v1", "signers": ["builder@loans.example", "trainer@loans.example"], "level": 1},
	],
	"min_level": 2,
})

statement(id, builder, signer) := f.statement(id, 30, "https://slsa.dev/provenance/v1", f.signer(signer, ["builder"]), {
	"buildDefinition": {"buildType": "https://loans.example/train/v1", "externalParameters": {}},
	"runDetails": {"builder": {"id": builder}},
})

good := statement("p0", "https://builder.example/hardened/v1", "builder@loans.example")

codes(statements) := f.codes_by(config, f.plus(statements))

test_trusted_pair if codes([good]) == set()

test_none if codes([]) == {"PROVENANCE_MISSING"}

test_not_asked_for if f.codes(f.base) == set()

test_unknown_builder if {
	document := f.plus([statement("p0", "https://builder.example/other", "builder@loans.example")])
	f.codes_by(config, document) == {"BUILDER_NOT_ALLOWED"}
	contains(f.messages_by(config, document), "names the builder https://builder.example/other")
}

test_known_builder_signed_by_another if codes([statement("p0", "https://builder.example/hardened/v1", "trainer@loans.example")]) == {"BUILDER_NOT_ALLOWED"}

test_level_too_low if {
	document := f.plus([statement("p0", "https://builder.example/laptop/v1", "builder@loans.example")])
	f.codes_by(config, document) == {"BUILD_LEVEL_TOO_LOW"}
	contains(f.messages_by(config, document), "level 1 only, and this policy wants 2")
}

# A good one does not excuse a second one that says something else.
test_every_provenance_counts if {
	codes([good, statement("p1", "https://builder.example/other", "builder@loans.example")]) == {"BUILDER_NOT_ALLOWED"}
	codes([good, statement("p1", "https://builder.example/laptop/v1", "trainer@loans.example")]) == {"BUILD_LEVEL_TOO_LOW"}
}

test_a_wrong_one_can_be_revoked if {
	document := object.union(f.plus([good, statement("p1", "https://builder.example/other", "builder@loans.example")]), {"revocations": [f.revocation("security-officer@loans.example", ["security"], {"envelope_sha256": "p1"}, {})]})
	f.codes_by(config, document) == set()
}

test_builder_unreadable if {
	every value in array.concat(f.strange, ["https://builder.example/hardened/v1 ", "https://builder.еxample/hardened/v1", ["https://builder.example/hardened/v1"]]) {
		document := f.plus([object.union(good, {"predicate": {"runDetails": {"builder": {"id": value}}}})])
		f.codes_by(config, document) == {"BUILDER_NOT_ALLOWED"}
	}
	every value in [null, [], "x", 1] {
		f.codes_by(config, f.plus([object.union(good, {"predicate": {"runDetails": value}})])) == {"BUILDER_NOT_ALLOWED"}
	}
}

# A builder that claims a level is not believed: levels are the configuration's.
test_claimed_level_is_not_read if codes([object.union(statement("p0", "https://builder.example/laptop/v1", "builder@loans.example"), {"predicate": {"runDetails": {"builder": {"level": 4}}}})]) == {"BUILD_LEVEL_TOO_LOW"}

test_other_versions_do_not_count if {
	every type in ["https://slsa.dev/provenance/v0.2", "https://slsa.dev/provenance/v1.0", "https://slsa.dev/provenance/v2"] {
		codes([object.union(good, {"predicate_type": type})]) == {"PROVENANCE_MISSING"}
	}
}
