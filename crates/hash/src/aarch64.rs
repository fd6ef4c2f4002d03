//! AArch64 with the SHA-2 extension. As on x86-64, two streams at once fill the unit.

#![expect(unsafe_code, reason = "calls of functions that need an instruction set")]

use core::arch::aarch64::*;
use std::arch::is_aarch64_feature_detected;

use crate::constants::{INITIAL, K, PADDING_ROUNDS};
use crate::{Block, Chunk, Digest, State, digest_of};

/// The processor has the SHA-2 extension: only `detect` makes a value, and that is what makes the
/// calls below sound.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Sha2(());

impl Sha2 {
    pub(crate) fn detect() -> Option<Self> {
        is_aarch64_feature_detected!("sha2").then_some(Self(()))
    }

    pub(crate) fn compress(self, state: &mut State, chunks: &[Chunk]) {
        // SAFETY: `self` exists, so the instructions do.
        unsafe { compress(state, chunks) }
    }

    /// As far as both have chunks.
    pub(crate) fn compress_pair(self, a: (&mut State, &[Chunk]), b: (&mut State, &[Chunk])) {
        // SAFETY: `self` exists, so the instructions do.
        unsafe { compress_pair(a, b) }
    }

    pub(crate) fn hash_blocks(self, blocks: &[Block], out: &mut [Digest]) {
        // SAFETY: `self` exists, so the instructions do.
        unsafe { hash_blocks(blocks, out) }
    }

    pub(crate) fn compress_with_blocks(
        self,
        state: &mut State,
        blocks: &[Block],
        out: &mut [Digest],
    ) {
        // SAFETY: `self` exists, so the instructions do.
        unsafe { compress_with_blocks(state, blocks, out) }
    }
}

/// One message: the state, and 16 words of the message schedule.
#[derive(Clone, Copy)]
struct Lane {
    abcd: uint32x4_t,
    efgh: uint32x4_t,
    w: [uint32x4_t; 4],
}

/// Does something with each of the 16 groups of four rounds.
macro_rules! for_each_quad {
    ($do:ident) => {
        $do!(0 1 2 3 4 5 6 7 8 9 10 11 12 13 14 15);
    };
}

#[target_feature(enable = "neon,sha2")]
fn compress(state: &mut State, chunks: &[Chunk]) {
    let mut lane = Lane::new(state);
    for chunk in chunks {
        let before = lane;
        macro_rules! rounds { ($($g:literal)*) => { $(lane.quad::<$g>(chunk);)* } }
        for_each_quad!(rounds);
        lane.add(&before);
    }
    *state = lane.state();
}

#[target_feature(enable = "neon,sha2")]
fn compress_pair(a: (&mut State, &[Chunk]), b: (&mut State, &[Chunk])) {
    let ((a_state, a), (b_state, b)) = (a, b);
    let mut lanes = (Lane::new(a_state), Lane::new(b_state));
    for (a, b) in a.iter().zip(b) {
        pair(&mut lanes.0, a, &mut lanes.1, b);
    }
    *a_state = lanes.0.state();
    *b_state = lanes.1.state();
}

#[target_feature(enable = "neon,sha2")]
fn hash_blocks(blocks: &[Block], out: &mut [Digest]) {
    let ((pairs, last), (out_pairs, out_last)) = (blocks.as_chunks(), out.as_chunks_mut());
    for ([a, b], [out_a, out_b]) in pairs.iter().zip(out_pairs) {
        let mut lanes = (Lane::new(&INITIAL), Lane::new(&INITIAL));
        for (a, b) in a.as_chunks().0.iter().zip(b.as_chunks().0) {
            pair(&mut lanes.0, a, &mut lanes.1, b);
        }
        lanes.0.pad();
        lanes.1.pad();
        *out_a = digest_of(&lanes.0.state());
        *out_b = digest_of(&lanes.1.state());
    }
    for (block, out) in last.iter().zip(out_last) {
        let mut state = INITIAL;
        compress(&mut state, block.as_chunks().0);
        let mut lane = Lane::new(&state);
        lane.pad();
        *out = digest_of(&lane.state());
    }
}

/// The stream is one lane, the blocks of the same bytes are the other.
#[target_feature(enable = "neon,sha2")]
fn compress_with_blocks(state: &mut State, blocks: &[Block], out: &mut [Digest]) {
    let mut stream = Lane::new(state);
    for (block, out) in blocks.iter().zip(out) {
        let mut leaf = Lane::new(&INITIAL);
        for chunk in block.as_chunks().0 {
            pair(&mut stream, chunk, &mut leaf, chunk);
        }
        leaf.pad();
        *out = digest_of(&leaf.state());
    }
    *state = stream.state();
}

#[inline]
#[target_feature(enable = "neon,sha2")]
fn pair(lane_a: &mut Lane, a: &Chunk, lane_b: &mut Lane, b: &Chunk) {
    let before = (*lane_a, *lane_b);
    macro_rules! rounds {
        ($($g:literal)*) => { $(lane_a.quad::<$g>(a); lane_b.quad::<$g>(b);)* };
    }
    for_each_quad!(rounds);
    lane_a.add(&before.0);
    lane_b.add(&before.1);
}

impl Lane {
    #[inline]
    #[target_feature(enable = "neon")]
    fn new(state: &State) -> Self {
        let (halves, _) = state.as_chunks();
        let (abcd, efgh) = (load_words(&halves[0]), load_words(&halves[1]));
        Self { abcd, efgh, w: [vdupq_n_u32(0); 4] }
    }

    #[inline]
    #[target_feature(enable = "neon")]
    fn state(&self) -> State {
        let mut state = [0; 8];
        let (halves, _) = state.as_chunks_mut();
        store_words(&mut halves[0], self.abcd);
        store_words(&mut halves[1], self.efgh);
        state
    }

    /// Rounds `4 * G` to `4 * G + 3`; then words `4 * G` are replaced by words `4 * G + 16`.
    #[inline]
    #[target_feature(enable = "neon,sha2")]
    fn quad<const G: usize>(&mut self, chunk: &Chunk) {
        let [a, b, c, d] = [G % 4, (G + 1) % 4, (G + 2) % 4, (G + 3) % 4];
        if G == 0 {
            for (w, bytes) in self.w.iter_mut().zip(chunk.as_chunks().0) {
                *w = load_message(bytes);
            }
        }
        self.rounds(vaddq_u32(self.w[a], load_words(&K.as_chunks().0[G])));
        if G < 12 {
            let sum = vsha256su0q_u32(self.w[a], self.w[b]);
            self.w[a] = vsha256su1q_u32(sum, self.w[c], self.w[d]);
        }
    }

    #[inline]
    #[target_feature(enable = "neon,sha2")]
    fn rounds(&mut self, wk: uint32x4_t) {
        let abcd = self.abcd;
        self.abcd = vsha256hq_u32(abcd, self.efgh, wk);
        self.efgh = vsha256h2q_u32(self.efgh, abcd, wk);
    }

    /// The last chunk of a 4096-byte message.
    #[inline]
    #[target_feature(enable = "neon,sha2")]
    fn pad(&mut self) {
        let before = *self;
        for words in PADDING_ROUNDS.as_chunks().0 {
            self.rounds(load_words(words));
        }
        self.add(&before);
    }

    #[inline]
    #[target_feature(enable = "neon")]
    fn add(&mut self, before: &Self) {
        self.abcd = vaddq_u32(self.abcd, before.abcd);
        self.efgh = vaddq_u32(self.efgh, before.efgh);
    }
}

/// Four big-endian words of a message.
#[inline]
#[target_feature(enable = "neon")]
fn load_message(bytes: &[u8; 16]) -> uint32x4_t {
    // SAFETY: the array has the vector's 16 bytes, and bytes need no alignment.
    let bytes = unsafe { vld1q_u8(bytes.as_ptr()) };
    vreinterpretq_u32_u8(vrev32q_u8(bytes))
}

#[inline]
#[target_feature(enable = "neon")]
fn load_words(words: &[u32; 4]) -> uint32x4_t {
    // SAFETY: the array has the vector's four words.
    unsafe { vld1q_u32(words.as_ptr()) }
}

#[inline]
#[target_feature(enable = "neon")]
fn store_words(words: &mut [u32; 4], vector: uint32x4_t) {
    // SAFETY: the array has the vector's four words.
    unsafe { vst1q_u32(words.as_mut_ptr(), vector) }
}
