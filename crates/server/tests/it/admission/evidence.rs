//! What the attestation service says, and what is believed of it.

use sealwright_attest::predicate::{APPROVAL, REVOCATION};
use sealwright_attest::{IN_TOTO_PAYLOAD_TYPE, KeyFile, Signer as _, Timestamp, pae};
use sealwright_manifest::Sha256;
use sealwright_server::admission::Config;
use sealwright_server::client::{ErasedStatement, ListedSigner};
use sealwright_server::evidence::SourceError;
use serde_json::{Value, json};

use super::{Answer, Scene};
use crate::world::{
    MemoryLog, approval, model, other_subject, revocation, sign_with, signature,
    with_twin_signature,
};

fn ask(scene: &Scene) -> Answer {
    scene.ask(&scene.pod())
}

#[test]
fn each_missing_statement_has_its_violation() {
    for (index, code) in [
        (0, "SIGNATURE_MISSING"),
        (1, "GATE_MISSING"),
        (2, "APPROVAL_MISSING"),
        (3, "APPROVAL_MISSING"),
    ] {
        let scene = Scene::approved();
        scene.service.state().statements.remove(index);
        assert_eq!(ask(&scene).codes, code);
    }
}

#[test]
fn a_rejection_or_a_revocation_takes_the_permission_away() {
    let scene = Scene::approved();
    assert!(ask(&scene).allowed);
    let rejection = approval(&scene.model, "compliance", "REJECTED", scene.now);
    scene.service.log(&scene.people.officer, &rejection);
    assert_eq!(ask(&scene).codes, "REJECTED");
    scene.service.log(&scene.people.lead, &revocation(&scene.model, "security", scene.now));
    let answer = ask(&scene);
    assert_eq!(answer.codes, "MODEL_REVOKED,REJECTED");
    assert!(answer.message.contains("\nMODEL_REVOKED: "), "{answer:#?}");
}

/// Needs no key: whoever reads the log can take an approval from it and log it once more.
#[test]
fn an_old_approval_cannot_be_logged_again_to_undo_a_rejection() {
    let scene = Scene::approved();
    let rejection = approval(&scene.model, "compliance", "REJECTED", scene.now);
    scene.service.log(&scene.people.officer, &rejection);
    assert_eq!(ask(&scene).codes, "REJECTED");
    let mut state = scene.service.state();
    let twin = with_twin_signature(&state.statements[3]);
    let twin = state.log.append(twin, &scene.people.officer);
    state.statements.push(twin);
    drop(state);
    assert_eq!(ask(&scene).codes, "REJECTED");
    // Nor does a new approval that does not know of the rejection.
    let mut statement = approval(&scene.model, "compliance", "APPROVED", scene.now);
    scene.service.log(&scene.people.officer, &statement);
    assert_eq!(ask(&scene).codes, "REJECTED");
    // The officer can: by an approval that names it.
    let named = Sha256::of(&pae(IN_TOTO_PAYLOAD_TYPE, &rejection.to_payload()));
    statement.predicate["evidence"] = json!([{"digest": {"sha256": named}}]);
    scene.service.log(&scene.people.officer, &statement);
    assert!(ask(&scene).allowed);
}

/// Nor to make an old test result look new.
#[test]
fn what_is_logged_again_gets_no_younger() {
    let scene = Scene::approved();
    let later = scene.now.plus_seconds(91 * 86400);
    let mut state = scene.service.state();
    state.log.set_time(later);
    let twin = with_twin_signature(&state.statements[1]);
    let twin = state.log.append(twin, &scene.people.evaluator);
    state.statements.push(twin);
    drop(state);
    let review = serde_json::to_vec(&scene.pod()).unwrap();
    let answer = Answer::parse(&scene.admission.answer(&review, later));
    assert!(answer.codes.contains("GATE_MISSING"), "{answer:#?}");
}

#[test]
fn statements_that_do_not_verify_count_for_nothing_and_are_named() {
    let scene = Scene::approved();
    let statement = approval(&scene.model, "compliance", "APPROVED", scene.now);
    scene.service.state().statements.truncate(3);
    // By somebody in no role, and by the right person but in no log.
    scene.service.log(&scene.people.stranger, &statement);
    let unlogged = sign_with(&scene.people.officer, &statement);
    scene.service.state().statements.push(unlogged);
    let answer = ask(&scene);
    assert_eq!(answer.codes, "APPROVAL_MISSING");
    assert!(answer.message.contains("\nignored: UNKNOWN_SIGNER: no principal"), "{answer:#?}");
    assert!(answer.message.contains("\nignored: NOT_LOGGED: "), "{answer:#?}");
    assert_eq!(scene.records()[0]["ignored"].as_array().unwrap().len(), 2);
}

#[test]
fn statements_about_other_models_count_for_nothing() {
    let scene = Scene::approved();
    scene.service.state().statements.remove(0);
    scene.service.log(&scene.people.trainer, &signature(&model("other weights")));
    let mut stray = approval(&scene.model, "compliance", "REJECTED", scene.now);
    stray.subject = other_subject();
    scene.service.log(&scene.people.officer, &stray);
    assert_eq!(ask(&scene).codes, "SIGNATURE_MISSING");
}

/// What was erased may have been a no.
#[test]
fn an_erased_statement_takes_all_of_its_type_along() {
    let erased = |predicate_type: &str, signer: Option<&KeyFile>| ErasedStatement {
        index: 9,
        predicate_type: predicate_type.to_owned(),
        signer: signer.map(|key| ListedSigner {
            key_id: Some(key.public_key().id()),
            ..ListedSigner::default()
        }),
    };
    let scene = Scene::approved();
    let with = |statement: ErasedStatement| {
        scene.service.state().erased = vec![statement];
        ask(&scene)
    };
    let officer = Some(&scene.people.officer);
    let answer = with(erased(APPROVAL, officer));
    assert_eq!(answer.codes, "APPROVAL_MISSING");
    assert!(answer.message.contains("ERASED: entry 9 "), "{answer:#?}");
    assert_eq!(with(erased(APPROVAL, None)).codes, "APPROVAL_MISSING");
    assert_eq!(with(erased(REVOCATION, officer)).codes, "REVOCATION_ERASED");
    // A rejection outlives the approvals that come after it, so one that was erased does too.
    let earlier = ErasedStatement { index: 0, ..erased(APPROVAL, officer) };
    assert_eq!(with(earlier).codes, "APPROVAL_MISSING");
    // One of another type, and what strangers said.
    assert!(with(erased("https://example.com/other/v1", officer)).allowed);
    let stranger = Some(&scene.people.stranger);
    assert!(with(erased(APPROVAL, stranger)).allowed);
    assert!(with(erased(REVOCATION, stranger)).allowed);
}

#[test]
fn a_revoked_signer_is_revoked_for_every_model() {
    let scene = Scene::approved();
    let mut recall = revocation(&scene.model, "lead-data-scientist", scene.now);
    recall.subject = other_subject();
    recall.predicate["target"] = json!({"signer": "compliance-officer@loans.example"});
    let mut state = scene.service.state();
    let bundle = sign_with(&scene.people.lead, &recall);
    let bundle = state.log.append(bundle, &scene.people.lead);
    state.revocations.push(bundle);
    drop(state);
    assert_eq!(ask(&scene).codes, "APPROVAL_MISSING");
}

#[test]
fn no_service_no_permission() {
    let scene = Scene::approved();
    let reason = "connection refused".to_owned();
    scene.service.state().fault = Some(SourceError::Unreachable { reason });
    let answer = ask(&scene);
    assert_eq!(answer.codes, "SERVICE_UNREACHABLE");
    assert!(answer.message.contains("connection refused"), "{answer:#?}");
    assert!(scene.admission.ready().unwrap_err().starts_with("SERVICE_UNREACHABLE: "));
    let reason = "HTTP status 500".to_owned();
    scene.service.state().fault = Some(SourceError::Answer { reason });
    assert_eq!(ask(&scene).codes, "SERVICE_ANSWER");
    scene.service.state().fault = None;
    assert!(ask(&scene).allowed);
    assert_eq!(scene.admission.ready(), Ok(()));
}

#[test]
fn what_is_kept_back_may_be_a_no() {
    let scene = Scene::approved();
    scene.service.state().complete = false;
    let answer = ask(&scene);
    assert_eq!(answer.codes, "EVIDENCE_INCOMPLETE");
    assert!(answer.message.contains("reader of all projects"), "{answer:#?}");
}

#[test]
fn an_old_view_of_the_log_is_not_enough() {
    let scene = Scene::approved();
    let earlier = Timestamp::from_unix(scene.now.unix() - 2 * 3600).unwrap();
    scene.service.state().log.set_time(earlier);
    assert_eq!(ask(&scene).codes, "LOG_STALE");
}

#[test]
fn a_checkpoint_must_be_of_the_trusted_log() {
    let scene = Scene::approved();
    let other = MemoryLog::new(scene.now);
    scene.service.state().checkpoint = Some(other.checkpoint());
    assert_eq!(ask(&scene).codes, "LOG_CHECKPOINT_INVALID");
    scene.service.state().checkpoint = Some(b"nonsense".to_vec());
    assert_eq!(ask(&scene).codes, "LOG_CHECKPOINT_INVALID");
    // The log's own signature, but without its time.
    let own = String::from_utf8(scene.service.state().log.checkpoint()).unwrap();
    let (plain, _) = own.trim_end().rsplit_once('\n').unwrap();
    scene.service.state().checkpoint = Some(format!("{plain}\n").into_bytes());
    let answer = ask(&scene);
    assert_eq!(answer.codes, "LOG_CHECKPOINT_INVALID");
    assert!(answer.message.contains("no log-signed time"), "{answer:#?}");
}

#[test]
fn the_log_may_grow_but_not_go_back() {
    let scene = Scene::approved();
    let before = scene.service.state().log.clone();
    assert!(ask(&scene).allowed);
    scene.service.state().log.append_other();
    assert!(ask(&scene).allowed);
    let shown = before.checkpoint();
    scene.service.state().checkpoint = Some(shown);
    let answer = ask(&scene);
    assert_eq!(answer.codes, "LOG_ROLLED_BACK");
    assert!(answer.message.contains("shows 5 entries"), "{answer:#?}");
    scene.service.state().checkpoint = None;
    assert!(ask(&scene).allowed);
}

#[test]
fn a_statement_from_a_larger_tree_betrays_an_old_checkpoint() {
    let scene = Scene::approved();
    let before = scene.service.state().log.checkpoint();
    let again = approval(&scene.model, "compliance", "APPROVED", scene.now);
    scene.service.log(&scene.people.officer, &again);
    // Nothing is remembered yet: the statement itself is the witness.
    scene.service.state().checkpoint = Some(before);
    assert_eq!(ask(&scene).codes, "LOG_ROLLED_BACK");
}

#[test]
fn a_log_with_two_histories_is_found_out() {
    let scene = Scene::approved();
    let mut fork = scene.service.state().log.clone();
    assert!(ask(&scene).allowed);
    // The same size with another root, seen once before.
    scene.service.log(&scene.people.lead, &signature(&model("other weights")));
    assert!(ask(&scene).allowed);
    fork.append_other();
    scene.service.state().checkpoint = Some(fork.checkpoint());
    assert_eq!(ask(&scene).codes, "LOG_ROLLED_BACK");
    // A larger one that does not continue what was seen.
    fork.append_other();
    scene.service.state().checkpoint = Some(fork.checkpoint());
    scene.service.state().proof = Some(fork.consistency(6));
    assert_eq!(ask(&scene).codes, "LOG_INCONSISTENT");
    // A proof of something else.
    scene.service.state().proof = Some(fork.consistency(3));
    assert_eq!(ask(&scene).codes, "LOG_INCONSISTENT");
}

#[test]
fn two_trees_of_one_size_are_found_out_without_memory() {
    let scene = Scene::approved();
    let mut fork = scene.service.state().log.clone();
    let again = approval(&scene.model, "compliance", "APPROVED", scene.now);
    scene.service.log(&scene.people.officer, &again);
    fork.append_other();
    scene.service.state().checkpoint = Some(fork.checkpoint());
    assert_eq!(ask(&scene).codes, "LOG_INCONSISTENT");
}

#[test]
fn a_log_that_grows_between_two_questions_is_no_fault() {
    let scene = Scene::approved();
    assert!(ask(&scene).allowed);
    scene.service.state().log.append_other();
    scene.service.state().after_checkpoint =
        Some(Box::new(|service| service.state().log.append_other()));
    assert!(ask(&scene).allowed);
    assert_eq!(scene.records()[1]["log"]["treeSize"], 7);
}

#[test]
fn a_statement_that_is_logged_between_two_questions_is_no_fault() {
    let scene = Scene::approved();
    let before = scene.service.state().log.checkpoint();
    let again = approval(&scene.model, "compliance", "APPROVED", scene.now);
    scene.service.log(&scene.people.officer, &again);
    scene.service.state().checkpoint = Some(before);
    scene.service.state().after_checkpoint =
        Some(Box::new(|service| service.state().checkpoint = None));
    assert!(ask(&scene).allowed);
    assert_eq!(scene.records()[0]["log"]["treeSize"], 6);
}

#[test]
fn a_request_that_was_overtaken_does_not_turn_the_memory_back() {
    let scene = Scene::approved();
    let (admission, pod, now) =
        (scene.admission.clone(), scene.pod().to_string().into_bytes(), scene.now);
    scene.service.state().after_checkpoint = Some(Box::new(move |service| {
        service.state().log.append_other();
        assert!(Answer::parse(&admission.answer(&pod, now)).allowed);
    }));
    assert!(ask(&scene).allowed);
    let sizes: Vec<_> = scene.records().iter().map(|r| r["log"]["treeSize"].clone()).collect();
    assert_eq!(sizes, [6, 6]);
}

#[test]
fn a_log_key_counts_only_while_the_trusted_root_says_so() {
    let scene = Scene::approved_with(|config| {
        change_root(config, |root| {
            root["tlogs"][0]["publicKey"]["validFor"]["end"] = json!("2026-11-24T11:59:59Z");
        });
    });
    let answer = ask(&scene);
    assert_eq!(answer.codes, "LOG_CHECKPOINT_INVALID");
    assert!(answer.message.contains("validity"), "{answer:#?}");
}

#[test]
fn statements_in_another_trusted_log_do_not_count_here() {
    let mut other = MemoryLog::named("other.example", Timestamp::from_unix(1_795_000_000).unwrap());
    let scene = Scene::approved_with(|config| {
        let theirs: Value = serde_json::from_str(&other.trusted_root().to_json()).unwrap();
        change_root(config, |root| {
            root["tlogs"].as_array_mut().unwrap().push(theirs["tlogs"][0].clone());
        });
    });
    (0..9).for_each(|_| other.append_other());
    let statement = approval(&scene.model, "compliance", "APPROVED", scene.now);
    let bundle = sign_with(&scene.people.officer, &statement);
    let bundle = other.append(bundle, &scene.people.officer);
    *scene.service.state().statements.last_mut().unwrap() = bundle;
    let answer = ask(&scene);
    // Its tree is larger than ours, which says nothing about ours.
    assert_eq!(answer.codes, "APPROVAL_MISSING");
    assert!(answer.message.contains("\nignored: OTHER_LOG: "), "{answer:#?}");
}

fn change_root(config: &Config, change: impl FnOnce(&mut Value)) {
    let mut root = serde_json::from_slice(&std::fs::read(&config.trusted_root).unwrap()).unwrap();
    change(&mut root);
    std::fs::write(&config.trusted_root, root.to_string()).unwrap();
}
