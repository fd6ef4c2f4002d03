//! What the service counts and measures, for Prometheus (OpenMetrics text).
//!
//! The values of labels are bounded: routes are those of the router, methods and reasons are from fixed
//! lists. Nothing that a client sends becomes a label.

use std::sync::atomic::AtomicU64;
use std::time::Duration;

use prometheus_client::encoding::EncodeLabelSet;
use prometheus_client::encoding::text::encode;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::metrics::histogram::Histogram;
use prometheus_client::registry::{Registry, Unit};

/// Seconds; the slowest requests take thirty.
const LATENCIES: [f64; 12] =
    [0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 5.0, 30.0];
const BATCHES: [f64; 9] = [1.0, 2.0, 4.0, 8.0, 16.0, 32.0, 64.0, 128.0, 256.0];

type Number = Gauge<f64, AtomicU64>;

/// All of it.
pub(crate) struct Metrics {
    registry: Registry,
    requests: Family<Request, Counter>,
    latency: Family<Route, Histogram, fn() -> Histogram>,
    refusals: Family<Refusal, Counter>,
    append: Histogram,
    pub(crate) sequencer: SequencerMetrics,
    now: Now,
}

/// What the sequencer measures.
#[derive(Debug, Clone)]
pub(crate) struct SequencerMetrics {
    /// Jobs that wait.
    pub(crate) queued: Gauge,
    /// Entries of each batch.
    pub(crate) batches: Histogram,
}

/// What is looked up when somebody asks.
#[derive(Debug, Default)]
struct Now {
    entries: Gauge,
    checkpoint_age: Gauge,
    cosignatures: Gauge,
    certificate_expiry: Family<Certificate, Number>,
    free: Number,
    database: Number,
    refused_files: Gauge,
}

/// A state of the service, for [`Metrics::text`].
#[derive(Debug, Clone, Default)]
pub(crate) struct Snapshot {
    pub(crate) entries: u64,
    pub(crate) checkpoint_age_s: u64,
    /// Of the current checkpoint.
    pub(crate) cosignatures: usize,
    /// Whose certificate, and its last second since 1970.
    pub(crate) certificates: Vec<(&'static str, u64)>,
    pub(crate) free_bytes: u64,
    pub(crate) database_bytes: u64,
    /// Files that changed and cannot be used.
    pub(crate) refused_files: usize,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct Request {
    route: String,
    method: &'static str,
    status: u16,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct Route {
    route: String,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct Refusal {
    reason: &'static str,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct Certificate {
    of: &'static str,
}

impl Metrics {
    pub(crate) fn new() -> Self {
        let mut all = <Registry>::default();
        let registry = all.sub_registry_with_prefix("sealwright");
        let latencies: fn() -> Histogram = || Histogram::new(LATENCIES);
        let requests = Family::<Request, Counter>::default();
        let latency = Family::new_with_constructor(latencies);
        let refusals = Family::<Refusal, Counter>::default();
        let append = latencies();
        let sequencer =
            SequencerMetrics { queued: Gauge::default(), batches: Histogram::new(BATCHES) };
        registry.register("requests", "Requests by route, method and status", requests.clone());
        let help = "From the end of a request's header to its answer, by route";
        registry.register_with_unit("request_duration", help, Unit::Seconds, latency.clone());
        registry.register("refusals", "Requests that were refused, by reason", refusals.clone());
        let help = "From the queue until an entry is durable and published";
        registry.register_with_unit("append_duration", help, Unit::Seconds, append.clone());
        registry.register("queued", "Jobs that wait for the sequencer", sequencer.queued.clone());
        registry.register("batch_entries", "Entries of each batch", sequencer.batches.clone());
        let now = Now::default();
        now.register(registry);
        Self { registry: all, requests, latency, refusals, append, sequencer, now }
    }

    /// Counts a request that was answered.
    pub(crate) fn answered(
        &self,
        route: &str,
        method: &'static str,
        status: u16,
        refusal: Option<&'static str>,
        took: Duration,
    ) {
        let route = route.to_owned();
        self.latency.get_or_create(&Route { route: route.clone() }).observe(took.as_secs_f64());
        self.requests.get_or_create(&Request { route, method, status }).inc();
        if let Some(reason) = refusal {
            self.refusals.get_or_create(&Refusal { reason }).inc();
        }
    }

    /// Counts an entry that is durable.
    pub(crate) fn appended(&self, took: Duration) {
        self.append.observe(took.as_secs_f64());
    }

    /// Everything, in OpenMetrics text.
    pub(crate) fn text(&self, now: &Snapshot) -> String {
        self.now.set(now);
        let mut text = String::new();
        // Writing to a string does not fail.
        let _ = encode(&mut text, &self.registry);
        text
    }
}

impl Now {
    fn register(&self, registry: &mut Registry) {
        registry.register("log_entries", "Entries of the log", self.entries.clone());
        let help = "Since the last checkpoint was signed";
        registry.register_with_unit(
            "checkpoint_age",
            help,
            Unit::Seconds,
            self.checkpoint_age.clone(),
        );
        let help = "Cosignatures of witnesses on the current checkpoint";
        registry.register("checkpoint_cosignatures", help, self.cosignatures.clone());
        let help = "Last second of a certificate, since 1970";
        let expiry = self.certificate_expiry.clone();
        registry.register_with_unit("certificate_expiry", help, Unit::Seconds, expiry);
        let help = "Space left for the data directory";
        registry.register_with_unit("store_free", help, Unit::Bytes, self.free.clone());
        let help = "Size of the database";
        registry.register_with_unit("store_database", help, Unit::Bytes, self.database.clone());
        let help = "Files that changed and cannot be used; the old ones are in force";
        registry.register("refused_files", help, self.refused_files.clone());
    }

    fn set(&self, now: &Snapshot) {
        let count = |number: u64| i64::try_from(number).unwrap_or(i64::MAX);
        self.entries.set(count(now.entries));
        self.checkpoint_age.set(count(now.checkpoint_age_s));
        self.cosignatures.set(i64::try_from(now.cosignatures).unwrap_or(i64::MAX));
        for (of, not_after) in &now.certificates {
            self.certificate_expiry.get_or_create(&Certificate { of }).set(float(*not_after));
        }
        self.free.set(float(now.free_bytes));
        self.database.set(float(now.database_bytes));
        self.refused_files.set(i64::try_from(now.refused_files).unwrap_or(i64::MAX));
    }
}

/// The nearest number; exact below 2^53.
#[expect(clippy::cast_precision_loss, reason = "a measurement")]
fn float(number: u64) -> f64 {
    number as f64
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_text_has_what_was_counted() {
        let metrics = Metrics::new();
        let took = Duration::from_millis(3);
        metrics.answered("/api/v1/bundles", "POST", 201, None, took);
        metrics.answered("/api/v1/bundles", "POST", 429, Some("RATE_LIMITED"), took);
        metrics.appended(took);
        let now = Snapshot {
            entries: 7,
            certificates: vec![("tls", 1_800_000_000)],
            ..Snapshot::default()
        };
        let text = metrics.text(&now);
        for line in [
            "sealwright_requests_total{route=\"/api/v1/bundles\",method=\"POST\",status=\"201\"} 1",
            "sealwright_refusals_total{reason=\"RATE_LIMITED\"} 1",
            "sealwright_append_duration_seconds_count 1",
            "sealwright_log_entries 7",
            "sealwright_certificate_expiry_seconds{of=\"tls\"} 1800000000.0",
            "# EOF",
        ] {
            assert!(text.lines().any(|found| found == line), "{line}: {text}");
        }
    }
}
