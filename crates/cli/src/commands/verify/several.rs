//! Several signatures of one model: each is checked, and signers are counted once.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

use serde_json::{Value, json};

use sealwright_manifest::Identity;

use crate::commands::verify::hashes::Hashes;
use crate::commands::verify::signer::{Refusal, Trusted};
use crate::commands::verify::{Args, Signature};
use crate::error::CliError;
use crate::output::{self, BAD, GOOD, Ui, plain};
use crate::siblings;

/// Columns for a value beside the widest label.
const WIDTH: usize = 66;

/// What became of every bundle.
pub(super) struct Several {
    outcomes: Vec<Outcome>,
    /// How many signers there must be; without it every signature must be valid.
    required: Option<usize>,
    /// How many there are.
    counted: usize,
}

struct Outcome {
    bundle: PathBuf,
    /// The signature is valid, which does not yet mean that the model is the signed one.
    result: Result<Signature, Refusal>,
    /// It covers the same files as the others that count.
    agrees: bool,
}

/// Checks all signatures, and the model against each of them.
///
/// # Errors
/// If the model cannot be read, or nobody is trusted. A bundle that cannot be used is no error: it
/// does not count.
pub(super) fn verify(args: &Args, ui: &Ui) -> Result<Several, CliError> {
    let trusted = args.signer.open(&args.trust, ui)?;
    let mut hashes = Hashes::wanting_identity(super::wants_identity(args, ui));
    let mut outcomes = Vec::new();
    for bundle in bundles(args) {
        let result = check(args, &bundle, &trusted, &mut hashes)?;
        outcomes.push(Outcome { bundle, result, agrees: true });
    }
    let counted = agree(&mut outcomes);
    Ok(Several { outcomes, required: args.require.map(usize::from), counted })
}

/// The given bundles; when signers are counted, also those beside them, and each once.
fn bundles(args: &Args) -> Vec<PathBuf> {
    if args.require.is_none() {
        return args.bundles.clone();
    }
    let mut seen = BTreeSet::new();
    let beside = args.bundles.iter().flat_map(|bundle| siblings::existing(bundle));
    let all = args.bundles.iter().cloned().chain(beside);
    all.filter(|path| seen.insert(path.canonicalize().unwrap_or_else(|_| path.clone()))).collect()
}

fn check(
    args: &Args,
    bundle: &Path,
    trusted: &Trusted,
    hashes: &mut Hashes,
) -> Result<Result<Signature, Refusal>, CliError> {
    let bytes = match super::read(bundle) {
        // What was asked for by name has to be there; what lies beside it does not.
        Err(error) if args.bundles.iter().any(|given| given == bundle) => return Err(error),
        bytes => bytes,
    };
    match bytes.map_err(Refusal::Unusable).and_then(|bytes| trusted.check(&bytes)) {
        Ok(checked) => Signature::compare(args, bundle, checked, hashes).map(Ok),
        Err(refusal) => Ok(Err(refusal)),
    }
}

/// Signatures over different files of a model are not signatures of one thing: of those that are valid,
/// the files that most signers signed count, or the first of two that are equal. Gives the number of
/// their signers.
fn agree(outcomes: &mut [Outcome]) -> usize {
    let mut best: (usize, BTreeSet<String>) = Default::default();
    for outcome in outcomes.iter().filter_map(Outcome::accepted) {
        let files = &outcome.comparison.covered;
        let same = outcomes.iter().filter_map(Outcome::accepted);
        let same = same.filter(|other| other.comparison.covered == *files);
        let counted = distinct(same.map(|signature| signature.checked.signer.marks()));
        if counted > best.0 {
            best = (counted, files.clone());
        }
    }
    for outcome in outcomes {
        if let Ok(signature) = &outcome.result {
            outcome.agrees = signature.comparison.covered == best.1;
        }
    }
    best.0
}

/// How many signers there are at most. Those that have a mark in common count as one, also by way
/// of a third.
fn distinct(signers: impl Iterator<Item = Vec<String>>) -> usize {
    let mut groups: Vec<BTreeSet<String>> = Vec::new();
    for marks in signers {
        let mut joined: BTreeSet<String> = marks.into_iter().collect();
        groups.retain(|group| {
            let is_apart = group.is_disjoint(&joined);
            if !is_apart {
                joined.extend(group.iter().cloned());
            }
            is_apart
        });
        groups.push(joined);
    }
    groups.len()
}

impl Several {
    pub(super) fn is_accepted(&self) -> bool {
        match self.required {
            Some(required) => self.counted >= required,
            None => self.valid() == self.outcomes.len(),
        }
    }

    /// The model's identity by the first signature that counts and covers one.
    pub(super) fn identity(&self) -> Option<&Identity> {
        self.outcomes.iter().filter_map(Outcome::accepted).find_map(Signature::identity)
    }

    /// What the signatures that count leave out of the model although nobody asked for it.
    pub(super) fn left_out(&self) -> &[String] {
        let mut counted = self.outcomes.iter().filter_map(Outcome::accepted);
        counted.next().map_or(&[], |signature| &signature.comparison.left_out)
    }

    fn valid(&self) -> usize {
        self.outcomes.iter().filter_map(Outcome::accepted).count()
    }

    pub(super) fn add_to(&self, value: &mut Value) {
        value["ok"] = json!(self.is_accepted());
        value["required"] = json!(self.required);
        value["counted"] = json!(self.counted);
        value["signatures"] = self.outcomes.iter().map(Outcome::to_value).collect();
        let identity = self.identity().filter(|_| self.is_accepted());
        value["model_digest"] = json!(identity.map(Identity::model_digest));
    }

    pub(super) fn to_text(&self, args: &Args) -> String {
        let signers = output::count(self.counted, "signer");
        let found = match self.required {
            Some(required) => {
                let valid = output::count(self.valid(), "valid signature");
                format!("{valid} by {signers}, {required} required")
            }
            None => {
                let all = output::count(self.outcomes.len(), "signature");
                format!("{} of {all} valid, by {signers}", self.valid())
            }
        };
        let mut rows = vec![("model", plain(&args.model.path.to_string_lossy()))];
        if let Some(identity) = self.identity() {
            let files = output::count(identity.files().len(), "file");
            let size = output::size(identity.total_size());
            rows.push(("model digest", identity.model_digest().to_string()));
            rows.push(("checked", format!("every byte of {files}, {size}")));
        }
        self.outcomes.iter().for_each(|outcome| outcome.add_rows(&mut rows));
        let verdict = match self.is_accepted() {
            true => format!("{GOOD}verified{GOOD:#}"),
            false => format!("{BAD}refused{BAD:#}"),
        };
        format!("{verdict}: {found}\n{}", output::fields(&rows))
    }
}

impl Outcome {
    fn accepted(&self) -> Option<&Signature> {
        let result = self.result.as_ref().ok().filter(|_| self.agrees);
        result.filter(|signature| signature.is_accepted())
    }

    fn to_value(&self) -> Value {
        let mut value = json!({"ok": false});
        match &self.result {
            Ok(signature) => {
                signature.add_to(&mut value);
                let other_files = (!self.agrees).then_some("OTHER_FILES");
                value["code"] = json!(signature.refused_as().or(other_files));
                value["ok"] = json!(self.accepted().is_some());
            }
            Err(refusal) => {
                value["code"] = json!(refusal.code());
                value["error"] = json!(refusal.error().message());
            }
        }
        value["bundle"] = output::path(&self.bundle);
        value
    }

    fn add_rows(&self, rows: &mut Vec<(&str, String)>) {
        let bundle = plain(&self.bundle.to_string_lossy());
        let verdict = match self.accepted() {
            Some(_) => format!("{GOOD}valid{GOOD:#}"),
            None => format!("{BAD}refused{BAD:#}"),
        };
        rows.push(("signature", format!("{bundle}: {verdict}")));
        let mut add = |label, text: &str| {
            let lines = output::wrap(text, WIDTH).into_iter().enumerate();
            rows.extend(lines.map(|(line, text)| (if line == 0 { label } else { "" }, text)));
        };
        let signature = match &self.result {
            Ok(signature) => signature,
            Err(refusal) => return add("", &plain(refusal.error().message())),
        };
        add("  signed by", &signature.checked.signer.in_short());
        add("  signed at", &signature.checked.signer.time_text());
        let comparison = &signature.comparison;
        for (label, names) in
            [("  not signed", &comparison.unlisted), ("  ignored", &comparison.ignored)]
        {
            if !names.is_empty() {
                add(label, &plain(&names.join(", ")));
            }
        }
        if !self.agrees && signature.is_accepted() {
            add("", "covers other files of the model than the signatures that count");
        }
        // One line each, however long: names are not to be broken.
        let lines = comparison.differences.iter().map(|d| format!("{BAD}{}{BAD:#}", plain(d)));
        rows.extend(lines.map(|line| ("", line)));
    }
}

#[cfg(test)]
mod tests {
    #[test]
    fn whoever_has_a_mark_in_common_is_one() {
        for (signers, expected) in [
            (&[][..], 0),
            (&[&["key a"][..]][..], 1),
            (&[&["key a"], &["key b"]], 2),
            (&[&["key a"], &["key a"]], 1),
            (&[&["key a"], &["name x", "key a"]], 1),
            (&[&["name x", "key a"], &["name x", "key b"]], 1),
            (&[&["name x", "key a"], &["name y", "key a"]], 1),
            (&[&["name x", "key a"], &["name y", "key b"]], 2),
            // The third makes one of the first two.
            (&[&["name x", "key a"], &["name y", "key b"], &["name x", "key b"]], 1),
            (&[&["name x"], &["key b"], &["key c"], &["name x", "key c"]], 2),
        ] {
            let lists = signers.iter().map(|marks| marks.iter().map(ToString::to_string).collect());
            assert_eq!(super::distinct(lists), expected, "{signers:?}");
        }
    }
}
