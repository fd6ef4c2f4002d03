//! Certificates: PEM files with anchors, chains in DER, and what is said of them.
//!
//! A chain is cut out of the input by lengths: two bytes, then so many bytes of a certificate.

#![no_main]

use std::collections::BTreeSet;
use std::sync::OnceLock;

use libfuzzer_sys::fuzz_target;
use sealwright_attest::{CertificateTrust, Timestamp};
use sealwright_fuzz::read;
use sealwright_sigstore::details::{CertificateDetails, KeyDetails, pem_blocks};

/// The anchor of the OMS vectors, and the keys under it.
struct Vectors {
    trust: CertificateTrust,
    keys: BTreeSet<String>,
}

fuzz_target!(|data: &[u8]| {
    if let Ok(text) = std::str::from_utf8(data) {
        let _ = CertificateTrust::from_pem([text]);
        for block in pem_blocks(text) {
            let content = block.content.unwrap_or_default();
            let _ = (CertificateDetails::parse(&content), KeyDetails::from_spki(&content));
        }
    }
    let chain = chain(data);
    for der in &chain {
        if let Some(details) = CertificateDetails::parse(der) {
            assert!(!details.key.kind.is_empty());
        }
    }
    let vectors = vectors();
    let at = Timestamp::parse("2026-11-24T00:00:00Z").unwrap();
    if let Ok(certified) = vectors.trust.verify(&chain, at) {
        assert!(vectors.keys.contains(&certified.key.id()), "{certified:?}");
    }
});

fn chain(mut data: &[u8]) -> Vec<Vec<u8>> {
    let mut chain = Vec::new();
    while let Some((length, rest)) = data.split_first_chunk::<2>() {
        let length = usize::from(u16::from_be_bytes(*length)).min(rest.len());
        let (der, rest) = rest.split_at(length);
        chain.push(der.to_vec());
        data = rest;
    }
    chain
}

fn vectors() -> &'static Vectors {
    static VECTORS: OnceLock<Vectors> = OnceLock::new();
    VECTORS.get_or_init(|| {
        let json: serde_json::Value =
            serde_json::from_slice(&read("crates/cli/tests/data/oms/oms-vectors.json")).unwrap();
        let pem = json["pem"].as_object().unwrap();
        let text = |name: &str| pem[name].as_str().unwrap();
        let certificates = pem.keys().filter(|name| {
            name.starts_with("pki/") && !name.ends_with(".key.pem") && !name.ends_with(".pub.pem")
        });
        let keys = certificates.filter_map(|name| {
            let list = pem_blocks(text(name)).into_iter().filter_map(|block| block.content);
            let chain: Vec<Vec<u8>> = list.collect();
            // By itself as anchor: its key, whoever issued it.
            let spki = chain.first().and_then(|der| spki(der))?;
            sealwright_attest::PublicKey::from_spki(&spki).ok().map(|key| key.id())
        });
        Vectors {
            keys: keys.collect(),
            trust: CertificateTrust::from_pem([text("pki/root.pem")]).unwrap(),
        }
    })
}

/// The SubjectPublicKeyInfo inside of a certificate, found by the object identifier of EC keys.
fn spki(der: &[u8]) -> Option<Vec<u8>> {
    const EC: [u8; 9] = [0x06, 0x07, 0x2a, 0x86, 0x48, 0xce, 0x3d, 0x02, 0x01];
    let at = der.windows(EC.len()).position(|window| window == EC)?.checked_sub(4)?;
    // SEQUENCE { SEQUENCE { oid …, curve }, BIT STRING }: a short length, or a long one of one byte.
    [at, at.checked_sub(1)?].into_iter().find_map(|at| {
        let rest = der.get(at..)?;
        (0..rest.len()).map(|end| &rest[..end]).find_map(|candidate| {
            sealwright_attest::PublicKey::from_spki(candidate).ok().map(|key| key.spki())
        })
    })
}
