package sealwright.licences_test

import data.sealwright.fixtures_test as f
import rego.v1

config := f.and_section("licences", {
	"roles": ["trainer"],
	"allowed": ["Apache-2.0", "MIT", "CC-BY-4.0", "GPL-2.0-only WITH Classpath-exception-2.0"],
	"allowed_names": ["Loans Data Agreement 2026"],
	"exempt_types": ["library"],
})

bom(id, component, components) := f.statement(id, 30, "https://cyclonedx.org/bom", f.signer("trainer@loans.example", ["trainer"]), {
	"bomFormat": "CycloneDX",
	"specVersion": "1.6",
	"metadata": {"component": component},
	"components": components,
})

model := {"type": "machine-learning-model", "name": "loan-approval", "licenses": [{"license": {"id": "Apache-2.0"}}]}

data_set(licences) := {"type": "data", "name": "loans", "licenses": licences}

codes(components) := f.codes_by(config, f.plus([bom("b0", model, components)]))

licensed(licences) := codes([data_set(licences)])

test_allowed if {
	codes([]) == set()
	licensed([{"license": {"id": "MIT"}}]) == set()
	licensed([{"license": {"id": "MIT", "url": "https://x.example"}}, {"license": {"id": "Apache-2.0"}}]) == set()
	licensed([{"license": {"name": "Loans Data Agreement 2026"}}]) == set()
	licensed([{"expression": "MIT"}]) == set()
}

test_not_asked_for if f.codes(f.base) == set()

test_none if f.codes_by(config, f.base) == {"BOM_MISSING"}

test_in_no_role if f.codes_by(config, f.plus([object.union(bom("b0", model, []), {"signer": {"roles": ["evaluator"]}})])) == {"BOM_MISSING"}

test_not_on_the_list if {
	every licences in array.concat(f.strange, [
		[{"license": {"id": "GPL-3.0-only"}}],
		[{"license": {"id": "mit"}}],
		[{"license": {"id": "MІT"}}],
		[{"license": {"id": null}}],
		[{"license": {"id": ["MIT"]}}],
		[{"license": {"name": "MIT"}}],
		[{"license": {"id": "MIT", "name": "GPL-3.0-only"}}],
		[{"license": null}],
		[{"license": "MIT"}],
		[{"license": {"id": "MIT"}, "expression": "GPL-3.0-only"}],
		[{"license": {"id": "MIT"}}, {"license": {"id": "GPL-3.0-only"}}],
		[{"license": {"id": "MIT"}}, null],
		["MIT"],
		"MIT",
		{"license": {"id": "MIT"}},
	]) {
		licensed(licences) == {"LICENCE_NOT_ALLOWED"}
	}
	codes([{"type": "data", "name": "loans"}]) == {"LICENCE_NOT_ALLOWED"}
}

test_expressions if {
	every text in ["MIT AND Apache-2.0", "MIT OR Apache-2.0", "(MIT OR Apache-2.0) AND CC-BY-4.0", "GPL-2.0-only WITH Classpath-exception-2.0"] {
		licensed([{"expression": text}]) == set()
	}
	# Of a choice, too, every part must be allowed.
	every text in array.concat(f.strange, [
		"MIT OR GPL-3.0-only",
		"MIT AND GPL-3.0-only",
		"MIT and Apache-2.0",
		"MIT WITH Classpath-exception-2.0",
		"MIT+",
		"AND",
		"()",
		"MIT\nOR Apache-2.0",
		"MIT/Apache-2.0",
		"NOASSERTION",
		"LicenseRef-x",
		["MIT"],
	]) {
		licensed([{"expression": text}]) == {"LICENCE_NOT_ALLOWED"}
	}
}

test_the_model_itself if {
	every component in [{}, null, "x", object.remove(model, ["licenses"])] {
		"LICENCE_NOT_ALLOWED" in f.codes_by(config, f.plus([bom("b0", component, [])]))
	}
	f.codes_by(config, f.plus([object.union(bom("b0", model, []), {"predicate": {"metadata": null}})])) == {"LICENCE_NOT_ALLOWED"}
}

test_exempt_types if {
	codes([{"type": "library", "name": "numpy"}]) == set()
	every type in array.concat(f.strange, ["Library", "data", "framework"]) {
		codes([{"type": type, "name": "x"}]) == {"LICENCE_NOT_ALLOWED"}
	}
}

nested(depth4) := [object.union(data_set([{"license": {"id": "MIT"}}]), {"components": [object.union(data_set([{"license": {"id": "MIT"}}]), {"components": [object.union(data_set([{"license": {"id": "MIT"}}]), {"components": depth4})]})]})]

test_nested_components if {
	codes(nested([data_set([{"license": {"id": "MIT"}}])])) == set()
	codes(nested([data_set([])])) == {"LICENCE_NOT_ALLOWED"}
	f.codes_by(config, f.plus([bom("b0", object.union(model, {"components": [data_set([])]}), [])])) == {"LICENCE_NOT_ALLOWED"}
}

test_nested_too_deep if codes(nested([object.union(data_set([{"license": {"id": "MIT"}}]), {"components": [data_set([{"license": {"id": "MIT"}}])]})])) == {"BOM_UNREADABLE"}

test_components_unreadable if {
	every components in [null, {}, "x", 1, true] {
		codes(components) == {"BOM_UNREADABLE"}
	}
	every component in [null, "x", 1, []] {
		codes([component]) == {"BOM_UNREADABLE", "LICENCE_NOT_ALLOWED"}
	}
}

test_every_bill_counts if f.codes_by(config, f.plus([bom("b0", model, []), bom("b1", model, [data_set([])])])) == {"LICENCE_NOT_ALLOWED"}

test_the_message_names_it if {
	messages := f.messages_by(config, f.plus([bom("b0", model, [data_set([{"license": {"id": "GPL-3.0-only"}}])])]))
	contains(messages, "loans in the bill of materials by trainer@loans.example has the licence [{\"license\": {\"id\": \"GPL-3.0-only\"}}]")
}
