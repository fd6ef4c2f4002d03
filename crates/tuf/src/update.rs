//! The whole of a client's workflow (specification, chapter 5).

use sealwright_attest::Timestamp as Time;

use crate::metadata::{RoleName, Snapshot, Targets, Timestamp};
use crate::trust::{Refused, Trust, Verified};

/// Most roots that are followed in one go, as stock clients have it.
pub const MAX_ROOTS: usize = 256;

/// What a repository says, verified.
#[derive(Debug, Clone)]
pub struct Update {
    /// The timestamp: to be kept, so that nothing goes back behind it.
    pub timestamp: Verified<Timestamp>,
    /// The snapshot: to be kept too.
    pub snapshot: Verified<Snapshot>,
    /// The files that there are.
    pub targets: Verified<Targets>,
}

/// Why there is no update.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum UpdateError<E> {
    /// Something came that is not believed.
    #[error(transparent)]
    Refused(#[from] Refused),
    /// A file is larger than it may be.
    #[error("{name} is larger than {limit} bytes")]
    TooLarge {
        /// The file.
        name: String,
        /// Most bytes.
        limit: usize,
    },
    /// A file that must be there is not.
    #[error("{name} is missing")]
    Missing {
        /// The file.
        name: String,
    },
    /// The source failed.
    #[error("{name}: {source}")]
    Source {
        /// The file.
        name: String,
        /// What it said.
        source: E,
    },
}

/// Where files come from: their content, `None` if there is no such file. Asked for a name below the
/// repository and the most bytes that are wanted; whoever gives more is not believed.
pub type Fetch<'a, E> = dyn FnMut(&str, usize) -> Result<Option<Vec<u8>>, E> + 'a;

/// Follows the roots that come after `trust` (§5.3), each signed by enough keys of the one before, and
/// appends them to `roots`; those too that were followed before something was refused. Whoever keeps
/// them at once cannot be led back to keys that were taken away.
///
/// # Errors
/// [`UpdateError`].
pub fn follow_roots<E>(
    trust: &Trust,
    roots: &mut Vec<Trust>,
    fetch: &mut Fetch<'_, E>,
) -> Result<(), UpdateError<E>> {
    for _ in 0..MAX_ROOTS {
        let newest = roots.last().unwrap_or(trust);
        let name = RoleName::Root.file_name(newest.root().version + 1);
        let Some(bytes) = get(&name, RoleName::Root.max_size(), fetch)? else { break };
        let next = newest.advance(&bytes)?;
        roots.push(next);
    }
    Ok(())
}

/// Goes from the newest root to everything that a repository says at `now` (§5.3.10 to §5.6).
///
/// `kept` is what [`Update::timestamp`] and [`Update::snapshot`] were the last time, if there was one.
///
/// # Errors
/// [`UpdateError`].
pub fn update<E>(
    trust: &Trust,
    kept: (Option<&[u8]>, Option<&[u8]>),
    now: Time,
    fetch: &mut Fetch<'_, E>,
) -> Result<Update, UpdateError<E>> {
    trust.check_expiry(now)?;
    let seen = trust.seen(kept.0, kept.1);
    let mut must = |role: RoleName, version: u64, said: Option<u64>| {
        let name = role.file_name(version);
        let said = said.and_then(|length| usize::try_from(length).ok());
        let limit = said.map_or(role.max_size(), |length| length.min(role.max_size()));
        get(&name, limit, fetch)?.ok_or(UpdateError::Missing { name })
    };
    // Its name has no version.
    let bytes = must(RoleName::Timestamp, 0, None)?;
    let timestamp = trust.timestamp(&bytes, &seen, now)?;
    let meant = &timestamp.content().snapshot;
    let bytes = must(RoleName::Snapshot, meant.version, meant.length)?;
    let snapshot = trust.snapshot(&timestamp, &bytes, &seen, now)?;
    let meant = &snapshot.content().targets;
    let bytes = must(RoleName::Targets, meant.version, meant.length)?;
    let targets = trust.targets(&snapshot, &bytes, now)?;
    Ok(Update { timestamp, snapshot, targets })
}

fn get<E>(
    name: &str,
    limit: usize,
    fetch: &mut Fetch<'_, E>,
) -> Result<Option<Vec<u8>>, UpdateError<E>> {
    let content = fetch(name, limit)
        .map_err(|source| UpdateError::Source { name: name.to_owned(), source })?;
    match content {
        Some(content) if content.len() > limit => {
            Err(UpdateError::TooLarge { name: name.to_owned(), limit })
        }
        content => Ok(content),
    }
}
