//! SHA-256 of messages of any length, FIPS 180-4, one or two at a time.

use std::fmt;

use crate::constants::INITIAL;
use crate::{BLOCK_SIZE, Block, Chunk, Digest, Engine, State, digest_of};

const CHUNK: usize = size_of::<Chunk>();
/// Where the length of the message stands in its last chunk.
const LENGTH_AT: usize = CHUNK - size_of::<u64>();

/// A SHA-256 that is being computed from pieces of any size.
#[derive(Clone)]
pub struct Sha256 {
    engine: Engine,
    state: State,
    /// Bytes that do not fill a chunk yet: the first `held` of `chunk`.
    chunk: Chunk,
    held: usize,
    length: u64,
}

impl Sha256 {
    /// The hash of no bytes yet.
    pub const fn new(engine: Engine) -> Self {
        Self { engine, state: INITIAL, chunk: [0; CHUNK], held: 0, length: 0 }
    }

    /// The SHA-256 of `data`.
    pub fn digest(data: &[u8]) -> Digest {
        let mut hash = Self::new(Engine::best());
        hash.update(data);
        hash.finish()
    }

    /// Takes the next bytes of the message.
    pub fn update(&mut self, data: &[u8]) {
        let (chunks, rest) = self.fill(data).as_chunks();
        self.engine.compress(&mut self.state, chunks);
        self.hold(rest);
    }

    /// Takes the next bytes of two messages, computing both side by side.
    ///
    /// The same as `a.update(a_data); b.update(b_data)`, in less time when there is about as much of
    /// both. The kernels are those of `a`.
    pub fn update_pair(a: &mut Self, a_data: &[u8], b: &mut Self, b_data: &[u8]) {
        let (a_chunks, a_rest) = a.fill(a_data).as_chunks();
        let (b_chunks, b_rest) = b.fill(b_data).as_chunks();
        a.engine.compress_pair((&mut a.state, a_chunks), (&mut b.state, b_chunks));
        a.hold(a_rest);
        b.hold(b_rest);
    }

    /// Takes the next bytes of the message and gives the SHA-256 of each of their whole 4096-byte
    /// blocks on its own, in one pass.
    ///
    /// `out` takes as many digests as it has places; a last part of `data` that is no whole block
    /// goes only into the message. Returns the number of digests written.
    pub fn update_with_blocks(&mut self, data: &[u8], out: &mut [Digest]) -> usize {
        let (blocks, _) = data.as_chunks::<BLOCK_SIZE>();
        let count = blocks.len().min(out.len());
        let (Some((blocks, _)), Some((out, _))) =
            (blocks.split_at_checked(count), out.split_at_mut_checked(count))
        else {
            return 0;
        };
        let bytes = blocks.as_flattened().len();
        if self.held == 0 {
            self.length = self.length.wrapping_add(bytes as u64);
            self.engine.compress_with_blocks(&mut self.state, blocks, out);
        } else {
            self.update(blocks.as_flattened());
            self.engine.hash_blocks(blocks, out);
        }
        self.update(data.get(bytes..).unwrap_or_default());
        count
    }

    /// The digest of all bytes given so far.
    pub fn finish(mut self) -> Digest {
        // FIPS 180-4 §5.1.1: a one bit, zeros, the length in bits.
        let bits = self.length.wrapping_mul(8).to_be_bytes();
        let mut last: [Chunk; 2] = [[0; CHUNK]; 2];
        let bytes = last.as_flattened_mut();
        bytes[..self.held].copy_from_slice(&self.chunk[..self.held]);
        bytes[self.held] = 0x80;
        let chunks = if self.held < LENGTH_AT { 1 } else { 2 };
        let end = chunks * CHUNK;
        bytes[end - bits.len()..end].copy_from_slice(&bits);
        self.engine.compress(&mut self.state, &last[..chunks]);
        digest_of(&self.state)
    }

    /// Counts all of `data`, completes a chunk that was begun, and gives what is left of `data`.
    fn fill<'a>(&mut self, data: &'a [u8]) -> &'a [u8] {
        self.length = self.length.wrapping_add(data.len() as u64);
        if self.held == 0 {
            return data;
        }
        let (head, rest) = data.split_at(data.len().min(CHUNK - self.held));
        self.hold(head);
        if self.held == CHUNK {
            self.engine.compress(&mut self.state, &[self.chunk]);
            self.held = 0;
        }
        rest
    }

    /// Keeps bytes that do not fill a chunk: `data` and what is held fit into one.
    fn hold(&mut self, data: &[u8]) {
        for (place, byte) in self.chunk.iter_mut().skip(self.held).zip(data) {
            *place = *byte;
        }
        self.held += data.len();
    }
}

impl fmt::Debug for Sha256 {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Sha256").field("length", &self.length).finish_non_exhaustive()
    }
}

/// Holds a chunk partly filled, never full, between calls.
const _: () = assert!(BLOCK_SIZE.is_multiple_of(CHUNK) && size_of::<Block>() == BLOCK_SIZE);
