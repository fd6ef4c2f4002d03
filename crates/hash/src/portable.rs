//! The path that runs everywhere: the `sha2` crate, one chunk after the other.

use crate::constants::{INITIAL, PADDING};
use crate::{Block, Chunk, Digest, State, digest_of};

pub(crate) fn compress(state: &mut State, chunks: &[Chunk]) {
    sha2::block_api::compress256(state, chunks);
}

pub(crate) fn hash_block(block: &Block) -> Digest {
    let mut state = INITIAL;
    compress(&mut state, block.as_chunks().0);
    compress(&mut state, &[PADDING]);
    digest_of(&state)
}
