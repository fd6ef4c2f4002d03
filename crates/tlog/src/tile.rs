//! Tiles: how a log's hashes and entries are cut into immutable files (C2SP tlog-tiles).
//!
//! A hash tile of level L holds up to 256 hashes of complete subtrees of 256^L leaves. An entry
//! bundle holds the bodies of the 256 leaves under one tile of level 0. At the right edge of the
//! tree tiles are partial; their width is part of their path, so they too never change.

use std::fmt;
use std::str::FromStr;

use crate::merkle::{HashReader, stored_hash_position};

/// Hashes in a full hash tile, entries in a full bundle.
pub const FULL_WIDTH: u16 = 256;

/// The longest entry an entry bundle can hold, in bytes.
pub const MAX_ENTRY_LEN: usize = 65_535;

const MAX_LEVEL: u8 = 63;

/// What a tile holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum TileKind {
    /// Hashes of subtrees of 256^level leaves; the level is 0 to 63.
    Hashes {
        /// Level of the tile.
        level: u8,
    },
    /// Entries, each with its length before it.
    Entries,
}

/// The address of one tile. A value of this type always has a valid path.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Tile {
    kind: TileKind,
    index: u64,
    width: u16,
}

/// A text that is not the path of a tile.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("not a tile path: {path:?}")]
pub struct TilePathError {
    /// The text, cut after 100 characters.
    pub path: String,
}

/// An entry that does not fit into an entry bundle.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("an entry of {len} bytes is longer than {MAX_ENTRY_LEN}")]
pub struct EntryTooLong {
    /// Its length in bytes.
    pub len: usize,
}

/// Bytes that are not an entry bundle of the expected width.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum EntryBundleError {
    /// An entry is announced longer than the rest of the bundle.
    #[error("the bundle ends within entry {entry}")]
    Truncated {
        /// Place of the entry in the bundle, from 0.
        entry: usize,
    },
    /// Bytes follow the last entry.
    #[error("{trailing} bytes follow the last entry")]
    TrailingBytes {
        /// How many.
        trailing: usize,
    },
}

impl Tile {
    /// A hash tile; `None` unless the level is at most 63 and the width 1 to 256.
    pub fn hashes(level: u8, index: u64, width: u16) -> Option<Self> {
        let fits = level <= MAX_LEVEL && (1..=FULL_WIDTH).contains(&width);
        fits.then_some(Self { kind: TileKind::Hashes { level }, index, width })
    }

    /// An entry bundle; `None` unless the width is 1 to 256.
    pub fn entries(index: u64, width: u16) -> Option<Self> {
        let fits = (1..=FULL_WIDTH).contains(&width);
        fits.then_some(Self { kind: TileKind::Entries, index, width })
    }

    /// What the tile holds.
    pub fn kind(&self) -> TileKind {
        self.kind
    }

    /// Number of the tile within its level, from 0.
    pub fn index(&self) -> u64 {
        self.index
    }

    /// How many hashes or entries it holds, 1 to 256.
    pub fn width(&self) -> u16 {
        self.width
    }

    /// How many leaves a log has at least when it has this tile; `None` if no log can.
    pub fn min_log_size(&self) -> Option<u64> {
        let items =
            self.index.checked_mul(u64::from(FULL_WIDTH))?.checked_add(u64::from(self.width))?;
        match self.kind {
            TileKind::Hashes { level } => {
                items.checked_mul(u64::from(FULL_WIDTH).checked_pow(u32::from(level))?)
            }
            TileKind::Entries => Some(items),
        }
    }

    /// The path under the log's prefix, for example `tile/0/x001/x234/067.p/8` or
    /// `tile/entries/000`.
    pub fn path(&self) -> String {
        self.to_string()
    }

    /// Parses a path as [`Tile::path`] writes it, and no other spelling of it.
    pub fn parse(path: &str) -> Result<Self, TilePathError> {
        parse_path(path)
            .filter(|tile| tile.path() == path)
            .ok_or_else(|| TilePathError { path: path.chars().take(100).collect() })
    }

    /// The full tile of which this one is the beginning; itself if it is full.
    #[must_use]
    pub fn full(&self) -> Self {
        Self { width: FULL_WIDTH, ..*self }
    }

    /// This tile's content out of that of the full tile: the first hashes or entries of it. `None` if
    /// `full` is not as long as a full tile, or not an entry bundle.
    pub fn cut(&self, full: &[u8]) -> Option<Vec<u8>> {
        let width = usize::from(self.width);
        match self.kind {
            TileKind::Hashes { .. } => full.get(..width * 32).map(<[u8]>::to_vec),
            TileKind::Entries => {
                let entries = parse_entry_bundle(full, FULL_WIDTH).ok()?;
                encode_entry_bundle(entries.get(..width)?).ok()
            }
        }
    }

    /// The content of a hash tile, `width × 32` bytes; `None` for an entry bundle.
    pub fn hash_data<R: HashReader + ?Sized>(
        &self,
        reader: &R,
    ) -> Option<Result<Vec<u8>, R::Error>> {
        let TileKind::Hashes { level } = self.kind else { return None };
        let first = self.index.saturating_mul(u64::from(FULL_WIDTH));
        let mut data = Vec::with_capacity(usize::from(self.width) * 32);
        for i in 0..u64::from(self.width) {
            let n = first.saturating_add(i);
            // A tile level spans eight tree levels.
            match reader.read_hash(stored_hash_position(level.saturating_mul(8), n)) {
                Ok(hash) => data.extend_from_slice(hash.as_bytes()),
                Err(error) => return Some(Err(error)),
            }
        }
        Some(Ok(data))
    }
}

impl fmt::Display for Tile {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.kind {
            TileKind::Hashes { level } => write!(f, "tile/{level}/")?,
            TileKind::Entries => f.write_str("tile/entries/")?,
        }
        let digits = self.index.to_string();
        let width = digits.len().div_ceil(3) * 3;
        let padded = format!("{digits:0>width$}");
        for (place, digit) in padded.chars().enumerate() {
            if place % 3 == 0 {
                let last_group = place + 3 == width;
                f.write_str(if place == 0 { "" } else { "/" })?;
                f.write_str(if last_group { "" } else { "x" })?;
            }
            write!(f, "{digit}")?;
        }
        if self.width < FULL_WIDTH { write!(f, ".p/{}", self.width) } else { Ok(()) }
    }
}

impl FromStr for Tile {
    type Err = TilePathError;

    fn from_str(path: &str) -> Result<Self, TilePathError> {
        Self::parse(path)
    }
}

/// The tiles that appear when a log grows from `old_size` to `new_size` leaves: full ones and the
/// partial ones of the new right edge, hash tiles from level 0 up, each level-0 tile followed by
/// its entry bundle.
pub fn tiles_for_growth(old_size: u64, new_size: u64) -> Vec<Tile> {
    let mut tiles = Vec::new();
    let (mut old, mut new) = (old_size, new_size);
    let mut level = 0;
    // Where a level did not grow, none above it did.
    while old < new {
        for (index, width) in pieces(old, new) {
            tiles.push(Tile { kind: TileKind::Hashes { level }, index, width });
            if level == 0 {
                tiles.push(Tile { kind: TileKind::Entries, index, width });
            }
        }
        old /= u64::from(FULL_WIDTH);
        new /= u64::from(FULL_WIDTH);
        level += 1;
    }
    tiles
}

/// Index and width of the tiles of one level that change from `old` to `new` items.
fn pieces(old: u64, new: u64) -> impl Iterator<Item = (u64, u16)> {
    let full = u64::from(FULL_WIDTH);
    #[expect(clippy::cast_possible_truncation, reason = "a remainder by 256 is below 256")]
    let partial = (new % full) as u16;
    (old / full..new / full)
        .map(|index| (index, FULL_WIDTH))
        .chain((partial > 0).then_some((new / full, partial)))
}

/// Writes an entry bundle: for each entry its length as a big-endian `u16`, then its bytes.
pub fn encode_entry_bundle<B: AsRef<[u8]>>(entries: &[B]) -> Result<Vec<u8>, EntryTooLong> {
    let mut bundle = Vec::new();
    for entry in entries {
        let entry = entry.as_ref();
        let len = u16::try_from(entry.len()).map_err(|_| EntryTooLong { len: entry.len() })?;
        bundle.extend_from_slice(&len.to_be_bytes());
        bundle.extend_from_slice(entry);
    }
    Ok(bundle)
}

/// Reads an entry bundle of exactly `width` entries.
pub fn parse_entry_bundle(bundle: &[u8], width: u16) -> Result<Vec<&[u8]>, EntryBundleError> {
    let mut entries = Vec::with_capacity(usize::from(width));
    let mut rest = bundle;
    for entry in 0..usize::from(width) {
        let (body, after) = split_entry(rest).ok_or(EntryBundleError::Truncated { entry })?;
        entries.push(body);
        rest = after;
    }
    match rest.len() {
        0 => Ok(entries),
        trailing => Err(EntryBundleError::TrailingBytes { trailing }),
    }
}

fn split_entry(bytes: &[u8]) -> Option<(&[u8], &[u8])> {
    let (len, rest) = bytes.split_first_chunk::<2>()?;
    rest.split_at_checked(usize::from(u16::from_be_bytes(*len)))
}

/// Reads a path leniently; the caller compares with the one right spelling.
fn parse_path(path: &str) -> Option<Tile> {
    let rest = path.strip_prefix("tile/")?;
    let (kind, rest) = rest.split_once('/')?;
    let (index, width) = match rest.split_once(".p/") {
        Some((index, width)) => (index, width.parse().ok()?),
        None => (rest, FULL_WIDTH),
    };
    let digits: String = index.split('/').map(|group| group.trim_start_matches('x')).collect();
    let index = digits.parse().ok()?;
    match kind {
        "entries" => Tile::entries(index, width),
        level => Tile::hashes(level.parse().ok()?, index, width),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(path: &str, tile: Option<Tile>) {
        assert_eq!(Tile::parse(path).ok(), tile, "{path}");
        if let Some(tile) = tile {
            assert_eq!(tile.path(), path);
        }
    }

    #[test]
    fn paths_of_the_specification() {
        check("tile/0/000", Tile::hashes(0, 0, 256));
        check("tile/0/x001/x234/067", Tile::hashes(0, 1_234_067, 256));
        check("tile/63/255.p/1", Tile::hashes(63, 255, 1));
        check("tile/entries/x123/456.p/255", Tile::entries(123_456, 255));
        check("tile/0/x018/x446/x744/x073/x709/x551/615", Tile::hashes(0, u64::MAX, 256));
    }

    #[test]
    fn other_spellings_are_refused() {
        for path in [
            "",
            "tile",
            "tile/",
            "tile/0",
            "tile/0/",
            "/tile/0/000",
            "tile/0/000/",
            "tile/00/000",
            "tile/+1/000",
            "tile/64/000",
            "tile/-1/000",
            "tile/0/0",
            "tile/0/00",
            "tile/0/0000",
            "tile/0/x000/001",
            "tile/0/001/x234",
            "tile/0/001/234",
            "tile/0/xx01/234",
            "tile/0/x001/x234",
            "tile/0/000.p/0",
            "tile/0/000.p/256",
            "tile/0/000.p/01",
            "tile/0/000.p/",
            "tile/0/000.p",
            "tile/0/000.p/1.p/1",
            "tile/0/000.p/1/",
            "tile/entries",
            "tile/Entries/000",
            "tile/0/..",
            "tile/0/../000",
            "tile/0/x001//067",
            "tile/0/\u{661}\u{661}\u{661}",
            "tile/0/x018/x446/x744/x073/x709/x551/616",
        ] {
            check(path, None);
        }
    }

    #[test]
    fn growth_lists_full_tiles_then_the_partial_edge() {
        let paths = |old, new| -> Vec<String> {
            tiles_for_growth(old, new).iter().map(Tile::path).collect()
        };
        assert!(paths(0, 0).is_empty());
        assert!(paths(7, 7).is_empty());
        assert_eq!(paths(0, 1), ["tile/0/000.p/1", "tile/entries/000.p/1"]);
        assert_eq!(paths(250, 256), ["tile/0/000", "tile/entries/000", "tile/1/000.p/1"]);
        assert_eq!(
            paths(255, 513),
            [
                "tile/0/000",
                "tile/entries/000",
                "tile/0/001",
                "tile/entries/001",
                "tile/0/002.p/1",
                "tile/entries/002.p/1",
                "tile/1/000.p/2",
            ]
        );
        // Level 1 did not grow.
        assert_eq!(paths(513, 514), ["tile/0/002.p/2", "tile/entries/002.p/2"]);
    }

    #[test]
    fn the_size_a_tile_needs() {
        let needs = |tile: Option<Tile>| tile.unwrap().min_log_size();
        assert_eq!(needs(Tile::entries(1, 3)), Some(259));
        assert_eq!(needs(Tile::hashes(0, 1, 3)), Some(259));
        assert_eq!(needs(Tile::hashes(1, 0, 2)), Some(512));
        assert_eq!(needs(Tile::hashes(2, 1, 1)), Some(257 * 65_536));
        assert_eq!(needs(Tile::hashes(8, 0, 1)), None);
        assert_eq!(needs(Tile::hashes(0, u64::MAX, 1)), None);
    }

    #[test]
    fn bundles_hold_their_entries_and_nothing_else() {
        let long = vec![7; MAX_ENTRY_LEN];
        let entries: [&[u8]; 3] = [b"one", b"", &long];
        let bundle = encode_entry_bundle(&entries).unwrap();
        assert_eq!(parse_entry_bundle(&bundle, 3).unwrap(), entries);
        assert_eq!(
            parse_entry_bundle(&bundle, 2),
            Err(EntryBundleError::TrailingBytes { trailing: MAX_ENTRY_LEN + 2 })
        );
        assert_eq!(parse_entry_bundle(&bundle, 4), Err(EntryBundleError::Truncated { entry: 3 }));
        assert_eq!(
            encode_entry_bundle(&[vec![0; MAX_ENTRY_LEN + 1]]),
            Err(EntryTooLong { len: MAX_ENTRY_LEN + 1 })
        );
    }
}
