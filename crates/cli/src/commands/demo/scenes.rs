//! The story: a model on its way to production, and three attacks.

use super::inference::{self, InferenceError};
use super::world::{Answer, World, key_reference, text};
use super::{Outcome, Story, example};
use crate::error::CliError;

/// Plays everything.
pub(super) fn play(world: &World, story: &mut Story<'_>) -> Result<(), CliError> {
    story.chapter("From training output to production");
    let model = road_to_production(world, story)?;
    story.chapter("Attack 1: one flipped bit in the weights on the node");
    flipped_bit(world, story)?;
    story.chapter("Attack 2: an engineer's hotfix, signed, without evidence");
    hotfix(world, story, &model)?;
    story.chapter("Attack 3: one person approves in both roles");
    one_person(world, story)
}

fn road_to_production(world: &World, story: &mut Story<'_>) -> Result<String, CliError> {
    let signed = world.sign_as("trainer", &["sign", "model"])?;
    let digest = text(&signed["model_digest"]).to_owned();
    story.typed(format!("sealwright sign model --key {}", key_reference("trainer")));
    story.done("sign", "the trainer signs every file", &logged(&signed));
    let evaluated = evaluate(world, "model")?;
    story.typed("sealwright evaluate model --predictions predictions.csv …".to_owned());
    story.done("evaluate", "the evaluator measures it on held-out data", &evaluated);
    ask(
        world,
        story,
        "admit-unapproved",
        "a pod asks for it before anybody approved",
        &digest,
        Outcome::Deny,
    )?;
    approve(world, story, "approve-lead", "data-science-lead", "lead-data-scientist", "model")?;
    approve(world, story, "approve-compliance", "compliance-officer", "compliance", "model")?;
    ask(world, story, "admit", "the pod asks again", &digest, Outcome::Allow)?;
    world.copy_model("node/model")?;
    run(
        world,
        story,
        "run",
        "it runs: applicants are scored with verified weights",
        Outcome::Allow,
    )?;
    Ok(digest)
}

fn flipped_bit(world: &World, story: &mut Story<'_>) -> Result<(), CliError> {
    world.edit("node/model/model.safetensors", |mut bytes| {
        if let Some(byte) = bytes.last_mut() {
            *byte ^= 1;
        }
        bytes
    })?;
    let key = "keys/trainer.pub";
    let answer =
        world.runner.run(&["verify", "node/model", "--bundle", "model.sig", "--key", key])?;
    let differences = answer.value["differences"].as_array().cloned().unwrap_or_default();
    let reason: Vec<_> = differences.iter().map(|line| text(line).to_owned()).collect();
    let outcome = if answer.code == 0 { Outcome::Allow } else { Outcome::Deny };
    let title = "the files are checked against the signature";
    story.typed("sealwright verify node/model --bundle model.sig --key trainer.pub".to_owned());
    story.tell("flipped-bit-verify", title, Outcome::Deny, outcome, &reason.join("\n"));
    run(
        world,
        story,
        "flipped-bit-run",
        "the loader is asked to run it all the same",
        Outcome::Deny,
    )
}

fn hotfix(world: &World, story: &mut Story<'_>, approved: &str) -> Result<(), CliError> {
    world.copy_model("hotfix/model")?;
    world.edit("hotfix/model/config.json", |bytes| {
        let config = String::from_utf8_lossy(&bytes);
        config.replace("\"decision_threshold\": 0.6", "\"decision_threshold\": 0.3").into_bytes()
    })?;
    let signed = world.sign_as("engineer", &["sign", "hotfix/model"])?;
    let digest = text(&signed["model_digest"]).to_owned();
    if digest == approved {
        return Err(CliError::failed("the hotfix changed nothing"));
    }
    story.done(
        "hotfix-sign",
        "the threshold is lowered, and signed by the engineer",
        &logged(&signed),
    );
    ask(world, story, "hotfix", "a pod asks for the hotfix", &digest, Outcome::Deny)
}

fn one_person(world: &World, story: &mut Story<'_>) -> Result<(), CliError> {
    world.copy_model("next/model")?;
    world.edit("next/model/README.md", |mut bytes| {
        bytes.extend_from_slice(b"\nSecond edition of this card.\n");
        bytes
    })?;
    let signed = world.sign_as("trainer", &["sign", "next/model"])?;
    let digest = text(&signed["model_digest"]).to_owned();
    evaluate(world, "next/model")?;
    story.done("next", "the next version: signed, measured, gates passed", &logged(&signed));
    let who = "head-of-lending";
    approve(world, story, "next-approve-lead", who, "lead-data-scientist", "next/model")?;
    approve(world, story, "next-approve-compliance", who, "compliance", "next/model")?;
    ask(world, story, "one-person", "a pod asks for it", &digest, Outcome::Deny)
}

fn evaluate(world: &World, model: &str) -> Result<String, CliError> {
    let value = world.sign_as(
        "evaluator",
        &["evaluate", model, "--predictions", "predictions.csv", "--gates", "gates.toml"],
    )?;
    let metrics = value["metrics"].as_array().cloned().unwrap_or_default();
    let shown = metrics.iter().filter(|metric| {
        let pair = (text(&metric["metric"]), text(&metric["slice"]));
        matches!(pair, ("accuracy", _) | ("demographic_parity_difference", _))
    });
    let lines = shown.map(|metric| {
        let value = metric["value"].as_f64().unwrap_or(f64::NAN);
        let (name, slice) = (text(&metric["metric"]), text(&metric["slice"]));
        let bound = format!("{} {}", text(&metric["comparator"]), metric["threshold"]);
        format!("{:<38} {value:.3}  (gate {bound})", format!("{name}[{slice}]"))
    });
    let lines: Vec<_> = lines.collect();
    Ok(format!("{}\n{} gates, all passed", lines.join("\n"), metrics.len()))
}

fn approve(
    world: &World,
    story: &mut Story<'_>,
    step: &'static str,
    who: &str,
    role: &str,
    model: &str,
) -> Result<(), CliError> {
    let approved = world.sign_as(who, &["approve", model, "--as", role])?;
    let key = key_reference(who);
    story.typed(format!("sealwright approve {model} --as {role} \\\n               --key {key}"));
    story.done(step, &format!("{who} approves as {role}"), &logged(&approved));
    Ok(())
}

fn ask(
    world: &World,
    story: &mut Story<'_>,
    step: &'static str,
    title: &str,
    digest: &str,
    expected: Outcome,
) -> Result<(), CliError> {
    let Answer { allowed, reason } = world.ask("scorer", digest)?;
    let outcome = if allowed { Outcome::Allow } else { Outcome::Deny };
    let reason = match allowed {
        true => "signed, gates passed, approved by two people, nothing revoked".to_owned(),
        // The first line names the model and the decision, which the story has just done.
        false => reason.lines().skip(1).collect::<Vec<_>>().join("\n"),
    };
    story.tell(step, title, expected, outcome, &reason);
    Ok(())
}

/// Scores the applicants with what is on the node, read through the signed manifest.
fn run(
    world: &World,
    story: &mut Story<'_>,
    step: &'static str,
    title: &str,
    expected: Outcome,
) -> Result<(), CliError> {
    let manifest = world.signed_manifest("model.sig", "trainer")?;
    let scored = inference::run(&world.path("node/model"), &manifest, example::INFERENCE);
    let (outcome, reason) = match scored {
        Ok(decisions) => {
            let shown = decisions.iter().map(|decision| {
                let word = if decision.approved { "approve" } else { "decline" };
                format!("{} {:.3} {word}", decision.applicant, decision.score)
            });
            (Outcome::Allow, shown.collect::<Vec<_>>().join(", "))
        }
        Err(InferenceError::Refused(error)) => (Outcome::Deny, format!("{error}: not loaded")),
        Err(other) => return Err(CliError::failed(other.to_string())),
    };
    story.tell(step, title, expected, outcome, &reason);
    Ok(())
}

fn logged(value: &serde_json::Value) -> String {
    let log = &value["log"];
    format!("logged as entry {}, log-signed time {}", log["index"], text(&log["log_signed_time"]))
}
