//! Rego of any kind, to test, to ask and to look at. Nothing is decided with it.
//!
//! A [`Suite`] takes what OPA takes: any packages, any builtin of the engine, data anywhere.
//! A [`crate::Policy`] is much narrower, and only that decides.

use std::collections::BTreeSet;
use std::num::{NonZeroU32, NonZeroUsize};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::time::Duration;

use regorus::unstable::{Module, Ref};
use regorus::{Engine, PolicyLengthConfig};
use serde_json::Value;

use crate::coverage::{self, Coverage};
use crate::engine::{self, Failure, Fault, fenced, rego_error};
use crate::error::PolicyError;
use crate::lint::{self, Finding};
use crate::scan;
use crate::tree::{self, components};

mod again;

/// How much of what a test prints is kept, in bytes.
const MAX_PRINTED: usize = 16 * 1024;

/// How Rego is read and evaluated; the default is how policies are.
#[derive(Clone, Copy, Debug, Default)]
pub struct SuiteOptions {
    /// Modules without `import rego.v1` are in the older version of the language, as for OPA
    /// before 1.0.
    pub v0_compatible: bool,
    /// A builtin that fails is undefined, as in OPA, and no error. A policy is never evaluated so.
    pub lenient_builtin_errors: bool,
}

/// Rego modules with their data.
pub struct Suite {
    engine: Engine,
    /// As they were given.
    written: Vec<Ref<Module>>,
    /// As the engine has them: see [`again`].
    modules: Vec<Ref<Module>>,
    tests: Vec<Test>,
}

/// One `test_*` rule.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Test {
    /// The package, such as `data.sealwright.main_test`.
    pub package: String,
    /// The rule. The second rule of one name is `test_x#01`, as in OPA.
    pub name: String,
    /// The file it is in, as it was named.
    pub file: String,
    /// The line it starts in, from 1.
    pub line: u32,
    /// `todo_test_*`: not to be run.
    pub todo: bool,
    /// What the engine calls it.
    path: String,
}

/// What became of a [`Test`].
#[derive(Clone, Debug)]
pub struct TestRun {
    /// Why it did not pass.
    pub fault: Option<String>,
    /// What it printed, each line with its place.
    pub printed: Vec<String>,
    /// The lines that were evaluated.
    pub covered: Coverage,
}

impl Suite {
    /// How many rules a suite may have.
    pub const MAX_RULES: usize = 20_000;
    /// The time one test may take.
    pub const TEST_LIMIT: Duration = engine::TEST_LIMIT;

    /// Parses `modules`, which are pairs of file name and text.
    ///
    /// # Errors
    ///
    /// [`PolicyError`] if a module is not valid, if a function calls itself, or if `data` has a
    /// value where a rule is.
    pub fn new(
        modules: &[(String, String)],
        data: &Value,
        options: SuiteOptions,
    ) -> Result<Self, PolicyError> {
        let mut engine = build(modules, data, options)?;
        let written = engine.get_modules().clone();
        let mut edits = again::unique_tests(&written);
        edits.extend(again::replaced_functions(&written)?);
        edits.extend(again::facts(&written));
        if !edits.is_empty() {
            engine = build(&again::edited(modules, edits), data, options)?;
        }
        let parsed = engine.get_modules().clone();
        if parsed.iter().map(|module| module.policy.len()).sum::<usize>() > Self::MAX_RULES {
            return Err(PolicyError::TooManyRules { limit: Self::MAX_RULES });
        }
        scan::check_recursion_alone(&parsed)?;
        check_conflicts(&parsed, data)?;
        let tests = parsed.iter().flat_map(tests_in).collect();
        let mut suite = Self { engine, written, modules: parsed, tests };
        suite.prepare()?;
        Ok(suite)
    }

    /// Every test, in the order of the files and of their rules.
    #[must_use]
    pub fn tests(&self) -> &[Test] {
        &self.tests
    }

    /// Runs one test. It passes if it is defined and exactly `true`; there is no `input` but what
    /// the test itself gives.
    #[must_use]
    pub fn run(&self, test: &Test) -> TestRun {
        let ran = fenced(|| {
            let mut engine = self.copy(Self::TEST_LIMIT);
            engine.set_enable_coverage(true);
            let result = match engine.eval_rule(test.path.clone()) {
                Ok(regorus::Value::Bool(true)) => Ok(()),
                Ok(regorus::Value::Undefined) => Err(Failure::Undefined),
                Ok(value) => Err(Failure::Error(format!("it is {}", shorten(&value.to_string())))),
                Err(error) => Err(engine::failure(error)),
            };
            let printed = engine.take_prints().unwrap_or_default();
            (result, printed, Coverage::of(&engine))
        });
        let (result, printed, covered) = match ran {
            Ok(ran) => ran,
            Err(Fault::Panic) => (Err(Failure::Panic), Vec::new(), Coverage::default()),
            Err(fault @ Fault::NoThread) => {
                (Err(Failure::Error(fault.text().to_owned())), Vec::new(), Coverage::default())
            }
        };
        let fault = result.err().map(|failure| self.explain(test, &failure, &covered));
        TestRun { fault, printed: bounded(printed), covered }
    }

    /// The lines that could be evaluated, of every module.
    #[must_use]
    pub fn coverable(&self) -> Coverage {
        coverage::coverable(&self.modules)
    }

    /// The package of every module, in their order, as its components.
    #[must_use]
    pub fn packages(&self) -> Vec<Vec<String>> {
        let package = |module: &Ref<Module>| components(&module.package.refr).unwrap_or_default();
        self.modules.iter().map(package).collect()
    }

    /// True if there is a rule `name` in `package`; both as in `data.sealwright.main` and
    /// `decision`.
    #[must_use]
    pub fn declares(&self, package: &str, name: &str) -> bool {
        scan::declares(&self.modules, package, name)
    }

    /// The value of the reference `query`, such as `data.authz.allow`, for `input`.
    ///
    /// # Errors
    ///
    /// [`Failure`] if it has none.
    pub fn query(&self, query: &str, input: &Value) -> Result<Value, Failure> {
        self.query_all(query, std::slice::from_ref(input))
            .pop()
            .unwrap_or_else(|| Err(Failure::Error(Fault::NoThread.text().to_owned())))
    }

    /// The same, also without any input: what refers to it is undefined then.
    ///
    /// # Errors
    /// [`Failure`] if it has none.
    pub fn query_with(&self, query: &str, input: Option<&Value>) -> Result<Value, Failure> {
        if let Some(input) = input {
            return self.query(query, input);
        }
        if !is_reference(query) {
            return Err(not_a_reference(query));
        }
        fenced(|| ask(&mut self.engine.clone(), query, None, Duration::ZERO)).unwrap_or_else(
            |fault| {
                Err(match fault {
                    Fault::Panic => Failure::Panic,
                    Fault::NoThread => Failure::Error(fault.text().to_owned()),
                })
            },
        )
    }

    /// The same for each of `inputs`, in one go. A query may take as long as a decision over as many
    /// statements as there are in its input.
    #[must_use]
    pub fn query_all(&self, query: &str, inputs: &[Value]) -> Vec<Result<Value, Failure>> {
        self.query_all_within(query, inputs, Duration::ZERO)
    }

    /// The same, with at least so much time for each.
    pub(crate) fn query_all_within(
        &self,
        query: &str,
        inputs: &[Value],
        least: Duration,
    ) -> Vec<Result<Value, Failure>> {
        if !is_reference(query) {
            return vec![Err(not_a_reference(query)); inputs.len()];
        }
        let evaluated = fenced(|| {
            let mut engine = self.engine.clone();
            let mut values = Vec::with_capacity(inputs.len());
            for input in inputs {
                let value =
                    catch_unwind(AssertUnwindSafe(|| ask(&mut engine, query, Some(input), least)));
                values.push(value.unwrap_or_else(|_| {
                    // What a panic left half-done is thrown away.
                    engine = self.engine.clone();
                    Err(Failure::Panic)
                }));
            }
            values
        });
        evaluated.unwrap_or_else(|fault| {
            vec![Err(Failure::Error(fault.text().to_owned())); inputs.len()]
        })
    }

    /// What looks wrong in the modules; empty if nothing does.
    #[must_use]
    pub fn lint(&self) -> Vec<Finding> {
        fenced(|| lint::findings(&self.written)).unwrap_or_else(|_| vec![Finding::unreadable()])
    }

    /// The names of fields that the modules mention.
    #[must_use]
    pub fn fields(&self) -> BTreeSet<String> {
        crate::fuzz::fields(&self.modules)
    }

    fn copy(&self, limit: Duration) -> Engine {
        let mut engine = self.engine.clone();
        engine.set_execution_timer_config(engine::timer(limit));
        engine
    }

    /// Compiles once what copies of the engine would each compile again.
    fn prepare(&mut self) -> Result<(), PolicyError> {
        let Some(path) = self.modules.iter().find_map(scan::any_rule) else { return Ok(()) };
        engine::prepare(&mut self.engine, &path)
    }

    fn explain(&self, test: &Test, failure: &Failure, covered: &Coverage) -> String {
        if let Failure::Error(text) = failure {
            return one_line(text);
        }
        let last = self.last_line(test).and_then(|last| covered.last(&test.file, test.line, last));
        match (failure, last) {
            (Failure::Undefined, Some(line)) if line > test.line => {
                format!("it is undefined; line {line} is as far as it came")
            }
            _ => failure.to_string(),
        }
    }

    /// The last line of the rule of a test.
    fn last_line(&self, test: &Test) -> Option<u32> {
        let module = self.modules.iter().find(|module| tree::file_of(module) == test.file)?;
        let rule = module.policy.iter().find(|rule| rule.span().line == test.line)?;
        let lines = rule.span().text().lines().count();
        test.line.checked_add(u32::try_from(lines).ok()?)?.checked_sub(1)
    }
}

impl std::fmt::Debug for Suite {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.debug_struct("Suite").field("tests", &self.tests).finish_non_exhaustive()
    }
}

/// The engine's text for an error, which is a picture of the place, in one line.
pub(crate) fn one_line(text: &str) -> String {
    let place = text.lines().find_map(|line| line.trim().strip_prefix("--> "));
    let said = text.lines().find_map(|line| line.trim().strip_prefix("error: "));
    match (place, said) {
        (Some(place), Some(said)) => format!("{place}: {said}"),
        _ => text.split_whitespace().collect::<Vec<_>>().join(" "),
    }
}

fn build(
    modules: &[(String, String)],
    data: &Value,
    options: SuiteOptions,
) -> Result<Engine, PolicyError> {
    // Generated tables have lines that nobody would write.
    let lengths = PolicyLengthConfig {
        max_col: NonZeroU32::new(1 << 16).unwrap_or(NonZeroU32::MAX),
        max_file_bytes: NonZeroUsize::new(8 << 20).unwrap_or(NonZeroUsize::MAX),
        max_lines: NonZeroUsize::new(200_000).unwrap_or(NonZeroUsize::MAX),
    };
    fenced(|| {
        let mut engine = engine::new();
        engine.set_rego_v0(options.v0_compatible);
        engine.set_strict_builtin_errors(!options.lenient_builtin_errors);
        engine.set_gather_prints(true);
        engine.set_policy_length_config(lengths);
        for (name, text) in modules {
            engine
                .add_policy(name.clone(), text.clone())
                .map_err(|error| rego_error(name, &one_line(&error.to_string())))?;
        }
        engine
            .add_data(regorus::Value::from(data.clone()))
            .map_err(|error| rego_error("the data", &error.to_string()))?;
        Ok(engine)
    })
    .unwrap_or_else(|fault| Err(rego_error("the modules", fault.text())))
}

fn not_a_reference(query: &str) -> Failure {
    Failure::Error(format!("{query} is not a reference such as data.authz.allow"))
}

fn ask(
    engine: &mut Engine,
    query: &str,
    input: Option<&Value>,
    least: Duration,
) -> Result<Value, Failure> {
    let limit = engine::decision_limit(input.map_or(0, statements)).max(least);
    engine.set_execution_timer_config(engine::timer(limit));
    let input = input.map_or(regorus::Value::Undefined, |input| input.clone().into());
    engine.set_input(input);
    let results = engine.eval_query(query.to_owned(), false).map_err(engine::failure)?;
    let value =
        results.result.into_iter().next().and_then(|row| row.expressions.into_iter().next());
    match value.map(|expression| expression.value) {
        None | Some(regorus::Value::Undefined) => Err(Failure::Undefined),
        Some(value) => {
            let json = value.to_json_str().map_err(engine::failure)?;
            serde_json::from_str(&json).map_err(|error| Failure::Error(error.to_string()))
        }
    }
}

fn statements(input: &Value) -> usize {
    let lists = ["attestations", "revocations"].map(|name| input.get(name));
    lists.into_iter().flatten().filter_map(Value::as_array).map(Vec::len).sum()
}

/// `data`, followed by names and quoted strings.
fn is_reference(query: &str) -> bool {
    let Some(mut rest) = query.strip_prefix("data") else { return false };
    let word = |c: char| c.is_ascii_alphanumeric() || c == '_';
    while !rest.is_empty() {
        rest = if let Some(name) = rest.strip_prefix('.') {
            if !name.starts_with(|c: char| c.is_ascii_alphabetic() || c == '_') {
                return false;
            }
            name.trim_start_matches(word)
        } else if let Some(quoted) = rest.strip_prefix("[\"") {
            let Some((key, after)) = quoted.split_once("\"]") else { return false };
            if key.contains(['"', '\\', '\n']) {
                return false;
            }
            after
        } else {
            return false;
        };
    }
    true
}

fn tests_in(module: &Ref<Module>) -> Vec<Test> {
    let package = components(&module.package.refr).unwrap_or_default();
    let parts = || package.iter().map(String::as_str);
    let mut tests = Vec::new();
    for (rule, name) in again::test_rules(module) {
        let (shown, path) = match name.split_once(again::DUPLICATE) {
            Some((first, count)) => (format!("{first}#{count}"), name.clone()),
            None => (name.clone(), name),
        };
        tests.push(Test {
            package: tree::reference(parts()),
            todo: shown.starts_with("todo_"),
            name: shown,
            file: tree::file_of(module).to_owned(),
            line: rule.span().line,
            path: tree::reference(parts().chain([path.as_str()])),
        });
    }
    tests
}

/// A rule and a value in one place: which of them is meant?
fn check_conflicts(modules: &[Ref<Module>], data: &Value) -> Result<(), PolicyError> {
    for module in modules {
        let Some(package) = components(&module.package.refr) else { continue };
        let inside = package.iter().try_fold(data, |value, part| value.get(part));
        for name in inside.iter().flat_map(|_| module.policy.iter().filter_map(scan::rule_name)) {
            if inside.is_some_and(|value| value.get(&name).is_some()) {
                let parts = package.iter().map(String::as_str).chain([name.as_str()]);
                return Err(PolicyError::DataShadowsRule { rule: tree::reference(parts) });
            }
        }
    }
    Ok(())
}

fn shorten(text: &str) -> String {
    let mut short: String = text.chars().take(200).collect();
    if short.len() < text.len() {
        short.push('…');
    }
    short
}

/// A policy can print more than anybody reads.
fn bounded(lines: Vec<String>) -> Vec<String> {
    let mut left = MAX_PRINTED;
    let mut kept = Vec::new();
    for line in lines {
        if line.len() > left {
            kept.push(String::from("… and more"));
            break;
        }
        left -= line.len();
        kept.push(line);
    }
    kept
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn references_are_told_from_other_queries() {
        for good in ["data", "data.a", "data.a_1.b", "data.a[\"b-c\"].d", "data[\"a\"]"] {
            assert!(is_reference(good), "{good}");
        }
        for bad in
            ["", "input.a", "data.", "data.1", "data.a[1]", "data.a; true", "data.a == 1", "datax"]
        {
            assert!(!is_reference(bad), "{bad}");
        }
    }

    #[test]
    fn an_error_is_one_line() {
        let text = "\n--> a.rego:3:5\n  |\n3 | x\n  | ^\nerror: could not find function f";
        assert_eq!(one_line(text), "a.rego:3:5: could not find function f");
        assert_eq!(one_line(" a\n b"), "a b");
    }
}
