# METADATA
# title: Expiry of a model
# description: >
#   A model may be used for so long after it was first signed, whoever approves it
#   again. Signing it once more does not make it younger.
package sealwright.expiry

import data.sealwright.lib
import rego.v1

settings := lib.config.expiry

signatures := {a |
	some a in lib.about_model_of(lib.signature_type)
	lib.signed_as(a, lib.config.signature.roles)
}

# Positive: a signature without a readable time is an old one.
young(a) if lib.age_days(a) <= lib.config.expiry.max_model_age_days

violations contains v if {
	settings
	some a in signatures
	not young(a)
	v := {
		"code": "MODEL_EXPIRED",
		"control": "model-expiry",
		"msg": sprintf(
			"This model was signed on %v, more than %v days ago; train and validate a new one, or change the limit in the policy.",
			[object.get(a, "time", "an unknown date"), settings.max_model_age_days],
		),
	}
}
