//! Why a folder of files is not a policy.

use std::path::PathBuf;

use sealwright_attest::JsonError;

use crate::bundle::{BundleError, SignatureError};
use crate::lint::Finding;

/// A policy that cannot be loaded. Nothing is decided with it.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum PolicyError {
    /// The folder or a file in it cannot be read.
    #[error("cannot read {}", path.display())]
    Io {
        /// What was read.
        path: PathBuf,
        /// What the operating system said.
        source: std::io::Error,
    },
    /// A file name with other characters than `A-Z a-z 0-9 . _ -`, a path, or an
    /// overlong name.
    #[error("{name:?} is not a name a policy file can have")]
    FileName {
        /// The name as given.
        name: String,
    },
    /// Two files of one name.
    #[error("there are two files called {name}")]
    DuplicateFile {
        /// The name.
        name: String,
    },
    /// A JSON or YAML file that is not `data.json` or `data.yaml`. They are refused and
    /// not skipped: rules that are silently left out make a policy weaker.
    #[error("{name} would not be part of the policy; its documents are called data.json")]
    UnexpectedFile {
        /// The name.
        name: String,
    },
    /// More files than [`crate::Policy::MAX_FILES`].
    #[error("more than {limit} files")]
    TooManyFiles {
        /// How many are allowed.
        limit: usize,
    },
    /// A file, or all of them together, is larger than allowed.
    #[error("{name} is larger than {limit} bytes")]
    TooLarge {
        /// The file, or `the policy` for the sum.
        name: String,
        /// How many bytes are allowed.
        limit: usize,
    },
    /// A file that is not UTF-8.
    #[error("{name} is not UTF-8")]
    NotUtf8 {
        /// The file.
        name: String,
    },
    /// A document is not JSON, or names a key twice.
    #[error("{name} is not usable")]
    Data {
        /// The file.
        name: String,
        /// What the parser said.
        source: JsonError,
    },
    /// A document is not YAML that everybody reads alike.
    #[error("{name} is not usable: {message}")]
    Yaml {
        /// The file.
        name: String,
        /// What is wrong with it.
        message: String,
    },
    /// The document beside the rules is not an object.
    #[error("{name} is not an object")]
    DataNotObject {
        /// The file.
        name: String,
    },
    /// Two documents have a value in one place.
    #[error("{name} has a value at data.{place}, and another file has one there, too")]
    DataConflict {
        /// The file that was read later.
        name: String,
        /// The place.
        place: String,
    },
    /// `input.json` is not JSON, or names a key twice.
    #[error("input.json, which is for the tests, is not usable")]
    TestInput {
        /// What the parser said.
        source: JsonError,
    },
    /// `data.json` has a value where a package of the policy lives, and would change
    /// what its rules say.
    #[error("data.json has a value at {package}, which is a package of the policy")]
    DataShadowsPackage {
        /// The package, for instance `data.sealwright.main`.
        package: String,
    },
    /// The data has a value where a module has a rule.
    #[error("there is both a rule {rule} and a value in the data")]
    DataShadowsRule {
        /// The rule, for instance `data.sealwright.main.allow`.
        rule: String,
    },
    /// The Rego parser or compiler refused a file.
    #[error("{name} is not valid Rego: {message}")]
    Rego {
        /// The file, or `the policy` when the files only fail together.
        name: String,
        /// What the compiler said.
        message: String,
    },
    /// A call of a builtin whose answer is not a function of its arguments, so that
    /// a decision could not be replayed.
    #[error("{name}:{line}: {builtin} is refused: a decision that uses it cannot be replayed")]
    UnreplayableBuiltin {
        /// The file.
        name: String,
        /// The line, from 1.
        line: u32,
        /// The builtin.
        builtin: String,
    },
    /// A call of something that is neither a function of this policy nor a builtin
    /// on the list of those it may use.
    #[error(
        "{name}:{line}: {function} is neither a function of this policy nor an allowed builtin"
    )]
    UnknownFunction {
        /// The file.
        name: String,
        /// The line, from 1.
        line: u32,
        /// The function as called.
        function: String,
    },
    /// A call whose function is computed, such as `x[i](1)`.
    #[error("{name}:{line}: the function of a call must be a plain name")]
    ComputedCall {
        /// The file.
        name: String,
        /// The line, from 1.
        line: u32,
    },
    /// A function that reaches itself, which would exhaust the stack.
    #[error("function {function} calls itself")]
    Recursion {
        /// One function on the circle.
        function: String,
    },
    /// More rules than [`crate::Policy::MAX_RULES`].
    #[error("more than {limit} rules")]
    TooManyRules {
        /// How many are allowed.
        limit: usize,
    },
    /// Rules that decide something else than they seem to; see `sealwright policy lint`.
    #[error("{}{}", findings.first().map(ToString::to_string).unwrap_or_default(), more(findings))]
    Unsafe {
        /// What was found: not empty, errors only, sorted.
        findings: Vec<Finding>,
    },
    /// Bytes that are not a bundle, or not one that a policy can be in.
    #[error("not a policy bundle")]
    Bundle(#[from] BundleError),
    /// A bundle that cannot be signed.
    #[error("the bundle cannot be signed")]
    BundleSignature(#[from] SignatureError),
    /// No rule `data.sealwright.main.decision`.
    #[error("no rule data.sealwright.main.decision")]
    NoDecision,
}

/// `, and 2 more`.
fn more(findings: &[Finding]) -> String {
    match findings.len().saturating_sub(1) {
        0 => String::new(),
        count => format!(", and {count} more"),
    }
}
