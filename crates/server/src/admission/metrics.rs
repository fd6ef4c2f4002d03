//! What the webhook counts, for Prometheus (OpenMetrics text).

use std::path::Path;
use std::sync::atomic::{AtomicU64, Ordering};

use prometheus_client::encoding::text::encode;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::registry::Registry;
use sealwright_attest::Timestamp;

use super::publish::Progress;

/// Decisions, and how far the signing and logging of verdicts is behind them.
#[derive(Debug)]
pub(crate) struct Metrics {
    registry: Registry,
    allowed: Counter,
    denied: Counter,
    behind_bytes: Gauge,
    behind_seconds: Gauge,
    logged: Gauge,
    refused: Gauge,
    failures: Gauge,
    dead: Gauge,
}

impl Metrics {
    pub(crate) fn new() -> Self {
        let mut all = <Registry>::default();
        let registry = all.sub_registry_with_prefix("sealwright_admission");
        let (allowed, denied) = (Counter::default(), Counter::default());
        registry.register("allowed", "Requests that were let in", allowed.clone());
        registry.register("denied", "Requests that were denied", denied.clone());
        let gauge = |registry: &mut Registry, name: &str, help: &str| {
            let gauge = Gauge::default();
            registry.register(name, help, gauge.clone());
            gauge
        };
        let help = "Bytes of the decisions file whose verdicts are not logged yet";
        let behind_bytes = gauge(registry, "verdicts_behind_bytes", help);
        let help = "Age of the oldest decision whose verdict is not logged yet";
        let behind_seconds = gauge(registry, "verdicts_behind_seconds", help);
        let help = "Verdicts logged since the start";
        let logged = gauge(registry, "verdicts_logged", help);
        let help =
            "Verdicts refused by the service for good, or not fit to be signed, since the start";
        let refused = gauge(registry, "verdicts_refused", help);
        let help = "Tries to log a verdict that failed since the start";
        let failures = gauge(registry, "verdicts_failures", help);
        let help = "1 if the thread that logs verdicts has ended, and a restart is needed";
        let dead = gauge(registry, "verdicts_stopped", help);
        Self {
            registry: all,
            allowed,
            denied,
            behind_bytes,
            behind_seconds,
            logged,
            refused,
            failures,
            dead,
        }
    }

    pub(crate) fn decided(&self, allowed: bool) {
        if allowed {
            self.allowed.inc()
        } else {
            self.denied.inc()
        };
    }

    /// All of it at `now`. Without `progress` verdicts are not signed, and nothing is behind.
    pub(crate) fn text(
        &self,
        decisions: &Path,
        progress: Option<&Progress>,
        now: Timestamp,
    ) -> String {
        if let Some(progress) = progress {
            let read = |value: &AtomicU64| value.load(Ordering::Relaxed);
            let set =
                |gauge: &Gauge, value: u64| gauge.set(i64::try_from(value).unwrap_or(i64::MAX));
            let size = std::fs::metadata(decisions).map_or(0, |meta| meta.len());
            set(&self.behind_bytes, size.saturating_sub(read(&progress.offset)));
            let oldest = match read(&progress.oldest) {
                0 => 0,
                oldest => now.unix().saturating_sub(oldest),
            };
            set(&self.behind_seconds, oldest);
            set(&self.logged, read(&progress.logged));
            set(&self.refused, read(&progress.refused));
            set(&self.failures, read(&progress.failures));
            set(&self.dead, read(&progress.dead));
        }
        let mut text = String::new();
        // Writing into a string does not fail.
        let _ = encode(&mut text, &self.registry);
        text
    }
}
