//! What those see who watch the service: metrics, readiness, traces.

use std::net::SocketAddr;

use sealwright_attest::Signer as _;
use sealwright_server::service::{Config, start};
use serde_json::{Value, json};

use crate::service::{client, config, get, key, note, send, serve};

fn get_from(address: SocketAddr, path: &str) -> (u16, String) {
    let request = format!("GET {path} HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n");
    let answer = send(address, request.as_bytes());
    (answer.status, String::from_utf8(answer.body).unwrap())
}

#[test]
fn metrics_are_for_those_who_watch() {
    let dir = tempfile::tempdir().unwrap();
    let metrics = Some("127.0.0.1:0".parse().unwrap());
    let service = start(&Config { metrics, init: true, ..config(dir.path()) }).unwrap();
    let signer = key();
    client(&service).submit(&note(&signer, "model", "x"), signer.public_key()).unwrap();
    assert_eq!(get(&service, "/metrics").status, 404);
    for path in
        ["/nothing", "/a/b", "/api/v2/tile/0/000", "/api/v2/tile/0/001", "/api/v1/bundles?limit=0"]
    {
        get(&service, path);
    }
    let watched = service.metrics_addr().unwrap();
    let (status, text) = get_from(watched, "/metrics");
    assert_eq!(status, 200);
    let value = |name: &str| -> f64 {
        let line = text.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(' '));
        line.unwrap_or_else(|| panic!("{name}: {text}")).parse().unwrap()
    };
    let requests = |route: &str, method: &str, status: u16| {
        value(&format!(
            "sealwright_requests_total{{route=\"{route}\",method=\"{method}\",status=\"{status}\"}}"
        ))
    };
    assert_eq!(requests("/api/v1/bundles", "POST", 201), 1.0);
    // Routes are those of the service, whatever is asked for.
    assert_eq!(requests("other", "GET", 404), 3.0);
    assert_eq!(requests("/api/v2/tile/{*path}", "GET", 404), 2.0);
    assert!(!text.contains("nothing"), "{text}");
    assert_eq!(value("sealwright_refusals_total{reason=\"QUERY\"}"), 1.0);
    assert_eq!(value("sealwright_log_entries"), 1.0);
    assert_eq!(value("sealwright_append_duration_seconds_count"), 1.0);
    assert_eq!(value("sealwright_batch_entries_sum"), 1.0);
    assert_eq!(value("sealwright_queued"), 0.0);
    assert!(value("sealwright_store_free_bytes") > 0.0);
    assert!(value("sealwright_store_database_bytes") > 0.0);
    assert!(value("sealwright_certificate_expiry_seconds{of=\"timestamp-authority\"}") > 2e9);
    assert_eq!(get_from(watched, "/healthz").0, 200);
    assert_eq!(get_from(watched, "/readyz").0, 200);
    assert_eq!(get_from(watched, "/api/v2/checkpoint").0, 404);
}

#[test]
fn readiness_has_reasons() {
    let dir = tempfile::tempdir().unwrap();
    let service = serve(dir.path());
    let ready = get(&service, "/readyz");
    assert_eq!((ready.status, ready.json()), (200, json!({"ready": true, "reasons": []})));
    // Certificates that ended long ago.
    let tls_dir = dir.path().join("tls");
    std::fs::create_dir(&tls_dir).unwrap();
    sealwright_server::tls::create(&tls_dir, &["localhost".to_owned()], 86_400).unwrap();
    let file = |name: &str| tls_dir.join(name);
    let metrics = Some("127.0.0.1:0".parse().unwrap());
    let expired = start(&Config {
        tls: Some(sealwright_server::service::TlsFiles {
            certificate: file(sealwright_server::tls::CERTIFICATE_FILE),
            key: file(sealwright_server::tls::KEY_FILE),
            client_ca: None,
        }),
        metrics,
        data_dir: dir.path().join("other"),
        ..config(dir.path())
    })
    .unwrap();
    let (status, text) = get_from(expired.metrics_addr().unwrap(), "/readyz");
    let value: Value = serde_json::from_str(&text).unwrap();
    assert_eq!((status, &value["reasons"]), (503, &json!(["TLS_EXPIRED"])));
}

#[test]
fn authorities_that_are_promised_and_not_there_are_missed() {
    let dir = tempfile::tempdir().unwrap();
    let config = config(dir.path());
    sealwright_server::service::init(&config).unwrap();
    let service = start(&config).unwrap();
    assert_eq!(get(&service, "/readyz").status, 200);
    service.stop();
    std::fs::rename(config.data_dir.join("authority"), config.data_dir.join("away")).unwrap();
    let ready = get(&start(&config).unwrap(), "/readyz");
    assert_eq!((ready.status, &ready.json()["reasons"]), (503, &json!(["AUTHORITIES_MISSING"])));
}

#[test]
fn answers_belong_to_the_trace_of_their_requests() {
    let dir = tempfile::tempdir().unwrap();
    let service = serve(dir.path());
    let id = "4bf92f3577b34da6a3ce929d0e0e4736";
    let request = format!(
        "GET /nothing HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\
         traceparent: 00-{id}-00f067aa0ba902b7-01\r\n\r\n"
    );
    let answer = send(service.local_addr(), request.as_bytes());
    assert!(answer.head.contains(&format!("\r\ntraceparent: 00-{id}-")), "{}", answer.head);
    assert!(!answer.head.contains("00f067aa0ba902b7"), "{}", answer.head);
    assert!(get(&service, "/healthz").head.contains("\r\ntraceparent: 00-"));
}

/// A collector that takes one batch; says how it was asked, and for what.
fn collector() -> (String, std::thread::JoinHandle<(String, Value)>) {
    use std::io::{BufRead as _, BufReader, Read as _, Write as _};
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let url = format!("http://{}", listener.local_addr().unwrap());
    let taking = std::thread::spawn(move || {
        let mut stream = listener.accept().unwrap().0;
        let mut reader = BufReader::new(stream.try_clone().unwrap());
        let (mut head, mut length) = (String::new(), 0);
        loop {
            let mut line = String::new();
            reader.read_line(&mut line).unwrap();
            if line.trim().is_empty() {
                break;
            }
            if let Some(value) = line.to_lowercase().strip_prefix("content-length:") {
                length = value.trim().parse().unwrap();
            }
            head += &line;
        }
        let mut body = vec![0; length];
        reader.read_exact(&mut body).unwrap();
        let answer =
            "HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ncontent-length: 2\r\n\r\n{}";
        stream.write_all(answer.as_bytes()).unwrap();
        (head, serde_json::from_slice(&body).unwrap())
    });
    (url, taking)
}

#[test]
fn spans_reach_a_collector() {
    let dir = tempfile::tempdir().unwrap();
    let (url, taking) = collector();
    let config = Config { otlp_endpoint: Some(format!("{url}/")), ..config(dir.path()) };
    let service = start(&config).unwrap();
    let id = "4bf92f3577b34da6a3ce929d0e0e4736";
    let ask = |path: &str, flags: &str| {
        let request = format!(
            "GET {path} HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\
             traceparent: 00-{id}-00f067aa0ba902b7-{flags}\r\n\r\n"
        );
        send(service.local_addr(), request.as_bytes())
    };
    ask("/healthz", "00");
    let answer = ask("/api/v1/bundles/7", "01");
    let begun = get(&service, "/healthz");
    // What is queued is sent before the service ends.
    service.stop();
    let (head, sent) = taking.join().unwrap();
    assert!(head.starts_with("POST /v1/traces HTTP/1.1\r\n"), "{head}");
    assert!(head.to_lowercase().contains("content-type: application/json"), "{head}");
    let resource = &sent["resourceSpans"][0];
    let attributes = |value: &Value| -> std::collections::BTreeMap<String, Value> {
        let list = value["attributes"].as_array().unwrap().iter();
        let pair = |a: &Value| (a["key"].as_str().unwrap().to_owned(), a["value"].clone());
        list.map(pair).collect()
    };
    assert_eq!(attributes(&resource["resource"])["service.name"]["stringValue"], "sealwright");
    let spans = resource["scopeSpans"][0]["spans"].as_array().unwrap();
    // The first was not recorded where its trace began.
    let [known, new] = &spans[..] else { panic!("{spans:?}") };
    assert_eq!(
        (&known["traceId"], &known["parentSpanId"]),
        (&json!(id), &json!("00f067aa0ba902b7"))
    );
    let span_id = known["spanId"].as_str().unwrap();
    assert!(answer.head.contains(&format!("traceparent: 00-{id}-{span_id}-01")), "{}", answer.head);
    assert_eq!(known["name"], "GET /api/v1/bundles/{index}");
    let said = attributes(known);
    assert_eq!(said["http.response.status_code"]["intValue"], "404");
    assert_eq!(known["kind"], 2);
    let trace = new["traceId"].as_str().unwrap();
    assert!(begun.head.contains(&format!("traceparent: 00-{trace}-")), "{}", begun.head);
    assert_ne!(trace, id);

    let config = Config { otlp_endpoint: Some("collector:4318".to_owned()), ..config };
    assert!(start(&config).is_err_and(|error| error.to_string().contains("not a URL")));
}
