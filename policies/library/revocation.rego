# METADATA
# title: Revocation
# description: >
#   A recalled model is refused. A revoked statement, or one signed by a revoked
#   signer, no longer counts for anything.
package sealwright.revocation

import data.sealwright.lib
import rego.v1

# Revocations by a principal bound to a revoking role. They take effect at once
# unless they name a later, readable date.
in_force contains r if {
	some r in input.revocations
	r.verified == true
	r.predicate_type == lib.revocation_type
	lib.signed_as(r, lib.config.revocation.roles)
	not later(r)
}

later(r) if lib.ns(r.predicate.effective) > lib.now_ns

target(r) := object.get(r.predicate, "target", {})

# A revocation that names neither a statement nor a signer recalls the model.
recalls_model(r) if target(r).model_sha256 == input.model.digest.sha256

recalls_model(r) if {
	r.subject_digest == input.model.digest.sha256
	not narrower(r)
}

narrower(r) if is_string(target(r).envelope_sha256)

narrower(r) if is_string(target(r).signer)

narrower(r) if is_string(target(r).model_sha256)

# Looked up, and not compared with every revocation: there may be many of both.
# The key is a variable: with a reference there, one revocation that names no statement would
# make the engine forget those that do.
revocations_naming[digest] contains r if {
	some r in in_force
	digest := target(r).envelope_sha256
}

withdrawn(a) if count(revocations_naming[a.envelope_sha256]) > 0

# What a signer signed before the revocation took effect still counts; without a
# readable date nothing does.
revocations_of[signer] contains r if {
	some r in in_force
	signer := target(r).signer
}

withdrawn(a) if {
	some signer in {a.signer.principal, a.signer.key}
	some r in revocations_of[signer]
	not before(a, r)
}

before(a, r) if lib.ns(a.time) < lib.ns(r.predicate.effective)

# Statements a rule may build an "allow" on: about this model, in the log, and not
# revoked.
standing contains a if {
	some a in lib.about_model
	lib.in_log(a)
	not withdrawn(a)
}

standing_of(type) := {a | some a in standing; a.predicate_type == type}

# Statements that may say "no". To withdraw one must not be a way to get a "yes": it is silenced by
# its own author, or by somebody in a revoking role who names it, has neither signed nor approved this
# model, and is not revoked. That its signer was revoked takes nothing away from it.
unsilenced_of(type) := {a |
	some a in lib.about_model_of(type)
	lib.in_log(a)
	not silenced(a)
}

silenced(a) if withdrawn_by(a, a.signer.principal)

silenced(a) if {
	some r in revocations_naming[a.envelope_sha256]
	disinterested(r)
}

disinterested(r) if {
	is_string(r.signer.principal)
	is_string(r.signer.key)
	not lib.signed_model(r)
	not r.signer.principal in lib.model_approvers
	not r.signer.key in lib.model_approvers
	not withdrawn(r)
}

withdrawn_by(a, principal) if {
	some r in revocations_naming[a.envelope_sha256]
	r.signer.principal == principal
}

violations contains v if {
	some r in in_force
	recalls_model(r)
	v := {
		"code": "MODEL_REVOKED",
		"control": "revocation",
		"msg": sprintf(
			"%v revoked this model (%v); do not use it, deploy a newer version.",
			[object.get(r, ["signer", "principal"], "somebody"), object.get(r.predicate, "reason", "no reason given")],
		),
	}
}
