package sealwright.vulnerabilities_test

import data.sealwright.fixtures_test as f
import rego.v1

config := f.and_section("vulnerabilities", {
	"roles": ["scanner"],
	"max_scan_age_days": 7,
	"max_days": {"critical": 7, "high": 30},
	"vex_roles": ["product-security"],
	"vex_max_age_days": 90,
})

scan(id, result) := f.statement(id, 30, "https://in-toto.io/attestation/vulns/v0.2", f.signer("scanner@loans.example", ["scanner"]), {
	"scanner": {"uri": "https://scanner.example", "db": {"lastUpdate": "2026-11-19T06:00:00Z"}, "result": result},
	"metadata": {"scanStartedOn": "2026-11-19T11:00:00Z", "scanFinishedOn": "2026-11-19T11:01:00Z"},
})

finding(id, score) := {"id": id, "severity": [{"method": "CVSS_V3", "score": score}]}

dated(id, score, published) := object.union(finding(id, score), {"annotations": {"published": published}})

codes(result) := f.codes_by(config, f.plus([scan("v0", result)]))

by(result, advisories) := {code | some code in codes(result) with data.sealwright.advisories as advisories}

advised(id, published) := {id: {"published": published}}

test_clean if codes([]) == set()

test_not_asked_for if f.codes(f.base) == set()

# ---- the scan ---------------------------------------------------------------------------

changed(changes) := f.codes_by(config, f.plus([object.union(scan("v0", []), changes)]))

test_no_scan if f.codes_by(config, f.base) == {"VULNERABILITY_SCAN_MISSING"}

test_in_no_role if changed({"signer": {"roles": ["trainer"]}}) == {"VULNERABILITY_SCAN_MISSING"}

test_logged_long_ago if changed({"time": "2026-11-13T09:59:59Z"}) == {"VULNERABILITY_SCAN_MISSING"}

# An old scan that is logged today is an old scan.
test_finished_long_ago if {
	every time in array.concat(f.strange, ["2026-11-13T09:59:59Z", "2026-11-20T10:05:01Z", "2027-01-01T00:00:00Z", "today"]) {
		changed({"predicate": {"metadata": {"scanFinishedOn": time}}}) == {"VULNERABILITY_SCAN_MISSING"}
	}
}

test_no_result_is_not_clean if {
	every result in [null, {}, "", 0, true, "none"] {
		codes(result) == {"VULNERABILITY_SCAN_MISSING"}
	}
}

with_database := object.union(config, {"vulnerabilities": {"max_database_age_days": 2}})

test_database if {
	f.codes_by(with_database, f.plus([scan("v0", [])])) == set()
	every time in array.concat(f.strange, ["2026-11-18T09:59:59Z", "2027-01-01T00:00:00Z"]) {
		document := f.plus([object.union(scan("v0", []), {"predicate": {"scanner": {"db": {"lastUpdate": time}}}})])
		f.codes_by(with_database, document) == {"VULNERABILITY_SCAN_MISSING"}
		contains(f.messages_by(with_database, document), "with a database from the last 2 days")
	}
}

test_other_versions_do_not_count if {
	every type in ["https://in-toto.io/attestation/vulns/v0.1", "https://in-toto.io/attestation/vulns/v0.3", "https://cosign.sigstore.dev/attestation/vuln/v1"] {
		changed({"predicate_type": type}) == {"VULNERABILITY_SCAN_MISSING"}
	}
}

# ---- how long it has been known -----------------------------------------------------------

test_known_for_days if {
	by([finding("CVE-1", "critical")], advised("CVE-1", "2026-11-13T10:00:00Z")) == set()
	by([finding("CVE-1", "critical")], advised("CVE-1", "2026-11-13T09:59:59Z")) == {"VULNERABILITY"}
	by([finding("CVE-1", "high")], advised("CVE-1", "2026-10-21T10:00:00Z")) == set()
	by([finding("CVE-1", "high")], advised("CVE-1", "2026-10-21T09:59:59Z")) == {"VULNERABILITY"}
	by([finding("CVE-1", "medium")], {}) == set()
}

test_the_scanner_may_say_since_when if {
	codes([dated("CVE-1", "critical", "2026-11-15T00:00:00Z")]) == set()
	codes([dated("CVE-1", "critical", "2026-11-01T00:00:00Z")]) == {"VULNERABILITY"}
	listed := object.union(finding("CVE-1", "critical"), {"annotations": [{"published": "2026-11-15T00:00:00Z"}]})
	codes([listed]) == set()
}

test_the_earliest_date_counts if {
	by([dated("CVE-1", "critical", "2026-11-19T00:00:00Z")], advised("CVE-1", "2026-01-01T00:00:00Z")) == {"VULNERABILITY"}
	by([dated("CVE-1", "critical", "2026-01-01T00:00:00Z")], advised("CVE-1", "2026-11-19T00:00:00Z")) == {"VULNERABILITY"}
}

test_unknown_date_is_long_ago if {
	codes([finding("CVE-1", "critical")]) == {"VULNERABILITY"}
	every date in array.concat(f.strange, ["2026-11-21T00:00:00Z", "2026-02-30T00:00:00Z", "yesterday"]) {
		codes([dated("CVE-1", "critical", date)]) == {"VULNERABILITY"}
		by([finding("CVE-1", "critical")], advised("CVE-1", date)) == {"VULNERABILITY"}
	}
	contains(f.messages_by(config, f.plus([scan("v0", [finding("CVE-1", "critical")])])), "CVE-1 (critical) has been known since an unknown date")
}

# ---- severity ---------------------------------------------------------------------------

old(severity) := codes([{"id": "CVE-1", "severity": severity, "annotations": {"published": "2026-11-01T00:00:00Z"}}])

test_words_and_numbers if {
	every score in ["critical", "CRITICAL", "9.0", "10", "10.0", 9, 9.8] {
		old([{"method": "CVSS_V3", "score": score}]) == {"VULNERABILITY"}
	}
	every score in ["high", "medium", "Moderate", "low", "none", "8.9", "0", 0, 3.9, "7.0"] {
		old([{"method": "CVSS_V3", "score": score}]) == set()
	}
}

# What cannot be read is critical: a vector, a number of another scale, nothing at all.
test_unknown_severity_is_critical if {
	every severity in array.concat(f.strange, [
		[{"method": "CVSS_V3", "score": "CVSS:3.1/AV:N/AC:L/PR:N/UI:N/S:U/C:N/I:N/A:N"}],
		[{"method": "EPSS", "score": "0.1"}],
		[{"method": "EPSS", "score": 0.1}],
		[{"method": null, "score": 1}],
		[{"score": 1}],
		[{"method": "CVSS_V3"}],
		[{"method": "CVSS_V3", "score": "unknown"}],
		[{"method": "CVSS_V3", "score": -1}],
		[{"method": "CVSS_V3", "score": 11}],
		[{"method": "CVSS_V3", "score": "NaN"}],
		[{"method": "CVSS_V3", "score": "1e0"}],
		[{"method": "CVSS_V3", "score": null}],
		["low"],
	]) {
		old(severity) == {"VULNERABILITY"}
	}
	codes([{"id": "CVE-1"}]) == {"VULNERABILITY"}
}

test_the_worst_method_counts if {
	old([{"method": "CVSS_V3", "score": "low"}, {"method": "vendor", "score": "critical"}]) == {"VULNERABILITY"}
	old([{"method": "CVSS_V3", "score": "low"}, {"method": "vendor", "score": "?"}]) == {"VULNERABILITY"}
}

test_findings_that_are_none if {
	every item in [null, "CVE-1", 1, true, [], {}, {"id": null}] {
		codes([item]) == {"VULNERABILITY"}
	}
}

# ---- more than one scan -----------------------------------------------------------------

test_a_second_scan_hides_nothing if {
	bad := scan("v1", [finding("CVE-1", "critical")])
	f.codes_by(config, f.plus([scan("v0", []), bad])) == {"VULNERABILITY"}
	f.codes_by(config, f.plus([scan("v0", []), object.union(bad, {"time": "2026-11-01T00:00:00Z"})])) == {"VULNERABILITY"}
	undated := object.union(bad, {"predicate": object.union(bad.predicate, {"metadata": {"scanStartedOn": "2026-11-20", "scanFinishedOn": "2026-11-20"}})})
	f.codes_by(config, f.plus([scan("v0", []), undated])) == {"VULNERABILITY"}
}

# ---- excuses ----------------------------------------------------------------------------

vex(id, changes) := object.union(
	f.statement(id, 31, "https://openvex.dev/ns/v0.2.0", f.signer("product-security@loans.example", ["product-security"]), {
		"@context": "https://openvex.dev/ns/v0.2.0",
		"statements": [not_affected],
	}),
	changes,
)

not_affected := {
	"vulnerability": {"name": "CVE-1"},
	"status": "not_affected",
	"justification": "vulnerable_code_not_in_execute_path",
}

excused_by(statements) := f.codes_by(config, f.plus(array.concat([scan("v0", [finding("CVE-1", "critical")])], statements)))

saying(changes) := excused_by([vex("x0", {"predicate": {"statements": [object.union(not_affected, changes)]}})])

test_excused if {
	excused_by([vex("x0", {})]) == set()
	saying({"status": "fixed", "justification": null}) == set()
	saying({"justification": null, "impact_statement": "The model is never given images."}) == set()
	saying({"vulnerability": {"name": "GHSA-1", "aliases": ["CVE-1"]}}) == set()
	saying({"products": [{"@id": "model", "hashes": {"sha-256": f.digest}}]}) == set()
}

test_not_excused if {
	every changes in [
		{"status": "affected"},
		{"status": "under_investigation"},
		{"status": "Not_Affected"},
		{"status": null},
		{"justification": "because"},
		{"justification": null},
		{"justification": null, "impact_statement": ""},
		{"vulnerability": {"name": "CVE-2"}},
		{"vulnerability": {"name": "CVE-1 "}},
		{"vulnerability": null},
		{"products": []},
		{"products": [{"@id": "another"}]},
		{"products": [{"@id": "another", "hashes": {"sha-256": "00"}}]},
		{"products": null},
		{"products": "model"},
	] {
		saying(changes) == {"VULNERABILITY"}
	}
}

test_only_by_the_role if {
	every roles in [[], ["scanner"], ["trainer"]] {
		excused_by([vex("x0", {"signer": {"roles": roles}})]) == {"VULNERABILITY"}
	}
	nobody := object.union(config, {"vulnerabilities": {"vex_roles": []}})
	document := f.plus([scan("v0", [finding("CVE-1", "critical")]), vex("x0", {})])
	f.codes_by(nobody, document) == {"VULNERABILITY"}
	contains(f.messages_by(nobody, document), "(none in this policy)")
}

test_an_old_excuse_is_none if excused_by([vex("x0", {"time": "2026-08-01T00:00:00Z"})]) == {"VULNERABILITY"}

# An old "affected" still counts, until it is revoked.
test_contradiction_is_no_excuse if {
	affected := vex("x1", {"time": "2026-01-01T00:00:00Z", "predicate": {"statements": [{"vulnerability": {"name": "CVE-1"}, "status": "affected"}]}})
	excused_by([vex("x0", {}), affected]) == {"VULNERABILITY"}
	document := f.plus([scan("v0", [finding("CVE-1", "critical")]), vex("x0", {}), affected])
	revoked := object.union(document, {"revocations": [f.revocation("security-officer@loans.example", ["security"], {"envelope_sha256": "x1"}, {})]})
	f.codes_by(config, revoked) == set()
}

test_unreadable_excuses if {
	every statements in f.strange {
		excused_by([vex("x0", {"predicate": {"statements": statements}})]) == {"VULNERABILITY"}
	}
}

test_other_versions_of_openvex_do_not_count if {
	every type in ["https://openvex.dev/ns", "https://openvex.dev/ns/v0.0.1", "https://openvex.dev/ns/v0.3.0"] {
		excused_by([vex("x0", {"predicate_type": type})]) == {"VULNERABILITY"}
	}
}

test_a_finding_without_a_name_has_no_excuse if {
	document := f.plus([scan("v0", [{"severity": []}]), vex("x0", {"predicate": {"statements": [object.union(not_affected, {"vulnerability": {"name": "a finding without an id"}})]}})])
	f.codes_by(config, document) == {"VULNERABILITY"}
}
