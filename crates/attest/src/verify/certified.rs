//! Whose certificate signed: from a chain to a principal.

use std::collections::BTreeMap;

use super::VerifyError;
use crate::bundle::Bundle;
use crate::key::PublicKey;
use crate::roles::{CertificateIdentity, Principal, RoleBinding};
use crate::time::Timestamp;
use crate::trust::TrustedRoot;
use crate::x509::{CertificateError, claims};

/// A signature by a certified key that a log is proven to hold.
pub(super) struct Certified<'a> {
    pub(super) bundle: &'a Bundle,
    /// DER, leaf first.
    pub(super) chain: &'a [Vec<u8>],
    /// The leaf's key.
    pub(super) key: &'a PublicKey,
    /// The log-signed time.
    pub(super) at: Timestamp,
}

/// How far the clocks of a timestamp authority and of a log may be apart, in seconds.
const CLOCK_SKEW: u64 = 600;

/// What came of looking for the holder.
#[derive(Default)]
struct Search<'a> {
    found: Vec<(&'a Principal, &'a CertificateIdentity)>,
    /// Whom the certificate is for, as far as anybody vouches for it.
    names: Vec<String>,
    refused: Option<VerifyError>,
}

impl Certified<'_> {
    /// The principal and the ids of all that it signed with: of each identity that the certificate
    /// stands for, and of the key, if that is one of the principal's own. The first names the signer.
    ///
    /// Every way in which the certificate may stand for somebody is looked at: it may stand for one
    /// principal only, and nor may its key be another's.
    pub(super) fn find<'r>(
        &self,
        roles: &'r RoleBinding,
        root: &TrustedRoot,
    ) -> Result<(&'r Principal, Vec<String>), VerifyError> {
        let by_key = roles.holder(&self.key.id()).map(|(holder, _)| holder);
        let leaf = self.chain.first().ok_or(VerifyError::NotCertificateSigned)?;
        let claims = claims(leaf)?;
        let names = claims.names.iter().map(String::as_str);
        if by_key.is_none() && !roles.may_be_certified(names, claims.issuer.as_deref()) {
            // A stranger's, whoever vouches for it: not worth a path of signatures.
            return Err(VerifyError::UnknownSigner { hint: claims.names.join(", ") });
        }
        let mut search = Search::default();
        self.issued(roles, root, &mut search);
        if claims.is_issued {
            // Whose authority vouches for logins vouches for whoever can log in, at any issuer.
            search.refused.get_or_insert(CertificateError::Issued.into());
        } else {
            self.certified(roles, &mut search);
        }
        let Some(&(principal, _)) = search.found.first() else {
            let unknown = VerifyError::UnknownSigner { hint: search.names.join(", ") };
            let refused = search.refused.filter(|_| search.names.is_empty());
            return Err(refused.unwrap_or(unknown));
        };
        let mut others = search.found.iter().map(|(other, _)| *other).chain(by_key);
        if let Some(other) = others.find(|other| other.name != principal.name) {
            return Err(VerifyError::AmbiguousSigner {
                first: principal.name.clone(),
                second: other.name.clone(),
            });
        }
        let mut ids: Vec<_> = search.found.iter().map(|(_, identity)| identity.id()).collect();
        // Anybody can have a certificate made for a key that they do not have.
        ids.extend(by_key.map(|_| self.key.id()));
        Ok((principal, ids))
    }

    /// By the word of an OIDC issuer to an authority of the trusted root.
    fn issued<'r>(&self, roles: &'r RoleBinding, root: &TrustedRoot, search: &mut Search<'r>) {
        let wanted = || roles.identities().filter(|(_, identity)| identity.issuer().is_some());
        let Some(verifier) = root.certificates() else { return };
        if wanted().next().is_none() {
            return;
        }
        match verifier.identity(self.bundle, self.at.plus_seconds(CLOCK_SKEW)) {
            Ok(proven) => {
                search.found.extend(wanted().filter(|(_, identity)| {
                    identity.subject() == proven.subject
                        && identity.issuer() == Some(&proven.issuer)
                }));
                search.names.push(format!("{} by {}", proven.subject, proven.issuer));
            }
            Err(reason) => search.refused = Some(VerifyError::Keyless { reason }),
        }
    }

    /// Under authorities that the role binding names.
    fn certified<'r>(&self, roles: &'r RoleBinding, search: &mut Search<'r>) {
        let mut chains = BTreeMap::new();
        for (principal, identity) in roles.identities() {
            let CertificateIdentity::Certified { subject, authority } = identity else { continue };
            let names = chains.entry(*authority.digest().as_bytes()).or_insert_with(|| {
                match authority.trust().verify(self.chain, self.at) {
                    Ok(certified) => certified.identities,
                    Err(error) => {
                        search.refused.get_or_insert(error.into());
                        Vec::new()
                    }
                }
            });
            search.names.extend(names.iter().cloned());
            if names.contains(subject) {
                search.found.push((principal, identity));
            }
        }
        search.names.sort_unstable();
        search.names.dedup();
    }
}
