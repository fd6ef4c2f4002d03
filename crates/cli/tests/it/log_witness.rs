//! `sealwright log witness`: a process that cosigns, and does not forget when it is killed.

use std::time::{Duration, Instant};

use sealwright_attest::{Curve, KeyFile, Signer as _, TrustedRoot};
use sealwright_tlog::cosignature::CosignerKey;
use sealwright_tlog::witness::{AddCheckpoint, WitnessKey, origin_hash};
use sealwright_tlog::{
    Checkpoint, ConsistencyProof, Hash, LogKey, SignedNote, leaf_hash, stored_hashes_for_leaf,
    tree_hash,
};
use serde_json::json;

use crate::home::{Home, text};
use crate::server::Server;
use crate::team::Team;

const TIME: u64 = 1_760_000_000;
const ORIGIN: &str = "log.example";

/// A log of numbered leaves; those from `fork` on have other content.
struct Log {
    key: LogKey,
    hashes: Vec<Hash>,
}

impl Log {
    fn new(leaves: u64, fork: u64) -> Self {
        let mut hashes = Vec::new();
        for index in 0..leaves {
            let salt = u8::from(index >= fork);
            let leaf = leaf_hash(&[index.to_be_bytes().as_slice(), &[salt]].concat());
            let stored = stored_hashes_for_leaf(index, leaf, &hashes).unwrap();
            hashes.extend(stored);
        }
        Self { key: LogKey::from_seed(ORIGIN, &[42; 32]).unwrap(), hashes }
    }

    fn request(&self, old_size: u64, size: u64) -> AddCheckpoint {
        let root = tree_hash(size, &self.hashes).unwrap();
        let checkpoint =
            Checkpoint { origin: ORIGIN.to_owned(), size, root, extensions: Vec::new() };
        let note = self.key.sign_checkpoint(&checkpoint, TIME).unwrap();
        let hashes = ConsistencyProof::prove(old_size, size, &self.hashes).unwrap().hashes;
        AddCheckpoint { old_size, hashes, note }
    }
}

struct Answer {
    status: u16,
    content_type: String,
    body: String,
}

fn agent() -> ureq::Agent {
    ureq::Agent::config_builder().http_status_as_error(false).build().into()
}

fn answer(response: Result<ureq::http::Response<ureq::Body>, ureq::Error>) -> Answer {
    let mut response = response.unwrap();
    let content_type = response.headers()["content-type"].to_str().unwrap().to_owned();
    let body = response.body_mut().read_to_string().unwrap();
    Answer { status: response.status().as_u16(), content_type, body }
}

fn ask(witness: &Server, request: &AddCheckpoint) -> Answer {
    answer(agent().post(format!("{}/add-checkpoint", witness.url())).send(request.encode()))
}

fn get(witness: &Server, path: &str) -> Answer {
    answer(agent().get(format!("{}/{path}", witness.url())).call())
}

fn line(log: &Log, more: &str) -> String {
    format!("log witness --data witness --log {} {more}", log.key.verifier())
}

const INIT: &str = "--init --name witness.example/w1";

#[test]
fn a_witness_cosigns_what_grows_and_nothing_else() {
    let home = Home::new();
    let (log, fork) = (Log::new(300, u64::MAX), Log::new(300, 120));
    let witness = Server::start(&home, &line(&log, INIT));
    let key = CosignerKey::parse(text(&witness.ready["vkey"])).unwrap();
    assert_eq!(key.name(), "witness.example/w1");
    assert_eq!(home.mode("witness/witness-key.pem"), 0o600);
    assert_eq!(home.read("witness/vkey"), format!("{key}\n").into_bytes());

    let place = format!("{}/checkpoint", origin_hash(ORIGIN));
    assert_eq!(get(&witness, &place).status, 404);
    for (old, size) in [(0, 200), (200, 200), (200, 256)] {
        let request = log.request(old, size);
        let answer = ask(&witness, &request);
        assert_eq!(answer.status, 200, "{}", answer.body);
        let note = SignedNote::parse(format!("{}{}", request.note, answer.body).as_bytes());
        assert!(key.verify(&note.unwrap()).unwrap().is_some());
        let shown = get(&witness, &place);
        assert_eq!(shown.status, 200);
        assert!(shown.body.ends_with(&answer.body) && shown.body.contains("— log.example "));
    }

    let refused = ask(&witness, &log.request(0, 300));
    assert_eq!((refused.status, refused.content_type.as_str()), (409, "text/x.tlog.size"));
    assert_eq!(refused.body, "256\n");
    assert_eq!(ask(&witness, &fork.request(256, 256)).status, 422);
    assert_eq!(ask(&witness, &fork.request(256, 300)).status, 422);
    assert_eq!(ask(&witness, &log.request(0, 0)).status, 409);
    let mut above = log.request(256, 256);
    above.old_size = 257;
    assert_eq!(ask(&witness, &above).status, 400);
    let mut stranger = Log::new(5, u64::MAX);
    stranger.key = LogKey::from_seed(ORIGIN, &[1; 32]).unwrap();
    assert_eq!(ask(&witness, &stranger.request(0, 5)).status, 403);
    let url = format!("{}/add-checkpoint", witness.url());
    assert_eq!(agent().post(&url).send("nonsense").unwrap().status().as_u16(), 400);
    // It may be refused before it was sent to its end.
    let huge = agent().post(&url).send(vec![b'\n'; 1 << 20]);
    assert!(huge.is_err() || huge.is_ok_and(|answer| answer.status().as_u16() == 413));
    assert!(witness.said().contains("a log signed what does not extend its past"));
    // After all that, the honest log goes on.
    assert_eq!(ask(&witness, &log.request(256, 300)).status, 200);
    witness.stop();
}

#[test]
fn what_was_cosigned_is_known_after_kill_9() {
    let home = Home::new();
    let (log, fork) = (Log::new(300, u64::MAX), Log::new(300, 3));
    let mut witness = Server::start(&home, &line(&log, INIT));
    let vkey = witness.ready["vkey"].clone();
    let mut size = 0;
    for round in 1..8 {
        for _ in 0..round {
            assert_eq!(ask(&witness, &log.request(size, size + 5)).status, 200);
            size += 5;
        }
        witness.kill();
        witness = Server::start(&home, &line(&log, ""));
        assert_eq!((&witness.ready["vkey"], &witness.ready["key_created"]), (&vkey, &false.into()));
        let refused = ask(&witness, &fork.request(0, 300));
        assert_eq!((refused.status, refused.body), (409, format!("{size}\n")));
        assert_eq!(ask(&witness, &fork.request(size, size)).status, 422);
    }
    witness.stop();
}

#[test]
fn many_at_once_get_one_history() {
    let home = Home::new();
    let (log, fork) = (Log::new(300, u64::MAX), Log::new(300, 0));
    let witness = Server::start(&home, &line(&log, INIT));
    // Two histories race for the first place; the other one never gets a cosignature.
    let statuses: Vec<(bool, u16)> = std::thread::scope(|scope| {
        let threads: Vec<_> = (0..16)
            .map(|number| {
                let (witness, honest) = (&witness, number % 2 == 0);
                let log = if honest { &log } else { &fork };
                scope.spawn(move || (honest, ask(witness, &log.request(0, 100)).status))
            })
            .collect();
        threads.into_iter().map(|thread| thread.join().unwrap()).collect()
    });
    let cosigned: Vec<_> = statuses.iter().filter(|(_, status)| *status == 200).collect();
    assert_eq!(cosigned.len(), 1, "{statuses:?}");
    assert!(statuses.iter().all(|(_, status)| [200, 409].contains(status)), "{statuses:?}");
    witness.stop();
}

#[test]
fn a_witness_starts_only_with_its_own_past() {
    let home = Home::new();
    let log = Log::new(9, u64::MAX);
    home.run(&line(&log, "")).failed(2, "no witness key yet");
    assert!(!home.path("witness").exists());
    home.run(&line(&log, "--init")).failed(2, "--name");
    home.run(&line(&log, "--init --name a+b")).failed(2, "named");
    home.run("log witness --data w --log nonsense").failed(2, "not a verifier key");
    home.run(&line(&log, "--listen 0.0.0.0:0")).failed(2, "no TLS certificate");

    let witness = Server::start(&home, &line(&log, INIT));
    assert_eq!(ask(&witness, &log.request(0, 9)).status, 200);
    home.run(&line(&log, "--listen 127.0.0.1:0")).failed(3, "in use");
    witness.stop();
    home.run(&line(&log, "--listen 127.0.0.1:0 --name other")).failed(2, "named");
    let record = format!("witness/witnessed/{}", origin_hash(ORIGIN));
    let good = home.read(&record);
    home.write(&record, [&good[..40], b"x", &good[41..]].concat());
    home.run(&line(&log, "--listen 127.0.0.1:0")).failed(3, "cannot be taken up again");
    home.write(&record, &good);
    // Known by another name in its checkpoints.
    let other = format!("{}=other.example", log.key.verifier());
    let witness = Server::start(&home, &format!("log witness --data witness --log {other}"));
    assert_eq!(ask(&witness, &log.request(0, 9)).status, 404);
    witness.stop();
    home.remove("witness/witness-key.pem");
    home.run(&line(&log, "--listen 127.0.0.1:0")).failed(3, "not the key of this witness");
}

fn witnesses_toml(quorum: usize, witnesses: &[(&str, &str)]) -> String {
    let entries: String = witnesses
        .iter()
        .map(|(url, vkey)| format!("[[witness]]\nurl = \"{url}\"\nvkey = \"{vkey}\"\n"))
        .collect();
    format!("quorum = {quorum}\n{entries}")
}

/// The checkpoint at `path` as soon as it has this size and this many cosignatures by witnesses.
fn until_cosigned(service: &Server, path: &str, size: u64, keys: &[&CosignerKey]) -> SignedNote {
    let started = Instant::now();
    loop {
        assert!(started.elapsed() < Duration::from_secs(60), "{path}: {}", service.said());
        let answer = get(service, path);
        let note = SignedNote::parse(answer.body.as_bytes()).ok();
        let cosigned = note.filter(|note| {
            Checkpoint::parse(note.text()).unwrap().size == size
                && keys.iter().all(|key| key.verify(note).unwrap().is_some())
        });
        match cosigned {
            Some(note) => return note,
            None => std::thread::yield_now(),
        }
    }
}

#[test]
fn our_log_asks_its_witnesses() {
    let home = Home::new();
    home.must("serve init --data data");
    let root = TrustedRoot::parse(&home.read("data/trusted_root.json")).unwrap();
    let log = root.logs()[0].key.to_string();
    let start = |number: usize, init: &str| {
        let data = format!("--data w{number} --log {log}");
        Server::start(&home, &format!("log witness {data} {init}"))
    };
    let init = |number: usize| format!("--init --name witness.example/w{number}");
    let witnesses = [start(1, &init(1)), start(2, &init(2))];
    let [one, two] =
        [0, 1].map(|at| CosignerKey::parse(text(&witnesses[at].ready["vkey"])).unwrap());
    let (first, second) = (one.to_string(), two.to_string());
    let dead = WitnessKey::generate("dead").unwrap().cosigner().to_string();
    let peers = [
        (witnesses[0].url(), first.as_str()),
        (witnesses[1].url(), second.as_str()),
        ("http://127.0.0.1:1", dead.as_str()),
    ];
    let toml = |quorum| witnesses_toml(quorum, &peers);
    home.write("witnesses.toml", toml(2));
    let serve = "serve --data data --witnesses witnesses.toml";
    let service = Server::start(&home, serve);
    let key = KeyFile::generate(Curve::P256).unwrap();
    let place = "api/v1/witnessed-checkpoint";
    for number in 0..3 {
        // The writer does not wait for the witness that is dead.
        let note = crate::killed::note(&key, number);
        service.client().submit(&note, key.public_key()).unwrap();
        let size = number as u64 + 1;
        until_cosigned(&service, "checkpoint", size, &[&one, &two]);
        let witnessed = until_cosigned(&service, place, size, &[&one, &two]);
        assert!(witnessed.to_string().starts_with(&format!("localhost\n{size}\n")));
    }
    service.stop();

    // After a restart the log learns from the witnesses what they know.
    let service = Server::start(&home, serve);
    until_cosigned(&service, place, 3, &[&one, &two]);
    service.stop();

    // A quorum that is not reached is none, and the log goes on.
    home.write("witnesses.toml", toml(3));
    let service = Server::start(&home, serve);
    service.client().submit(&crate::killed::note(&key, 3), key.public_key()).unwrap();
    // Another file of witnesses is an administrative act, which is in the log before the statement.
    until_cosigned(&service, "api/v2/checkpoint", 5, &[&one, &two]);
    assert_eq!(get(&service, place).status, 404);
    service.stop();

    for (toml, said) in [
        (toml(0), "a quorum of 0 out of 3"),
        (toml(4), "a quorum of 4 out of 3"),
        (witnesses_toml(1, &[("http://127.0.0.1:1", "x")]), "vkey"),
        (witnesses_toml(1, &[("ftp://x", &first)]), "URL"),
        (witnesses_toml(1, &[("http://a", &first), ("http://b", &first)]), "twice"),
        ("quorum = 1\n".to_owned(), "witness"),
    ] {
        home.write("witnesses.toml", toml);
        home.run(&format!("{serve} --listen 127.0.0.1:0")).failed(2, said);
    }
}

/// Policy is told who of the witnesses known to the verifier cosigned the checkpoint.
#[test]
fn policy_is_told_who_cosigned() {
    let team = Team::new();
    let home = &team.home;
    let Team { service, .. } = &team;
    service.signal(rustix::process::Signal::TERM);
    let root = TrustedRoot::parse(&home.read("data/trusted_root.json")).unwrap();
    let log = root.logs()[0].key.to_string();
    let witness = Server::start(
        home,
        &format!("log witness --data w --log {log} --init --name witness.example/w"),
    );
    let key = CosignerKey::parse(text(&witness.ready["vkey"])).unwrap();
    let vkey = key.to_string();
    home.write("witnesses.toml", witnesses_toml(1, &[(witness.url(), &vkey)]));
    let Team { home, service } = team;
    assert!(service.wait().0.success());
    let service = Server::start(&home, "serve --data data --witnesses witnesses.toml");
    let team = Team { home, service };
    team.sign("model");
    // The role binding, the witnesses' file, the signature.
    until_cosigned(&team.service, "api/v2/checkpoint", 3, &[&key]);

    let stranger = WitnessKey::generate("stranger").unwrap().cosigner().to_string();
    // The log's own key is no witness, under whatever name.
    let log = root.logs()[0].key.cosigner().unwrap();
    let itself = CosignerKey::new("itself", log.public_key()).unwrap().to_string();
    let told = |witnesses: &[&str]| {
        let options: String = witnesses.iter().map(|vkey| format!(" --witness {vkey}")).collect();
        let ran =
            team.home.run(&format!("--json {}", team.policy_line(&format!("model{options}"))));
        ran.json()["verdict"]["policy_input"]["log"]["witnesses"].clone()
    };
    assert_eq!(told(&[]), json!([]));
    assert_eq!(told(&[&stranger, &itself]), json!([]));
    assert_eq!(told(&[&stranger, &vkey, &itself]), json!(["witness.example/w"]));
    let refused = |options: &str, said: &str| {
        team.home.run(&team.policy_line(&format!("model {options}"))).failed(2, said);
    };
    refused("--witness nonsense", "witness \"nonsense\"");
    refused(&format!("--witness {vkey} --witness {vkey}"), "also another witness's");
    team.home
        .run(&format!("verify model --bundle x --key keys/trainer.pub --witness {vkey}"))
        .failed(2, "--witness is for keyless signatures and for --policy");
}
