# METADATA
# title: Pinned inputs
# description: >
#   Everything that a standing SLSA provenance lists as input of the training, such as
#   base models, data sets, code and images, is named by a digest, so that nobody can
#   replace it unseen.
package sealwright.inputs

import data.sealwright.lib
import data.sealwright.revocation
import rego.v1

settings := lib.config.inputs

statements := revocation.standing_of(lib.provenance_type)

listing := {a |
	some a in statements
	is_array(a.predicate.buildDefinition.resolvedDependencies)
	count(a.predicate.buildDefinition.resolvedDependencies) > 0
}

patterns := {
	"gitCommit": `^([0-9a-f]{40}|[0-9a-f]{64})$`,
	"sha256": `^[0-9a-f]{64}$`,
	"sha384": `^[0-9a-f]{96}$`,
	"sha512": `^[0-9a-f]{128}$`,
}

pinned(dependency) if {
	some algorithm in settings.algorithms
	digest := dependency.digest[algorithm]
	is_string(digest)
	regex.match(patterns[algorithm], digest)
}

# A training without inputs is one whose inputs are not known.
violations contains v if {
	settings
	count(listing) == 0
	v := {
		"code": "INPUTS_UNKNOWN",
		"control": "pinned-inputs",
		"msg": "No standing SLSA provenance of this model lists its inputs; let its builder attest them in `resolvedDependencies`.",
	}
}

violations contains v if {
	settings
	count(listing) > 0
	some a in statements
	not a in listing
	v := {
		"code": "INPUTS_UNKNOWN",
		"control": "pinned-inputs",
		"msg": sprintf(
			"The provenance by %v lists no inputs; let the builder attest them in `resolvedDependencies`, and revoke this one.",
			[a.signer.principal],
		),
	}
}

violations contains v if {
	settings
	some a in listing
	some dependency in a.predicate.buildDefinition.resolvedDependencies
	not pinned(dependency)
	v := {
		"code": "INPUT_NOT_PINNED",
		"control": "pinned-inputs",
		"msg": sprintf(
			"The input %v of the training has no digest by %v; train from inputs that are named by their digest.",
			[called(dependency), lib.either(settings.algorithms)],
		),
	}
}

called(dependency) := lib.field(dependency, "uri", lib.field(dependency, "name", "(unnamed)"))
