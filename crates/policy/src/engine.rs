//! One evaluation, fenced in: a timer, strict errors, no panic gets out.

use std::num::NonZeroU32;
use std::thread;
use std::time::{Duration, Instant};

use regorus::utils::limits::ExecutionTimerConfig;
use regorus::{Engine, LimitError, Value};

use crate::error::PolicyError;
use crate::verdict::code;

/// The time a decision may take. The starter policy needs about a millisecond.
pub(crate) const DECISION_LIMIT: Duration = Duration::from_millis(100);

/// The time one `test_*` rule may take; it usually makes several decisions.
pub(crate) const TEST_LIMIT: Duration = Duration::from_secs(2);

/// Work units between two looks at the clock. Few: rules that each double a text fill the memory within
/// some thirty units.
pub(crate) const CHECK_INTERVAL: NonZeroU32 = NonZeroU32::new(4).unwrap();

/// The interpreter descends once per rule that another rule needs, and an overflow of the
/// stack ends the process. This is enough for a chain of all the rules a policy may have,
/// without optimisation; memory is taken only as far as it is used.
const STACK_BYTES: usize = 256 * 1024 * 1024;

/// The name of the threads the engine runs on; a panic there is caught, and is a deny.
pub const ENGINE_THREAD: &str = "policy";

/// Why there is no value.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Failure {
    /// The engine gave up; the text is for people.
    #[error("{0}")]
    Error(String),
    /// The timer ran out.
    #[error("it took too long")]
    Timeout,
    /// The rule has no value for this input.
    #[error("it is undefined")]
    Undefined,
    /// The engine panicked.
    #[error("the engine panicked")]
    Panic,
}

impl Failure {
    /// The stable code of a deny for this reason: one of [`crate::code`].
    #[must_use]
    pub fn code(&self) -> &'static str {
        match self {
            Self::Error(_) => code::POLICY_ERROR,
            Self::Timeout => code::POLICY_TIMEOUT,
            Self::Undefined => code::POLICY_UNDEFINED,
            Self::Panic => code::POLICY_PANIC,
        }
    }
}

/// An engine with all `modules` and `data` loaded and strict.
pub(crate) fn build(
    modules: &[(&str, &str)],
    data: &serde_json::Value,
) -> Result<Engine, PolicyError> {
    fenced(|| {
        let mut engine = Engine::new();
        engine.set_strict_builtin_errors(true);
        engine.set_gather_prints(true);
        for (name, text) in modules {
            engine
                .add_policy((*name).to_owned(), (*text).to_owned())
                .map_err(|error| rego_error(name, &error.to_string()))?;
        }
        engine
            .add_data(Value::from(data.clone()))
            .map_err(|error| rego_error("data.json", &error.to_string()))?;
        Ok(engine)
    })
    .unwrap_or_else(|fault| Err(rego_error("the policy", fault.text())))
}

/// Compiles the modules once, so that later clones of the engine need not.
pub(crate) fn prepare(engine: &mut Engine, rule: &str) -> Result<(), PolicyError> {
    fenced(|| {
        engine
            .compile_with_entrypoint(&rule.into())
            .map(|_| ())
            .map_err(|error| rego_error("the policy", &error.to_string()))
    })
    .unwrap_or_else(|fault| Err(rego_error("the policy", fault.text())))
}

/// The value of `rule` for `input`, on a private copy of `engine`.
pub(crate) fn evaluate(
    engine: &Engine,
    rule: &str,
    input: &str,
    limit: Duration,
) -> Result<serde_json::Value, Failure> {
    // The copy is thrown away whatever happens, so a panic leaves nothing half-done.
    let evaluated = fenced(|| {
        let mut engine = engine.clone();
        engine.set_execution_timer_config(ExecutionTimerConfig {
            limit,
            check_interval: CHECK_INTERVAL,
        });
        engine.set_input_json(input).map_err(failure)?;
        let began = Instant::now();
        let value = engine.eval_rule(rule.to_owned()).map_err(failure)?;
        // The timer looks between steps, and one step may have taken all the time there was.
        if began.elapsed() > limit {
            return Err(Failure::Timeout);
        }
        match value {
            Value::Undefined => Err(Failure::Undefined),
            value => value.to_json_str().map_err(failure),
        }
    });
    let json = match evaluated {
        Ok(result) => result?,
        Err(Fault::Panic) => return Err(Failure::Panic),
        Err(fault @ Fault::NoThread) => return Err(Failure::Error(fault.text().to_owned())),
    };
    serde_json::from_str(&json).map_err(|error| Failure::Error(error.to_string()))
}

pub(crate) fn failure(error: impl Into<Box<dyn std::error::Error + Send + Sync>>) -> Failure {
    let error = error.into();
    let text = error.to_string();
    // Inside a function the engine keeps an error's text and not its type.
    let timeout =
        matches!(error.downcast_ref::<LimitError>(), Some(LimitError::TimeLimitExceeded { .. }))
            || text.contains("execution exceeded time limit");
    if timeout { Failure::Timeout } else { Failure::Error(text) }
}

/// Why a fenced piece of work has no result.
pub(crate) enum Fault {
    Panic,
    NoThread,
}

impl Fault {
    pub(crate) fn text(&self) -> &'static str {
        match self {
            Self::Panic => "the engine panicked",
            Self::NoThread => "the system gave no thread for the engine",
        }
    }
}

/// Runs `work` on a thread of its own, with [`STACK_BYTES`] of stack. A panic of the
/// engine, which real policies can cause, ends there.
pub(crate) fn fenced<T: Send>(work: impl FnOnce() -> T + Send) -> Result<T, Fault> {
    thread::scope(|scope| {
        thread::Builder::new()
            .name(String::from(ENGINE_THREAD))
            .stack_size(STACK_BYTES)
            .spawn_scoped(scope, work)
            .map_err(|_| Fault::NoThread)?
            .join()
            .map_err(|_| Fault::Panic)
    })
}

pub(crate) fn rego_error(name: &str, message: &str) -> PolicyError {
    PolicyError::Rego { name: name.to_owned(), message: message.trim().to_owned() }
}
