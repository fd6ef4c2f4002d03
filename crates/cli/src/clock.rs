//! The one place where the binary reads the clock.

use std::time::{SystemTime, UNIX_EPOCH};

use sealwright_attest::Timestamp;

use crate::error::CliError;

/// Now, by the system's clock.
pub(crate) fn now() -> Result<Timestamp, CliError> {
    SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .ok()
        .and_then(|since| Timestamp::from_unix(since.as_secs()).ok())
        .ok_or_else(|| {
            CliError::environment("the system clock is outside of the years 1970 to 9999")
                .hint("set the clock, for example with `timedatectl set-ntp true`")
        })
}
