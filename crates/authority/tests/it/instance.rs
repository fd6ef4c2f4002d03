//! An instance with fresh keys: one root over certificate and timestamp authority.

use std::sync::Arc;

use sealwright_attest::{Curve, KeyFile, Signer as _, Timestamp};
use sealwright_authority::{
    AuthorityName, CertificateAuthority, TimestampAuthority, ValidityPeriod,
    intermediate_certificate, root_certificate, timestamp_certificate,
};

pub(crate) const YEAR_S: u64 = 365 * 86_400;

pub(crate) struct Instance {
    pub(crate) root: Vec<u8>,
    pub(crate) ca: CertificateAuthority,
    pub(crate) tsa: TimestampAuthority,
}

pub(crate) fn now() -> Timestamp {
    Timestamp::parse("2026-11-02T12:00:00Z").unwrap()
}

pub(crate) fn name(common_name: &str) -> AuthorityName {
    AuthorityName { organization: "Example Ltd.".into(), common_name: common_name.into() }
}

pub(crate) fn period(years: u64) -> ValidityPeriod {
    let from = Timestamp::parse("2026-01-01T00:00:00Z").unwrap();
    ValidityPeriod { from, until: from.plus_seconds(years * YEAR_S) }
}

impl Instance {
    pub(crate) fn new(curve: Curve) -> Self {
        let generate = |curve| Arc::new(KeyFile::generate(curve).unwrap());
        let root_key = KeyFile::generate(curve).unwrap();
        let root = root_certificate(&root_key, &name("root"), period(10)).unwrap();
        let (ca_key, tsa_key, log_key) = (generate(curve), generate(curve), generate(Curve::P256));
        let (ca, tsa) = (ca_key.public_key(), tsa_key.public_key());
        let ca = intermediate_certificate(&root, &root_key, ca, &name("ca"), period(3)).unwrap();
        let tsa = timestamp_certificate(&root, &root_key, tsa, &name("tsa"), period(3)).unwrap();
        Self {
            ca: CertificateAuthority::new(ca_key, &[ca, root.clone()], log_key).unwrap(),
            tsa: TimestampAuthority::new(tsa_key, &[tsa, root.clone()]).unwrap(),
            root,
        }
    }
}
