package sealwright.expiry_test

import data.sealwright.fixtures_test as f
import rego.v1

config := f.and_section("expiry", {"max_model_age_days": 365})

signed(time) := f.codes_by(config, f.changed(f.signature, {"time": time}))

test_young if {
	signed("2026-11-19T12:00:00Z") == set()
	signed("2025-11-20T10:00:00Z") == set()
}

test_old if {
	signed("2025-11-20T09:59:59Z") == {"MODEL_EXPIRED"}
	contains(f.messages_by(config, f.changed(f.signature, {"time": "2025-01-01T00:00:00Z"})), "signed on 2025-01-01T00:00:00Z, more than 365 days ago")
}

test_without_the_section_age_does_not_matter if f.codes(f.changed(f.signature, {"time": "2001-01-01T00:00:00Z"})) == set()

# Nor does revoking the old signature.
test_signing_again_is_no_rejuvenation if {
	old := f.statement("e7", 1, "https://model_signing/signature/v1.0", f.signer("trainer@loans.example", ["trainer"]), {})
	document := f.plus([object.union(old, {"time": "2025-01-01T00:00:00Z"})])
	f.codes_by(config, document) == {"MODEL_EXPIRED"}
	revoked := object.union(document, {"revocations": [f.revocation("security-officer@loans.example", ["security"], {"envelope_sha256": "e7"}, {})]})
	f.codes_by(config, revoked) == {"MODEL_EXPIRED"}
}

test_time_unreadable if {
	every time in f.strange {
		"MODEL_EXPIRED" in signed(time)
	}
}
