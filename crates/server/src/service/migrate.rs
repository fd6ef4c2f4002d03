//! Moving an instance's log from its data directory to where several front ends share it.

use std::path::Path;

use sealwright_store::{Moved, Place, Store};

use super::trust::has_keys;
use super::{Config, StartError, data};

/// Moves the log of a stopped instance to `place`, where there must be none. The keys stay in the data
/// directory, and the log is served from there no more. `progress` is told how many entries are copied,
/// of how many.
///
/// # Errors
/// [`StartError`]. It may be called again when it was cut off.
pub fn migrate(
    data_dir: &Path,
    place: &Place,
    progress: &mut dyn FnMut(u64, u64),
) -> Result<Moved, StartError> {
    if !has_keys(data_dir) {
        return Err(StartError::NotInitialised { dir: data_dir.to_owned() });
    }
    let config =
        Config { origin: data::logged_key(data_dir)?.name().to_owned(), ..Config::new(data_dir) };
    let key = data::present_log_key(&config)?;
    let moved = Store::move_to(data_dir, &key, place, progress);
    moved.map_err(|error| StartError::store(data_dir, error))
}
