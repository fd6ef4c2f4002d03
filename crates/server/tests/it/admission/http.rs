//! Over real sockets, with TLS.

use std::net::SocketAddr;
use std::sync::{Arc, Mutex, mpsc};
use std::time::{Duration, SystemTime};

use sealwright_attest::Timestamp;
use sealwright_manifest::Sha256;
use sealwright_server::admission::{Admission, Config, router};
use sealwright_server::client::Found;
use sealwright_server::evidence::{EvidenceSource, Signers, SourceError};
use sealwright_server::{http, tls};
use sealwright_tlog::ConsistencyProof;
use tokio::net::TcpListener;
use tokio::runtime::Runtime;
use tokio::sync::oneshot;

use super::{Answer, Scene, captured};

/// A running webhook.
pub(super) struct Server {
    address: SocketAddr,
    agent: ureq::Agent,
    stop: Option<oneshot::Sender<()>>,
    runtime: Option<Runtime>,
}

impl Server {
    pub(super) fn start(scene: &Scene) -> Self {
        tls::create(scene.dir.path(), &["127.0.0.1".to_owned()], now().unix()).unwrap();
        let file = |name| scene.dir.path().join(name);
        let config = tls::load(&file(tls::CERTIFICATE_FILE), &file(tls::KEY_FILE)).unwrap();
        let ca = ureq::tls::Certificate::from_pem(&std::fs::read(file(tls::CA_FILE)).unwrap());
        let runtime = Runtime::new().unwrap();
        let listener = runtime.block_on(TcpListener::bind("127.0.0.1:0")).unwrap();
        let address = listener.local_addr().unwrap();
        let (stop, stopped) = oneshot::channel::<()>();
        let router = router(scene.admission.clone());
        runtime.spawn(http::serve(router, listener, Some(config), async move {
            let _ = stopped.await;
        }));
        let tls = ureq::tls::TlsConfig::builder()
            .root_certs(ureq::tls::RootCerts::new_with_certs(&[ca.unwrap()]))
            .unversioned_rustls_crypto_provider(tls::provider())
            .build();
        let agent = ureq::Agent::config_builder()
            .tls_config(tls)
            .http_status_as_error(false)
            .timeout_global(Some(Duration::from_secs(60)))
            .build()
            .into();
        Self { address, agent, stop: Some(stop), runtime: Some(runtime) }
    }

    pub(super) fn post(&self, path: &str, content_type: &str, body: &[u8]) -> Answer {
        let url = format!("https://{}{path}", self.address);
        let mut response = self.agent.post(url).content_type(content_type).send(body).unwrap();
        assert_eq!(response.status(), 200);
        assert_eq!(response.headers()["content-type"], "application/json");
        Answer::parse(&response.body_mut().read_to_vec().unwrap())
    }

    pub(super) fn get(&self, path: &str) -> (u16, String) {
        let mut response =
            self.agent.get(format!("https://{}{path}", self.address)).call().unwrap();
        (response.status().as_u16(), response.body_mut().read_to_string().unwrap())
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        drop(self.stop.take());
        // Connections that the agent keeps open end with the runtime.
        self.runtime.take().unwrap().shutdown_background();
    }
}

/// The webhook reads the clock itself.
pub(super) fn now() -> Timestamp {
    let since = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap();
    Timestamp::from_unix(since.as_secs()).unwrap()
}

#[test]
fn allow_deny_and_a_service_that_stops() {
    let scene = Scene::at(now(), |_| {});
    let server = Server::start(&scene);
    let pod = scene.pod().to_string().into_bytes();
    let review = |body: &[u8]| server.post("/validate?timeout=5s", "application/json", body);
    assert!(review(&pod).allowed);
    let unnamed = captured("pod-create-generateName").to_string();
    assert_eq!(review(unnamed.as_bytes()).codes, "MODEL_UNNAMED");
    assert!(server.post("/", "application/json", &pod).allowed);
    assert_eq!(server.get("/healthz"), (200, "ok\n".to_owned()));
    assert_eq!(server.get("/readyz"), (200, "ready\n".to_owned()));

    let reason = "connection refused".to_owned();
    scene.service.state().fault = Some(SourceError::Unreachable { reason });
    assert_eq!(review(&pod).codes, "SERVICE_UNREACHABLE");
    assert_eq!(server.get("/healthz").0, 200);
    let (status, reason) = server.get("/readyz");
    assert_eq!(status, 503);
    assert!(reason.starts_with("SERVICE_UNREACHABLE: "), "{reason}");
    let recorded = scene.records();
    assert_eq!(recorded.len(), 4);
}

#[test]
fn whatever_is_posted_is_answered_with_a_review() {
    let scene = Scene::at(now(), |_| {});
    let server = Server::start(&scene);
    let answer = server.post("/validate", "text/plain", b"hello");
    assert_eq!((answer.codes.as_str(), answer.status), ("REVIEW_MALFORMED", 400));
    // What a content type promises does not matter, neither for better nor for worse.
    assert!(server.post("/validate", "text/plain", scene.pod().to_string().as_bytes()).allowed);
    let answer = server.post("/validate", "application/json", &vec![b' '; (8 << 20) + 1]);
    assert_eq!(answer.codes, "REVIEW_MALFORMED");
    assert!(answer.message.contains("larger than 8 MiB"), "{answer:#?}");
}

/// A service that answers nothing until the other end is dropped.
struct Hanging(Mutex<mpsc::Receiver<()>>);

impl Hanging {
    fn wait<T>(&self) -> Result<T, SourceError> {
        let _ = self.0.lock().unwrap().recv();
        Err(SourceError::Unreachable { reason: "gone".to_owned() })
    }
}

impl EvidenceSource for Hanging {
    fn statements_about(&self, _: &Sha256) -> Result<Found, SourceError> {
        self.wait()
    }

    fn statements_by(&self, _: &str, _: &Signers) -> Result<Found, SourceError> {
        self.wait()
    }

    fn checkpoint(&self) -> Result<Vec<u8>, SourceError> {
        self.wait()
    }

    fn consistency(&self, _: u64) -> Result<ConsistencyProof, SourceError> {
        self.wait()
    }
}

#[test]
fn the_deadline_is_answered_with_a_reason() {
    let mut used: Option<Config> = None;
    let mut scene = Scene::at(now(), |config| {
        config.deadline_ms = 100;
        used = Some(config.clone());
    });
    let (release, wait) = mpsc::channel();
    let source = Arc::new(Hanging(Mutex::new(wait)));
    scene.admission = Arc::new(Admission::load(&used.unwrap(), source).unwrap());
    let server = Server::start(&scene);
    let answer = server.post("/validate", "application/json", scene.pod().to_string().as_bytes());
    assert_eq!(answer.codes, "SERVICE_UNREACHABLE");
    assert!(answer.message.contains("within 100 ms"), "{answer:#?}");
    assert_eq!(scene.records().len(), 1);
    assert_eq!(server.get("/readyz").0, 503);
    drop(release);
}
