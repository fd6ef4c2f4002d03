//! An issuer of ID tokens, as small as can be: it answers discovery and its keys, and hands out
//! whatever token a test asks for.

use std::io::{BufRead as _, BufReader, Write as _};
use std::net::{TcpListener, TcpStream};

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use sealwright_attest::{Curve, KeyFile, Signer as _};
use serde_json::{Value, json};

/// Listens until the test process ends.
pub(crate) struct Issuer {
    key: KeyFile,
    pub(crate) url: String,
}

impl Issuer {
    pub(crate) fn start() -> Self {
        let key = KeyFile::generate(Curve::P256).unwrap();
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let url = format!("http://{}", listener.local_addr().unwrap());
        let spki = key.public_key().spki();
        // The point is the end of the SubjectPublicKeyInfo: 0x04, x, y.
        let (x, y) = spki[spki.len() - 64..].split_at(32);
        let keys = json!({"keys": [{
            "kty": "EC", "crv": "P-256", "alg": "ES256", "use": "sig", "kid": "1",
            "x": URL_SAFE_NO_PAD.encode(x), "y": URL_SAFE_NO_PAD.encode(y),
        }]});
        // Nobody logs in here, but some clients want to know where one would.
        let discovery = json!({
            "issuer": url, "jwks_uri": format!("{url}/keys"),
            "authorization_endpoint": format!("{url}/auth"),
            "token_endpoint": format!("{url}/token"),
        });
        std::thread::spawn(move || {
            for stream in listener.incoming() {
                answer(stream.unwrap(), &discovery, &keys);
            }
        });
        Self { key, url }
    }

    /// A token for somebody with an e-mail address, valid from now for ten minutes.
    pub(crate) fn token(&self, email: &str) -> String {
        let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap();
        let now = now.as_secs();
        self.sign(&json!({
            "iss": self.url, "aud": "sigstore", "sub": "1234", "email": email,
            "email_verified": true, "iat": now, "nbf": now, "exp": now + 600,
        }))
    }

    pub(crate) fn sign(&self, claims: &Value) -> String {
        let part = |value: &Value| URL_SAFE_NO_PAD.encode(value.to_string());
        let header = json!({"alg": "ES256", "typ": "JWT", "kid": "1"});
        let signed = format!("{}.{}", part(&header), part(claims));
        let signature = raw_signature(&self.key.sign(signed.as_bytes()).unwrap());
        format!("{signed}.{}", URL_SAFE_NO_PAD.encode(signature))
    }
}

fn answer(mut stream: TcpStream, discovery: &Value, keys: &Value) {
    let mut lines = BufReader::new(stream.try_clone().unwrap()).lines().map(Result::unwrap);
    let request = lines.next().unwrap_or_default();
    lines.find(String::is_empty);
    let (status, body) = match request.split(' ').nth(1) {
        Some("/.well-known/openid-configuration") => ("200 OK", discovery.to_string()),
        Some("/keys") => ("200 OK", keys.to_string()),
        _ => ("404 Not Found", String::new()),
    };
    let length = body.len();
    let _ = write!(
        stream,
        "HTTP/1.1 {status}\r\ncontent-type: application/json\r\ncontent-length: {length}\r\n\
         connection: close\r\n\r\n{body}"
    );
}

/// Two INTEGERs in DER become two numbers of 32 bytes (RFC 7518 §3.4).
fn raw_signature(der: &[u8]) -> Vec<u8> {
    let r_length = usize::from(der[3]);
    let (r, s) = (&der[4..4 + r_length], &der[4 + r_length + 2..]);
    let fixed = |number: &[u8]| {
        let number = number.strip_prefix(&[0]).filter(|_| number.len() > 32).unwrap_or(number);
        let mut bytes = vec![0; 32 - number.len()];
        bytes.extend(number);
        bytes
    };
    [fixed(r), fixed(s)].concat()
}
