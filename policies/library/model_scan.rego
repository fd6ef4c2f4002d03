# METADATA
# title: Scan of the model's files
# description: >
#   A clean scan of the files for code that runs when they are loaded, and the like,
#   exists, and no standing scan found anything. A scan that left files out is not
#   clean.
package sealwright.model_scan

import data.sealwright.lib
import data.sealwright.revocation
import rego.v1

settings := lib.config.model_scan

# Scans whose findings count.
scans := {a |
	some a in revocation.unsilenced_of(lib.model_scan_type)
	lib.signed_as(a, settings.roles)
}

clean(a) if {
	a.predicate.result == "CLEAN"
	is_array(a.predicate.skipped)
	count(a.predicate.skipped) == 0
	is_array(a.predicate.findings)
	every finding in a.predicate.findings {
		finding.severity in settings.accepted_severities
	}
}

recent_and_clean := {a |
	some a in revocation.standing_of(lib.model_scan_type)
	lib.signed_as(a, settings.roles)
	clean(a)
	lib.age_days(a) <= lib.config.model_scan.max_age_days
}

violations contains v if {
	settings
	count(recent_and_clean) == 0
	v := {
		"code": "MODEL_SCAN_MISSING",
		"control": "model-scan",
		"msg": sprintf(
			"No standing, clean scan of the model's files by role %v from the last %v days; scan all files, and attest the result (`sealwright attest --type model-scan`).",
			[lib.either(settings.roles), settings.max_age_days],
		),
	}
}

# Age does not excuse a finding: the bytes of a model do not get better with time.
violations contains v if {
	some a in scans
	not clean(a)
	v := {
		"code": "MODEL_SCAN_FINDINGS",
		"control": "model-scan",
		"msg": sprintf(
			"The scan of the model's files by %v says %v, with the findings %v and the files %v left out; do not load this model, or revoke the scan if it is wrong.",
			[
				a.signer.principal,
				object.get(a.predicate, "result", "absent"),
				found(a),
				object.get(a.predicate, "skipped", "absent"),
			],
		),
	}
}

found(a) := [lib.field(finding, "id", finding) | some finding in a.predicate.findings] if {
	is_array(a.predicate.findings)
} else := "absent"
