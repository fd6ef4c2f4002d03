//! A loaded policy.

use std::collections::BTreeSet;
use std::fmt;
use std::path::Path;

use regorus::Engine;
use regorus::unstable::Expr;
use serde_json::{Value, json};

use crate::engine;
use crate::error::PolicyError;
use crate::files::{self, Files};
use crate::lint;
use crate::scan;
use crate::tree::{self, Node};

/// The rule that callers read.
pub(crate) const DECISION: &str = "data.sealwright.main.decision";

/// Rego files and their data, checked and compiled. Cheap to share between threads;
/// every decision works on a copy of the engine.
pub struct Policy {
    engine: Engine,
    files: Files,
    data: Value,
    digest: String,
}

/// What became of one `test_*` rule.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TestOutcome {
    /// The full path of the rule, for instance `data.sealwright.main_test.test_good`.
    pub name: String,
    /// True if the rule is defined and exactly `true`.
    pub passed: bool,
    /// Why it did not pass, where the engine can say.
    pub detail: Option<String>,
}

impl Policy {
    /// How many files a policy may have, tests included.
    pub const MAX_FILES: usize = files::MAX_FILES;
    /// The largest size of one file in bytes.
    pub const MAX_FILE_BYTES: usize = files::MAX_FILE_BYTES;
    /// The largest size of all files together in bytes.
    pub const MAX_TOTAL_BYTES: usize = files::MAX_TOTAL_BYTES;
    /// How many rules a policy may have, tests included. It bounds how deep a chain of
    /// rules can take the stack.
    pub const MAX_RULES: usize = 1000;

    /// Loads the policy in the folder `dir`: its `.rego` files, and each `data.json` or `data.yaml` as
    /// the data under the path of its folder.
    ///
    /// # Errors
    ///
    /// [`PolicyError`] if a file cannot be read, is too large or is not valid, if the
    /// policy calls something it may not, or if it has no decision.
    pub fn load(dir: &Path) -> Result<Self, PolicyError> {
        Self::from_parts(Files::read(dir)?)
    }

    /// Loads a policy from files in memory, as pairs of path and content.
    ///
    /// # Errors
    ///
    /// As [`Policy::load`].
    pub fn from_files<N, B>(files: impl IntoIterator<Item = (N, B)>) -> Result<Self, PolicyError>
    where
        N: Into<String>,
        B: Into<Vec<u8>>,
    {
        Self::from_parts(Files::from_pairs(
            files.into_iter().map(|(name, bytes)| (name.into(), bytes.into())),
        )?)
    }

    /// SHA-256, in lower-case hex, over names, lengths and bytes of the files that
    /// decide: all `.rego` files that are not tests, and the data. It is the same whether
    /// they come as a folder or as a bundle.
    #[must_use]
    pub fn digest(&self) -> &str {
        &self.digest
    }

    /// What a VSA may claim when this policy passed: the names under
    /// `sealwright.config.verified_levels` in `data.json`, or
    /// `SEALWRIGHT_POLICY_PASSED`. Names that start with `SLSA_` are not this policy's
    /// to give (SLSA VSA v1, `SlsaResult`), nor is `FAILED`.
    #[must_use]
    pub fn verified_levels(&self) -> Vec<String> {
        let named = self.data.pointer("/sealwright/config/verified_levels");
        let levels: Vec<String> = named
            .and_then(Value::as_array)
            .into_iter()
            .flatten()
            .filter_map(Value::as_str)
            .filter(|level| !level.starts_with("SLSA_") && *level != "FAILED")
            .map(str::to_owned)
            .collect();
        if levels.is_empty() { vec![String::from("SEALWRIGHT_POLICY_PASSED")] } else { levels }
    }

    /// Where the rules that decide write the text `code`: files with lines, from 1, sorted. That is
    /// where a violation with this code is made.
    #[must_use]
    pub fn places_of(&self, code: &str) -> Vec<(String, u32)> {
        let mut engine = self.engine.clone();
        let mut places = Vec::new();
        for module in engine.get_modules() {
            for node in module.policy.iter().flat_map(|rule| tree::nodes(rule)) {
                let Node::Expr(Expr::String { span, value, .. }) = node else { continue };
                if value.as_string().is_ok_and(|text| text.as_ref() == code) {
                    places.push((tree::file_of(module).to_owned(), span.line));
                }
            }
        }
        places.sort();
        places.dedup();
        places
    }

    /// Runs every `test_*` rule of the `*_test.rego` files, sorted by file and in the
    /// order they are written. Empty if there are none. An `input.json` is found at
    /// `data.sealwright_test.input`.
    ///
    /// # Errors
    ///
    /// [`PolicyError`] if the test files are not valid together with the policy.
    pub fn run_tests(&self) -> Result<Vec<TestOutcome>, PolicyError> {
        let tests = self.files.test_modules()?;
        let mut modules = self.files.modules()?;
        modules.extend(&tests);
        let mut data = self.data.clone();
        if let (Some(input), Some(fields)) = (self.files.test_input()?, data.as_object_mut()) {
            fields.entry("sealwright_test").or_insert_with(|| json!({ "input": input }));
        }
        let mut engine = checked_engine(&modules, &data)?;
        let (deciding, testing) = engine.get_modules().split_at(modules.len() - tests.len());
        let unsound = scan::unsound_tests(deciding, testing)?;
        let rules: Vec<String> =
            testing.iter().flat_map(|module| scan::rules_with_prefix(module, "test_")).collect();
        let unsound = unsound.into_iter().map(|(name, detail)| TestOutcome {
            name,
            passed: false,
            detail: Some(detail.to_owned()),
        });
        let unsound: Vec<TestOutcome> = unsound.collect();
        Ok(rules.into_iter().map(|rule| run_test(&engine, rule)).chain(unsound).collect())
    }

    pub(crate) fn engine(&self) -> &Engine {
        &self.engine
    }

    pub(crate) fn files(&self) -> &Files {
        &self.files
    }

    /// The packages of all modules, tests included, as component lists.
    pub(crate) fn packages(&self) -> Result<BTreeSet<Vec<String>>, PolicyError> {
        let mut modules = self.files.modules()?;
        modules.extend(self.files.test_modules()?);
        let mut engine = engine::build(&modules, &Value::Object(serde_json::Map::new()))?;
        scan::packages(engine.get_modules())
    }

    pub(crate) fn data(&self) -> &Value {
        &self.data
    }

    pub(crate) fn from_parts(files: Files) -> Result<Self, PolicyError> {
        let data = files.data()?;
        let engine = checked_engine(&files.modules()?, &data)?;
        let digest = files.digest();
        Ok(Self { engine, files, data, digest })
    }
}

impl fmt::Debug for Policy {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.debug_struct("Policy").field("digest", &self.digest).finish_non_exhaustive()
    }
}

fn checked_engine(modules: &[(&str, &str)], data: &Value) -> Result<Engine, PolicyError> {
    let mut engine = engine::build(modules, data)?;
    let parsed = engine.get_modules();
    scan::check(parsed, Policy::MAX_RULES)?;
    let looked_at = parsed.clone();
    let findings = engine::fenced(|| lint::errors(&looked_at))
        .unwrap_or_else(|_| vec![lint::Finding::unreadable()]);
    if !findings.is_empty() {
        return Err(PolicyError::Unsafe { findings });
    }
    if !scan::declares(parsed, "data.sealwright.main", "decision") {
        return Err(PolicyError::NoDecision);
    }
    for package in scan::packages(parsed)? {
        let inside = package.iter().try_fold(data, |value, part| value.get(part));
        if inside.is_some() {
            let package = format!("data.{}", package.join("."));
            return Err(PolicyError::DataShadowsPackage { package });
        }
    }
    engine::prepare(&mut engine, DECISION)?;
    Ok(engine)
}

fn run_test(engine: &Engine, rule: String) -> TestOutcome {
    let detail = match engine::evaluate(engine, &rule, "{}", engine::TEST_LIMIT) {
        Ok(Value::Bool(true)) => None,
        Ok(value) => Some(format!("it is {value}")),
        Err(failure) => Some(failure.to_string()),
    };
    TestOutcome { name: rule, passed: detail.is_none(), detail }
}
