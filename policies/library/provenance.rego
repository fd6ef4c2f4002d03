# METADATA
# title: Builders and their level
# description: >
#   Every standing SLSA provenance of the model is signed by a principal whom the
#   configuration trusts for the builder it names, and that builder is trusted for the
#   level wanted. A builder's name alone proves nothing, nor does a signer alone: what
#   is trusted is the pair (SLSA v1.2, verifying artifacts, step 1).
package sealwright.provenance

import data.sealwright.lib
import data.sealwright.revocation
import rego.v1

settings := lib.config.provenance

statements := revocation.standing_of(lib.provenance_type)

# The level that this signer and builder are trusted for; at most one.
levels(a) := {builder.level |
	some builder in settings.builders
	builder.id == a.predicate.runDetails.builder.id
	a.signer.principal in builder.signers
}

sufficient(a) if {
	some level in levels(a)
	level >= lib.config.provenance.min_level
}

violations contains v if {
	settings
	count(statements) == 0
	v := {
		"code": "PROVENANCE_MISSING",
		"control": "builder-allow-list",
		"msg": "No standing SLSA provenance of this model; let its builder attest one (`sealwright attest --type slsaprovenance1`).",
	}
}

violations contains v if {
	settings
	some a in statements
	count(levels(a)) == 0
	v := {
		"code": "BUILDER_NOT_ALLOWED",
		"control": "builder-allow-list",
		"msg": sprintf(
			"The provenance by %v names the builder %v, and this policy does not trust that signer for that builder; build with a trusted one, or revoke the provenance if it is wrong.",
			[a.signer.principal, builder_of(a)],
		),
	}
}

violations contains v if {
	settings
	some a in statements
	count(levels(a)) > 0
	not sufficient(a)
	v := {
		"code": "BUILD_LEVEL_TOO_LOW",
		"control": "builder-allow-list",
		"msg": sprintf(
			"The builder %v is trusted for SLSA build level %v only, and this policy wants %v; build with a hardened builder.",
			[builder_of(a), max(levels(a)), settings.min_level],
		),
	}
}

builder_of(a) := a.predicate.runDetails.builder.id if {
	is_string(a.predicate.runDetails.builder.id)
} else := "(none)"
