//! The report: `docs/opa-conformance.md`, and the list of all cases that are not the same.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

use super::cases::{Done, Outcome};

/// Where OPA keeps its cases.
pub(crate) const CASES: &str = "v1/test/cases/testdata/v1";

const REPORT: &str = "docs/opa-conformance.md";
const LIST: &str = "crates/policy/examples/opa_conformance/not_the_same.tsv";

/// Why answers are others than OPA's, by the beginning of the case's name.
const REASONS: [(&str, &str); 15] = [
    (
        "aggregates/member check set with with both key and value",
        "`k, v in s` has no keys for a set here, and is undefined. `v in s` is as in OPA.",
    ),
    (
        "globmatch/empty pattern alternative",
        "An alternative of `glob.match` that is empty, as in `{a,}`, matches nothing.",
    ),
    (
        "jsonbuiltins/json is_valid not string",
        "It fails on what is not a string, where OPA says false.",
    ),
    (
        "jsonbuiltins/unmarshal number with large exponent",
        "A number beyond the range of a double is not read.",
    ),
    (
        "negation/not-body: negated and non-negated",
        "The import `future.keywords.not` is not heeded: without it OPA gives the answer that is given here.",
    ),
    (
        "negation/not-body: explicit body",
        "The import `future.keywords.not` is not heeded. A policy with `not { … }` is refused.",
    ),
    ("numbersrangestep/big int step", "A step beyond 64 bits fails. A policy may not call it."),
    (
        "refheads/general, set leaf, deep query",
        "A query that goes into a set below a rule with a reference as its name. A decision is one rule and \
         not a query; rules that refer to it so are concerned.",
    ),
    (
        "replacen/",
        "Replaces one pair after the other, and what it has put there, too. A policy may not call it.",
    ),
    (
        "sprintf/float/exponent",
        "`%f` of a whole number has no decimals. Messages may look different.",
    ),
    ("string-interpolation/", "`$\"…\"` is not read."),
    (
        "strings/count_empty_string",
        "It panics on an empty text, which is a deny. A policy may not call it.",
    ),
    (
        "strings/count_odd_even_case",
        "It counts occurrences that overlap. A policy may not call it.",
    ),
    ("units_parse_bytes/exponent too large", "Very large numbers are taken, where OPA fails."),
    ("units_parse/exponent too large", "Very large numbers are taken, where OPA fails."),
];

/// Each file of the report, by its path in the repository, with its content. `source` is the directory
/// of OPA's module, whose name has the version.
pub(crate) fn files(done: &[Done], source: &Path) -> [(&'static str, String); 2] {
    [(REPORT, report(done, source)), (LIST, list(done))]
}

/// Cases with another answer than OPA's for which there is no reason.
pub(crate) fn unexplained(done: &[Done]) -> Vec<&str> {
    let mut cases = different(done);
    cases.retain(|case| reason(&case.note).is_none());
    cases.into_iter().map(|case| case.note.as_str()).collect()
}

fn report(done: &[Done], source: &Path) -> String {
    let name = source.file_name().map(|name| name.to_string_lossy()).unwrap_or_default();
    let version = name.rsplit('@').next().unwrap_or_default();
    let total = done.len();
    let mut text = format!(
        "# How far our Rego is OPA's\n\n\
         <!-- Written by bench/opa-conformance; what is explained is explained in \
         crates/policy/examples/opa_conformance/report.rs. -->\n\n\
         The conformance cases of OPA {version} (`{CASES}`), each asked of the engine as decisions are made \
         with it: the interpreter of `regorus`, builtins that fail are errors, no extensions. {total} cases.\n\n\
         ```sh\nbench/opa-conformance      # needs Go; gets the cases from the Go module proxy\n```\n\n\
         | | cases | what a decision would be |\n| --- | ---: | --- |\n"
    );
    for (word, meaning, consequence) in OUTCOMES {
        let count = done.iter().filter(|case| case.outcome.word() == word).count();
        text += &format!("| {meaning} | {count} | {consequence} |\n");
    }
    let reachable = reachable(done);
    text += &format!(
        "\n**An answer that is not OPA's can be had in a policy in {} of the {total} cases**: the others \
         are refused when a policy is loaded, or end in a deny. They are marked below.\n",
        reachable.len()
    );
    text += &differences(done, &reachable);
    text += &missing(done);
    text += &unread(done);
    text += &strict(done);
    text += &groups(done);
    text + "\nEvery case that is not the same is listed, by name, in\n\
            [not_the_same.tsv](../crates/policy/examples/opa_conformance/not_the_same.tsv). `./test peers` \
            fails when one more is, or one less.\n"
}

const OUTCOMES: [(&str, &str, &str); 7] = [
    ("same", "the same answer, or an error where OPA has one", "the same"),
    ("strict", "a builtin fails: an error here, undefined in OPA", "`POLICY_ERROR`, a deny"),
    ("no-builtin", "a builtin that the engine does not have", "the policy is not loaded"),
    ("unread", "syntax that the engine does not read", "the policy is not loaded"),
    ("fails", "an error where OPA answers", "`POLICY_ERROR` or `POLICY_PANIC`, a deny"),
    ("differs", "another answer", "another one"),
    ("answers", "an answer where OPA has an error", "another one"),
];

fn different(done: &[Done]) -> Vec<&Done> {
    let is = |case: &&Done| {
        matches!(case.outcome, Outcome::Fails(_) | Outcome::Answers(_) | Outcome::Differs(_))
    };
    done.iter().filter(is).collect()
}

/// Cases with another answer that nothing refuses.
fn reachable(done: &[Done]) -> BTreeSet<&str> {
    let is = |case: &&Done| {
        matches!(case.outcome, Outcome::Answers(_) | Outcome::Differs(_)) && case.refused.is_empty()
    };
    done.iter().filter(is).map(|case| case.note.as_str()).collect()
}

fn reason(note: &str) -> Option<&'static str> {
    REASONS.iter().find(|(start, _)| note.starts_with(start)).map(|(_, reason)| *reason)
}

fn differences(done: &[Done], reachable: &BTreeSet<&str>) -> String {
    let mut text =
        String::from("\n## Other answers\n\n| case | here | why |\n| --- | --- | --- |\n");
    for case in different(done) {
        let (Outcome::Fails(said) | Outcome::Answers(said) | Outcome::Differs(said)) =
            &case.outcome
        else {
            continue;
        };
        let (note, word) = (cell(&case.note), case.outcome.word());
        let note =
            if reachable.contains(case.note.as_str()) { format!("**{note}**") } else { note };
        let why = reason(&case.note).unwrap_or("**not explained**");
        text += &format!("| {note} | {word}: `{}` | {why} |\n", cell(said).replace('`', "'"));
    }
    text
}

fn missing(done: &[Done]) -> String {
    let mut counts = BTreeMap::<&str, usize>::new();
    for case in done {
        if let Outcome::NoBuiltin(name) = &case.outcome {
            *counts.entry(name).or_default() += 1;
        }
    }
    let mut text = String::from(
        "\n## Builtins that are not there\n\nNone of them is needed by a policy over verified statements: \
         signatures and certificates are checked before, and a decision has no network.\n\n",
    );
    let names: Vec<String> =
        counts.iter().map(|(name, count)| format!("`{name}` ({count})")).collect();
    text += &names.join(", ");
    text + "\n"
}

fn unread(done: &[Done]) -> String {
    let mut counts = BTreeMap::<&str, usize>::new();
    for case in done {
        if let Outcome::Unread(said) = &case.outcome {
            *counts.entry(syntax(&case.group, said)).or_default() += 1;
        }
    }
    let mut text =
        String::from("\n## Syntax that is not read\n\n| what | cases |\n| --- | ---: |\n");
    for (what, count) in counts {
        text += &format!("| {what} | {count} |\n");
    }
    text
}

fn syntax(group: &str, said: &str) -> &'static str {
    match group {
        _ if said.contains("maximum column width") => {
            "lines of more than 1024 characters (certificates, tokens)"
        }
        _ if said.contains("out of range") => "numbers beyond the range of a double",
        "logic_operators" => "`and`, `or`: experimental in OPA",
        "keywordrefs" => "keywords in references, such as `input.not`",
        "stringinterpolation" => "string interpolation, `$\"…\"`",
        "negation" => "`not { … }`, by an import",
        "withkeyword" => "`with` in the place of a builtin that is not called",
        _ => "other",
    }
}

fn strict(done: &[Done]) -> String {
    let cases: Vec<String> = done
        .iter()
        .filter(|case| case.outcome == Outcome::Strict)
        .map(|case| cell(&case.note))
        .collect();
    format!(
        "\n## Errors that OPA takes for undefined\n\nOn purpose: a check that fails must not be a check \
         that does not apply. `sealwright policy test --lenient-builtin-errors` is as OPA.\n\n{}\n",
        cases.join("; ")
    )
}

fn groups(done: &[Done]) -> String {
    let mut groups = BTreeMap::<&str, BTreeMap<&str, usize>>::new();
    for case in done {
        *groups.entry(&case.group).or_default().entry(case.outcome.word()).or_default() += 1;
    }
    let mut text = String::from("\n## By group\n\n| group | cases |");
    text += &OUTCOMES.map(|(word, ..)| format!(" {word} |")).concat();
    text += &format!("\n| --- | ---: |{}\n", " ---: |".repeat(OUTCOMES.len()));
    for (group, counts) in groups {
        text += &format!("| {group} | {} |", counts.values().sum::<usize>());
        for (word, ..) in OUTCOMES {
            text += &counts.get(word).map_or(String::from(" |"), |count| format!(" {count} |"));
        }
        text.push('\n');
    }
    text
}

fn list(done: &[Done]) -> String {
    let different = done.iter().filter(|case| case.outcome != Outcome::Same);
    different
        .map(|case| format!("{}\t{}\t{}\n", case.group, case.note, case.outcome.word()))
        .collect()
}

/// In a cell of a table.
fn cell(text: &str) -> String {
    text.replace('|', "\\|").replace('\n', " ")
}
