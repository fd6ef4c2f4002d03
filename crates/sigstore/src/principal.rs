//! Keyless signatures of principals: what `sealwright-attest` asks of a trusted root's authorities.

use std::sync::Arc;

use serde_json::Value;

use sealwright_attest::{
    Bundle, CertificateVerifier, OidcIdentity, Timestamp, TrustError, TrustedRoot,
    VerificationMaterial,
};

use crate::bundle::SigstoreBundle;
use crate::identity::IdentityPolicy;
use crate::trust::Trust;
use crate::verify::{Signer, SignerIdentity, Thresholds, verify_statement};

/// The media type of a bundle with a chain of certificates; later ones have only the leaf.
const WITH_CHAIN: &str = "application/vnd.dev.sigstore.bundle+json;version=0.2";

/// Reads `trusted_root.json` whole: its logs, and its authorities, so that keyless signatures can be
/// verified.
///
/// # Errors
/// [`TrustError`].
pub fn trusted_root(bytes: &[u8]) -> Result<TrustedRoot, TrustError> {
    let root = TrustedRoot::parse(bytes)?;
    let trust =
        Trust::parse(bytes).map_err(|error| TrustError::Shape { message: error.to_string() })?;
    Ok(root.with_certificates(Arc::new(Authorities { trust })))
}

/// The authorities of one trusted root.
#[derive(Debug)]
struct Authorities {
    trust: Trust,
}

impl CertificateVerifier for Authorities {
    fn identity(&self, bundle: &Bundle, latest: Timestamp) -> Result<OidcIdentity, String> {
        let bundle =
            SigstoreBundle::from_value(self.to_wire(bundle)).map_err(|error| error.to_string())?;
        // Who it is, the role binding says.
        let anybody = IdentityPolicy::insecure_any_identity();
        let (signer, thresholds) = (Signer::Identity(&anybody), Thresholds::of(&self.trust));
        let verified = verify_statement(&bundle, &self.trust, signer, &thresholds, latest)
            .map_err(|error| error.to_string())?;
        match verified.signer() {
            SignerIdentity::Certificate { subject, issuer: Some(issuer), .. } => {
                Ok(OidcIdentity { subject: subject.clone(), issuer: issuer.clone() })
            }
            _ => Err("it names no OIDC issuer".to_owned()),
        }
    }
}

impl Authorities {
    /// The bundle in a form that its version has, with the entries of the logs that are trusted: others
    /// prove nothing here.
    fn to_wire(&self, bundle: &Bundle) -> Value {
        let entries = bundle.log_entries().iter();
        let entries = entries.filter(|entry| self.trust.knows_log(&entry.log_id)).cloned();
        let mut value = bundle.clone().with_log_entries(entries.collect()).to_value();
        let single = match bundle.material() {
            VerificationMaterial::Certificates(chain) => chain.len() == 1,
            VerificationMaterial::PublicKey { .. } => return value,
        };
        if !single {
            value["mediaType"] = WITH_CHAIN.into();
            return value;
        }
        if let Some(material) = value["verificationMaterial"].as_object_mut()
            && let Some(chain) = material.remove("x509CertificateChain")
        {
            let leaf = chain.pointer("/certificates/0").cloned().unwrap_or_default();
            material.insert("certificate".to_owned(), leaf);
        }
        value
    }
}
