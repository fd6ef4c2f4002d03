//! Finished spans, sent to a collector by OTLP over HTTP as JSON (OTLP 1.x, `/v1/traces`).
//!
//! Whoever answers requests never waits for the collector: spans are queued (2048 of them) and sent in
//! batches by a thread of their own; what does not fit into the queue is dropped.

use std::fmt;
use std::time::{Duration, SystemTime};

use opentelemetry::trace::{
    SpanContext, SpanId, SpanKind, Status, TraceFlags, TraceId, TraceState,
};
use opentelemetry::{InstrumentationScope, KeyValue};
use opentelemetry_http::{Bytes, HttpClient, HttpError, Request, Response};
use opentelemetry_otlp::{Protocol, SpanExporter, WithExportConfig as _, WithHttpConfig as _};
use opentelemetry_sdk::Resource;
use opentelemetry_sdk::trace::{BatchSpanProcessor, SpanData, SpanProcessor as _};

use crate::tls;

/// How long the collector may take.
const TIMEOUT: Duration = Duration::from_secs(10);

/// How long the last spans may take when the service stops.
const LAST_WAIT: Duration = Duration::from_secs(2);

/// Why spans cannot be sent.
#[derive(Debug, thiserror::Error)]
#[error("{endpoint}: {problem}")]
pub struct TracesError {
    endpoint: String,
    problem: String,
}

/// Sends spans to one collector.
pub(crate) struct Traces {
    processor: BatchSpanProcessor,
    scope: InstrumentationScope,
}

/// A request that was answered.
pub(crate) struct Answered<'a> {
    pub(crate) trace_id: &'a str,
    pub(crate) span_id: &'a str,
    /// The caller's span, if it named one.
    pub(crate) parent: Option<&'a str>,
    pub(crate) method: &'static str,
    pub(crate) route: &'a str,
    pub(crate) status: u16,
    /// The reason of a refusal.
    pub(crate) reason: Option<&'static str>,
    pub(crate) began: SystemTime,
    pub(crate) took: Duration,
}

impl Traces {
    /// For the collector at `endpoint`, its base URL; `/v1/traces` is added. `OTEL_EXPORTER_OTLP_HEADERS` is
    /// heeded. Nothing is sent yet.
    ///
    /// # Errors
    /// [`TracesError`] if it is no URL.
    pub(crate) fn start(endpoint: &str, instance: &str) -> Result<Self, TracesError> {
        let bad = |problem: String| TracesError { endpoint: endpoint.to_owned(), problem };
        if !endpoint.starts_with("http://") && !endpoint.starts_with("https://") {
            return Err(bad("not a URL with http or https".to_owned()));
        }
        let exporter = SpanExporter::builder()
            .with_http()
            .with_http_client(Agent(agent()))
            .with_protocol(Protocol::HttpJson)
            .with_timeout(TIMEOUT)
            .with_endpoint(format!("{}/v1/traces", endpoint.trim_end_matches('/')))
            .build()
            .map_err(|error| bad(error.to_string()))?;
        let mut processor = BatchSpanProcessor::builder(exporter).build();
        let resource = Resource::builder()
            .with_service_name("sealwright")
            .with_attribute(KeyValue::new("service.version", env!("CARGO_PKG_VERSION")))
            .with_attribute(KeyValue::new("service.instance.id", instance.to_owned()))
            .build();
        processor.set_resource(&resource);
        let scope = InstrumentationScope::builder("sealwright-server").build();
        Ok(Self { processor, scope })
    }

    /// Queues the span of a request, under the names of OpenTelemetry's semantic conventions for HTTP.
    pub(crate) fn answered(&self, request: &Answered<'_>) {
        let Answered { trace_id, span_id, parent, method, route, status, reason, began, took } =
            *request;
        let (Ok(trace_id), Ok(span_id)) = (TraceId::from_hex(trace_id), SpanId::from_hex(span_id))
        else {
            return;
        };
        let parent_id = parent.and_then(|id| SpanId::from_hex(id).ok()).unwrap_or(SpanId::INVALID);
        let mut attributes = vec![
            KeyValue::new("http.request.method", method),
            KeyValue::new("http.route", route.to_owned()),
            KeyValue::new("http.response.status_code", i64::from(status)),
        ];
        attributes.extend(reason.map(|reason| KeyValue::new("error.type", reason)));
        let state = TraceState::default();
        self.processor.on_end(SpanData {
            span_context: SpanContext::new(trace_id, span_id, TraceFlags::SAMPLED, false, state),
            parent_span_id: parent_id,
            parent_span_is_remote: parent.is_some(),
            span_kind: SpanKind::Server,
            name: format!("{method} {route}").into(),
            start_time: began,
            end_time: began + took,
            attributes,
            dropped_attributes_count: 0,
            events: Default::default(),
            links: Default::default(),
            // What a client did wrong is no error of the server.
            status: if status >= 500 { Status::error("") } else { Status::Unset },
            instrumentation_scope: self.scope.clone(),
        });
    }

    /// Sends what is queued, for as long as that may take.
    pub(crate) fn stop(&self) {
        if let Err(error) = self.processor.shutdown_with_timeout(LAST_WAIT) {
            tracing::warn!(%error, "the last spans may not have reached the collector");
        }
    }
}

impl fmt::Debug for Traces {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.debug_struct("Traces").finish_non_exhaustive()
    }
}

struct Agent(ureq::Agent);

fn agent() -> ureq::Agent {
    ureq::Agent::config_builder()
        .timeout_global(Some(TIMEOUT))
        .http_status_as_error(false)
        .max_redirects(0)
        .user_agent(concat!("sealwright/", env!("CARGO_PKG_VERSION")))
        .tls_config(tls::system_client())
        .build()
        .new_agent()
}

impl fmt::Debug for Agent {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("Agent")
    }
}

#[async_trait::async_trait]
impl HttpClient for Agent {
    /// Blocks: the thread has nothing else to do.
    async fn send_bytes(&self, request: Request<Bytes>) -> Result<Response<Bytes>, HttpError> {
        let (parts, body) = request.into_parts();
        let request = ureq::http::Request::from_parts(parts, body.to_vec());
        let answer = self.0.run(request).inspect_err(|error| {
            tracing::warn!(%error, "spans did not reach the collector");
        })?;
        let (parts, mut body) = answer.into_parts();
        if !parts.status.is_success() {
            tracing::warn!(status = parts.status.as_u16(), "the collector refused spans");
        }
        let body = body.with_config().limit(64 << 10).read_to_vec()?;
        Ok(Response::from_parts(parts, body.into()))
    }
}
