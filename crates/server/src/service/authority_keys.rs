//! Private keys of the authorities that are kept elsewhere than in the data directory.

use std::fmt;

use sealwright_attest::{PublicKey, SharedSigner};

/// The keys of the authorities that come from outside. Each that is absent is a file of the data
/// directory, made with its certificate.
#[derive(Clone, Default)]
pub struct AuthorityKeys {
    /// Of the certificate authority.
    pub certificates: Option<SharedSigner>,
    /// Of its certificate log; on P-256.
    pub certificate_log: Option<SharedSigner>,
    /// Of the timestamp authority.
    pub timestamps: Option<SharedSigner>,
}

impl AuthorityKeys {
    fn public_keys(&self) -> [Option<&PublicKey>; 3] {
        [&self.certificates, &self.certificate_log, &self.timestamps]
            .map(|signer| signer.as_ref().map(|signer| signer.public_key()))
    }
}

/// By public keys: there is nothing else to be seen of a key that is kept elsewhere.
impl PartialEq for AuthorityKeys {
    fn eq(&self, other: &Self) -> bool {
        self.public_keys() == other.public_keys()
    }
}

impl Eq for AuthorityKeys {}

impl fmt::Debug for AuthorityKeys {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let ids = self.public_keys().map(|key| key.map(PublicKey::id));
        formatter.debug_tuple("AuthorityKeys").field(&ids).finish()
    }
}
