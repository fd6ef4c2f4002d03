# METADATA
# title: Shared helpers
# description: >
#   Facts only. Signatures, log proofs, role bindings and predicate schemas are
#   checked before a rule runs; nothing here does cryptography.
package sealwright.lib

import data.sealwright.configuration
import rego.v1

signature_type := "https://model_signing/signature/v1.0"

result_type := "https://in-toto.io/attestation/test-result/v0.1"

approval_type := "https://sealwright.dev/predicate/approval/v0.1"

revocation_type := "https://sealwright.dev/predicate/revocation/v0.1"

provenance_type := "https://slsa.dev/provenance/v1"

vulnerabilities_type := "https://in-toto.io/attestation/vulns/v0.2"

vex_type := "https://openvex.dev/ns/v0.2.0"

model_scan_type := "https://sealwright.dev/predicate/model-scan/v0.1"

bom_type := "https://cyclonedx.org/bom"

attributes_type := "https://in-toto.io/attestation/scai/v0.3"

# The sections that are sound. A rule whose section is not among them says nothing, and
# `main` refuses if there is one that is not sound.
config := configuration.sections

# ---- statements -----------------------------------------------------------------

# Verified statements about the model in question, whether or not they still
# count. Rejections are read from here: withdrawing a statement must never be a
# way to silence somebody else's "no".
about_model contains a if {
	some a in input.attestations
	a.verified == true
	a.subject_digest == input.model.digest.sha256
	is_object(a.predicate)
	is_string(a.signer.principal)
	is_string(a.signer.key)
}

# In the log this decision looks at, and logged before the time of the decision.
in_log(a) if {
	a.log.origin == input.log.origin
	is_number(a.log.index)
	is_number(input.log.tree_size)
	a.log.index < input.log.tree_size
	past(a.time)
}

about_model_of(type) := {a | some a in about_model; a.predicate_type == type}

# True if the verifier bound the signer to one of `roles` when it signed. What a
# predicate says about its signer's role never widens this.
signed_as(a, roles) if {
	some role in a.signer.roles
	role in roles
}

# ---- those who made the model -----------------------------------------------------

# Everybody who signed this model or its provenance, in whatever role and revoked or
# not: none of them may approve it.
model_signers := {s |
	some type in {signature_type, provenance_type}
	some a in about_model_of(type)
	some s in {a.signer.principal, a.signer.key}
}

signed_model(a) if a.signer.principal in model_signers

signed_model(a) if a.signer.key in model_signers

# Everybody who approved this model, for whatever environment.
model_approvers := {s |
	some a in about_model_of(approval_type)
	object.get(a.predicate, "decision", "") == "APPROVED"
	some s in {a.signer.principal, a.signer.key}
}

# ---- time -------------------------------------------------------------------------

minute_ns := 60 * 1000000000

day_ns := (24 * 60) * minute_ns

skew_ns := config.log.max_clock_skew_minutes * minute_ns

# The time of the decision is part of the input, so that a replay gives the same
# answer.
now_ns := ns(input.evaluation.time)

age_days(a) := (now_ns - ns(a.time)) / day_ns

days_since(x) := (now_ns - ns(x)) / day_ns

# Readable, and not from the future.
past(x) if ns(x) <= now_ns + skew_ns

# RFC 3339 with a real calendar date between 2000 and 2099. The pattern is exact
# because `time.parse_rfc3339_ns` raises an error on anything else, and an error
# would hide the sentence that says what is wrong.
timestamp_pattern := concat("", [
	`^(20[0-9]{2}-((0[13578]|1[02])-(0[1-9]|[12][0-9]|3[01])`,
	`|(0[469]|11)-(0[1-9]|[12][0-9]|30)`,
	`|02-(0[1-9]|1[0-9]|2[0-8]))`,
	`|20([02468][048]|[13579][26])-02-29)`,
	`T([01][0-9]|2[0-3]):[0-5][0-9]:[0-5][0-9](\.[0-9]{1,9})?`,
	`(Z|[+-]([01][0-9]|2[0-3]):[0-5][0-9])$`,
])

# Undefined for anything that is not a timestamp, so that a comparison fails.
ns(x) := time.parse_rfc3339_ns(x) if {
	is_string(x)
	regex.match(timestamp_pattern, x)
}

# ---- values of any kind -------------------------------------------------------------

# Iterating over something else than a collection is an error.
list(x) := x if is_array(x)

else := []

# So is looking into something else than an object.
field(x, name, otherwise) := object.get(x, name, otherwise) if is_object(x)

else := otherwise

keys(x) := object.keys(x) if is_object(x)

else := set()

either(roles) := concat(" or ", roles)
