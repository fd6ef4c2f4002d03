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
withdrawn_statements contains statement if {
	some r in in_force
	statement := target(r).envelope_sha256
}

withdrawn(a) if a.envelope_sha256 in withdrawn_statements

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

withdrawn_by(a, principal) if {
	some r in in_force
	r.signer.principal == principal
	target(r).envelope_sha256 == a.envelope_sha256
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
