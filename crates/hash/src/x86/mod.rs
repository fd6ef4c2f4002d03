//! x86-64: proofs that an instruction set is there, and the functions that need it.
//!
//! A value of [`ShaNi`], [`Avx2`] or [`Avx512`] comes only from `detect`; that is what makes the
//! calls below sound.

#![expect(unsafe_code, reason = "calls of functions that need an instruction set")]

mod avx2;
mod avx512;
mod lanes;
mod ni;

use std::arch::is_x86_feature_detected;

use crate::{Block, Chunk, Digest, State};

/// The processor has the SHA extensions and SSE4.1.
#[derive(Debug, Clone, Copy)]
pub(crate) struct ShaNi(());

/// The processor and the operating system have AVX2.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Avx2(());

/// The processor and the operating system have AVX-512 F and BW.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Avx512(());

impl ShaNi {
    pub(crate) fn detect() -> Option<Self> {
        let found = is_x86_feature_detected!("sha")
            && is_x86_feature_detected!("sse4.1")
            && is_x86_feature_detected!("ssse3");
        found.then_some(Self(()))
    }

    pub(crate) fn compress(self, state: &mut State, chunks: &[Chunk]) {
        // SAFETY: `self` exists, so the instructions do.
        unsafe { ni::compress(state, chunks) }
    }

    /// As far as both have chunks.
    pub(crate) fn compress_pair(self, a: (&mut State, &[Chunk]), b: (&mut State, &[Chunk])) {
        // SAFETY: `self` exists, so the instructions do.
        unsafe { ni::compress_pair(a, b) }
    }

    pub(crate) fn hash_blocks(self, blocks: &[Block], out: &mut [Digest]) {
        // SAFETY: `self` exists, so the instructions do.
        unsafe { ni::hash_blocks(blocks, out) }
    }

    pub(crate) fn compress_with_blocks(
        self,
        state: &mut State,
        blocks: &[Block],
        out: &mut [Digest],
    ) {
        // SAFETY: `self` exists, so the instructions do.
        unsafe { ni::compress_with_blocks(state, blocks, out) }
    }
}

impl Avx2 {
    pub(crate) fn detect() -> Option<Self> {
        is_x86_feature_detected!("avx2").then_some(Self(()))
    }

    /// Hashes as many blocks as fill all lanes and says how many that were.
    pub(crate) fn hash_blocks(self, blocks: &[Block], out: &mut [Digest]) -> usize {
        // SAFETY: `self` exists, so the instructions do.
        unsafe { avx2::hash_blocks(blocks, out) }
    }
}

impl Avx512 {
    pub(crate) fn detect() -> Option<Self> {
        let found = is_x86_feature_detected!("avx512f") && is_x86_feature_detected!("avx512bw");
        found.then_some(Self(()))
    }

    /// Hashes as many blocks as fill all lanes and says how many that were.
    pub(crate) fn hash_blocks(self, blocks: &[Block], out: &mut [Digest]) -> usize {
        // SAFETY: `self` exists, so the instructions do.
        unsafe { avx512::hash_blocks(blocks, out) }
    }
}
