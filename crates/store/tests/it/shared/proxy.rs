//! A proxy before the stand-in for S3 that lets requests fail in every way in which they do.

use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::net::{Ipv4Addr, Shutdown, SocketAddr, TcpListener, TcpStream};
use std::sync::{Arc, Mutex};
use std::thread;

use super::stage::service;

/// What happens to a request.
#[derive(Clone, Debug)]
pub(crate) enum Fault {
    /// Nothing: it is passed on, and so is the answer.
    None,
    /// An answer that says that the service is out of order.
    Broken,
    /// The connection is closed at once.
    Refused,
    /// It is passed on, and the answer is lost.
    AnswerLost,
    /// It is never answered.
    Silence,
    /// Conditions are taken out of it.
    Unconditional,
    /// This is the answer.
    Answer(Vec<u8>),
}

/// Decides by method and path.
type Decide = dyn FnMut(&str, &str) -> Fault + Send;

/// The proxy. It runs until the tests' process ends.
#[derive(Clone)]
pub(crate) struct Proxy {
    pub(crate) address: SocketAddr,
    decide: Arc<Mutex<Box<Decide>>>,
    /// The last answer to a request for the checkpoint.
    checkpoint: Arc<Mutex<Vec<u8>>>,
}

impl Proxy {
    pub(crate) fn start() -> Self {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
        let proxy = Self {
            address: listener.local_addr().unwrap(),
            decide: Arc::new(Mutex::new(Box::new(|_, _| Fault::None))),
            checkpoint: Arc::default(),
        };
        let serving = proxy.clone();
        thread::spawn(move || {
            for connection in listener.incoming() {
                let proxy = serving.clone();
                // A connection that breaks is what this is for.
                thread::spawn(move || proxy.serve(connection?));
            }
        });
        proxy
    }

    pub(crate) fn decide(&self, decide: impl FnMut(&str, &str) -> Fault + Send + 'static) {
        *self.decide.lock().unwrap() = Box::new(decide);
    }

    /// The last answer with a checkpoint that went through, as it was sent.
    pub(crate) fn last_checkpoint(&self) -> Vec<u8> {
        self.checkpoint.lock().unwrap().clone()
    }

    fn serve(&self, mut client: TcpStream) -> std::io::Result<()> {
        let mut reader = BufReader::new(client.try_clone()?);
        let mut lines = Vec::new();
        let mut length = 0;
        loop {
            let mut line = String::new();
            if reader.read_line(&mut line)? == 0 {
                return Ok(());
            }
            let lower = line.to_ascii_lowercase();
            if let Some(value) = lower.strip_prefix("content-length:") {
                length = value.trim().parse().unwrap();
            }
            if line == "\r\n" {
                break;
            }
            if !lower.starts_with("connection:") {
                lines.push(line);
            }
        }
        let mut body = vec![0; length];
        reader.read_exact(&mut body)?;
        let mut words = lines[0].split(' ');
        let (method, path) = (words.next().unwrap(), words.next().unwrap());
        let fault = (self.decide.lock().unwrap())(method, path);
        let is_checkpoint = method == "GET" && path.ends_with("/checkpoint");
        if matches!(fault, Fault::Unconditional) {
            lines.retain(|line| !line.to_ascii_lowercase().starts_with("if-"));
        }
        let answer = match fault {
            Fault::Refused => return client.shutdown(Shutdown::Both),
            Fault::Silence => {
                // Until the client gives up.
                return std::io::copy(&mut reader, &mut std::io::sink()).map(|_| ());
            }
            Fault::Broken => b"HTTP/1.1 503 Slow Down\r\nContent-Length: 0\r\n\r\n".to_vec(),
            Fault::Answer(ref answer) => answer.clone(),
            Fault::None | Fault::AnswerLost | Fault::Unconditional => pass_on(&lines, &body)?,
        };
        if status(&answer) == 200 && is_checkpoint {
            *self.checkpoint.lock().unwrap() = answer.clone();
        }
        if matches!(fault, Fault::AnswerLost) {
            return client.shutdown(Shutdown::Both);
        }
        client.write_all(&answer)?;
        client.shutdown(Shutdown::Write)
    }
}

fn status(answer: &[u8]) -> u16 {
    answer.get(9..12).and_then(|it| std::str::from_utf8(it).ok()?.parse().ok()).unwrap_or(0)
}

/// The answer of the service, whole.
fn pass_on(lines: &[String], body: &[u8]) -> std::io::Result<Vec<u8>> {
    let mut service = TcpStream::connect(service())?;
    let mut request: Vec<u8> = lines.concat().into_bytes();
    request.extend(b"Connection: close\r\n\r\n");
    request.extend(body);
    service.write_all(&request)?;
    let mut answer = Vec::new();
    service.read_to_end(&mut answer)?;
    Ok(answer)
}
