package sealwright.inputs_test

import data.sealwright.fixtures_test as f
import rego.v1

config := object.union(f.and_section("inputs", {"algorithms": ["sha256", "gitCommit"]}), {"provenance": {
	"roles": ["builder"],
	"builders": [{"id": "https://builder.example", "signers": ["builder@loans.example"], "level": 3}],
	"min_level": 2,
}})

hex40 := "0123456789abcdef0123456789abcdef01234567"

hex64 := "0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef"

provenance(id, dependencies) := f.statement(id, 30, "https://slsa.dev/provenance/v1", f.signer("builder@loans.example", ["builder"]), {"buildDefinition": {"resolvedDependencies": dependencies}, "runDetails": {"builder": {"id": "https://builder.example"}}})

codes(dependencies) := f.codes_by(config, f.plus([provenance("p0", dependencies)]))

pinned := [
	{"uri": "https://data.example/loans.csv", "digest": {"sha256": hex64}},
	{"uri": "git+https://git.example/loans", "digest": {"gitCommit": hex40}},
]

test_pinned if codes(pinned) == set()

test_not_asked_for if f.codes(f.base) == set()

test_no_provenance if f.codes_by(config, f.base) == {"INPUTS_UNKNOWN", "PROVENANCE_MISSING"}

test_no_inputs if {
	every value in [null, [], {}, "x", 1, true] {
		codes(value) == {"INPUTS_UNKNOWN"}
	}
	both := f.plus([provenance("p0", pinned), provenance("p1", [])])
	f.codes_by(config, both) == {"INPUTS_UNKNOWN"}
}

test_not_pinned if {
	every dependency in [
		{"uri": "x"},
		{"uri": "x", "digest": {}},
		{"uri": "x", "digest": null},
		{"uri": "x", "digest": hex64},
		{"uri": "x", "digest": {"sha256": ""}},
		{"uri": "x", "digest": {"sha256": upper(hex64)}},
		{"uri": "x", "digest": {"sha256": hex40}},
		{"uri": "x", "digest": {"sha256": concat("", [hex64, "\n"])}},
		{"uri": "x", "digest": {"sha256": [hex64]}},
		{"uri": "x", "digest": {"sha512": concat("", [hex64, hex64])}},
		{"uri": "x", "digest": {"md5": "0123456789abcdef0123456789abcdef"}},
		null,
		"x",
		[],
		1,
	] {
		codes(array.concat(pinned, [dependency])) == {"INPUT_NOT_PINNED"}
	}
}

test_the_message_names_it if {
	document := f.plus([provenance("p0", [{"uri": "https://data.example/loans.csv"}])])
	contains(f.messages_by(config, document), "The input https://data.example/loans.csv of the training has no digest by sha256 or gitCommit")
}
