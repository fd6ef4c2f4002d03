//! Around every request: a span with its trace (W3C Trace Context), a count, a line in the log.

use std::sync::Arc;
use std::time::{Instant, SystemTime};

use axum::extract::{MatchedPath, Request, State as Shared};
use axum::http::{HeaderMap, HeaderName, HeaderValue, Method};
use axum::middleware::Next;
use axum::response::Response;
use tracing::Instrument as _;

use crate::error::Reason;
use crate::state::State;
use crate::traces::Answered;

const TRACEPARENT: HeaderName = HeaderName::from_static("traceparent");

/// The route of whatever has none.
const OTHER: &str = "other";

/// Which request of which trace.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Trace {
    /// 32 hexadecimal digits.
    trace_id: String,
    /// 16 hexadecimal digits, made here.
    span_id: String,
    /// The caller's span, if it named one.
    parent: Option<String>,
    /// Two hexadecimal digits.
    flags: String,
}

/// The outermost layer.
pub(super) async fn observe(
    Shared(state): Shared<Arc<State>>,
    request: Request,
    next: Next,
) -> Response {
    let (started, began) = (Instant::now(), SystemTime::now());
    let trace = Trace::of(request.headers(), random(), state.traces.is_some());
    let route = request.extensions().get::<MatchedPath>();
    let route = route.map_or_else(|| OTHER.to_owned(), |path| path.as_str().to_owned());
    let method = match *request.method() {
        Method::GET => "GET",
        Method::HEAD => "HEAD",
        Method::POST => "POST",
        _ => OTHER,
    };
    // With the audit log, so that its lines can be told apart by request.
    let span = tracing::info_span!(
        target: "audit",
        "request",
        trace = trace.trace_id,
        span = trace.span_id,
        method,
        route,
    );
    let mut response = async {
        let response = next.run(request).await;
        let (status, took) = (response.status().as_u16(), started.elapsed());
        let refusal = response.extensions().get::<Reason>().map(|reason| reason.0);
        state.metrics.answered(&route, method, status, refusal, took);
        let took_us = u64::try_from(took.as_micros()).unwrap_or(u64::MAX);
        tracing::info!(target: "access", status, took_us, reason = refusal, "answered");
        if let Some(traces) = state.traces.as_ref().filter(|_| trace.is_sampled()) {
            let (trace_id, span_id) = (&*trace.trace_id, &*trace.span_id);
            let (route, parent, reason) = (&*route, trace.parent.as_deref(), refusal);
            traces.answered(&Answered {
                trace_id,
                span_id,
                parent,
                method,
                route,
                status,
                reason,
                began,
                took,
            });
        }
        response
    }
    .instrument(span)
    .await;
    if let Ok(value) = HeaderValue::from_str(&trace.to_string()) {
        response.headers_mut().insert(TRACEPARENT, value);
    }
    response
}

impl Trace {
    /// The trace that the request belongs to, or a new one, which is recorded if `records`. Whether one
    /// that began elsewhere is recorded was said there.
    fn of(headers: &HeaderMap, random: [u8; 24], records: bool) -> Self {
        let (new_trace, span) = random.split_at(16);
        let span_id = hex::encode(span);
        let given = headers.get(TRACEPARENT).and_then(|value| value.to_str().ok()).and_then(parse);
        if let Some((trace_id, parent, flags)) = given {
            return Self { trace_id, span_id, parent: Some(parent), flags };
        }
        let flags = if records { "01" } else { "00" }.to_owned();
        Self { trace_id: hex::encode(new_trace), span_id, parent: None, flags }
    }

    /// The lowest bit (Trace Context §3.2.2.5.1).
    fn is_sampled(&self) -> bool {
        u8::from_str_radix(&self.flags, 16).is_ok_and(|flags| flags & 1 == 1)
    }
}

impl std::fmt::Display for Trace {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "00-{}-{}-{}", self.trace_id, self.span_id, self.flags)
    }
}

/// Trace id, parent id and flags of `traceparent` (Trace Context §3.2): later versions may have more at the end.
fn parse(value: &str) -> Option<(String, String, String)> {
    let mut parts = value.splitn(5, '-');
    let (version, trace, parent, flags) =
        (parts.next()?, parts.next()?, parts.next()?, parts.next()?);
    let is_hex = |text: &str, len: usize| {
        text.len() == len && text.bytes().all(|b| matches!(b, b'0'..=b'9' | b'a'..=b'f'))
    };
    let is_zero = |text: &str| text.bytes().all(|b| b == b'0');
    let fits = is_hex(version, 2)
        && version != "ff"
        && (version != "00" || parts.next().is_none())
        && is_hex(trace, 32)
        && !is_zero(trace)
        && is_hex(parent, 16)
        && !is_zero(parent)
        && is_hex(flags, 2);
    fits.then(|| (trace.to_owned(), parent.to_owned(), flags.to_owned()))
}

/// An id need not be hard to guess; without randomness there is none.
fn random() -> [u8; 24] {
    let mut bytes = [0; 24];
    let _ = aws_lc_rs::rand::fill(&mut bytes);
    bytes
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn traces_go_on_or_begin() {
        let trace = |value: &str| {
            let mut headers = HeaderMap::new();
            headers.insert(TRACEPARENT, value.parse().unwrap());
            Trace::of(&headers, [0xab; 24], false).to_string()
        };
        let id = "4bf92f3577b34da6a3ce929d0e0e4736";
        let (own, new) = ("ab".repeat(8), "ab".repeat(16));
        let given = format!("00-{id}-00f067aa0ba902b7-01");
        assert_eq!(trace(&given), format!("00-{id}-{own}-01"));
        assert_eq!(
            trace(&format!("cc-{id}-00f067aa0ba902b7-01-more")),
            format!("00-{id}-{own}-01")
        );
        for bad in [
            "",
            "00",
            &format!("{given}-more"),
            &given.to_uppercase(),
            &given.replace("00f067aa0ba902b7", "0000000000000000"),
            &given.replace(id, &"0".repeat(32)),
            &given.replacen("00", "ff", 1),
            &given.replace(id, "x"),
        ] {
            assert_eq!(trace(bad), format!("00-{new}-{own}-00"), "{bad}");
        }
    }
}
