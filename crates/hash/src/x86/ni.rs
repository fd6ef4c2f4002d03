//! SHA-NI. One stream leaves half of the unit idle, so everything here can run two at once.

use core::arch::x86_64::*;

use crate::constants::{INITIAL, K, PADDING_ROUNDS};
use crate::{Block, Chunk, Digest, State, digest_of};

/// One message: the state as the instructions want it, and 16 words of the message schedule.
#[derive(Clone, Copy)]
struct Lane {
    abef: __m128i,
    cdgh: __m128i,
    w: [__m128i; 4],
}

/// Does something with each of the 16 groups of four rounds.
macro_rules! for_each_quad {
    ($do:ident) => {
        $do!(0 1 2 3 4 5 6 7 8 9 10 11 12 13 14 15);
    };
}

#[target_feature(enable = "sha,sse4.1,ssse3")]
pub(super) fn compress(state: &mut State, chunks: &[Chunk]) {
    let mut lane = Lane::new(state);
    for chunk in chunks {
        let before = lane;
        macro_rules! rounds { ($($g:literal)*) => { $(lane.quad::<$g>(chunk);)* } }
        for_each_quad!(rounds);
        lane.add(&before);
    }
    *state = lane.state();
}

#[target_feature(enable = "sha,sse4.1,ssse3")]
pub(super) fn compress_pair(a: (&mut State, &[Chunk]), b: (&mut State, &[Chunk])) {
    let ((a_state, a), (b_state, b)) = (a, b);
    let mut lanes = (Lane::new(a_state), Lane::new(b_state));
    for (a, b) in a.iter().zip(b) {
        pair(&mut lanes.0, a, &mut lanes.1, b);
    }
    *a_state = lanes.0.state();
    *b_state = lanes.1.state();
}

#[target_feature(enable = "sha,sse4.1,ssse3")]
pub(super) fn hash_blocks(blocks: &[Block], out: &mut [Digest]) {
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
#[target_feature(enable = "sha,sse4.1,ssse3")]
pub(super) fn compress_with_blocks(state: &mut State, blocks: &[Block], out: &mut [Digest]) {
    let mut stream = Lane::new(state);
    for (block, out) in blocks.iter().zip(out) {
        let mut leaf = Lane::new(&INITIAL);
        for chunk in block.as_chunks().0 {
            pair(&mut stream, chunk, &mut leaf, chunk);
        }
        // The next block does not wait for this: the processor runs both.
        leaf.pad();
        *out = digest_of(&leaf.state());
    }
    *state = stream.state();
}

#[inline]
#[target_feature(enable = "sha,sse4.1,ssse3")]
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
    #[target_feature(enable = "sha,sse4.1,ssse3")]
    fn new(state: &State) -> Self {
        let (halves, _) = state.as_chunks();
        let (dcba, hgfe) = (load_words(&halves[0]), load_words(&halves[1]));
        let cdab = _mm_shuffle_epi32(dcba, 0xB1);
        let efgh = _mm_shuffle_epi32(hgfe, 0x1B);
        let abef = _mm_alignr_epi8(cdab, efgh, 8);
        let cdgh = _mm_blend_epi16(efgh, cdab, 0xF0);
        Self { abef, cdgh, w: [_mm_setzero_si128(); 4] }
    }

    #[inline]
    #[target_feature(enable = "sha,sse4.1,ssse3")]
    fn state(&self) -> State {
        let feba = _mm_shuffle_epi32(self.abef, 0x1B);
        let dchg = _mm_shuffle_epi32(self.cdgh, 0xB1);
        let mut state = [0; 8];
        let (halves, _) = state.as_chunks_mut();
        store_words(&mut halves[0], _mm_blend_epi16(feba, dchg, 0xF0));
        store_words(&mut halves[1], _mm_alignr_epi8(dchg, feba, 8));
        state
    }

    /// Rounds `4 * G` to `4 * G + 3`, and the part of the message schedule that they make possible.
    #[inline]
    #[target_feature(enable = "sha,sse4.1,ssse3")]
    fn quad<const G: usize>(&mut self, chunk: &Chunk) {
        // Words 4G.. are in `now`, the four before in `last`, the next four to be in `next`.
        let (now, last, next) = (G % 4, (G + 3) % 4, (G + 1) % 4);
        if G < 4 {
            self.w[now] = load_message(&chunk.as_chunks().0[now]);
        }
        let wk = _mm_add_epi32(self.w[now], load_words(&K.as_chunks().0[G]));
        self.cdgh = _mm_sha256rnds2_epu32(self.cdgh, self.abef, wk);
        if 3 <= G && G < 15 {
            let seventh = _mm_alignr_epi8(self.w[now], self.w[last], 4);
            let sum = _mm_add_epi32(self.w[next], seventh);
            self.w[next] = _mm_sha256msg2_epu32(sum, self.w[now]);
        }
        self.abef = _mm_sha256rnds2_epu32(self.abef, self.cdgh, _mm_shuffle_epi32(wk, 0x0E));
        if 1 <= G && G < 13 {
            self.w[last] = _mm_sha256msg1_epu32(self.w[last], self.w[now]);
        }
    }

    /// The last chunk of a 4096-byte message.
    #[inline]
    #[target_feature(enable = "sha,sse4.1,ssse3")]
    fn pad(&mut self) {
        let before = *self;
        for words in PADDING_ROUNDS.as_chunks().0 {
            let wk = load_words(words);
            self.cdgh = _mm_sha256rnds2_epu32(self.cdgh, self.abef, wk);
            self.abef = _mm_sha256rnds2_epu32(self.abef, self.cdgh, _mm_shuffle_epi32(wk, 0x0E));
        }
        self.add(&before);
    }

    #[inline]
    #[target_feature(enable = "sse4.1")]
    fn add(&mut self, before: &Self) {
        self.abef = _mm_add_epi32(self.abef, before.abef);
        self.cdgh = _mm_add_epi32(self.cdgh, before.cdgh);
    }
}

/// Four big-endian words of a message.
#[inline]
#[target_feature(enable = "sse4.1,ssse3")]
fn load_message(bytes: &[u8; 16]) -> __m128i {
    // SAFETY: the array has the vector's 16 bytes, and the load needs no alignment.
    let words = unsafe { _mm_loadu_si128(bytes.as_ptr().cast()) };
    _mm_shuffle_epi8(words, _mm_set_epi64x(0x0C0D_0E0F_0809_0A0B, 0x0405_0607_0001_0203))
}

#[inline]
#[target_feature(enable = "sse4.1")]
fn load_words(words: &[u32; 4]) -> __m128i {
    // SAFETY: the array has the vector's 16 bytes, and the load needs no alignment.
    unsafe { _mm_loadu_si128(words.as_ptr().cast()) }
}

#[inline]
#[target_feature(enable = "sse4.1")]
fn store_words(words: &mut [u32; 4], vector: __m128i) {
    // SAFETY: the array has the vector's 16 bytes, and the store needs no alignment.
    unsafe { _mm_storeu_si128(words.as_mut_ptr().cast(), vector) }
}
