//! Sigstore bundles, verified under the trusted root of a conformance case: nothing is accepted that
//! is not genuine.
//!
//! The first byte chooses the case. The second chooses a text in its bundle, which the rest of the
//! input replaces; or, at 255, the rest is the whole bundle.

#![no_main]

use libfuzzer_sys::fuzz_target;
use sealwright_fuzz::{assert_genuine, cases, replace, texts};

fuzz_target!(|data: &[u8]| {
    let [case, place, content @ ..] = data else { return };
    let cases = cases();
    let case = &cases[usize::from(*case) % cases.len()];
    let accepted = if *place == 255 {
        case.verify(content)
    } else {
        let mut json = case.json.clone();
        let mut found = Vec::new();
        texts(&mut json, &mut found);
        let count = found.len();
        replace(found.swap_remove(usize::from(*place) % count), content);
        case.verify(json.to_string().as_bytes())
    };
    if let Ok(verified) = accepted {
        assert_genuine(&verified);
    }
});
