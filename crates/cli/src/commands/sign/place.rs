//! Where a signature goes, and what that forbids.

use std::path::{Path, PathBuf};

use sealwright_attest::PublicKey;
use sealwright_manifest::{Manifest, WalkOptions};

use crate::commands::sign::add::Earlier;
use crate::error::CliError;
use crate::files::{self, Access};
use crate::model::ModelArgs;
use crate::service::read_bundle;

/// Where a signature goes.
pub(super) struct Place {
    path: PathBuf,
    /// Its name in the model, if it lies in it.
    pub(super) inside: Option<String>,
    /// With --add: the signatures that are there.
    earlier: Option<Earlier>,
}

impl Place {
    /// Refuses a place where nothing can or may be written, before anything takes time.
    ///
    /// `output` is where the first signature is, or is to be.
    pub(super) fn open(model: &ModelArgs, output: PathBuf, add: bool) -> Result<Self, CliError> {
        let earlier = add.then(|| Earlier::read(&output)).transpose()?;
        let path = earlier.as_ref().map_or(Ok(output), Earlier::next)?;
        files::check_writable(&path)?;
        let inside = model.relative(&path);
        match &earlier {
            Some(earlier) => earlier.check_place(model, &path)?,
            None => refuse_to_replace_a_model_file(model, &path, inside.is_some())?,
        }
        Ok(Self { path, inside, earlier })
    }

    /// Names below MODEL of signatures that are no part of what is signed.
    pub(super) fn left_out(&self, model: &ModelArgs) -> Vec<String> {
        let first = self.earlier.as_ref().and_then(|earlier| model.relative(&earlier.first));
        first.into_iter().chain(self.inside.clone()).collect()
    }

    /// Refuses a key that has signed the model already.
    pub(super) fn check_signer(&self, key: &PublicKey) -> Result<(), CliError> {
        self.earlier.as_ref().map_or(Ok(()), |earlier| earlier.check_signer(key))
    }

    /// Refuses a model that is not the one which was signed first.
    pub(super) fn check_model(
        &self,
        model: &ModelArgs,
        options: &WalkOptions,
        manifest: &Manifest,
    ) -> Result<(), CliError> {
        let earlier = self.earlier.as_ref();
        earlier.map_or(Ok(()), |earlier| earlier.check_model(model, options, manifest))
    }

    /// Writes the bundle, and says where.
    pub(super) fn write(
        self,
        model: &ModelArgs,
        options: &WalkOptions,
        bytes: &[u8],
    ) -> Result<PathBuf, CliError> {
        match &self.earlier {
            Some(earlier) => earlier.write(model, options, self.path, bytes),
            None => files::write(&self.path, bytes, Access::Public).map(|()| self.path),
        }
    }
}

/// Only an older bundle may be replaced in a model.
fn refuse_to_replace_a_model_file(
    model: &ModelArgs,
    path: &Path,
    inside: bool,
) -> Result<(), CliError> {
    if !(inside || model.is_at(path)) || !path.exists() || read_bundle(path).is_ok() {
        return Ok(());
    }
    let path = path.display();
    Err(CliError::input(format!("refusing to replace {path}, a file of the model, by a bundle"))
        .hint("choose another --output"))
}
