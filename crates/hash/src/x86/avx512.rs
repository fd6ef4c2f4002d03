//! AVX-512: 16 lanes, with rotation and any function of three bits as one instruction each.

use core::arch::x86_64::*;

use super::lanes::{many_lanes, sixteen_times};
use crate::constants::{INITIAL, K, PADDING_ROUNDS};
use crate::{BLOCK_SIZE, Block, Chunk, Digest};

const LANES: usize = 16;

many_lanes!("avx512f,avx512bw", __m512i);

#[inline]
#[target_feature(enable = "avx512f")]
fn splat(word: u32) -> __m512i {
    _mm512_set1_epi32(word.cast_signed())
}

#[inline]
#[target_feature(enable = "avx512f")]
fn add(a: __m512i, b: __m512i) -> __m512i {
    _mm512_add_epi32(a, b)
}

#[inline]
#[target_feature(enable = "avx512f")]
fn xor3(a: __m512i, b: __m512i, c: __m512i) -> __m512i {
    _mm512_ternarylogic_epi32(a, b, c, 0x96)
}

#[inline]
#[target_feature(enable = "avx512f")]
fn ch(e: __m512i, f: __m512i, g: __m512i) -> __m512i {
    _mm512_ternarylogic_epi32(e, f, g, 0xCA)
}

#[inline]
#[target_feature(enable = "avx512f")]
fn maj(a: __m512i, b: __m512i, c: __m512i) -> __m512i {
    _mm512_ternarylogic_epi32(a, b, c, 0xE8)
}

#[inline]
#[target_feature(enable = "avx512f")]
fn big0(a: __m512i) -> __m512i {
    xor3(_mm512_ror_epi32(a, 2), _mm512_ror_epi32(a, 13), _mm512_ror_epi32(a, 22))
}

#[inline]
#[target_feature(enable = "avx512f")]
fn big1(e: __m512i) -> __m512i {
    xor3(_mm512_ror_epi32(e, 6), _mm512_ror_epi32(e, 11), _mm512_ror_epi32(e, 25))
}

#[inline]
#[target_feature(enable = "avx512f")]
fn small0(w: __m512i) -> __m512i {
    xor3(_mm512_ror_epi32(w, 7), _mm512_ror_epi32(w, 18), _mm512_srli_epi32(w, 3))
}

#[inline]
#[target_feature(enable = "avx512f")]
fn small1(w: __m512i) -> __m512i {
    xor3(_mm512_ror_epi32(w, 17), _mm512_ror_epi32(w, 19), _mm512_srli_epi32(w, 10))
}

#[inline]
#[target_feature(enable = "avx512f,avx512bw")]
fn message(blocks: &[Block; LANES], t: usize) -> [__m512i; 16] {
    let mut rows = [_mm512_setzero_si512(); 16];
    // A loop: closures would not be inlined here.
    for (row, block) in rows.iter_mut().zip(blocks) {
        let chunk: &Chunk = &block.as_chunks().0[t];
        // SAFETY: the array has the vector's 64 bytes, and the load needs no alignment.
        let bytes = unsafe { _mm512_loadu_si512(chunk.as_ptr().cast()) };
        *row = swap_bytes(bytes);
    }
    transpose(rows)
}

#[inline]
#[target_feature(enable = "avx512f,avx512bw")]
fn store(state: &[__m512i; 8], out: &mut [Digest; LANES]) {
    let mut words = [_mm512_setzero_si512(); 16];
    words[..8].copy_from_slice(state);
    for (row, out) in transpose(words).into_iter().zip(out) {
        let digest = _mm512_castsi512_si256(swap_bytes(row));
        // SAFETY: the array has the vector's 32 bytes, and the store needs no alignment.
        unsafe { _mm256_storeu_si256(out.as_mut_ptr().cast(), digest) }
    }
}

#[inline]
#[target_feature(enable = "avx512f,avx512bw")]
fn swap_bytes(v: __m512i) -> __m512i {
    _mm512_shuffle_epi8(v, _mm512_set4_epi32(0x0C0D_0E0F, 0x0809_0A0B, 0x0405_0607, 0x0001_0203))
}

/// Rows of 16 words become columns.
#[inline]
#[target_feature(enable = "avx512f")]
fn transpose(rows: [__m512i; 16]) -> [__m512i; 16] {
    // In every quarter of 128 bits: four words of four rows.
    let mut quads = rows;
    for i in [0, 4, 8, 12] {
        let [a, b, c, d] = [rows[i], rows[i + 1], rows[i + 2], rows[i + 3]];
        let (ab_low, ab_high) = (_mm512_unpacklo_epi32(a, b), _mm512_unpackhi_epi32(a, b));
        let (cd_low, cd_high) = (_mm512_unpacklo_epi32(c, d), _mm512_unpackhi_epi32(c, d));
        quads[i] = _mm512_unpacklo_epi64(ab_low, cd_low);
        quads[i + 1] = _mm512_unpackhi_epi64(ab_low, cd_low);
        quads[i + 2] = _mm512_unpacklo_epi64(ab_high, cd_high);
        quads[i + 3] = _mm512_unpackhi_epi64(ab_high, cd_high);
    }
    // Then the quarters.
    let mut columns = rows;
    for i in 0..4 {
        let [a, b, c, d] = [quads[i], quads[i + 4], quads[i + 8], quads[i + 12]];
        let (ab_even, ab_odd) =
            (_mm512_shuffle_i32x4(a, b, 0x88), _mm512_shuffle_i32x4(a, b, 0xDD));
        let (cd_even, cd_odd) =
            (_mm512_shuffle_i32x4(c, d, 0x88), _mm512_shuffle_i32x4(c, d, 0xDD));
        columns[i] = _mm512_shuffle_i32x4(ab_even, cd_even, 0x88);
        columns[i + 4] = _mm512_shuffle_i32x4(ab_odd, cd_odd, 0x88);
        columns[i + 8] = _mm512_shuffle_i32x4(ab_even, cd_even, 0xDD);
        columns[i + 12] = _mm512_shuffle_i32x4(ab_odd, cd_odd, 0xDD);
    }
    columns
}
