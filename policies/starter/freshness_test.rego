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
