//! The model on disk against what was signed.

use std::collections::BTreeSet;
use std::path::Path;

use sealwright_attest::{OmsHashing, OmsPredicate, predicate};
use sealwright_manifest::{
    Difference, GIT_PATHS, Identity, MAX_FILES, ManifestError, Resources, Sha256, WalkOptions,
};

use crate::commands::verify::Args;
use crate::commands::verify::hashes::Hashes;
use crate::commands::verify::signer::Checked;
use crate::error::CliError;

/// How the model compares.
pub(super) struct Comparison {
    /// The signed files, when the signature is one over whole files, and holds.
    pub(super) identity: Option<Identity>,
    /// The root digest of the signed files, when it is known to be that of plain SHA-256 digests.
    pub(super) oms_root: Option<Sha256>,
    /// Every difference in words; empty if the model is the signed one.
    pub(super) differences: Vec<String>,
    /// Files that nothing is signed about: empty ones in a signature over shards, or those that
    /// --ignore-unsigned-files lets pass.
    pub(super) unlisted: Vec<String>,
    /// What is there and was not looked at, because signature, defaults or options say so.
    pub(super) ignored: Vec<String>,
    /// What of it nobody asked to leave out: the signature does not speak of the whole model.
    pub(super) left_out: Vec<String>,
    /// Names of the files that are signed.
    pub(super) covered: BTreeSet<String>,
}

/// Walks the model as the signature says and holds it against what was signed.
pub(super) fn compare(
    args: &Args,
    bundle: &Path,
    checked: &Checked,
    hashes: &mut Hashes,
) -> Result<Comparison, CliError> {
    let found = &checked.statement.predicate_type;
    // A rejection is a valid statement about the model too: only what was asked for is accepted.
    let compared = match (&args.predicate_type, &checked.oms) {
        (None, Some(oms)) => compare_oms(args, bundle, oms, hashes),
        (None, None) => {
            let found = format!("the bundle is no signature over files but a {found} statement");
            Ok(refused_for(vec![found]))
        }
        (Some(wanted), _) if predicate::resolve_type(wanted) != found => {
            Ok(refused_for(vec![format!("the statement is of type {found}")]))
        }
        (Some(_), _) => compare_identity(args, bundle, checked, hashes),
    };
    compared.or_else(|failure| match failure {
        Failure::Model(error) => refuse_or_fail(error, checked.oms.as_ref()),
        Failure::Usage(error) => Err(error),
    })
}

enum Failure {
    Model(ManifestError),
    Usage(CliError),
}

impl From<ManifestError> for Failure {
    fn from(error: ManifestError) -> Self {
        Self::Model(error)
    }
}

fn compare_oms(
    args: &Args,
    bundle: &Path,
    oms: &OmsPredicate,
    hashes: &mut Hashes,
) -> Result<Comparison, Failure> {
    let signed_options = oms.walk_options();
    let mut ignored: Vec<String> = args.model.relative(bundle).into_iter().collect();
    ignored.extend(signed_options.ignore_paths);
    let mut options = args.model.options(ignored).map_err(Failure::Usage)?;
    options.symlinks = signed_options.symlinks;
    options.ignore_git_paths = !args.no_ignore_git_paths;
    let single = args.model.single_file();
    let path = &args.model.path;
    let (identity, found, unlisted) = match oms.hashing() {
        OmsHashing::Identity { chunk_size } => {
            let identity = hashes.identity(path, &options, chunk_size)?;
            let differences = oms.compare_identity(&identity);
            (Some(identity), differences, Vec::new())
        }
        OmsHashing::Manifest if !hashes.identity_wanted => {
            let resources = hashes.resources(path, &options, oms.serialization(), MAX_FILES)?;
            let differences = oms.compare_resources(&resources, single.as_deref());
            (None, differences, Vec::new())
        }
        OmsHashing::Manifest => {
            let manifest = hashes.manifest(path, &options)?;
            let differences = oms.compare(&manifest, single.as_deref());
            (Some(manifest.identity()), differences, Vec::new())
        }
        OmsHashing::Resources { serialization, limit } => {
            if args.ignore_unsigned_files && serialization.shard_size.is_some() {
                let refused = "a signature over shards covers a model whole or not at all: \
                               --ignore-unsigned-files cannot be combined with it";
                return Ok(refused_for(vec![refused.to_owned()]));
            }
            let resources = hashes.resources(path, &options, serialization, limit)?;
            let differences = oms.compare_resources(&resources, single.as_deref());
            (None, differences, resources.unlisted)
        }
    };
    let ignored = ignored_things(args, bundle, &options);
    let asked = args.model.options(Vec::new()).map_err(Failure::Usage)?;
    let compared = judge(args, oms, identity, found, unlisted);
    let unasked = ignored.iter().filter(|path| !asked.ignores(path)).cloned();
    let left_out = unasked.chain(compared.unlisted.iter().cloned()).collect();
    Ok(Comparison { ignored, left_out, covered: oms.paths(single.as_deref()), ..compared })
}

fn judge(
    args: &Args,
    oms: &OmsPredicate,
    identity: Option<Identity>,
    found: Vec<Difference>,
    mut unlisted: Vec<String>,
) -> Comparison {
    let mut differences = Vec::new();
    for difference in found {
        match difference {
            Difference::Added(name) if args.ignore_unsigned_files => unlisted.push(name),
            Difference::Missing(name) if is_left_out_of_git(args, &name) => differences.push(
                format!("missing: {name}: give --no-ignore-git-paths to look at git's files too"),
            ),
            other => differences.push(other.to_string()),
        }
    }
    // What was let pass is not part of what was signed.
    let identity = identity.filter(|_| differences.is_empty()).and_then(|identity| {
        let is_signed = |name: &str| !unlisted.iter().any(|unsigned| unsigned == name);
        let files = identity.files().iter().filter(|file| is_signed(&file.name)).cloned();
        Identity::new(files.collect()).ok()
    });
    // Of our own signatures the plain digests were not looked at.
    let is_plain = !matches!(oms.hashing(), OmsHashing::Identity { .. });
    let oms_root = (is_plain && differences.is_empty()).then(|| oms.root()).flatten();
    Comparison { identity, oms_root, unlisted, ..refused_for(differences) }
}

/// Whether it is one of git's files that was signed, is there, and was not looked at.
fn is_left_out_of_git(args: &Args, name: &str) -> bool {
    !args.no_ignore_git_paths
        && WalkOptions::default().ignores(name)
        && args.model.path.join(name).symlink_metadata().is_ok()
}

/// Any other statement: the model digest must be one of its subjects.
fn compare_identity(
    args: &Args,
    bundle: &Path,
    checked: &Checked,
    hashes: &mut Hashes,
) -> Result<Comparison, Failure> {
    let ignored = args.model.relative(bundle).into_iter().collect();
    let options = args.model.options(ignored).map_err(Failure::Usage)?;
    let identity = hashes.identity(&args.model.path, &options, None)?;
    if !checked.statement.is_about(&identity.model_digest().to_string()) {
        let other = "the statement is about another model digest".to_owned();
        return Ok(refused_for(vec![other]));
    }
    let covered = identity.files().iter().map(|file| file.name.clone()).collect();
    let ignored = ignored_things(args, bundle, &options);
    Ok(Comparison { identity: Some(identity), ignored, covered, ..refused_for(Vec::new()) })
}

fn refused_for(differences: Vec<String>) -> Comparison {
    Comparison {
        identity: None,
        oms_root: None,
        differences,
        unlisted: Vec::new(),
        ignored: Vec::new(),
        left_out: Vec::new(),
        covered: BTreeSet::new(),
    }
}

/// Ignored files and directories that are there, the bundle left out.
fn ignored_things(args: &Args, bundle: &Path, options: &WalkOptions) -> Vec<String> {
    let git = if options.ignore_git_paths { &GIT_PATHS[..] } else { &[] };
    let paths = options.ignore_paths.iter().map(String::as_str).chain(git.iter().copied());
    let bundle = args.model.relative(bundle);
    let is_there = |path: &&str| {
        Some(*path) != bundle.as_deref() && args.model.path.join(path).symlink_metadata().is_ok()
    };
    let there: BTreeSet<String> = paths.filter(is_there).map(str::to_owned).collect();
    there.into_iter().collect()
}

/// A link, FIFO or odd name was never signed: the model is not the signed one, nor is an empty
/// one. A file that cannot be read says nothing about the model.
fn refuse_or_fail(
    error: ManifestError,
    oms: Option<&OmsPredicate>,
) -> Result<Comparison, CliError> {
    match error {
        ManifestError::Empty { .. } => {
            let nothing = Resources::default();
            let missing = oms.map(|oms| oms.compare_resources(&nothing, None)).unwrap_or_default();
            let missing = missing.iter().map(ToString::to_string);
            Ok(refused_for(std::iter::once(error.to_string()).chain(missing).collect()))
        }
        ManifestError::Symlink { .. }
        | ManifestError::SpecialFile { .. }
        | ManifestError::Name { .. }
        | ManifestError::TooDeep { .. }
        | ManifestError::TooManyFiles { .. }
        | ManifestError::ChangedWhileReading { .. } => Ok(refused_for(vec![error.to_string()])),
        other => Err(other.into()),
    }
}
