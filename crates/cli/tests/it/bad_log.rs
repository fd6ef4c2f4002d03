//! A log that does not mean well: a test double that serves whatever it is told to.

use std::collections::BTreeMap;
use std::io::{BufRead as _, BufReader, Write as _};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::sync::{Arc, Mutex};

use sealwright_tlog::tile::encode_entry_bundle;
use sealwright_tlog::{
    Checkpoint, Hash, LogKey, Tile, TileKind, leaf_hash, stored_hashes_for_leaf, tree_hash,
};

pub(crate) const ORIGIN: &str = "log.example";
pub(crate) const TIME: u64 = 1_760_000_000;

/// A tree of entries, and the key that signs it.
#[derive(Clone)]
pub(crate) struct Tree {
    pub(crate) key: LogKey,
    bodies: Vec<Vec<u8>>,
    hashes: Vec<Hash>,
}

impl Tree {
    /// Entries that say their number, and `salt` from number `fork` on.
    pub(crate) fn new(size: usize, fork: usize, salt: &str) -> Self {
        let key = LogKey::from_seed(ORIGIN, &[42; 32]).unwrap();
        let mut tree = Self { key, bodies: Vec::new(), hashes: Vec::new() };
        for index in 0..size {
            let salt = if index < fork { "" } else { salt };
            tree.push(format!("entry {index} {salt}").into_bytes());
        }
        tree
    }

    pub(crate) fn push(&mut self, body: Vec<u8>) {
        let index = self.bodies.len() as u64;
        let stored = stored_hashes_for_leaf(index, leaf_hash(&body), &self.hashes).unwrap();
        self.hashes.extend(stored);
        self.bodies.push(body);
    }

    pub(crate) fn checkpoint(&self, size: u64) -> Vec<u8> {
        let root = tree_hash(size, &self.hashes).unwrap();
        let origin = self.key.origin().to_owned();
        let checkpoint = Checkpoint { origin, size, root, extensions: Vec::new() };
        self.key.sign_checkpoint(&checkpoint, TIME).unwrap().to_string().into_bytes()
    }

    /// What an honest log serves for a tile.
    pub(crate) fn tile(&self, tile: &Tile) -> Option<Vec<u8>> {
        let size = self.bodies.len() as u64;
        if tile.min_log_size().is_none_or(|needed| needed > size) {
            return None;
        }
        match tile.kind() {
            TileKind::Hashes { .. } => tile.hash_data(&self.hashes)?.ok(),
            TileKind::Entries => {
                let first = usize::try_from(tile.index() * 256).unwrap();
                let entries = self.bodies.get(first..first + usize::from(tile.width()))?;
                encode_entry_bundle(entries).ok()
            }
        }
    }
}

/// One answer.
#[derive(Clone)]
pub(crate) enum Reply {
    Bytes(Vec<u8>),
    Status(u16),
    /// Bytes without end.
    Endless,
    /// The connection is closed in the middle of a body.
    CutShort,
}

/// What the log shows at the moment.
pub(crate) struct Shown {
    /// Tiles and entry bundles are those of this tree.
    pub(crate) tree: Tree,
    /// The answer for `/checkpoint`.
    pub(crate) checkpoint: Reply,
    /// Other answers than the tree's, by path without the slash before it.
    pub(crate) instead: BTreeMap<String, Reply>,
    /// Every path that was asked for.
    pub(crate) asked: Vec<String>,
}

/// A log on a port of its own; its thread ends with the test's process.
pub(crate) struct BadLog {
    address: SocketAddr,
    shown: Arc<Mutex<Shown>>,
}

impl BadLog {
    /// Serves the whole of a tree, honestly.
    pub(crate) fn start(tree: Tree) -> Self {
        let checkpoint = Reply::Bytes(tree.checkpoint(tree.bodies.len() as u64));
        let (instead, asked) = (BTreeMap::new(), Vec::new());
        let shown = Arc::new(Mutex::new(Shown { tree, checkpoint, instead, asked }));
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let log = Self { address: listener.local_addr().unwrap(), shown: Arc::clone(&shown) };
        std::thread::spawn(move || {
            for stream in listener.incoming().flatten() {
                let shown = Arc::clone(&shown);
                // An endless answer must not hold up the others.
                std::thread::spawn(move || answer(&stream, &shown));
            }
        });
        log
    }

    pub(crate) fn url(&self) -> String {
        format!("http://{}", self.address)
    }

    /// From now on shows the whole of this tree, with nothing instead.
    pub(crate) fn show(&self, tree: &Tree) {
        self.change(|shown| {
            shown.checkpoint = Reply::Bytes(tree.checkpoint(tree.bodies.len() as u64));
            shown.tree = tree.clone();
            shown.instead.clear();
            shown.asked.clear();
        });
    }

    pub(crate) fn change(&self, change: impl FnOnce(&mut Shown)) {
        change(&mut self.shown.lock().unwrap());
    }

    pub(crate) fn asked(&self) -> Vec<String> {
        self.shown.lock().unwrap().asked.clone()
    }
}

fn answer(stream: &TcpStream, shown: &Mutex<Shown>) {
    let mut reader = BufReader::new(stream);
    let mut request = String::new();
    // Whatever fails here is a client that went away.
    if reader.read_line(&mut request).is_err() {
        return;
    }
    let mut header = String::new();
    while reader.read_line(&mut header).is_ok_and(|len| len > 2) {
        header.clear();
    }
    let path = request.split(' ').nth(1).unwrap_or_default().trim_start_matches('/').to_owned();
    let reply = reply(&path, &mut shown.lock().unwrap());
    let mut out = stream;
    let head = |status: u16, length: &str| {
        format!("HTTP/1.1 {status} X\r\nconnection: close\r\n{length}\r\n")
    };
    let _ = match reply {
        Reply::Bytes(body) => out
            .write_all(head(200, &format!("content-length: {}\r\n", body.len())).as_bytes())
            .and_then(|()| out.write_all(&body)),
        Reply::Status(status) => out.write_all(head(status, "content-length: 0\r\n").as_bytes()),
        Reply::CutShort => {
            out.write_all((head(200, "content-length: 1000\r\n") + "short").as_bytes())
        }
        Reply::Endless => {
            let _ = out.write_all(head(200, "").as_bytes());
            while out.write_all(&[b'a'; 65_536]).is_ok() {}
            Ok(())
        }
    };
}

fn reply(path: &str, shown: &mut Shown) -> Reply {
    shown.asked.push(path.to_owned());
    if let Some(reply) = shown.instead.get(path) {
        return reply.clone();
    }
    if path == "checkpoint" {
        return shown.checkpoint.clone();
    }
    let content = Tile::parse(path).ok().and_then(|tile| shown.tree.tile(&tile));
    content.map_or(Reply::Status(404), Reply::Bytes)
}
