# METADATA
# title: Trusted execution for tagged models
# description: >
#   A model whose bill of materials has one of the tags runs only where a recent
#   attribute report (SCAI) by a verifier of such evidence says so: a known platform and
#   measurement, an accepted status of the platform's software, no debugging, and an
#   answer to the verifier's nonce. If no bill by the role tells the tags, the model is
#   taken for a tagged one.
package sealwright.tee

import data.sealwright.lib
import data.sealwright.licences
import data.sealwright.revocation
import rego.v1

settings := lib.config.tee

attribute := "https://sealwright.dev/attribute/tee/v0.1"

# ---- tags -----------------------------------------------------------------------------

# Bills that may ask for it.
bills := {a |
	some a in revocation.unsilenced_of(lib.bom_type)
	lib.signed_as(a, settings.tag_roles)
}

# Bills that may say that it is not needed.
standing_bills := {a |
	some a in revocation.standing_of(lib.bom_type)
	lib.signed_as(a, settings.tag_roles)
}

# All bills together, so that a second one cannot take a tag away; and those of the parts, such as a
# data set.
tags := {tag |
	some a in bills
	some component in licences.components(a)
	some tag in lib.list(lib.field(component, "tags", []))
}

readable(a) if {
	is_array(a.predicate.metadata.component.tags)
	every tag in tags {
		is_string(tag)

		# Letters that only look alike, and several tags in one text, are not known tags.
		regex.match(`^[a-z0-9][a-z0-9._:/ -]*$`, plain(tag))
	}
	not licences.unreadable(a)
}

tags_known if {
	count(standing_bills) > 0
	every a in bills {
		readable(a)
	}
}

# Spelling must not decide about it.
plain(text) := lower(trim_space(text))

required if {
	settings
	not tags_known
}

required if {
	wanted := {plain(tag) | some tag in settings.required_for_tags}
	some tag in tags
	is_string(tag)
	plain(tag) in wanted
}

why := "its bill of materials is tagged so" if tags_known

else := sprintf("no standing bill of materials by role %v tells its tags", [lib.either(settings.tag_roles)])

# ---- evidence ---------------------------------------------------------------------------

reports := [{"statement": a, "conditions": entry.conditions} |
	some a in revocation.standing_of(lib.attributes_type)
	lib.signed_as(a, settings.evidence_roles)
	not lib.signed_model(a)
	some entry in lib.list(object.get(a.predicate, "attributes", []))
	entry.attribute == attribute
	about_model(entry)
]

about_model(entry) if not "target" in lib.keys(entry)

about_model(entry) if entry.target.digest.sha256 == input.model.digest.sha256

nonces := [report.conditions.nonce | some report in reports]

good(report) if {
	c := report.conditions
	c.platform in settings.platforms
	c.measurement in settings.measurements
	c.tcbStatus in settings.tcb_statuses
	c.debug == false
	c.nonceVerified == true
	is_string(c.nonce)
	regex.match(`^[0-9a-f]{32,128}$`, c.nonce)
	# A nonce that was used twice proves nothing about the second time.
	count([nonce | some nonce in nonces; nonce == c.nonce]) == 1
	recent(report.statement.time)
	recent(c.evidenceTime)
}

recent(time) if {
	lib.past(time)
	lib.days_since(time) * 24 <= lib.config.tee.max_age_hours
}

attested if {
	some report in reports
	good(report)
}

violations contains v if {
	required
	not attested
	v := {
		"code": "TEE_REQUIRED",
		"control": "trusted-execution",
		"msg": sprintf(
			"This model may only run in a trusted execution environment (%v), and no report by role %v from the last %v hours attests one with platform, measurement, software status and nonce as this policy wants%v; let the verifier attest the environment (`sealwright attest --type scai`).",
			[why, lib.either(settings.evidence_roles), settings.max_age_hours, offered],
		),
	}
}

offered := sprintf(" (offered: %v)", [[report.conditions | some report in reports]]) if {
	count(reports) > 0
} else := ""
