//! An instance with fresh keys: one root over certificate and timestamp authority.

use std::sync::Arc;

use sealwright_attest::{Curve, KeyFile, Signer, Timestamp};
use sealwright_authority::{
    AuthorityName, TimestampAuthority, ValidityPeriod, root_certificate, timestamp_certificate,
};

pub(crate) const YEAR_S: u64 = 365 * 86_400;

pub(crate) struct Instance {
    pub(crate) root: Vec<u8>,
    pub(crate) tsa: TimestampAuthority,
}

pub(crate) fn now() -> Timestamp {
    Timestamp::parse("2026-11-24T12:00:00Z").unwrap()
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
        let root_key = KeyFile::generate(curve).unwrap();
        let root = root_certificate(&root_key, &name("root"), period(10)).unwrap();
        let tsa_key = Arc::new(KeyFile::generate(curve).unwrap());
        let leaf =
            timestamp_certificate(&root, &root_key, tsa_key.public_key(), &name("tsa"), period(3))
                .unwrap();
        let tsa = TimestampAuthority::new(tsa_key, &[leaf, root.clone()]).unwrap();
        Self { root, tsa }
    }
}
