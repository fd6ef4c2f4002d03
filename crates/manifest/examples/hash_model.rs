//! Hashes a model in one of the ways that the library offers, for `bench/hash`.
//!
//! `hash_model identity|manifest MODEL` prints the model digest, `hash_model plain MODEL` how many
//! files were hashed.

#![expect(clippy::print_stdout, reason = "a measurement for scripts")]

use std::error::Error;
use std::path::Path;

use sealwright_manifest::{
    HashAlgorithm, Hashing, MAX_FILES, Serialization, WalkOptions, digest_model, identify_model,
    resource_digests,
};

fn main() -> Result<(), Box<dyn Error>> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let [way, model] = arguments.as_slice() else { return Err("two arguments".into()) };
    let (model, options) = (Path::new(model), WalkOptions::default());
    let digest = match way.as_str() {
        "identity" => identify_model(model, &options, &Hashing::default())?.model_digest(),
        "manifest" => digest_model(model, &options, &Hashing::default())?.model_digest(),
        "plain" => {
            let serialization =
                Serialization { algorithm: HashAlgorithm::Sha256, shard_size: None };
            let all = resource_digests(
                model,
                &options,
                serialization,
                None,
                MAX_FILES,
                &Hashing::default(),
            )?;
            println!("{}", all.digests.len());
            return Ok(());
        }
        other => return Err(format!("unknown way {other}").into()),
    };
    println!("{digest}");
    Ok(())
}
