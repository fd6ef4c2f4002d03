//! Certificates to sign with.

use x509_cert::Certificate;

use crate::bundle::{Bundle, VerificationMaterial};
use crate::time::Timestamp;
use crate::x509::{
    CertificateError, CertifiedKey, MAX_PATH, PathProblem, certified, check_extensions,
    check_issuer, check_usage, check_validity, is_self_issued, path, read_pem,
};

/// A certificate to sign with, and those that lead from it towards a root.
///
/// What a verifier will ask of the certificates themselves is checked when they are read: the leaf is
/// for signing, with a key that signs models, and each was issued by the next. Whether the last one
/// leads to a root, only the verifier can say.
#[derive(Debug, Clone)]
pub struct SigningCertificate {
    /// Leaf first, each issued by the next; without the root, unless the leaf is one.
    links: Vec<Link>,
    leaf: CertifiedKey,
    left_out: Option<String>,
}

/// A certificate and its DER.
type Link = (Certificate, Vec<u8>);

impl SigningCertificate {
    /// Reads PEM texts: `leaf` with the certificate to sign with, which more may follow, and `chain`
    /// with those above it. The order of all but the first does not matter, and repeated ones count
    /// once.
    ///
    /// # Errors
    /// [`CertificateError`], but for validity, which is [`SigningCertificate::check_validity`]'s.
    pub fn from_pem<'a>(
        leaf: &str,
        chain: impl IntoIterator<Item = &'a str>,
    ) -> Result<Self, CertificateError> {
        let mut rest = read_pem(leaf)?.into_iter();
        let first = rest.next().ok_or(CertificateError::NotPem)?;
        check_usage(&first.0)?;
        check_extensions(&first.0)?;
        let leaf = certified(&first.0)?;
        let mut offered: Vec<Link> = rest.collect();
        for text in chain {
            offered.extend(read_pem(text)?);
        }
        let mut links = in_order(first, offered)?;
        // Roots must not be in a bundle (Sigstore bundle format): the verifier has them, or has not.
        let left_out = match links.last() {
            Some((top, _)) if links.len() > 1 && is_self_issued(top) => {
                let subject = top.tbs_certificate.subject.to_string();
                links.pop();
                Some(subject)
            }
            _ => None,
        };
        if links.len() > MAX_PATH {
            return Err(path(PathProblem::TooComplex));
        }
        Ok(Self { links, leaf, left_out })
    }

    /// The leaf's key and names.
    pub fn certified(&self) -> &CertifiedKey {
        &self.leaf
    }

    /// How many certificates go into a bundle, the leaf among them.
    pub fn count(&self) -> usize {
        self.links.len()
    }

    /// The subject of a root that was given and does not go into bundles.
    pub fn left_out(&self) -> Option<&str> {
        self.left_out.as_deref()
    }

    /// Whether every certificate is valid at `at`.
    ///
    /// # Errors
    /// [`CertificateError::Validity`] for the first that is not.
    pub fn check_validity(&self, at: Timestamp) -> Result<(), CertificateError> {
        self.links.iter().try_for_each(|(certificate, _)| check_validity(certificate, at))
    }

    /// `bundle` with these certificates for its verification material (OMS v1.0 §8.2, always as a
    /// chain): its readers no longer need to have the key.
    ///
    /// # Errors
    /// [`CertificateError::OtherKey`] when the signature is not the leaf's.
    pub fn attach(&self, bundle: Bundle) -> Result<Bundle, CertificateError> {
        let envelope = bundle.envelope();
        if !self.leaf.key.verifies(&envelope.pae(), &envelope.signature) {
            return Err(CertificateError::OtherKey { subject: self.leaf.subject.clone() });
        }
        let chain = self.links.iter().map(|(_, der)| der.clone()).collect();
        Ok(bundle.with_material(VerificationMaterial::Certificates(chain)))
    }
}

/// The way up from `leaf` through all of `offered`.
fn in_order(leaf: Link, mut offered: Vec<Link>) -> Result<Vec<Link>, CertificateError> {
    let mut links = vec![leaf];
    while let Some((child, _)) = links.last() {
        offered.retain(|(_, der)| links.iter().all(|(_, link)| link != der));
        if is_self_issued(child) {
            break;
        }
        let Some(next) = take_issuer(child, links.len(), &mut offered)? else { break };
        links.push(next);
    }
    match offered.first() {
        None => Ok(links),
        Some((stray, _)) => {
            Err(CertificateError::NoLink { subject: stray.tbs_certificate.subject.to_string() })
        }
    }
}

/// Takes the certificate that issued `child` out of `offered`. Where only the name is an issuer's,
/// the error says what else it is not.
fn take_issuer(
    child: &Certificate,
    below: usize,
    offered: &mut Vec<Link>,
) -> Result<Option<Link>, CertificateError> {
    let mut outcome = Ok(None);
    for (index, (issuer, _)) in offered.iter().enumerate() {
        if issuer.tbs_certificate.subject != child.tbs_certificate.issuer {
            continue;
        }
        match check_issuer(issuer, child, below) {
            Ok(()) => return Ok(Some(offered.remove(index))),
            Err(error) => outcome = Err(error),
        }
    }
    outcome
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::signer::{KeyFile, Signer as _, sign};

    /// Self-signed, valid from 2026 on.
    const PEM: &str = "-----BEGIN CERTIFICATE-----\n\
        MIIBrDCCAVKgAwIBAgIUaiWwFQQ37BpRYXSuHoc+02kP+O8wCgYIKoZIzj0EAwIw\n\
        EjEQMA4GA1UEAwwHdHJhaW5lcjAgFw0yNjExMjQwOTI5NTdaGA8yMTI2MTAzMTA5\n\
        Mjk1N1owEjEQMA4GA1UEAwwHdHJhaW5lcjBZMBMGByqGSM49AgEGCCqGSM49AwEH\n\
        A0IABODLnLR5H2xgNYyB8ZopL0hMa6nthnBudFC16HocV/gSVos6xG/6hs4sGoCr\n\
        binVOvMik57vNgD4dCyRRvd+TbSjgYMwgYAwHQYDVR0OBBYEFAdjmb5fNJiwQIns\n\
        +zLOwNSpq7bNMB8GA1UdIwQYMBaAFAdjmb5fNJiwQIns+zLOwNSpq7bNMA4GA1Ud\n\
        DwEB/wQEAwIHgDAgBgNVHREEGTAXgRV0cmFpbmVyQGxvYW5zLmV4YW1wbGUwDAYD\n\
        VR0TAQH/BAIwADAKBggqhkjOPQQDAgNIADBFAiAE6hBlsQZ+rMtraWLF0kY5ks28\n\
        mgZzeWMYcWNcadBJ/wIhAPNgtomfS8iB6bcX/E+t5uec3hX8VX0UUDQF6Tk/yc7d\n\
        -----END CERTIFICATE-----\n";

    const KEY: &str = "-----BEGIN PRIVATE KEY-----\n\
        MIGHAgEAMBMGByqGSM49AgEGCCqGSM49AwEHBG0wawIBAQQgX8vIgBVa5w/DCTeD\n\
        1fgTJwV9hBRa3xAPkgtkPUvVjaShRANCAATgy5y0eR9sYDWMgfGaKS9ITGup7YZw\n\
        bnRQteh6HFf4ElaLOsRv+obOLBqAq24p1TrzIpOe7zYA+HQskUb3fk20\n\
        -----END PRIVATE KEY-----\n";

    #[test]
    fn certificates_are_attached_to_signatures_by_their_key() {
        let certificate = SigningCertificate::from_pem(PEM, [PEM]).unwrap();
        assert_eq!((certificate.count(), certificate.left_out()), (1, None));
        let key = KeyFile::from_pem(KEY, None).unwrap();
        assert_eq!(certificate.certified().key, *key.public_key());
        assert_eq!(certificate.certified().identities, ["trainer@loans.example"]);
        let payload = b"{}".to_vec();
        let bundle = sign(payload.clone(), &key, "").unwrap();
        let attached = certificate.attach(bundle.clone()).unwrap();
        assert_eq!(attached.envelope(), bundle.envelope());
        assert!(
            matches!(attached.material(), VerificationMaterial::Certificates(list) if list.len() == 1)
        );
        let other = KeyFile::generate(key.public_key().curve()).unwrap();
        let error = certificate.attach(sign(payload, &other, "").unwrap()).unwrap_err();
        assert!(matches!(error, CertificateError::OtherKey { .. }), "{error}");
    }

    #[test]
    fn time_is_an_argument() {
        let certificate = SigningCertificate::from_pem(PEM, []).unwrap();
        let at = |text| certificate.check_validity(Timestamp::parse(text).unwrap());
        assert_eq!(at("2030-01-01T00:00:00Z"), Ok(()));
        assert!(matches!(at("2020-01-01T00:00:00Z"), Err(CertificateError::Validity { .. })));
    }

    #[test]
    fn texts_without_certificates_are_refused() {
        // The last one has the header of 184 bytes of DER, and none of them.
        let short = "-----BEGIN CERTIFICATE-----\nMIQAujk=\n-----END CERTIFICATE-----\n";
        for text in ["", "\n", " ", "x", "-----END CERTIFICATE-----", KEY, short] {
            let error = SigningCertificate::from_pem(text, []).unwrap_err();
            assert_eq!(error, CertificateError::NotPem, "{text:?}");
            let error = SigningCertificate::from_pem(PEM, [text]).unwrap_err();
            assert_eq!(error, CertificateError::NotPem, "{text:?}");
        }
    }
}
