//! SHA-256 at the limit of the core.
//!
//! One SHA-256 stream cannot fill a core: each round waits for the one before. Two ways around that
//! are offered here, and no third digest:
//!
//! - several streams at once ([`Sha256::update_pair`]), each with its own ordinary SHA-256;
//! - the blocks of an fs-verity tree ([`Engine::hash_blocks`]), which have one length and do not
//!   depend on each other, so that vector instructions hash many of them side by side.
//!
//! [`FsVerityHasher`] builds the kernel's tree from them, [`SpanHasher`] and [`SpanMerger`] let many
//! threads build the tree of one file, and [`Sha256::update_with_blocks`] gives a stream and the
//! blocks of the same bytes in one pass.
//!
//! An [`Engine`] is what the processor offers, found out once. `unsafe` are calls of functions that
//! need an instruction set, behind values that exist only where it does, and loads and stores of
//! vectors from and to arrays of their size. Nothing here allocates for each block, does I/O, or panics.

#[cfg(target_arch = "aarch64")]
mod aarch64;
mod constants;
mod engine;
mod fsverity;
mod portable;
mod span;
mod stream;
#[cfg(target_arch = "x86_64")]
mod x86;

pub use engine::{BLOCK_SIZE, BlockKernel, Engine, StreamKernel};
pub use fsverity::FsVerityHasher;
pub use span::{SPAN_SIZE, SpanHasher, SpanMerger};
pub use stream::Sha256;

/// The 32 bytes of a SHA-256 value.
pub type Digest = [u8; 32];
/// What SHA-256 keeps between two blocks of a message.
pub(crate) type State = [u32; 8];
/// A block of a message, for SHA-256.
pub(crate) type Chunk = [u8; 64];
/// A block of a file, for fs-verity.
pub(crate) type Block = [u8; BLOCK_SIZE];

/// The digest that ends in `state`.
pub(crate) fn digest_of(state: &State) -> Digest {
    let mut digest = [0; 32];
    for (bytes, word) in digest.as_chunks_mut().0.iter_mut().zip(state) {
        *bytes = word.to_be_bytes();
    }
    digest
}
