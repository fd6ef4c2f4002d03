//! Which builtins a policy may call.
//!
//! An allow-list, because a new release of the engine may bring a builtin nobody
//! here has judged. A builtin is on it if its answer depends on its arguments alone
//! and its cost on their size alone. That leaves out:
//!
//! - clocks, randomness, network, host: a decision could not be replayed;
//! - `time.clock`, `time.date`, `time.diff`, `time.format`, `time.weekday`: they accept
//!   the time zone `Local`, which is the host's;
//! - `numbers.range`, `numbers.range_step`, `bits.lsh`: a few characters of policy make
//!   a value that fills the memory, and the timer does not see inside a builtin; so do
//!   `replace` and `regex.replace`, whose answer may be as long as two texts multiplied;
//! - `print`, `trace`: they write somewhere else than into the decision.

/// Sorted, for binary search.
const ALLOWED: &[&str] = &[
    "abs",
    "array.concat",
    "array.reverse",
    "array.slice",
    "base64.decode",
    "base64.encode",
    "base64.is_valid",
    "bits.and",
    "bits.negate",
    "bits.or",
    "bits.xor",
    "ceil",
    "concat",
    "contains",
    "count",
    "endswith",
    "floor",
    "format_int",
    "glob.match",
    "glob.quote_meta",
    "hex.decode",
    "hex.encode",
    "indexof",
    "indexof_n",
    "intersection",
    "is_array",
    "is_boolean",
    "is_null",
    "is_number",
    "is_object",
    "is_set",
    "is_string",
    "json.filter",
    "json.is_valid",
    "json.marshal",
    "json.patch",
    "json.remove",
    "json.unmarshal",
    "lower",
    "max",
    "min",
    "object.filter",
    "object.get",
    "object.keys",
    "object.remove",
    "object.subset",
    "object.union",
    "object.union_n",
    "product",
    "regex.find_n",
    "regex.is_valid",
    "regex.match",
    "regex.split",
    "round",
    "semver.compare",
    "semver.is_valid",
    "sort",
    "split",
    "sprintf",
    "startswith",
    "strings.any_prefix_match",
    "strings.any_suffix_match",
    "strings.count",
    "strings.replace_n",
    "strings.reverse",
    "substring",
    "sum",
    "time.add_date",
    "time.parse_duration_ns",
    "time.parse_ns",
    "time.parse_rfc3339_ns",
    "to_number",
    "trim",
    "trim_left",
    "trim_prefix",
    "trim_right",
    "trim_space",
    "trim_suffix",
    "type_name",
    "union",
    "units.parse",
    "units.parse_bytes",
    "upper",
];

/// Names, and prefixes of names (those that end in a dot), whose answer is not a
/// function of the arguments in OPA, whether or not this engine has them.
const UNREPLAYABLE: &[&str] = &[
    "http.",
    "net.lookup_ip_addr",
    "opa.runtime",
    "rand.",
    "test.sleep",
    "time.clock",
    "time.date",
    "time.diff",
    "time.format",
    "time.now_ns",
    "time.weekday",
    "uuid.",
];

/// True if a policy may call the builtin `name`.
pub(crate) fn is_allowed(name: &str) -> bool {
    ALLOWED.binary_search(&name).is_ok()
}

/// True if a decision that calls `name` could not be replayed.
pub(crate) fn is_unreplayable(name: &str) -> bool {
    UNREPLAYABLE
        .iter()
        .any(|entry| *entry == name || (entry.ends_with('.') && name.starts_with(entry)))
}

/// True if `name` is a builtin of the engine.
pub(crate) fn exists(name: &str) -> bool {
    name == "print" || regorus::unstable::BUILTINS.contains_key(name)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_list_is_sorted_and_every_entry_exists() {
        assert!(ALLOWED.is_sorted());
        for name in ALLOWED {
            assert!(exists(name), "{name} is not a builtin of this engine");
            assert!(!is_unreplayable(name), "{name}");
        }
    }

    #[test]
    fn every_other_builtin_of_the_engine_was_looked_at() {
        let mut left_out: Vec<&str> = regorus::unstable::BUILTINS
            .keys()
            .copied()
            .filter(|name| !is_allowed(name) && !is_unreplayable(name))
            .collect();
        left_out.sort_unstable();
        assert_eq!(
            left_out,
            [
                "__builtin_sets.intersection",
                "__builtin_sets.union",
                "bits.lsh",
                "bits.rsh",
                "json.marshal_with_options",
                "numbers.range",
                "numbers.range_step",
                "regex.find_all_string_submatch_n",
                "regex.replace",
                "regex.template_match",
                "replace",
                "trace",
            ]
        );
    }
}
