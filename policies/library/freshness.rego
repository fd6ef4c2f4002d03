# METADATA
# title: Freshness of the log view
# description: >
#   A revocation can be hidden by showing an old state of the log, or one that was
#   made for this verifier alone. The checkpoint this decision rests on must
#   therefore be recent, and seen by witnesses if the configuration names some.
package sealwright.freshness

import data.sealwright.lib
import rego.v1

settings := lib.config.log

# Positive: without a readable checkpoint time the view is stale.
fresh if {
	age_ns := lib.now_ns - lib.ns(input.log.checkpoint_time)
	age_ns / lib.minute_ns <= lib.config.log.max_checkpoint_age_minutes
	age_ns >= 0 - lib.skew_ns
}

violations contains v if {
	settings
	not fresh
	v := {
		"code": "LOG_STALE",
		"control": "log-freshness",
		"msg": sprintf(
			"The newest log checkpoint seen is from %v, but this policy wants one within %v minutes of %v; fetch the current checkpoint, or check the clocks.",
			[seen, settings.max_checkpoint_age_minutes, input.evaluation.time],
		),
	}
}

seen := input.log.checkpoint_time if {
	is_string(input.log.checkpoint_time)
} else := "(none)"

# ---- witnesses ------------------------------------------------------------------------

# A name counts once, however often it is listed.
witnesses := {name |
	some name in lib.list(object.get(input, ["log", "witnesses"], []))
	name in settings.witnesses.names
}

witnessed if count(witnesses) >= lib.config.log.witnesses.required

violations contains v if {
	settings.witnesses
	not witnessed
	v := {
		"code": "LOG_NOT_WITNESSED",
		"control": "log-freshness",
		"msg": sprintf(
			"The newest log checkpoint seen is cosigned by %v of the witnesses %v, but this policy wants %v; wait for the witnesses, or find out why they refuse.",
			[count(witnesses), concat(", ", settings.witnesses.names), settings.witnesses.required],
		),
	}
}
