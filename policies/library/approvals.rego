# METADATA
# title: Two-role approval
# description: >
#   Every required role approved the model for this environment: different
#   people, none of them a signer of the model or of its provenance, and nobody in a required role
#   said no.
package sealwright.approvals

import data.sealwright.lib
import data.sealwright.revocation
import rego.v1

settings := lib.config.approvals

required := {role | some role in settings.required_roles}

approvals := {a |
	some a in revocation.standing_of(lib.approval_type)
	a.predicate.decision == "APPROVED"
	a.predicate.environment == input.request.environment
	lib.ns(a.predicate.expiresOn) > lib.now_ns
	lib.age_days(a) <= lib.config.approvals.max_age_days
}

# The role a signer claims can only narrow what it is bound to: both must agree.
in_role(role) := {a |
	some a in approvals
	a.predicate.role == role
	role in a.signer.roles
}

independent(role) := {a | some a in in_role(role); not lib.signed_model(a)}

violations contains v if {
	some role in required
	count(in_role(role)) == 0
	v := {
		"code": "APPROVAL_MISSING",
		"control": "two-role-approval",
		"msg": sprintf(
			"No approval by role %v counts for environment %v%v; somebody bound to that role must run `sealwright approve --as %v`.",
			[role, input.request.environment, found(role), role],
		),
	}
}

violations contains v if {
	some role in required
	count(in_role(role)) > 0
	count(independent(role)) == 0
	v := {
		"code": "SELF_APPROVAL",
		"control": "separation-of-duties",
		"msg": sprintf(
			"%v approved as %v but also signed this model or its provenance; somebody else bound to role %v must approve it.",
			[concat(", ", {a.signer.principal | some a in in_role(role)}), role, role],
		),
	}
}

# Two names with one key, or one name with two keys, are one person.
different(a, b) if {
	a.principal != b.principal
	a.key != b.key
}

# Each once: the same few people may have approved many times.
approvers(role) := {{"principal": a.signer.principal, "key": a.signer.key} | some a in independent(role)}

pairs(first, second) := {1 |
	some a in approvers(first)
	some b in approvers(second)
	different(a, b)
}

violations contains v if {
	some first in required
	some second in required
	first < second
	count(independent(first)) > 0
	count(independent(second)) > 0
	count(pairs(first, second)) == 0
	v := {
		"code": "SAME_PERSON",
		"control": "separation-of-duties",
		"msg": sprintf(
			"%v holds both the %v and the %v approval; another person must give one of them.",
			[concat(", ", {a.signer.principal | some a in independent(first)}), first, second],
		),
	}
}

# Three roles, of which any two have different people, may still have only two
# people in all. For two and three roles both rules together are exact; `main`
# refuses a configuration with more.
violations contains v if {
	count(required) == 3
	every role in required {
		count(independent(role)) > 0
	}
	people := {a.signer.principal | some role in required; some a in independent(role)}
	count(people) < 3
	v := {
		"code": "SAME_PERSON",
		"control": "separation-of-duties",
		"msg": sprintf("%v hold all three approvals; a third person must give one of them.", [concat(", ", people)]),
	}
}

# ---- rejections ---------------------------------------------------------------------

# Whatever is not an approval is a rejection, for every environment unless it names
# another one.
rejections := {a |
	some a in lib.about_model_of(lib.approval_type)
	object.get(a.predicate, "decision", "REJECTED") != "APPROVED"
	not elsewhere(a)
	lib.signed_as(a, required)
}

elsewhere(a) if {
	is_string(a.predicate.environment)
	a.predicate.environment != input.request.environment
}

violations contains v if {
	some a in rejections
	not reconsidered(a)
	v := {
		"code": "REJECTED",
		"control": "two-role-approval",
		"msg": sprintf(
			"%v rejected this model for environment %v; only they can change that, with an approval that names the rejection (`--evidence %v`) or by revoking it.",
			[a.signer.principal, input.request.environment, a.envelope_sha256],
		),
	}
}

# The new approval names the rejection. Coming later in the log is not enough: a bundle that
# was signed before the rejection can be logged after it, by anybody.
reconsidered(rejection) if {
	some a in approvals
	a.signer.principal == rejection.signer.principal
	lib.signed_as(a, required)
	some seen in lib.list(object.get(a.predicate, "evidence", []))
	seen.digest.sha256 == rejection.envelope_sha256
}

reconsidered(rejection) if {
	revocation.withdrawn_by(rejection, rejection.signer.principal)
}

# ---- messages -----------------------------------------------------------------------

# What keeps the approvals that were meant for `role` from counting, as a clause.
found(role) := sprintf(" (%v)", [concat("; ", texts)]) if {
	texts := {o.text | some o in obstacles; o.role == role}
	count(texts) > 0
} else := ""

meant(role) := {a |
	some a in lib.about_model_of(lib.approval_type)
	a.predicate.role == role
	a.predicate.decision == "APPROVED"
}

obstacles contains {"role": role, "text": text} if {
	some role in required
	some a in meant(role)
	not lib.signed_as(a, {role})
	text := sprintf("%v is not bound to role %v", [a.signer.principal, role])
}

obstacles contains {"role": role, "text": text} if {
	some role in required
	some a in meant(role)
	environment := object.get(a.predicate, "environment", "absent")
	environment != input.request.environment
	text := sprintf("the approval by %v is for environment %v", [a.signer.principal, environment])
}

obstacles contains {"role": role, "text": text} if {
	some role in required
	some a in meant(role)
	not unexpired(a)
	expiry := object.get(a.predicate, "expiresOn", "absent")
	text := sprintf("the approval by %v has no expiry date or expired: %v", [a.signer.principal, expiry])
}

obstacles contains {"role": role, "text": text} if {
	some role in required
	some a in meant(role)
	lib.age_days(a) > lib.config.approvals.max_age_days
	text := sprintf("the approval by %v is older than %v days", [a.signer.principal, settings.max_age_days])
}

obstacles contains {"role": role, "text": text} if {
	some role in required
	some a in meant(role)
	not lib.in_log(a)
	log := object.get(input, ["log", "origin"], "(none seen)")
	text := sprintf("the approval by %v is not in the log %v", [a.signer.principal, log])
}

obstacles contains {"role": role, "text": text} if {
	some role in required
	some a in meant(role)
	revocation.withdrawn(a)
	text := sprintf("the approval by %v was revoked", [a.signer.principal])
}

unexpired(a) if lib.ns(a.predicate.expiresOn) > lib.now_ns
