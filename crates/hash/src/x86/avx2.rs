//! AVX2: 8 lanes, for processors that have neither AVX-512 nor the SHA extensions.

use core::arch::x86_64::*;

use super::lanes::{many_lanes, sixteen_times};
use crate::constants::{INITIAL, K, PADDING_ROUNDS};
use crate::{BLOCK_SIZE, Block, Chunk, Digest};

const LANES: usize = 8;

many_lanes!("avx2", __m256i);

#[inline]
#[target_feature(enable = "avx2")]
fn splat(word: u32) -> __m256i {
    _mm256_set1_epi32(word.cast_signed())
}

#[inline]
#[target_feature(enable = "avx2")]
fn add(a: __m256i, b: __m256i) -> __m256i {
    _mm256_add_epi32(a, b)
}

#[inline]
#[target_feature(enable = "avx2")]
fn xor3(a: __m256i, b: __m256i, c: __m256i) -> __m256i {
    _mm256_xor_si256(_mm256_xor_si256(a, b), c)
}

#[inline]
#[target_feature(enable = "avx2")]
fn ch(e: __m256i, f: __m256i, g: __m256i) -> __m256i {
    _mm256_xor_si256(g, _mm256_and_si256(e, _mm256_xor_si256(f, g)))
}

#[inline]
#[target_feature(enable = "avx2")]
fn maj(a: __m256i, b: __m256i, c: __m256i) -> __m256i {
    _mm256_xor_si256(b, _mm256_and_si256(_mm256_xor_si256(a, b), _mm256_xor_si256(b, c)))
}

#[inline]
#[target_feature(enable = "avx2")]
fn rotate_right<const RIGHT: i32, const LEFT: i32>(v: __m256i) -> __m256i {
    const { assert!(RIGHT + LEFT == 32) };
    _mm256_or_si256(_mm256_srli_epi32::<RIGHT>(v), _mm256_slli_epi32::<LEFT>(v))
}

#[inline]
#[target_feature(enable = "avx2")]
fn big0(a: __m256i) -> __m256i {
    xor3(rotate_right::<2, 30>(a), rotate_right::<13, 19>(a), rotate_right::<22, 10>(a))
}

#[inline]
#[target_feature(enable = "avx2")]
fn big1(e: __m256i) -> __m256i {
    xor3(rotate_right::<6, 26>(e), rotate_right::<11, 21>(e), rotate_right::<25, 7>(e))
}

#[inline]
#[target_feature(enable = "avx2")]
fn small0(w: __m256i) -> __m256i {
    xor3(rotate_right::<7, 25>(w), rotate_right::<18, 14>(w), _mm256_srli_epi32(w, 3))
}

#[inline]
#[target_feature(enable = "avx2")]
fn small1(w: __m256i) -> __m256i {
    xor3(rotate_right::<17, 15>(w), rotate_right::<19, 13>(w), _mm256_srli_epi32(w, 10))
}

#[inline]
#[target_feature(enable = "avx2")]
fn message(blocks: &[Block; LANES], t: usize) -> [__m256i; 16] {
    let mut words = [_mm256_setzero_si256(); 16];
    for (half, words) in words.as_chunks_mut::<8>().0.iter_mut().enumerate() {
        // A loop: closures would not be inlined here.
        for (row, block) in words.iter_mut().zip(blocks) {
            let chunk: &Chunk = &block.as_chunks().0[t];
            let bytes: &[u8; 32] = &chunk.as_chunks().0[half];
            // SAFETY: the array has the vector's 32 bytes, and the load needs no alignment.
            let bytes = unsafe { _mm256_loadu_si256(bytes.as_ptr().cast()) };
            *row = swap_bytes(bytes);
        }
        *words = transpose(*words);
    }
    words
}

#[inline]
#[target_feature(enable = "avx2")]
fn store(state: &[__m256i; 8], out: &mut [Digest; LANES]) {
    for (row, out) in transpose(*state).into_iter().zip(out) {
        let digest = swap_bytes(row);
        // SAFETY: the array has the vector's 32 bytes, and the store needs no alignment.
        unsafe { _mm256_storeu_si256(out.as_mut_ptr().cast(), digest) }
    }
}

#[inline]
#[target_feature(enable = "avx2")]
fn swap_bytes(v: __m256i) -> __m256i {
    let words = _mm_set_epi64x(0x0C0D_0E0F_0809_0A0B, 0x0405_0607_0001_0203);
    _mm256_shuffle_epi8(v, _mm256_broadcastsi128_si256(words))
}

/// Rows of 8 words become columns.
#[inline]
#[target_feature(enable = "avx2")]
fn transpose(rows: [__m256i; 8]) -> [__m256i; 8] {
    // In every half of 128 bits: four words of four rows.
    let mut quads = rows;
    for i in [0, 4] {
        let [a, b, c, d] = [rows[i], rows[i + 1], rows[i + 2], rows[i + 3]];
        let (ab_low, ab_high) = (_mm256_unpacklo_epi32(a, b), _mm256_unpackhi_epi32(a, b));
        let (cd_low, cd_high) = (_mm256_unpacklo_epi32(c, d), _mm256_unpackhi_epi32(c, d));
        quads[i] = _mm256_unpacklo_epi64(ab_low, cd_low);
        quads[i + 1] = _mm256_unpackhi_epi64(ab_low, cd_low);
        quads[i + 2] = _mm256_unpacklo_epi64(ab_high, cd_high);
        quads[i + 3] = _mm256_unpackhi_epi64(ab_high, cd_high);
    }
    // Then the halves.
    let mut columns = rows;
    for i in 0..4 {
        columns[i] = _mm256_permute2x128_si256(quads[i], quads[i + 4], 0x20);
        columns[i + 4] = _mm256_permute2x128_si256(quads[i], quads[i + 4], 0x31);
    }
    columns
}
