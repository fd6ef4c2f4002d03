//! Hashes a model in one of the ways that the library offers, for `bench/hash`.
//!
//! `hash_model identity|manifest MODEL` prints the model digest.

#![expect(clippy::print_stdout, reason = "a measurement for scripts")]

use std::error::Error;
use std::path::Path;

use sealwright_manifest::{WalkOptions, digest_model, identify_model};

fn main() -> Result<(), Box<dyn Error>> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let [way, model] = arguments.as_slice() else { return Err("two arguments".into()) };
    let (model, options) = (Path::new(model), WalkOptions::default());
    let digest = match way.as_str() {
        "identity" => identify_model(model, &options, &|_| {})?.model_digest(),
        "manifest" => digest_model(model, &options, &|_| {})?.model_digest(),
        other => return Err(format!("unknown way {other}").into()),
    };
    println!("{digest}");
    Ok(())
}
