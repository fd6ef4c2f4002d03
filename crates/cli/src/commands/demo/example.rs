//! The example model, carried in the binary, so that the demo runs anywhere.

use std::path::Path;

use crate::error::CliError;
use crate::files::{self, Access};

/// Files of the model directory.
pub(super) const MODEL: [(&str, &[u8]); 4] = [
    ("README.md", include_bytes!("../../../../../examples/loan-approval/model/README.md")),
    ("config.json", include_bytes!("../../../../../examples/loan-approval/model/config.json")),
    ("model.onnx", include_bytes!("../../../../../examples/loan-approval/model/model.onnx")),
    (
        "model.safetensors",
        include_bytes!("../../../../../examples/loan-approval/model/model.safetensors"),
    ),
];

/// What training leaves beside the model: held-out predictions, gates, cases for a self-check.
pub(super) const PREDICTIONS: &[u8] =
    include_bytes!("../../../../../examples/loan-approval/predictions.csv");
pub(super) const GATES: &[u8] = include_bytes!("../../../../../examples/loan-approval/gates.toml");
pub(super) const INFERENCE: &[u8] =
    include_bytes!("../../../../../examples/loan-approval/inference.json");

/// Writes the model into `directory`, which must not exist.
pub(super) fn unpack(directory: &Path) -> Result<(), CliError> {
    std::fs::create_dir(directory).map_err(|error| {
        CliError::environment(format!("cannot create {}: {error}", directory.display()))
            .hint("--keep needs a directory that is empty or does not exist yet")
    })?;
    for (name, bytes) in MODEL {
        files::write_new(&directory.join(name), bytes, Access::Public)?;
    }
    Ok(())
}
