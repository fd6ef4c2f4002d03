//! Many blocks side by side: each vector holds one word of the state or message of every lane.

/// Defines `hash_blocks` for one vector type.
///
/// The module that uses it has the functions `splat`, `add`, `ch`, `maj`, `big0`, `big1`, `small0`
/// and `small1` (FIPS 180-4 §4.1.2), `message` (chunk `t` of every block as 16 vectors of words) and
/// `store` (the digests), and the constant `LANES`.
macro_rules! many_lanes {
    ($features:literal, $vector:ty) => {
        /// Hashes as many blocks as fill all lanes and says how many that were.
        #[target_feature(enable = $features)]
        pub(super) fn hash_blocks(blocks: &[Block], out: &mut [Digest]) -> usize {
            let ((groups, _), (out, _)) = (blocks.as_chunks(), out.as_chunks_mut());
            for (group, out) in groups.iter().zip(out) {
                hash_group(group, out);
            }
            groups.len() * LANES
        }

        #[inline]
        #[target_feature(enable = $features)]
        fn hash_group(blocks: &[Block; LANES], out: &mut [Digest; LANES]) {
            let mut state = INITIAL.map(|word| splat(word));
            for t in 0..BLOCK_SIZE / 64 {
                compress(&mut state, message(blocks, t));
            }
            pad(&mut state);
            store(&state, out);
        }

        #[inline]
        #[target_feature(enable = $features)]
        fn compress(state: &mut [$vector; 8], mut w: [$vector; 16]) {
            let before = *state;
            let (k, _) = K.as_chunks::<16>();
            for k in &k[..3] {
                sixteen_rounds::<true>(state, &mut w, k);
            }
            sixteen_rounds::<false>(state, &mut w, &k[3]);
            add_all(state, &before);
        }

        #[inline]
        #[target_feature(enable = $features)]
        fn sixteen_rounds<const EXPAND: bool>(
            state: &mut [$vector; 8],
            w: &mut [$vector; 16],
            k: &[u32; 16],
        ) {
            macro_rules! round {
                ($r:literal) => {
                    round::<$r>(state, add(w[$r], splat(k[$r])));
                    if EXPAND {
                        expand::<$r>(w);
                    }
                };
            }
            sixteen_times!(round);
        }

        /// The last chunk of a 4096-byte message, which is the same for all.
        #[inline]
        #[target_feature(enable = $features)]
        fn pad(state: &mut [$vector; 8]) {
            let before = *state;
            for words in PADDING_ROUNDS.as_chunks::<16>().0 {
                macro_rules! round {
                    ($r:literal) => {
                        round::<$r>(state, splat(words[$r]));
                    };
                }
                sixteen_times!(round);
            }
            add_all(state, &before);
        }

        /// Round `R` (FIPS 180-4 §6.2.2 step 3). The working variables stay where they are and
        /// change their names instead: after `R` rounds `a` is `state[-R mod 8]`.
        #[inline]
        #[target_feature(enable = $features)]
        fn round<const R: usize>(state: &mut [$vector; 8], wk: $vector) {
            let at = |variable: usize| (variable + 16 - R) % 8;
            let [a, b, c, e, f, g] = [0, 1, 2, 4, 5, 6].map(|variable| state[at(variable)]);
            let t1 = add(add(state[at(7)], wk), add(big1(e), ch(e, f, g)));
            state[at(3)] = add(state[at(3)], t1);
            state[at(7)] = add(t1, add(big0(a), maj(a, b, c)));
        }

        /// Replaces word `R` of the message schedule by word `R + 16` (step 1).
        #[inline]
        #[target_feature(enable = $features)]
        fn expand<const R: usize>(w: &mut [$vector; 16]) {
            let (s0, s1) = (small0(w[(R + 1) % 16]), small1(w[(R + 14) % 16]));
            w[R] = add(add(w[R], s0), add(w[(R + 9) % 16], s1));
        }

        #[inline]
        #[target_feature(enable = $features)]
        fn add_all(state: &mut [$vector; 8], before: &[$vector; 8]) {
            for (state, before) in state.iter_mut().zip(before) {
                *state = add(*state, *before);
            }
        }
    };
}

/// Calls a macro with 0 to 15.
macro_rules! sixteen_times {
    ($do:ident) => {
        $do!(0);
        $do!(1);
        $do!(2);
        $do!(3);
        $do!(4);
        $do!(5);
        $do!(6);
        $do!(7);
        $do!(8);
        $do!(9);
        $do!(10);
        $do!(11);
        $do!(12);
        $do!(13);
        $do!(14);
        $do!(15);
    };
}

pub(super) use {many_lanes, sixteen_times};
