package sealwright.configuration_test

import data.sealwright.configuration
import data.sealwright.fixtures_test as f
import rego.v1

# A setting for each section there is.
whole := object.union(f.config, {
	"verified_levels": ["SEALWRIGHT_TWO_ROLE_APPROVED"],
	"profile": "all",
	"gates": {"judge_by": "interval", "without_interval": "value"},
	"log": {"witnesses": {"names": ["w1.example"], "required": 1}},
	"expiry": {"max_model_age_days": 365},
	"provenance": {"roles": ["builder"], "builders": [{"id": "https://builder.example/v1", "signers": ["b@loans.example"], "level": 3}], "min_level": 2},
	"inputs": {"algorithms": ["sha256", "gitCommit"]},
	"vulnerabilities": {
		"roles": ["scanner"],
		"max_scan_age_days": 7,
		"max_database_age_days": 7,
		"max_days": {"critical": 0},
		"vex_roles": [],
		"vex_max_age_days": 90,
	},
	"model_scan": {"roles": ["scanner"], "max_age_days": 30, "accepted_severities": []},
	"licences": {"roles": ["trainer"], "allowed": ["MIT"], "allowed_names": [], "exempt_types": []},
	"tee": {
		"tag_roles": ["trainer"],
		"required_for_tags": ["phi"],
		"evidence_roles": ["attester"],
		"platforms": ["sev-snp"],
		"measurements": ["00112233445566778899aabbccddeeff00112233445566778899aabbccddeeff"],
		"tcb_statuses": ["UpToDate"],
		"max_age_hours": 24,
	},
})

# That a fault is a reason to refuse is tested below; here the rest of a decision would only take time.
invalid(config) if count({fault | some fault in configuration.faults with data.sealwright.config as config}) > 0

sections := {name: section | some name, section in whole; is_object(section)}

test_a_whole_configuration_is_sound if not invalid(whole)

test_the_core_is_sound if f.codes(f.base) == set()

test_nothing_is_no_configuration if {
	every config in [{}, null, [], "x", 1, true] {
		f.codes_by(config, f.base) == {"CONFIG_INVALID"}
	}
}

test_a_fault_is_a_reason_to_refuse if {
	f.codes_by(object.union(whole, {"x": 1}), f.base) == {"CONFIG_INVALID"}
	f.codes_by(with_setting("log", "max_clock_skew_minutes", "5"), f.base) == {"CONFIG_INVALID"}
	f.codes_by(object.remove(whole, ["log"]), {}) == {"CONFIG_INVALID", "INPUT_INVALID"}
}

test_needed_sections if {
	every name in ["signature", "revocation", "log"] {
		invalid(object.remove(whole, [name]))
	}
}

test_other_sections_may_be_left_out if {
	every name, _ in object.remove(sections, ["signature", "revocation", "log", "provenance"]) {
		not invalid(object.remove(whole, [name, "verified_levels"]))
	}
	not invalid(object.remove(whole, ["provenance", "inputs", "verified_levels"]))
}

# Whose list of inputs would count?
test_inputs_need_provenance if invalid(object.remove(whole, ["provenance"]))

test_a_level_needs_its_section if {
	promise := {"verified_levels": ["SEALWRIGHT_CONFIDENTIAL_COMPUTING"]}
	not invalid(object.union(whole, promise))
	invalid(object.union(object.remove(whole, ["tee"]), promise))
}

test_unknown_names if {
	invalid(object.union(f.config, {"aprovals": f.config.approvals}))
	invalid(object.union(f.config, {"x": null}))
	every name, _ in sections {
		invalid(object.union(whole, {name: {"extra": 1}}))
	}
}

test_no_section_is_something_else if {
	every name, _ in sections {
		every value in [null, true, 1, "x", [], ["x"]] {
			invalid(object.union(object.remove(whole, [name]), {name: value}))
		}
	}
}

test_every_setting_is_needed if {
	every name, section in sections {
		every key, _ in section {
			without := object.union(object.remove(whole, [name]), {name: object.remove(section, [key])})
			may_be_left_out(name, key, without)
		}
	}
}

may_be_left_out(_, _, config) if invalid(config)

may_be_left_out(name, key, _) if concat(".", [name, key]) in {"log.witnesses", "vulnerabilities.max_database_age_days"}

# A list of texts is `["x"]` at least in form; none of these is of any kind.
test_every_setting_has_a_kind if {
	every _, settings in configuration.schema {
		every _, kind in settings {
			kind in object.keys(configuration.kinds)
			every value in [null, true, -1, [null], [{}], {"x": null}, ["a", "a"], "", "x"] {
				is_refused(kind, value)
			}
		}
	}
}

is_refused(kind, value) if not configuration.is_kind(kind, value)

is_refused(kind, value) if {
	kind == "text"
	value == "x"
}

test_a_setting_of_a_wrong_kind_is_a_fault if {
	every value in [null, -1, "x", [null]] {
		invalid(with_setting("gates", "max_age_days", value))
		invalid(with_setting("vulnerabilities", "vex_roles", value))
		invalid(with_setting("tee", "platforms", value))
	}
}

with_setting(name, key, value) := object.union(object.remove(whole, [name]), {name: object.union(object.remove(sections[name], [key]), {key: value})})

test_gates_are_checked if {
	every gate in [
		{"metric": "accuracy", "slice": "overall", "comparator": ">", "threshold": 0.1},
		{"metric": "accuracy", "slice": "overall", "comparator": ">=", "threshold": "0.1"},
		{"metric": "accuracy", "slice": "overall", "comparator": ">="},
		{"metric": "accuracy", "comparator": ">=", "threshold": 0.1},
		{"metric": "", "slice": "overall", "comparator": ">=", "threshold": 0.1},
		{"metric": "accuracy", "slice": "overall", "comparator": ">=", "threshold": 0.1, "treshold": 0.9},
		{"metric": "accuracy", "slice": "overall", "comparator": ">=", "threshold": 0.1, "judge_by": "mean"},
	] {
		invalid(with_setting("gates", "required", [gate]))
	}
	invalid(with_setting("gates", "required", []))
}

test_one_role_is_not_two if {
	every roles in [["compliance"], ["compliance", "compliance"], ["a", "b", "c", "d"]] {
		invalid(with_setting("approvals", "required_roles", roles))
	}
}

test_builders_are_checked if {
	every builders in [
		[],
		[{"id": "a", "signers": ["b"]}],
		[{"id": "a", "signers": [], "level": 3}],
		[{"id": "a", "signers": "b", "level": 3}],
		[{"id": "", "signers": ["b"], "level": 3}],
		[{"id": "a", "signers": ["b"], "level": 5}],
		[{"id": "a", "signers": ["b"], "level": "3"}],
		[{"id": "a", "signers": ["b"], "level": 3, "more": 1}],
		[{"id": "a", "signers": ["b"], "level": 3}, {"id": "a", "signers": ["c"], "level": 1}],
	] {
		invalid(with_setting("provenance", "builders", builders))
	}
}

test_witnesses_are_checked if {
	every witnesses in [
		{"names": [], "required": 0},
		{"names": ["a"], "required": 0},
		{"names": ["a"], "required": 2},
		{"names": ["a", "b"], "required": 1.5},
		{"names": ["a", "a"], "required": 2},
		{"names": ["a"], "required": "1"},
		{"names": ["a"]},
		{"required": 1},
		{"names": ["a"], "required": 1, "quorum": 1},
	] {
		invalid(with_setting("log", "witnesses", witnesses))
	}
}

test_limits_of_vulnerabilities if {
	every limits in [{}, {"high": 30}, {"critical": "7"}, {"critical": -1}, {"critical": 7, "high": null}, {"critical": 7, "severe": 1}] {
		invalid(with_setting("vulnerabilities", "max_days", limits))
	}
}

test_only_known_words if {
	invalid(with_setting("inputs", "algorithms", ["md5"]))
	invalid(with_setting("model_scan", "accepted_severities", ["critical"]))
	invalid(with_setting("tee", "measurements", ["m1"]))
	invalid(with_setting("gates", "judge_by", "both"))
	invalid(object.union(whole, {"verified_levels": "X"}))
	invalid(object.union(whole, {"profile": ["x"]}))
}

test_the_message_says_what_is_wrong if {
	messages := f.messages_by(object.union(object.remove(f.config, ["log"]), {"aprovals": {}, "gates": {"max_age_days": "90"}}), f.base)
	contains(messages, "aprovals is no section; gates.max_age_days must be a number from 0; there is no section log; see docs")
}
