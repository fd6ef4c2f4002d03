# METADATA
# title: Model signature
# description: The model is signed by a principal bound to a signing role.
package sealwright.signature

import data.sealwright.lib
import data.sealwright.revocation
import rego.v1

settings := lib.config.signature

signed if {
	some a in revocation.standing_of(lib.signature_type)
	lib.signed_as(a, settings.roles)
}

violations contains v if {
	settings
	not signed
	v := {
		"code": "SIGNATURE_MISSING",
		"control": "model-signature",
		"msg": sprintf(
			"No logged signature over this model by role %v counts%v; sign it with `sealwright sign` and a key bound to that role.",
			[lib.either(settings.roles), found],
		),
	}
}

found := sprintf(" (signed by %v, not bound to that role, not logged or revoked)", [concat(", ", signers)]) if {
	count(signers) > 0
} else := ""

signers := {a.signer.principal | some a in lib.about_model_of(lib.signature_type)}
