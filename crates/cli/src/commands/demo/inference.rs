//! A small real inference, on bytes that were verified before they were parsed.

use std::collections::BTreeMap;
use std::path::Path;

use safetensors::SafeTensors;
use serde::Deserialize;

use sealwright_manifest::{Manifest, ManifestError, read_verified};

/// What one applicant gets.
#[derive(Debug)]
pub(super) struct Decision {
    pub(super) applicant: String,
    pub(super) score: f64,
    pub(super) approved: bool,
}

/// Why there is no decision.
#[derive(Debug, thiserror::Error)]
pub(super) enum InferenceError {
    /// The bytes on disk are not the signed ones, so nothing was loaded.
    #[error(transparent)]
    Refused(#[from] ManifestError),
    /// The files are the signed ones and do not fit together.
    #[error("the model cannot be run: {0}")]
    Broken(String),
    /// The result is not the one that training recorded.
    #[error("applicant {applicant:?} scores {score}, training recorded {expected}")]
    Differs {
        /// The case.
        applicant: String,
        /// Computed here.
        score: f64,
        /// Recorded by training.
        expected: f64,
    },
}

#[derive(Deserialize)]
struct Config {
    features: Vec<Feature>,
    decision_threshold: f64,
}

#[derive(Deserialize)]
struct Feature {
    name: String,
}

#[derive(Deserialize)]
struct Cases {
    tolerance: f64,
    cases: Vec<Case>,
}

#[derive(Deserialize)]
struct Case {
    name: String,
    features: BTreeMap<String, f64>,
    score: f64,
}

/// Loads the model through its signed manifest and scores the applicants in `cases`, each of which
/// must come out as training recorded it.
pub(super) fn run(
    model: &Path,
    manifest: &Manifest,
    cases: &[u8],
) -> Result<Vec<Decision>, InferenceError> {
    let verified = |name: &str| -> Result<Vec<u8>, InferenceError> {
        let entry = manifest.entry(name).ok_or_else(|| broken(format!("no {name}")))?;
        Ok(read_verified(model, entry)?)
    };
    let config: Config = serde_json::from_slice(&verified("config.json")?).map_err(broken)?;
    let weights = verified("model.safetensors")?;
    let network = Network::from_safetensors(&weights)?;
    let Cases { tolerance, cases } = serde_json::from_slice(cases).map_err(broken)?;
    let decide = |case: Case| {
        let inputs: Option<Vec<f64>> =
            config.features.iter().map(|f| case.features.get(&f.name).copied()).collect();
        let inputs =
            inputs.ok_or_else(|| broken(format!("{}: a feature is missing", case.name)))?;
        let score = network.score(&inputs);
        // Written so that a NaN differs too.
        let agrees = (score - case.score).abs() <= tolerance;
        if !agrees {
            let Case { name: applicant, score: expected, .. } = case;
            return Err(InferenceError::Differs { applicant, score, expected });
        }
        let approved = score >= config.decision_threshold;
        Ok(Decision { applicant: case.name, score, approved })
    };
    cases.into_iter().map(decide).collect()
}

/// Clip, standardise, one hidden layer of ReLU, sigmoid: `examples/loan-approval/train.py`.
struct Network {
    lower: Vec<f64>,
    upper: Vec<f64>,
    mean: Vec<f64>,
    scale: Vec<f64>,
    hidden_weight: Vec<f64>,
    hidden_bias: Vec<f64>,
    output_weight: Vec<f64>,
    output_bias: f64,
}

impl Network {
    fn from_safetensors(bytes: &[u8]) -> Result<Self, InferenceError> {
        let file = SafeTensors::deserialize(bytes).map_err(broken)?;
        let tensor = |name: &str, length: Option<usize>| -> Result<Vec<f64>, InferenceError> {
            let view = file.tensor(name).map_err(broken)?;
            if view.dtype() != safetensors::Dtype::F32 {
                return Err(broken(format!("tensor {name} is not F32")));
            }
            let values: Vec<f64> = view
                .data()
                .as_chunks::<4>()
                .0
                .iter()
                .map(|&bytes| f64::from(f32::from_le_bytes(bytes)))
                .collect();
            match length {
                Some(length) if length != values.len() => {
                    Err(broken(format!("tensor {name} has {} values", values.len())))
                }
                _ => Ok(values),
            }
        };
        let mean = tensor("standardize.mean", None)?;
        let hidden_bias = tensor("hidden.bias", None)?;
        let (inputs, hidden) = (Some(mean.len()), Some(hidden_bias.len()));
        let output_bias = tensor("output.bias", Some(1))?;
        Ok(Self {
            lower: tensor("clip.lower", inputs)?,
            upper: tensor("clip.upper", inputs)?,
            scale: tensor("standardize.scale", inputs)?,
            hidden_weight: tensor("hidden.weight", Some(mean.len() * hidden_bias.len()))?,
            output_weight: tensor("output.weight", hidden)?,
            output_bias: output_bias.first().copied().unwrap_or_default(),
            mean,
            hidden_bias,
        })
    }

    fn score(&self, inputs: &[f64]) -> f64 {
        let bounds = self.lower.iter().zip(&self.upper);
        let moments = self.mean.iter().zip(&self.scale);
        let standardized: Vec<f64> = inputs
            .iter()
            .zip(bounds)
            .zip(moments)
            .map(|((x, (lower, upper)), (mean, scale))| (x.max(*lower).min(*upper) - mean) / scale)
            .collect();
        let hidden = self
            .hidden_weight
            .chunks_exact(standardized.len().max(1))
            .zip(&self.hidden_bias)
            .map(|(row, bias)| (dot(row, &standardized) + bias).max(0.0));
        let output: f64 = hidden.zip(&self.output_weight).map(|(h, w)| h * w).sum();
        1.0 / (1.0 + (-(output + self.output_bias)).exp())
    }
}

fn dot(a: &[f64], b: &[f64]) -> f64 {
    a.iter().zip(b).map(|(a, b)| a * b).sum()
}

#[expect(clippy::needless_pass_by_value, reason = "made for map_err")]
fn broken(problem: impl ToString) -> InferenceError {
    InferenceError::Broken(problem.to_string())
}

#[cfg(test)]
mod tests {
    use sealwright_manifest::{Hashing, WalkOptions, digest_model};

    use super::super::example;
    use super::*;

    #[test]
    fn the_example_scores_as_training_recorded_and_refuses_a_flipped_bit() {
        let place = tempfile::tempdir().unwrap();
        let model = place.path().join("model");
        example::unpack(&model).unwrap();
        let manifest = digest_model(&model, &WalkOptions::default(), &Hashing::default()).unwrap();
        let decisions = run(&model, &manifest, example::INFERENCE).unwrap();
        assert!(decisions.iter().any(|d| d.approved) && decisions.iter().any(|d| !d.approved));

        let path = model.join("model.safetensors");
        let mut bytes = std::fs::read(&path).unwrap();
        *bytes.last_mut().unwrap() ^= 1;
        std::fs::write(&path, bytes).unwrap();
        let result = run(&model, &manifest, example::INFERENCE);
        assert!(matches!(result, Err(InferenceError::Refused(_))), "{result:?}");
    }
}
