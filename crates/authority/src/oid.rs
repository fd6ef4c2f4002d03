//! Object identifiers, each by the name of its specification.

use der::asn1::ObjectIdentifier as Oid;

use sealwright_attest::Curve;
use x509_cert::spki::AlgorithmIdentifierOwned;

// RFC 5480, RFC 3279, RFC 8410: keys.
pub(crate) const EC_PUBLIC_KEY: Oid = Oid::new_unwrap("1.2.840.10045.2.1");
pub(crate) const RSA_ENCRYPTION: Oid = Oid::new_unwrap("1.2.840.113549.1.1.1");
pub(crate) const ED25519: Oid = Oid::new_unwrap("1.3.101.112");

// RFC 5758, RFC 4055: signatures.
pub(crate) const ECDSA_SHA256: Oid = Oid::new_unwrap("1.2.840.10045.4.3.2");
pub(crate) const ECDSA_SHA384: Oid = Oid::new_unwrap("1.2.840.10045.4.3.3");
pub(crate) const ECDSA_SHA512: Oid = Oid::new_unwrap("1.2.840.10045.4.3.4");
pub(crate) const RSA_SHA256: Oid = Oid::new_unwrap("1.2.840.113549.1.1.11");
pub(crate) const RSA_SHA384: Oid = Oid::new_unwrap("1.2.840.113549.1.1.12");
pub(crate) const RSA_SHA512: Oid = Oid::new_unwrap("1.2.840.113549.1.1.13");

// RFC 5754: digests. SHA-1 only to say that it is weak.
pub(crate) const SHA1: Oid = Oid::new_unwrap("1.3.14.3.2.26");
pub(crate) const SHA256: Oid = Oid::new_unwrap("2.16.840.1.101.3.4.2.1");
pub(crate) const SHA384: Oid = Oid::new_unwrap("2.16.840.1.101.3.4.2.2");
pub(crate) const SHA512: Oid = Oid::new_unwrap("2.16.840.1.101.3.4.2.3");

// RFC 5652, RFC 3161, RFC 5035: CMS.
pub(crate) const SIGNED_DATA: Oid = Oid::new_unwrap("1.2.840.113549.1.7.2");
pub(crate) const TST_INFO: Oid = Oid::new_unwrap("1.2.840.113549.1.9.16.1.4");
pub(crate) const CONTENT_TYPE: Oid = Oid::new_unwrap("1.2.840.113549.1.9.3");
pub(crate) const MESSAGE_DIGEST: Oid = Oid::new_unwrap("1.2.840.113549.1.9.4");
pub(crate) const SIGNING_TIME: Oid = Oid::new_unwrap("1.2.840.113549.1.9.5");
pub(crate) const SIGNING_CERTIFICATE_V2: Oid = Oid::new_unwrap("1.2.840.113549.1.9.16.2.47");

// X.520, RFC 5280: names and purposes.
pub(crate) const COMMON_NAME: Oid = Oid::new_unwrap("2.5.4.3");
pub(crate) const ORGANIZATION: Oid = Oid::new_unwrap("2.5.4.10");
pub(crate) const CODE_SIGNING: Oid = Oid::new_unwrap("1.3.6.1.5.5.7.3.3");
pub(crate) const TIME_STAMPING: Oid = Oid::new_unwrap("1.3.6.1.5.5.7.3.8");

// RFC 6962 §3.3; Fulcio's own.
pub(crate) const SCT_LIST: Oid = Oid::new_unwrap("1.3.6.1.4.1.11129.2.4.2");
pub(crate) const USER_NAME: Oid = Oid::new_unwrap("1.3.6.1.4.1.57264.1.7");

/// How ECDSA on this curve with the curve's hash is named (RFC 5758 §3.2: no parameters).
pub(crate) fn ecdsa(curve: Curve) -> AlgorithmIdentifierOwned {
    let oid = match curve {
        Curve::P256 => ECDSA_SHA256,
        Curve::P384 => ECDSA_SHA384,
        Curve::P521 => ECDSA_SHA512,
    };
    AlgorithmIdentifierOwned { oid, parameters: None }
}

/// The curve's hash alone (RFC 5754 §2: no parameters).
pub(crate) fn digest(curve: Curve) -> AlgorithmIdentifierOwned {
    let oid = match curve {
        Curve::P256 => SHA256,
        Curve::P384 => SHA384,
        Curve::P521 => SHA512,
    };
    AlgorithmIdentifierOwned { oid, parameters: None }
}
