# METADATA
# title: The configuration, checked
# description: >
#   `data.sealwright.config` says which rules apply and how strictly. A section that is
#   unknown, lacks a setting or has one of a wrong kind is a reason to refuse, and the
#   rules never see it.
package sealwright.configuration

import rego.v1

given := data.sealwright.config if is_object(data.sealwright.config)

else := {}

# Each section with its settings, and the kind of each.
schema := {
	"signature": {"roles": "texts"},
	"gates": {
		"roles": "texts",
		"max_age_days": "number",
		"judge_by": "judge_by",
		"without_interval": "without_interval",
		"required": "gates",
	},
	"approvals": {"required_roles": "people", "max_age_days": "number"},
	"revocation": {"roles": "texts"},
	"log": {
		"max_checkpoint_age_minutes": "number",
		"max_clock_skew_minutes": "number",
		"witnesses": "witnesses",
	},
	"expiry": {"max_model_age_days": "number"},
	"provenance": {"roles": "texts", "builders": "builders", "min_level": "level"},
	"inputs": {"algorithms": "algorithms"},
	"vulnerabilities": {
		"roles": "texts",
		"max_scan_age_days": "number",
		"max_database_age_days": "number",
		"max_days": "max_days",
		"vex_roles": "texts or none",
		"vex_max_age_days": "number",
	},
	"model_scan": {"roles": "texts", "max_age_days": "number", "accepted_severities": "accepted"},
	"licences": {
		"roles": "texts",
		"allowed": "texts",
		"allowed_names": "texts or none",
		"exempt_types": "texts or none",
	},
	"tee": {
		"tag_roles": "texts",
		"required_for_tags": "texts",
		"evidence_roles": "texts",
		"platforms": "texts",
		"measurements": "measurements",
		"tcb_statuses": "texts",
		"max_age_hours": "number",
	},
}

# Without these no rule has anything to stand on.
needed := {"signature", "revocation", "log"}

optional := {"gates.without_interval", "log.witnesses", "vulnerabilities.max_database_age_days"}

# Beside the sections.
loose := {"verified_levels": "texts", "profile": "text"}

# ---- what is wrong ------------------------------------------------------------------

# The sections that rules may read.
sections := {name: section | some name, section in objects; not name in faulty}

objects := {name: section |
	some name, section in given
	name in object.keys(schema)
	is_object(section)
}

faulty := {fault.section | some fault in faults}

texts := {fault.text | some fault in faults}

faults contains {"section": name, "text": sprintf("there is no section %v", [name])} if {
	some name in needed
	not name in object.keys(given)
}

faults contains {"section": name, "text": sprintf("%v is no section", [name])} if {
	some name, _ in given
	not name in object.keys(schema)
	not name in object.keys(loose)
}

faults contains {"section": name, "text": sprintf("%v is not an object", [name])} if {
	some name, _ in given
	name in object.keys(schema)
	not name in object.keys(objects)
}

faults contains {"section": name, "text": sprintf("%v must be %v", [name, kinds[kind]])} if {
	some name, kind in loose
	value := given[name]
	not is_kind(kind, value)
}

faults contains {"section": name, "text": sprintf("%v.%v is no setting", [name, key])} if {
	some name, section in objects
	some key, _ in section
	settings := schema[name]
	not key in object.keys(settings)
}

faults contains {"section": name, "text": sprintf("%v.%v is missing", [name, key])} if {
	some name, section in objects
	some key, _ in schema[name]
	not key in object.keys(section)
	not concat(".", [name, key]) in optional
}

faults contains {"section": name, "text": sprintf("%v.%v must be %v", [name, key, kinds[kind]])} if {
	some name, section in objects
	some key, kind in schema[name]
	value := section[key]
	not is_kind(kind, value)
}

# What is to happen without an interval must be said, and not be guessed.
faults contains {"section": "gates", "text": "gates.without_interval is missing, and gates are judged by their interval"} if {
	some gates in [objects.gates]
	"interval" in ({gate.judge_by | some gate in listed(gates.required)} | {gates.judge_by})
	not "without_interval" in object.keys(gates)
}

# What a level promises, a section must ask for.
promises := {
	"SEALWRIGHT_TWO_ROLE_APPROVED": "approvals",
	"SEALWRIGHT_INDEPENDENTLY_VALIDATED": "gates",
	"SEALWRIGHT_CONFIDENTIAL_COMPUTING": "tee",
}

faults contains {"section": "verified_levels", "text": sprintf("verified_levels promises %v without a section %v", [level, section])} if {
	some level in listed(given.verified_levels)
	section := promises[level]
	not section in object.keys(given)
}

faults contains {"section": "inputs", "text": "inputs needs a section provenance: it says whose list of inputs counts"} if {
	"inputs" in object.keys(given)
	not "provenance" in object.keys(given)
}

# ---- kinds --------------------------------------------------------------------------

kinds := {
	"text": "a text",
	"texts": "a list of at least one text, no two alike",
	"texts or none": "a list of texts, no two alike",
	"people": "a list of two or three different roles",
	"number": "a number from 0",
	"level": "a whole number from 0 to 4",
	"judge_by": "`value` or `interval`",
	"without_interval": "`deny` or `value`",
	"gates": "a list of gates: metric, slice, comparator (>= or <=), threshold, and judge_by if another one",
	"witnesses": "an object with names, a list of texts, and required, a whole number from 1 to their number",
	"builders": "a list of builders: id, signers, level (0 to 4); no two with one id",
	"algorithms": "a list of digest algorithms among gitCommit, sha256, sha384, sha512",
	"max_days": "an object with days for critical, and perhaps for high, medium and low",
	"accepted": "a list among info, low, medium",
	"measurements": "a list of measurements, each of 64 to 128 lower-case hex digits",
}

is_kind(kind, x) if {
	kind == "text"
	is_text(x)
}

is_kind(kind, x) if {
	kind == "texts"
	is_some_texts(x)
}

is_kind(kind, x) if {
	kind == "texts or none"
	is_texts(x)
}

is_kind(kind, x) if {
	kind == "people"
	is_texts(x)
	count(x) in {2, 3}
}

is_kind(kind, x) if {
	kind == "number"
	is_amount(x)
}

is_kind(kind, x) if {
	kind == "level"
	x in level_range
}

is_kind(kind, x) if {
	kind == "judge_by"
	x in {"value", "interval"}
}

is_kind(kind, x) if {
	kind == "without_interval"
	x in {"deny", "value"}
}

is_kind(kind, x) if {
	kind == "gates"
	is_array(x)
	count(x) > 0
	every gate in x {
		is_gate(gate)
	}
}

is_kind(kind, x) if {
	kind == "witnesses"
	has_only(x, {"names", "required"})
	is_some_texts(x.names)
	is_number(x.required)
	x.required == round(x.required)
	x.required >= 1
	x.required <= count(x.names)
}

is_kind(kind, x) if {
	kind == "builders"
	is_array(x)
	count(x) > 0
	every builder in x {
		has_only(builder, {"id", "signers", "level"})
		is_text(builder.id)
		is_some_texts(builder.signers)
		builder.level in level_range
	}
	count({builder.id | some builder in x}) == count(x)
}

is_kind(kind, x) if {
	kind == "algorithms"
	is_some_texts(x)
	every algorithm in x {
		algorithm in {"gitCommit", "sha256", "sha384", "sha512"}
	}
}

is_kind(kind, x) if {
	kind == "max_days"
	has_only(x, {"critical", "high", "medium", "low"})
	is_amount(x.critical)
	every _, days in x {
		is_amount(days)
	}
}

is_kind(kind, x) if {
	kind == "accepted"
	is_texts(x)
	every severity in x {
		severity in {"info", "low", "medium"}
	}
}

is_kind(kind, x) if {
	kind == "measurements"
	is_some_texts(x)
	every measurement in x {
		regex.match(`^[0-9a-f]{64,128}$`, measurement)
	}
}

is_gate(gate) if {
	has_only(gate, {"metric", "slice", "comparator", "threshold", "judge_by"})
	is_text(gate.metric)
	is_text(gate.slice)
	gate.comparator in {">=", "<="}
	is_number(gate.threshold)
	object.get(gate, "judge_by", "value") in {"value", "interval"}
}

is_text(x) if {
	is_string(x)
	x != ""
}

is_texts(x) if {
	is_array(x)
	every text in x {
		is_text(text)
	}
	count({text | some text in x}) == count(x)
}

is_some_texts(x) if {
	is_texts(x)
	count(x) > 0
}

is_amount(x) if {
	is_number(x)
	x >= 0
}

level_range := {0, 1, 2, 3, 4}

has_only(x, keys) if {
	is_object(x)
	count(object.keys(x) - keys) == 0
}

listed(x) := x if is_array(x)

else := []
