//! Where to read what a rule is there for.

use sealwright_policy::control_references;

use crate::output::{DIM, plain};

/// One line for each clause that the control can be evidence for. It does not say that one is
/// fulfilled.
pub(super) fn told(control: &str) -> String {
    control_references(control)
        .into_iter()
        .map(|reference| {
            format!(
                "    {DIM}see{DIM:#} {}: {} {DIM}({}, as of {}){DIM:#}\n",
                plain(&reference.framework),
                plain(&reference.clause),
                plain(&reference.status),
                plain(&reference.as_of)
            )
        })
        .collect()
}
