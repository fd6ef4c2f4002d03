# METADATA
# title: Known vulnerabilities
# description: >
#   A recent scan exists, and nothing it found has been known for longer than its
#   severity allows, unless a vulnerability statement (OpenVEX) by a role excuses it.
#   What is not known is taken for the worst: a severity that cannot be read is
#   critical, a date that cannot be read is long ago. The findings of all scans count,
#   however old: a second scan cannot hide what the first has found.
package sealwright.vulnerabilities

import data.sealwright.lib
import data.sealwright.revocation
import rego.v1

settings := lib.config.vulnerabilities

# Scans whose findings count.
scans := {a |
	some a in revocation.unsilenced_of(lib.vulnerabilities_type)
	lib.signed_as(a, settings.roles)
}

# Each once: scans of every night find the same.
findings := {finding |
	some a in scans
	some finding in lib.list(lib.field(lib.field(a.predicate, "scanner", {}), "result", []))
}

# Scans that show that somebody looked.
recent := {a |
	some a in revocation.standing_of(lib.vulnerabilities_type)
	lib.signed_as(a, settings.roles)
	lib.age_days(a) <= lib.config.vulnerabilities.max_scan_age_days
	lib.past(a.predicate.metadata.scanFinishedOn)
	lib.days_since(a.predicate.metadata.scanFinishedOn) <= lib.config.vulnerabilities.max_scan_age_days
	is_array(a.predicate.scanner.result)
	database_recent(a)
}

database_recent(_) if not "max_database_age_days" in lib.keys(settings)

database_recent(a) if {
	lib.past(a.predicate.scanner.db.lastUpdate)
	lib.days_since(a.predicate.scanner.db.lastUpdate) <= lib.config.vulnerabilities.max_database_age_days
}

violations contains v if {
	settings
	count(recent) == 0
	v := {
		"code": "VULNERABILITY_SCAN_MISSING",
		"control": "vulnerabilities",
		"msg": sprintf(
			"No standing vulnerability scan by role %v from the last %v days%v; scan again, and attest the result (`sealwright attest --type vulns`).",
			[lib.either(settings.roles), settings.max_scan_age_days, with_database],
		),
	}
}

with_database := sprintf(" with a database from the last %v days", [settings.max_database_age_days]) if {
	"max_database_age_days" in lib.keys(settings)
} else := ""

violations contains v if {
	some finding in findings
	level := names[severity(finding)]
	limit := settings.max_days[level]
	not tolerable(finding, limit)
	v := {
		"code": "VULNERABILITY",
		"control": "vulnerabilities",
		"msg": sprintf(
			"%v (%v) has been known since %v, and this policy tolerates %v days; use a model or runtime without it, or let somebody bound to role %v attest why it does no harm (`--type openvex`).",
			[id(finding), level, since(finding), limit, excusers],
		),
	}
}

id(finding) := lib.field(finding, "id", "a finding without an id")

excusers := lib.either(settings.vex_roles) if {
	count(settings.vex_roles) > 0
} else := "(none in this policy)"

tolerable(finding, limit) if young(finding, limit)

tolerable(finding, _) if excused(finding)

# ---- severity -------------------------------------------------------------------------

names := ["none", "low", "medium", "high", "critical"]

words := {
	"none": 0,
	"low": 1,
	"medium": 2,
	"moderate": 2,
	"high": 3,
	"critical": 4,
}

# The worst of what several methods say.
severity(finding) := worst if {
	entries := lib.field(finding, "severity", [])
	is_array(entries)
	count(entries) > 0
	worst := max([rating(entry) | some entry in entries])
} else := 4

# Base scores: parts of one, such as exploitability, say less than the whole.
cvss_methods := {"cvss", "cvss_score", "cvss_v2", "cvss_v3", "cvss_v3.0", "cvss_v3.1", "cvss_v4", "cvss_v4.0", "cvssv2", "cvssv3", "cvssv31", "cvssv4"}

rating(entry) := words[lower(entry.score)] if {
	is_object(entry)
	is_string(entry.score)
	lower(entry.score) in object.keys(words)
} else := rated if {
	is_object(entry)
	is_string(entry.method)
	lower(entry.method) in cvss_methods
	rated := band(score(entry))
} else := 4

# A number of another method than CVSS, such as a probability, says nothing of severity.
score(entry) := entry.score if {
	is_number(entry.score)
} else := to_number(entry.score) if {
	is_string(entry.score)
	regex.match(`^(10(\.0)?|[0-9](\.[0-9])?)$`, entry.score)
}

# Qualitative ratings of CVSS v3.1 (section 5) and v4.0 (section 6).
band(x) := 0 if {
	x == 0
} else := 1 if {
	is_number(x)
	x > 0
	x < 4
} else := 2 if {
	is_number(x)
	x >= 4
	x < 7
} else := 3 if {
	is_number(x)
	x >= 7
	x < 9
} else := 4

# ---- since when -----------------------------------------------------------------------

# From the policy's advisories, and from what the scanner says; the earliest counts.
dates(finding) := advised(finding) | stated(finding)

advised(finding) := {date |
	name := id(finding)
	date := data.sealwright.advisories[name].published
}

stated(finding) := {date |
	notes := lib.field(finding, "annotations", {})
	some date in ({date | date := notes.published} | {date | some note in lib.list(notes); date := note.published})
}

young(finding, limit) if {
	all := dates(finding)
	count(all) > 0
	every date in all {
		lib.past(date)
		lib.days_since(date) <= limit
	}
}

since(finding) := concat(" or ", {sprintf("%v", [date]) | some date in dates(finding)}) if {
	count(dates(finding)) > 0
} else := "an unknown date"

# ---- excuses ----------------------------------------------------------------------------

# Statements that may contradict.
vex := {a |
	some a in revocation.unsilenced_of(lib.vex_type)
	lib.signed_as(a, settings.vex_roles)
}

# Statements that may excuse: not by those who made the model, and recent.
excuses_of_others := {a |
	some a in revocation.standing_of(lib.vex_type)
	lib.signed_as(a, settings.vex_roles)
	not lib.signed_model(a)
	lib.age_days(a) <= lib.config.vulnerabilities.vex_max_age_days
}

# What they say, each once.
contradictions := {s | some a in vex; some s in lib.list(object.get(a.predicate, "statements", []))}

excuses_given := {s | some a in excuses_of_others; some s in lib.list(object.get(a.predicate, "statements", []))}

said(statements, wanted) := [s | some s in statements; count(names_in(s) & wanted) > 0]

# What a statement calls its vulnerability, in lower case.
names_in(s) := {lower(name) |
	vulnerability := lib.field(s, "vulnerability", {})
	some name in [[vulnerability], [lib.field(vulnerability, "name", "")], lib.list(lib.field(vulnerability, "aliases", []))][_]
	is_string(name)
	name != ""
}

# All names of a vulnerability that statements know: a contradiction may use another one.
called(name) := {lower(name)} | {other |
	some s in said(contradictions, {lower(name)})
	some other in names_in(s)
}

# Something recent excuses it, and nothing says otherwise, however old: which of two
# contradicting statements is the later one the log cannot tell.
excused(finding) if {
	is_object(finding)
	is_string(finding.id)
	count(said(excuses_given, {lower(finding.id)})) > 0
	every s in said(contradictions, called(finding.id)) {
		excuses(s)
	}
}

excuses(s) if {
	s.status == "fixed"
	for_model(s)
}

excuses(s) if {
	s.status == "not_affected"
	explained(s)
	for_model(s)
}

explained(s) if {
	s.justification in {
		"component_not_present",
		"vulnerable_code_not_present",
		"vulnerable_code_not_in_execute_path",
		"vulnerable_code_cannot_be_controlled_by_adversary",
		"inline_mitigations_already_exist",
	}
}

explained(s) if {
	is_string(s.impact_statement)
	s.impact_statement != ""
}

# Without products the statement is about the subject, which is this model.
for_model(s) if not "products" in lib.keys(s)

for_model(s) if {
	some product in lib.list(s.products)

	# What is said of a part says nothing of the other parts.
	not "subcomponents" in lib.keys(product)
	product.hashes["sha-256"] == input.model.digest.sha256
}
