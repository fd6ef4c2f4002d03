# METADATA
# title: Freshness of the log view
# description: >
#   A revocation can be hidden by showing an old state of the log. The checkpoint
#   this decision rests on must therefore be recent.
package sealwright.freshness

import data.sealwright.lib
import rego.v1

# Positive: without a readable checkpoint time the view is stale.
fresh if {
	age_ns := lib.now_ns - lib.ns(input.log.checkpoint_time)
	age_ns / lib.minute_ns <= lib.config.log.max_checkpoint_age_minutes
	age_ns >= 0 - lib.skew_ns
}

violations contains v if {
	not fresh
	v := {
		"code": "LOG_STALE",
		"control": "log-freshness",
		"msg": sprintf(
			"The newest log checkpoint seen is from %v, but this policy wants one within %v minutes of %v; fetch the current checkpoint, or check the clocks.",
			[seen, lib.config.log.max_checkpoint_age_minutes, input.evaluation.time],
		),
	}
}

seen := input.log.checkpoint_time if {
	is_string(input.log.checkpoint_time)
} else := "(none)"
