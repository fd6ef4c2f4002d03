package sealwright.freshness_test

import data.sealwright.fixtures_test as f
import rego.v1

seen(time) := f.with_({"log": {"checkpoint_time": time}})

test_limits_are_inclusive if {
	f.codes(seen("2026-11-20T09:00:00Z")) == set()
	f.codes(seen("2026-11-20T10:05:00Z")) == set()
}

test_stale if {
	document := seen("2026-11-20T08:59:59Z")
	f.codes(document) == {"LOG_STALE"}
	contains(f.messages(document), "2026-11-20T08:59:59Z")
}

test_from_the_future if f.codes(seen("2026-11-20T10:05:01Z")) == {"LOG_STALE"}

test_unreadable if {
	every time in [null, "", "yesterday", 1795514400, {}, "2026-11-20"] {
		f.codes(seen(time)) == {"LOG_STALE"}
	}
}

# Without a log nothing is known to be logged either.
test_no_log if f.codes(f.with_({"log": null})) == {"LOG_STALE", "SIGNATURE_MISSING", "GATE_MISSING", "APPROVAL_MISSING"}

# ---- witnesses ------------------------------------------------------------------------

watched := f.and_section("log", {"witnesses": {"names": ["w1.example", "w2.example", "w3.example"], "required": 2}})

cosigned(names) := f.codes_by(watched, f.with_({"log": {"witnesses": names}}))

test_witnesses if {
	cosigned(["w1.example", "w3.example"]) == set()
	cosigned(["w1.example", "w2.example", "w3.example", "stranger.example"]) == set()
	cosigned(["w1.example"]) == {"LOG_NOT_WITNESSED"}
	cosigned(["w1.example", "stranger.example"]) == {"LOG_NOT_WITNESSED"}
}

test_one_witness_twice_is_one if cosigned(["w1.example", "w1.example"]) == {"LOG_NOT_WITNESSED"}

# `о` and `е` of another alphabet, other case, a space.
test_a_name_is_exact if {
	every name in ["w2.еxample", "W2.example", "w2.example ", ["w2.example"], {"name": "w2.example"}, null, 2, true] {
		cosigned(["w1.example", name]) == {"LOG_NOT_WITNESSED"}
	}
}

test_witnesses_unknown if {
	f.codes_by(watched, f.base) == {"LOG_NOT_WITNESSED"}
	every value in array.concat(f.strange, [{"w1.example": "w2.example"}, "w1.example", 3]) {
		cosigned(value) == {"LOG_NOT_WITNESSED"}
	}
}

test_no_witnesses_are_asked_for if f.codes(f.base) == set()

test_the_message_names_them if {
	messages := f.messages_by(watched, f.with_({"log": {"witnesses": ["w3.example"]}}))
	contains(messages, "cosigned by 1 of the witnesses w1.example, w2.example, w3.example, but this policy wants 2")
}
