//! `sign --add`: one more signature of the same model, beside the first.

use std::path::{Path, PathBuf};

use sealwright_attest::{Bundle, OmsHashing, OmsPredicate, PublicKey, Statement, VerifyError};
use sealwright_manifest::{Difference, GIT_PATHS, Manifest, WalkOptions};

use crate::error::CliError;
use crate::files::{self, Access};
use crate::model::{self, ModelArgs};
use crate::service::read_bundle;
use crate::siblings;

/// Differences that are named in an error.
const SHOWN: usize = 5;

/// The signatures that are there, and what the first of them says that it covers.
///
/// Whether they are valid is for verifiers: they say whom they trust, and whoever signs does not.
pub(super) struct Earlier {
    pub(super) first: PathBuf,
    oms: OmsPredicate,
    /// All of them that can be read, the first one too.
    bundles: Vec<(PathBuf, Bundle)>,
}

impl Earlier {
    pub(super) fn read(first: &Path) -> Result<Self, CliError> {
        let bundle = read_bundle(first).map_err(|error| {
            error
                .hint("--add signs what is signed already: the first signature must be at --output")
        })?;
        let oms = covered(&bundle).map_err(|error| {
            CliError::input(format!("{}: {error}", first.display()))
                .hint("--add takes a signature over a model, as `sealwright sign` makes it")
        })?;
        let others = siblings::existing(first).into_iter();
        // What is no bundle is nobody's signature, and only takes a name.
        let others = others.filter_map(|path| Some((path.clone(), read_bundle(&path).ok()?)));
        let mut bundles = vec![(first.to_owned(), bundle)];
        bundles.extend(others);
        Ok(Self { first: first.to_owned(), oms, bundles })
    }

    /// Where the signature is to go, as far as can be said before it is written.
    pub(super) fn next(&self) -> Result<PathBuf, CliError> {
        siblings::free(&self.first).next().ok_or_else(|| self.full())
    }

    fn full(&self) -> CliError {
        let first = self.first.display();
        CliError::input(format!("there is no free name for another signature beside {first}"))
            .hint("remove signatures that nobody needs")
    }

    /// Refuses a place in the model that the first signature does not leave out: one more file there
    /// would make it a signature over another model.
    pub(super) fn check_place(&self, model: &ModelArgs, place: &Path) -> Result<(), CliError> {
        match model.relative(place) {
            Some(name) if !self.oms.walk_options().ignores(&name) => {
                let (place, first) = (place.display(), self.first.display());
                let message = format!("writing {place} would change the model that {first} signs");
                Err(CliError::input(message).hint(
                    "keep signatures outside of the model: copy the first one there, and give \
                     that as --output",
                ))
            }
            _ => Ok(()),
        }
    }

    /// Refuses to sign twice with one key, whatever certificate is with it.
    pub(super) fn check_signer(&self, key: &PublicKey) -> Result<(), CliError> {
        let is_by_key = |bundle: &Bundle| {
            let envelope = bundle.envelope();
            key.verifies(&envelope.pae(), &envelope.signature)
        };
        match self.bundles.iter().find(|(_, bundle)| is_by_key(bundle)) {
            Some((path, _)) => {
                let path = path.display();
                Err(CliError::input(format!("{path} is signed with this key already")).hint(
                    "a second signature with a key says nothing new; if that one is about an older \
                     model, remove it first",
                ))
            }
            None => Ok(()),
        }
    }

    /// Refuses if the first signature does not cover exactly the model as it is now.
    pub(super) fn check_model(
        &self,
        model: &ModelArgs,
        options: &WalkOptions,
        manifest: &Manifest,
    ) -> Result<(), CliError> {
        let path = &model.path;
        let single = model.single_file();
        let differences = match self.oms.hashing() {
            OmsHashing::Identity { .. } | OmsHashing::Manifest => {
                self.oms.compare(manifest, single.as_deref())
            }
            OmsHashing::Resources { serialization, limit } => {
                let resources = model::hash_resources(path, options, serialization, limit)?;
                self.oms.compare_resources(&resources, single.as_deref())
            }
        };
        if differences.is_empty() { Ok(()) } else { Err(self.other_model(options, &differences)) }
    }

    fn other_model(&self, options: &WalkOptions, differences: &[Difference]) -> CliError {
        let mut shown: Vec<String> =
            differences.iter().take(SHOWN).map(ToString::to_string).collect();
        if let Some(more) = differences.len().checked_sub(SHOWN).filter(|more| *more > 0) {
            shown.push(format!("and {more} more"));
        }
        let first = self.first.display();
        let message = format!("{first} does not sign this model: {}", shown.join("; "));
        // The ignore rules of a bundle that nobody has verified are not taken over unasked.
        let left_out: Vec<String> = self
            .oms
            .walk_options()
            .ignore_paths
            .into_iter()
            .filter(|path| !options.ignores(path) && !GIT_PATHS.contains(&path.as_str()))
            .map(|path| format!("--ignore-path {path}"))
            .collect();
        CliError::failed(message).hint(match left_out.is_empty() {
            true => "sign it anew without --add; whoever signed before must sign again".to_owned(),
            false => format!("that signature leaves out what this would: {}", left_out.join(" ")),
        })
    }

    /// Writes the bundle under the first name that is free; `place` was when it was asked for.
    pub(super) fn write(
        &self,
        model: &ModelArgs,
        options: &WalkOptions,
        place: PathBuf,
        bytes: &[u8],
    ) -> Result<PathBuf, CliError> {
        // Another name in the model would have to be left out of it as well.
        let is_left_out = |path: &PathBuf| match model.relative(path) {
            Some(name) => options.ignores(&name) && self.check_place(model, path).is_ok(),
            None => true,
        };
        let others = siblings::free(&self.first).filter(is_left_out);
        let places = std::iter::once(place).chain(others);
        files::write_first_free(places, bytes, Access::Public)?.ok_or_else(|| self.full())
    }
}

/// What a bundle says that it signs.
fn covered(bundle: &Bundle) -> Result<OmsPredicate, VerifyError> {
    let statement = Statement::parse(&bundle.envelope().payload)?;
    Ok(OmsPredicate::from_statement(&statement)?)
}
