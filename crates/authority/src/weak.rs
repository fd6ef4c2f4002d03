//! Keys that are well-formed and nevertheless no keys.

/// Trial division reaches to here, as in other public authorities.
const SMALL_PRIMES_TO: u32 = 751;

/// The primes of the ROCA fingerprint (CVE-2017-15361) reach to here.
const ROCA_PRIMES_TO: u32 = 167;

/// Whether an RSA modulus (big-endian) has a small factor, or is of the form that faulty smart
/// cards made: a power of 65537 modulo every small prime.
pub(crate) fn is_weak_modulus(modulus: &[u8]) -> bool {
    let residue = |p: u32| modulus.iter().fold(0, |r, byte| (r * 256 + u32::from(*byte)) % p);
    let is_power = |p: u32| {
        let residue = residue(p);
        let powers = std::iter::successors(Some(1), |power| Some(power * (65537 % p) % p));
        powers.take(p as usize).any(|power| power == residue)
    };
    primes_to(SMALL_PRIMES_TO).any(|p| residue(p) == 0)
        || primes_to(ROCA_PRIMES_TO).skip(1).all(is_power)
}

fn primes_to(limit: u32) -> impl Iterator<Item = u32> {
    (2..=limit).filter(|n| (2..*n).take_while(|d| d * d <= *n).all(|d| n % d != 0))
}

/// Whether an Ed25519 public key is a point of small order, canonical or not, of either sign: with
/// such a key some signature fits every message.
pub(crate) fn is_small_order(point: &[u8; 32]) -> bool {
    let mut y = *point;
    if let Some(last) = y.last_mut() {
        *last &= 0x7f;
    }
    SMALL_ORDER.contains(&y)
}

/// The y coordinates of the points of order 1, 2, 4 and 8, little-endian, then p and p + 1, which
/// are 0 and 1 written otherwise. The sign bit is taken off.
const SMALL_ORDER: [[u8; 32]; 7] = [
    edge(0x00, 0x00, 0x00),
    edge(0x01, 0x00, 0x00),
    edge(0xec, 0xff, 0x7f),
    edge(0xed, 0xff, 0x7f),
    edge(0xee, 0xff, 0x7f),
    [
        0x26, 0xe8, 0x95, 0x8f, 0xc2, 0xb2, 0x27, 0xb0, 0x45, 0xc3, 0xf4, 0x89, 0xf2, 0xef, 0x98,
        0xf0, 0xd5, 0xdf, 0xac, 0x05, 0xd3, 0xc6, 0x33, 0x39, 0xb1, 0x38, 0x02, 0x88, 0x6d, 0x53,
        0xfc, 0x05,
    ],
    [
        0xc7, 0x17, 0x6a, 0x70, 0x3d, 0x4d, 0xd8, 0x4f, 0xba, 0x3c, 0x0b, 0x76, 0x0d, 0x10, 0x67,
        0x0f, 0x2a, 0x20, 0x53, 0xfa, 0x2c, 0x39, 0xcc, 0xc6, 0x4e, 0xc7, 0xfd, 0x77, 0x92, 0xac,
        0x03, 0x7a,
    ],
];

const fn edge(first: u8, middle: u8, last: u8) -> [u8; 32] {
    let mut bytes = [middle; 32];
    bytes[0] = first;
    bytes[31] = last;
    bytes
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn small_factors_and_the_faulty_form() {
        // 2^2047 + 1 is divisible by 3.
        let mut modulus = vec![0; 256];
        modulus[0] = 0x80;
        modulus[255] = 1;
        assert!(is_weak_modulus(&modulus));
        // 65537^128 is a power of 65537 modulo everything.
        let mut power = vec![1_u8];
        for _ in 0..128 {
            power = times_65537(&power);
        }
        assert!(
            primes_to(ROCA_PRIMES_TO)
                .all(|p| { power.iter().fold(0, |r, byte| (r * 256 + u32::from(*byte)) % p) != 0 })
        );
        assert!(is_weak_modulus(&power));
    }

    fn times_65537(number: &[u8]) -> Vec<u8> {
        // n·2^16 + n, from the least significant byte.
        let shifted: Vec<u8> = number.iter().copied().chain([0, 0]).collect();
        let mut out = Vec::new();
        let mut carry = 0_u16;
        for (index, high) in shifted.iter().rev().enumerate() {
            let low = number.iter().rev().nth(index).copied().unwrap_or(0);
            let sum = u16::from(*high) + u16::from(low) + carry;
            out.push(sum.to_le_bytes()[0]);
            carry = sum >> 8;
        }
        if carry > 0 {
            out.push(1);
        }
        out.reverse();
        out
    }

    #[test]
    fn small_orders_of_either_sign() {
        for y in SMALL_ORDER {
            assert!(is_small_order(&y));
            let mut negative = y;
            negative[31] |= 0x80;
            assert!(is_small_order(&negative));
        }
        assert!(!is_small_order(&[0x42; 32]));
    }
}
