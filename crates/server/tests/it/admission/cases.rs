//! Which pods are let in, which are not, and what is written down.

use std::os::fd::AsRawFd as _;
use std::sync::LazyLock;

use rustix::fs::{MemfdFlags, SealFlags, fcntl_add_seals, memfd_create};
use sealwright_attest::{Statement, predicate};
use sealwright_manifest::Sha256;
use sealwright_server::admission::MODEL_ANNOTATION;
use serde_json::{Value, json};

use super::{Answer, Scene, annotate, captured, data_dir, write};
use crate::world::{MODEL_NAME, model};

static SCENE: LazyLock<Scene> = LazyLock::new(Scene::approved);

/// The pod that names the approved model, after a change, is let in.
fn accepts(change: impl FnOnce(&mut Value)) {
    accepts_review(SCENE.pod(), change);
}

fn accepts_review(mut review: Value, change: impl FnOnce(&mut Value)) {
    change(&mut review);
    let answer = SCENE.ask(&review);
    assert!(answer.allowed, "{answer:#?}");
    assert_eq!(answer.uid, review["request"]["uid"]);
}

/// The pod that names the approved model, after a change, is not let in, for this one reason.
fn denies(code: &str, change: impl FnOnce(&mut Value)) -> Answer {
    denies_review(code, SCENE.pod(), change)
}

fn denies_review(code: &str, mut review: Value, change: impl FnOnce(&mut Value)) -> Answer {
    change(&mut review);
    let answer = SCENE.ask(&review);
    assert_eq!(answer.codes, code, "{answer:#?}");
    assert!(answer.message.contains(&format!("\n{code}: ")), "{answer:#?}");
    assert_eq!(answer.uid, review["request"]["uid"]);
    answer
}

/// The captured update, with the approved model in both pods.
fn update(name: &str) -> Value {
    SCENE.name_model(captured(name))
}

fn name_model(review: &mut Value, text: &str) {
    annotate(review, "object", MODEL_ANNOTATION, text);
}

#[test]
fn pods_with_the_approved_model_are_let_in() {
    accepts(|_| {});
    for name in [
        "pod-create-by-daemonset-controller",
        "pod-create-by-job-controller",
        "pod-create-by-statefulset-controller",
        "pod-create-by-replicaset-controller.mutating-phase-empty-name",
        "pod-create-csi-hostpath-nfs-volumes",
        "pod-create-dryrun",
        "pod-create-generateName.mutating-phase-empty-name",
        "pod-create-initcontainers-sidecar-pvc-emptydir",
        "pod-create-mirror-static-pod",
        "pod-create-nodeName-preset",
    ] {
        accepts_review(SCENE.name_model(captured(name)), |_| {});
    }
}

#[test]
fn the_name_of_the_model_decides_nothing() {
    let digest = SCENE.model.model_digest();
    accepts(|pod| name_model(pod, &format!("another/name@sha256:{digest}")));
    let other = model("other weights").model_digest();
    let answer = SCENE.ask(&{
        let mut pod = SCENE.pod();
        name_model(&mut pod, &format!("{MODEL_NAME}@sha256:{other}"));
        pod
    });
    assert!(answer.codes.contains("SIGNATURE_MISSING"), "{answer:#?}");
}

#[test]
fn a_pod_without_a_model_is_not_let_in() {
    let answer = denies_review("MODEL_UNNAMED", captured("pod-create-generateName"), |_| {});
    assert_eq!(answer.status, 403);
    assert!(answer.message.contains("sealwright digest MODEL"), "{answer:#?}");
    denies("MODEL_UNNAMED", |pod| pod["request"]["object"]["metadata"]["annotations"] = json!({}));
    denies("MODEL_UNNAMED", |pod| {
        pod["request"]["object"]["metadata"]["annotations"] = json!(null)
    });
    // What others wrote about the pod, or the pod about others, is not listened to.
    denies_review("MODEL_UNNAMED", captured("pod-create-generateName"), |pod| {
        let reference = format!("{MODEL_NAME}@sha256:{}", SCENE.model.model_digest());
        for key in ["Sealwright.dev/model", "sealwright.dev/Model", "sealwright.dev/verified"] {
            annotate(pod, "object", key, &reference);
        }
        pod["request"]["object"]["metadata"]["labels"] = json!({ MODEL_ANNOTATION: reference });
        pod["request"]["options"] = json!({"annotations": { MODEL_ANNOTATION: reference }});
    });
}

#[test]
fn a_model_reference_is_exact() {
    let digest = SCENE.model.model_digest().to_string();
    for bad in [
        String::new(),
        digest.clone(),
        MODEL_NAME.to_owned(),
        format!("{MODEL_NAME}:v1"),
        format!("{MODEL_NAME}@{digest}"),
        format!("{MODEL_NAME}@sha256:{}", digest.to_uppercase()),
        format!("{MODEL_NAME}@sha256:{digest} "),
        format!("{MODEL_NAME}@sha256:{digest}\n"),
        format!("\u{202e}{MODEL_NAME}@sha256:{digest}"),
        format!("{MODEL_NAME}@sha512:{digest}"),
        format!("{}@sha256:{digest}", "x".repeat(5000)),
    ] {
        let answer = denies("MODEL_REFERENCE", |pod| name_model(pod, &bad));
        assert!(answer.message.contains("write NAME@sha256:DIGEST"), "{answer:#?}");
        assert!(!answer.message.contains('\u{202e}'), "{answer:#?}");
    }
    denies("MODEL_REFERENCE", |pod| {
        pod["request"]["object"]["metadata"]["annotations"][MODEL_ANNOTATION] = json!([digest]);
    });
}

#[test]
fn a_pod_that_lost_something_on_the_way_is_not_let_in() {
    denies("OBJECT_MALFORMED", |pod| pod["request"]["object"] = json!(null));
    denies("OBJECT_MALFORMED", |pod| pod["request"]["object"] = json!({}));
    denies("OBJECT_MALFORMED", |pod| pod["request"]["object"]["spec"] = json!({}));
    denies("OBJECT_MALFORMED", |pod| pod["request"]["object"]["kind"] = json!("Pad"));
    denies("OBJECT_MALFORMED", |pod| {
        pod["request"]["object"]["metadata"]["annotations"] = json!("none");
    });
    denies("OBJECT_MALFORMED", |pod| {
        pod["request"].as_object_mut().unwrap().remove("object");
    });
    denies("REVIEW_MALFORMED", |pod| pod["request"]["namespace"] = json!(null));
    denies("REVIEW_MALFORMED", |pod| pod["request"]["namespace"] = json!("a&environment=dev"));
}

#[test]
fn a_pod_that_is_being_deleted_is_judged_like_others() {
    let delete = |review: &mut Value, object: &str| {
        review["request"][object]["metadata"]["deletionTimestamp"] = json!("2026-11-24T12:00:00Z");
    };
    denies_review("MODEL_UNNAMED", captured("pod-create-generateName"), |pod| {
        delete(pod, "object")
    });
    denies_review("MODEL_UNNAMED", captured("pod-update-image"), |pod| {
        delete(pod, "object");
        delete(pod, "oldObject");
    });
}

#[test]
fn updates_that_change_what_runs_are_judged() {
    accepts_review(update("pod-update-image"), |_| {});
    accepts_review(update("pod-update-ephemeralcontainers"), |_| {});
    denies_review("MODEL_UNNAMED", captured("pod-update-image"), |_| {});
    denies_review("MODEL_UNNAMED", captured("pod-update-ephemeralcontainers"), |_| {});
    denies_review("OBJECT_MALFORMED", update("pod-update-image"), |pod| {
        pod["request"]["oldObject"] = json!(null);
    });
    // Sizes are only sizes where nothing else can change.
    denies_review("MODEL_UNNAMED", captured("pod-update-image"), |pod| {
        pod["request"]["object"] = pod["request"]["oldObject"].clone();
        pod["request"]["object"]["spec"]["containers"][0]["resources"] = json!({"limits": {}});
    });
}

#[test]
fn updates_that_change_nothing_that_runs_are_let_in() {
    // No model is named: pods from before the namespace was enforced can still be cleaned up.
    let relabel = |review: &mut Value| {
        review["request"]["object"] = review["request"]["oldObject"].clone();
        review["request"]["object"]["metadata"]["labels"] = json!({"a": "b"});
        review["request"]["object"]["metadata"]["finalizers"] = json!([]);
    };
    accepts_review(captured("pod-update-image"), relabel);
    accepts_review(captured("pod-update-status"), |_| {});
    accepts_review(captured("pod-update-status-by-kubelet"), |_| {});
    accepts_review(captured("pod-update-status"), |review| {
        review["request"]["subResource"] = json!("resize");
        let container = &mut review["request"]["object"]["spec"]["containers"][0];
        container["resources"] = json!({"requests": {"cpu": "2"}});
    });
    denies_review("OBJECT_MALFORMED", captured("pod-update-image"), |review| {
        relabel(review);
        review["request"]["oldObject"] = json!(null);
    });
    // Neither of these can happen. Two pods without content must not pass for equal ones, and a
    // subresource that changes more than it may is judged.
    denies_review("OBJECT_MALFORMED", captured("pod-update-image"), |review| {
        review["request"]["object"] = json!({"kind": "Pod", "apiVersion": "v1", "metadata": {}});
        review["request"]["oldObject"] = review["request"]["object"].clone();
    });
    for subresource in ["status", "resize"] {
        denies_review("MODEL_UNNAMED", captured("pod-update-image"), |review| {
            review["request"]["subResource"] = json!(subresource);
        });
    }
}

#[test]
fn a_pod_keeps_its_model() {
    let other = format!("{MODEL_NAME}@sha256:{}", model("other weights").model_digest());
    for name in ["pod-update-image", "pod-update-status", "pod-update-ephemeralcontainers"] {
        denies_review("MODEL_CHANGED", update(name), |pod| name_model(pod, &other));
        denies_review("MODEL_CHANGED", update(name), |pod| {
            pod["request"]["object"]["metadata"]["annotations"] = json!({});
        });
        // Not even to an approved one.
        denies_review("MODEL_CHANGED", update(name), |pod| {
            annotate(pod, "oldObject", MODEL_ANNOTATION, &other);
        });
    }
    // The API server copies a binding's annotations into the pod.
    accepts_review(captured("pod-binding-create"), |_| {});
    denies_review("MODEL_CHANGED", captured("pod-binding-create"), |pod| name_model(pod, &other));
    denies_review("OBJECT_MALFORMED", captured("pod-binding-create"), |binding| {
        binding["request"]["object"] = json!(null);
    });
}

#[test]
fn what_ends_is_let_in() {
    accepts_review(captured("pod-delete"), |_| {});
    accepts_review(captured("pod-eviction-create"), |_| {});
}

#[test]
fn what_is_not_a_pod_is_not_judged_here() {
    for name in ["deployment-update-image", "job-create", "pod-exec-connect", "pod-attach-connect"]
    {
        let answer = denies_review("UNSUPPORTED_RESOURCE", captured(name), |_| {});
        assert!(answer.message.contains("when their pods are created"), "{answer:#?}");
    }
    denies("UNSUPPORTED_RESOURCE", |pod| {
        pod["request"]["resource"]["group"] = json!("evil.example")
    });
    denies("UNSUPPORTED_RESOURCE", |pod| pod["request"]["resource"]["version"] = json!("v2"));
    denies("UNSUPPORTED_RESOURCE", |pod| {
        pod["request"]["subResource"] = json!("ephemeralcontainers")
    });
    denies("UNSUPPORTED_RESOURCE", |pod| pod["request"]["subResource"] = json!("new"));
}

#[test]
fn every_captured_review_has_an_answer() {
    let mut answered = 0;
    for file in std::fs::read_dir(data_dir()).unwrap() {
        let path = file.unwrap().path();
        if path.extension().is_none_or(|extension| extension != "json") {
            continue;
        }
        let bytes = std::fs::read(&path).unwrap();
        let review: Value = serde_json::from_slice(&bytes).unwrap();
        let answer = SCENE.ask_bytes(&bytes);
        assert_eq!(answer.uid, review["request"]["uid"], "{}", path.display());
        // None names an approved model.
        let name = path.file_stem().unwrap().to_str().unwrap();
        let harmless = ["pod-binding-create", "pod-delete", "pod-eviction-create"].contains(&name)
            || name.starts_with("pod-update-status");
        assert_eq!(answer.allowed, harmless, "{name}: {answer:#?}");
        answered += 1;
    }
    assert!(answered > 40, "{answered}");
}

#[test]
fn bytes_that_are_no_review_are_denied_with_a_reason() {
    for bytes in [
        b"".as_slice(),
        b"{}",
        b"null",
        b"[]",
        b"\xff\xfe",
        br#"{"kind":"AdmissionReview","apiVersion":"admission.k8s.io/v1"}"#,
        br#"{"kind":"AdmissionReview","apiVersion":"admission.k8s.io/v1","request":{}}"#,
        "[".repeat(100_000).as_bytes(),
    ] {
        let answer = SCENE.ask_bytes(bytes);
        assert_eq!((answer.uid.as_str(), answer.status), ("", 400), "{answer:#?}");
    }
    let twice = SCENE.pod().to_string().replacen(r#""spec":"#, r#""spec":{},"spec":"#, 1);
    let answer = SCENE.ask_bytes(twice.as_bytes());
    assert_eq!(answer.codes, "REVIEW_MALFORMED");
    assert_eq!(answer.uid, SCENE.pod()["request"]["uid"]);
    assert!(answer.message.contains("occurs twice"), "{answer:#?}");
    denies("REVIEW_VERSION", |pod| pod["apiVersion"] = json!("admission.k8s.io/v1beta1"));
}

#[test]
fn unnamed_pods_pass_with_a_warning_if_the_operator_says_so() {
    let scene = Scene::at(SCENE.now, |config| config.insecure_allow_unnamed = true);
    let answer = scene.ask(&captured("pod-create-generateName"));
    assert!(answer.allowed);
    assert!(answer.warnings[0].contains("let in unchecked"), "{answer:#?}");
    assert_eq!(scene.records()[0]["mode"], "insecure_allow_unnamed");
    assert_eq!(scene.records()[0]["basis"], "insecure-allow-unnamed");
    // Leaving the annotation out is one thing, a wrong one another, and taking it away a third.
    let mut pod = scene.pod();
    name_model(&mut pod, "v1");
    assert_eq!(scene.ask(&pod).codes, "MODEL_REFERENCE");
    let mut pod = scene.name_model(captured("pod-update-image"));
    pod["request"]["object"]["metadata"]["annotations"] = json!({});
    assert_eq!(scene.ask(&pod).codes, "MODEL_CHANGED");
    let answer = scene.ask(&scene.pod());
    assert!(answer.allowed && answer.warnings.is_empty());
}

#[test]
fn a_decision_is_written_down_before_it_is_answered() {
    let scene = Scene::approved();
    let mut pod = scene.name_model(captured("pod-create-dryrun"));
    let allowed = scene.ask(&pod);
    pod["request"]["object"]["metadata"]["annotations"] = json!({});
    let denied = scene.ask(&pod);
    let unread = scene.ask_bytes(b"nonsense");
    let records = scene.records();
    let ids: Vec<_> = records.iter().map(|record| record["id"].as_str().unwrap()).collect();
    assert_eq!(ids, [&allowed.decision, &denied.decision, &unread.decision]);

    let record = &records[0];
    assert_eq!(record["uid"], pod["request"]["uid"]);
    assert_eq!(record["dryRun"], true);
    assert_eq!(record["allowed"], true);
    assert_eq!(record["mode"], "enforce");
    assert_eq!(record["basis"], "policy");
    assert_eq!(record["time"], "2026-11-24T12:00:00Z");
    assert_eq!(record["model"]["sha256"], json!(scene.model.model_digest()));
    assert_eq!(record["request"]["operation"], "CREATE");
    assert_eq!(record["request"]["user"], "admin");
    assert_eq!(record["log"]["treeSize"], 5);
    assert_eq!(record["roles"]["statement"], record["inputs"]["roleBinding"]);
    assert_eq!((&record["roles"]["owners"], &record["roles"]["logged"]), (&json!(1), &json!(true)));
    let root = std::fs::read(scene.dir.path().join("trusted_root.json")).unwrap();
    assert_eq!(record["inputs"]["trustedRoot"], json!(Sha256::of(&root)));

    let statement = Statement::parse(&serde_json::to_vec(&record["statement"]).unwrap()).unwrap();
    assert!(statement.is_about(&scene.model.model_digest().to_string()));
    predicate::check(&statement.predicate_type, &statement.predicate).unwrap();
    assert_eq!(statement.predicate["verificationResult"], "PASSED");
    // Four statements; policy, its input, role binding and trusted root.
    assert_eq!(statement.predicate["inputAttestations"].as_array().unwrap().len(), 8);
    assert_eq!(
        statement.predicate["resourceUri"],
        format!(
            "https://sealwright.dev/model/sha256/{}?environment=prod&cluster=eu-1&namespace=ml",
            scene.model.model_digest()
        )
    );

    assert_eq!(records[1]["violations"][0]["code"], "MODEL_UNNAMED");
    assert_eq!(records[1]["statement"], json!(null));
    assert_eq!(records[2]["request"], json!(null));
    assert_eq!(records[2]["violations"][0]["code"], "REVIEW_MALFORMED");
}

#[test]
fn a_torn_record_does_not_spoil_the_next_one() {
    let scene = Scene::approved();
    write(&scene.dir, "decisions.jsonl", r#"{"id":"cut"#);
    assert!(scene.ask(&scene.pod()).allowed);
    let text = std::fs::read_to_string(scene.dir.path().join("decisions.jsonl")).unwrap();
    let lines: Vec<_> = text.lines().collect();
    assert_eq!((lines.len(), lines[0]), (2, r#"{"id":"cut"#));
    assert!(serde_json::from_str::<Value>(lines[1]).is_ok());
}

#[test]
fn what_cannot_be_written_down_is_not_let_in() {
    // A file that can be opened, and then refuses to grow, as on a full disk.
    let file = memfd_create("decisions", MemfdFlags::ALLOW_SEALING).unwrap();
    let scene = Scene::approved_with(|config| {
        let target = format!("/proc/{}/fd/{}", std::process::id(), file.as_raw_fd());
        std::os::unix::fs::symlink(target, &config.decisions).unwrap();
    });
    assert!(scene.ask(&scene.pod()).allowed);
    fcntl_add_seals(&file, SealFlags::GROW).unwrap();
    let answer = scene.ask(&scene.pod());
    assert_eq!(answer.codes, "DECISION_NOT_RECORDED");
    let answer = scene.ask(&captured("pod-create-generateName"));
    assert_eq!(answer.codes, "DECISION_NOT_RECORDED,MODEL_UNNAMED");
    assert!(!scene.ask(&captured("pod-delete")).allowed);
}
