//! Finding Rego modules and data, as OPA does.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};

use serde_json::{Map, Value};

use sealwright_attest::parse_strict;
use sealwright_policy::{Suite, SuiteOptions};

use super::approval::read_policy_bundle;
use super::unusable;
use crate::error::CliError;
use crate::files;

const MAX_FILES: usize = 10_000;
const MAX_FILE_BYTES: usize = 8 << 20;
const MAX_DEPTH: usize = 32;

/// Where an input for tests is found that lies beside the rules as `input.json`.
const TEST_INPUT: [&str; 2] = ["sealwright_test", "input"];

/// How Rego is read.
#[derive(Debug, Clone, Copy, Default, clap::Args)]
pub(super) struct RegoArgs {
    /// Take each DIR for an OPA bundle: what its `.manifest` says are its roots, and nothing else,
    /// may be in it.
    #[arg(long, short)]
    pub(super) bundle: bool,
    /// Read modules without `import rego.v1` as OPA before 1.0 did.
    #[arg(long)]
    pub(super) v0_compatible: bool,
    /// Builtins that fail are undefined, as in OPA, and no errors. Decisions are never made so.
    #[arg(long)]
    pub(super) lenient_builtin_errors: bool,
}

impl RegoArgs {
    /// Loads everything at `paths` together.
    pub(super) fn load(&self, paths: &[PathBuf]) -> Result<Suite, CliError> {
        Ok(self.load_with_texts(paths)?.0)
    }

    /// The same, and name and text of every module.
    pub(super) fn load_with_texts(
        &self,
        paths: &[PathBuf],
    ) -> Result<(Suite, Vec<(String, String)>), CliError> {
        let mut sources = Sources::default();
        let mut bundles = Vec::new();
        for path in paths {
            let first = sources.modules.len();
            let mut data = Value::Object(Map::new());
            std::mem::swap(&mut data, &mut sources.data);
            if is_bundle(path) {
                let roots = sources.add_bundle(path)?;
                bundles.push((path, roots, first..sources.modules.len()));
            } else {
                sources.add(path)?;
            }
            if self.bundle && path.is_dir() {
                let roots = roots(path)?;
                check_data(&sources.data, &mut Vec::new(), &roots)
                    .map_err(|place| outside(path, &format!("data.{place}")))?;
                bundles.push((path, roots, first..sources.modules.len()));
            }
            std::mem::swap(&mut data, &mut sources.data);
            merge(&mut sources.data, data, path)?;
        }
        if !self.bundle {
            sources.add_test_input(paths)?;
        }
        let options = SuiteOptions {
            v0_compatible: self.v0_compatible || sources.v0_compatible,
            lenient_builtin_errors: self.lenient_builtin_errors,
        };
        let suite = Suite::new(&sources.modules, &sources.data, options)
            .map_err(|error| unusable(&error))?;
        let packages = suite.packages();
        for (index, (path, roots, modules)) in bundles.iter().enumerate() {
            for package in packages.get(modules.clone()).unwrap_or_default() {
                if !roots.iter().any(|root| package.starts_with(root)) {
                    return Err(outside(path, &format!("package {}", package.join("."))));
                }
            }
            let others = bundles.iter().take(index).flat_map(|(_, others, _)| others);
            for other in others {
                if roots.iter().any(|root| root.starts_with(other) || other.starts_with(root)) {
                    return Err(CliError::input(format!(
                        "{}: its root {:?} belongs to another bundle, too",
                        path.display(),
                        other.join("/")
                    ))
                    .hint("give each bundle its own roots in its .manifest"));
                }
            }
        }
        Ok((suite, sources.modules))
    }
}

#[derive(Default)]
struct Sources {
    /// Names as they are shown, and texts.
    modules: Vec<(String, String)>,
    data: Value,
    count: usize,
    /// A bundle says that its modules are in the language of before OPA 1.0.
    v0_compatible: bool,
}

impl Sources {
    fn add(&mut self, path: &Path) -> Result<(), CliError> {
        if path.is_dir() {
            return self.add_directory(path, &mut Vec::new());
        }
        // `a.b:FILE` as for OPA: the document at data.a.b.
        let text = path.to_string_lossy();
        let (prefix, file) = match text.split_once(':') {
            Some((prefix, file)) if !path.exists() => (prefix, Path::new(file)),
            _ => ("", path),
        };
        let parts: Vec<&str> =
            prefix.split('.').filter(|part| !part.is_empty() && *part != "data").collect();
        match file.extension().and_then(|extension| extension.to_str()) {
            Some("rego") => self.add_module(file),
            Some("json" | "yaml" | "yml") => self.add_data(file, &parts),
            _ => Err(CliError::input(format!("{text} is not Rego, JSON or YAML"))
                .hint("give a directory, or a file that ends in .rego, .json or .yaml")),
        }
    }

    /// Adds what is in an OPA bundle; gives its roots.
    fn add_bundle(&mut self, path: &Path) -> Result<BTreeSet<Vec<String>>, CliError> {
        let unusable = |error| unusable(&error).about(path.display());
        let (_, bundle) = read_policy_bundle(path)?;
        let (modules, data) = bundle.sources().map_err(unusable)?;
        for (name, text) in modules {
            self.count_file(path)?;
            self.modules.push((format!("{}:{name}", path.display()), text));
        }
        self.v0_compatible |= bundle.manifest().rego_version == Some(0);
        merge(&mut self.data, data, path)?;
        let split = |root: &String| {
            root.split('/').filter(|part| !part.is_empty()).map(str::to_owned).collect()
        };
        let roots = bundle.manifest().roots.as_ref();
        Ok(roots.map_or_else(
            || BTreeSet::from([Vec::new()]),
            |roots| roots.iter().map(split).collect(),
        ))
    }

    fn add_directory(&mut self, dir: &Path, below: &mut Vec<String>) -> Result<(), CliError> {
        if below.len() > MAX_DEPTH {
            return Err(CliError::input(format!("{} is nested too deeply", dir.display()))
                .hint("check for links that lead back"));
        }
        for path in entries(dir)? {
            let Some(name) = path.file_name().and_then(|name| name.to_str()).map(str::to_owned)
            else {
                return Err(CliError::input(format!("{} has no UTF-8 name", path.display()))
                    .hint("rename it"));
            };
            if path.is_dir() {
                below.push(name);
                self.add_directory(&path, below)?;
                below.pop();
            } else if name.ends_with(".rego") {
                self.add_module(&path)?;
            } else if matches!(name.as_str(), "data.json" | "data.yaml" | "data.yml") {
                let parts: Vec<&str> = below.iter().map(String::as_str).collect();
                self.add_data(&path, &parts)?;
            }
        }
        Ok(())
    }

    fn add_module(&mut self, path: &Path) -> Result<(), CliError> {
        self.count_file(path)?;
        let text = read_text(path)?;
        self.modules.push((path.display().to_string(), text));
        Ok(())
    }

    fn add_data(&mut self, path: &Path, parts: &[&str]) -> Result<(), CliError> {
        self.count_file(path)?;
        let value = read_data(path)?;
        if parts.is_empty() && !value.is_object() {
            return Err(CliError::input(format!("{} is not an object", path.display()))
                .hint("data at the root is an object"));
        }
        merge(&mut self.data, rooted(parts, value), path)
    }

    /// `input.json` beside the rules, unless the data has one, is what tests find at
    /// `data.sealwright_test.input`.
    fn add_test_input(&mut self, paths: &[PathBuf]) -> Result<(), CliError> {
        let file = paths.iter().map(|path| path.join("input.json")).find(|path| path.is_file());
        let has_one = self.data.pointer(&format!("/{}", TEST_INPUT.join("/"))).is_some();
        match file.filter(|_| !has_one) {
            Some(file) => {
                let value = read_data(&file)?;
                merge(&mut self.data, rooted(&TEST_INPUT, value), &file)
            }
            None => Ok(()),
        }
    }

    fn count_file(&mut self, path: &Path) -> Result<(), CliError> {
        self.count += 1;
        if self.count > MAX_FILES {
            return Err(CliError::input(format!(
                "{}: more than {MAX_FILES} files",
                path.display()
            ))
            .hint("check that this is the right directory"));
        }
        Ok(())
    }
}

/// Whether a path names an OPA bundle.
pub(super) fn is_bundle(path: &Path) -> bool {
    let name = path.to_string_lossy();
    path.is_file() && (name.ends_with(".tar.gz") || name.ends_with(".tgz"))
}

/// Entries of a directory in order, hidden ones left out.
pub(super) fn entries(dir: &Path) -> Result<Vec<PathBuf>, CliError> {
    let failed = |error: std::io::Error| files::read_error(dir, "directory", &error);
    let mut paths = Vec::new();
    for entry in fs::read_dir(dir).map_err(failed)? {
        let entry = entry.map_err(failed)?;
        if !entry.file_name().to_string_lossy().starts_with('.') {
            paths.push(entry.path());
        }
    }
    paths.sort();
    Ok(paths)
}

fn read_text(path: &Path) -> Result<String, CliError> {
    String::from_utf8(files::read(path, "module", MAX_FILE_BYTES)?).map_err(|_| {
        CliError::input(format!("{} is not UTF-8", path.display())).hint("Rego is UTF-8 text")
    })
}

fn read_data(path: &Path) -> Result<Value, CliError> {
    let bytes = files::read(path, "data", MAX_FILE_BYTES)?;
    let is_json = path.extension().is_some_and(|extension| extension == "json");
    let read = if is_json {
        parse_strict(&bytes, MAX_FILE_BYTES).map_err(|error| error.to_string())
    } else {
        yaml_serde::from_slice(&bytes).map_err(|error| error.to_string())
    };
    read.map_err(|error| {
        CliError::input(format!("{}: {error}", path.display())).hint("correct the file")
    })
}

fn rooted(parts: &[&str], value: Value) -> Value {
    parts
        .iter()
        .rev()
        .fold(value, |value, part| Value::Object(Map::from_iter([((*part).to_owned(), value)])))
}

/// Joins objects; two values in one place must be equal.
fn merge(into: &mut Value, from: Value, path: &Path) -> Result<(), CliError> {
    let mut pending = vec![(into, from, Vec::<String>::new())];
    while let Some((into, from, place)) = pending.pop() {
        match (into, from) {
            (into @ Value::Null, from) => *into = from,
            (Value::Object(into), Value::Object(from)) => {
                let mut deeper = Vec::new();
                for (name, value) in from {
                    if into.contains_key(&name) {
                        deeper.push((name, value));
                    } else {
                        into.insert(name, value);
                    }
                }
                let mut deeper: std::collections::BTreeMap<_, _> = deeper.into_iter().collect();
                for (name, target) in into.iter_mut() {
                    if let Some(value) = deeper.remove(name) {
                        let place = place.iter().chain([name]).cloned().collect();
                        pending.push((target, value, place));
                    }
                }
            }
            (into, from) if *into == from => {}
            _ => {
                let place = place.join(".");
                return Err(CliError::input(format!(
                    "{}: there is another value at data.{place} already",
                    path.display()
                ))
                .hint("data from several files must not disagree"));
            }
        }
    }
    Ok(())
}

/// The roots in the `.manifest` of a bundle; without one, everything.
fn roots(dir: &Path) -> Result<BTreeSet<Vec<String>>, CliError> {
    let path = dir.join(".manifest");
    let everything = BTreeSet::from([Vec::new()]);
    if !path.exists() {
        return Ok(everything);
    }
    let bytes = files::read(&path, "manifest", MAX_FILE_BYTES)?;
    let wrong = |error: String| {
        CliError::input(format!("{}: {error}", path.display()))
            .hint("an OPA bundle manifest is an object with revision and roots")
    };
    let manifest =
        parse_strict(&bytes, MAX_FILE_BYTES).map_err(|error| wrong(error.to_string()))?;
    let Some(roots) = manifest.get("roots") else { return Ok(everything) };
    let listed = roots.as_array().ok_or_else(|| wrong("roots is not a list".to_owned()))?;
    listed
        .iter()
        .map(|root| {
            let root = root.as_str().ok_or_else(|| wrong("a root is not a text".to_owned()))?;
            let parts = root.split('/').filter(|part| !part.is_empty());
            Ok(parts.map(str::to_owned).collect())
        })
        .collect()
}

/// The place of data that is under none of the roots.
fn check_data(
    value: &Value,
    place: &mut Vec<String>,
    roots: &BTreeSet<Vec<String>>,
) -> Result<(), String> {
    if roots.iter().any(|root| place.starts_with(root)) {
        return Ok(());
    }
    let on_the_way = roots.iter().any(|root| root.starts_with(place));
    match value {
        Value::Null if place.is_empty() => Ok(()),
        Value::Object(fields) if on_the_way => fields.iter().try_for_each(|(name, value)| {
            place.push(name.clone());
            let checked = check_data(value, place, roots);
            place.pop();
            checked
        }),
        _ => Err(place.join(".")),
    }
}

fn outside(bundle: &Path, what: &str) -> CliError {
    CliError::input(format!("{}: {what} is not under the bundle's roots", bundle.display()))
        .hint("add the root to .manifest, or move the file to the bundle it belongs to")
}
