//! Certificates: reading them, and making a first set for a server that has none.
//!
//! The crypto provider is passed explicitly. A process-wide default is the binary's to install.

mod live;

use std::fs::{self, File, OpenOptions};
use std::io::{self, Write as _};
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use rcgen::{
    BasicConstraints, CertificateParams, DnType, ExtendedKeyUsagePurpose, IsCa, Issuer, KeyPair,
    KeyUsagePurpose,
};
use rustls::crypto::CryptoProvider;
use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject as _;
use rustls::server::VerifierBuilderError;
use time::{Duration, OffsetDateTime};

pub use live::ServerTls;

/// File name of the CA certificate that [`create`] writes.
pub const CA_FILE: &str = "ca.pem";
/// File name of the server's certificate that [`create`] writes.
pub const CERTIFICATE_FILE: &str = "tls.crt";
/// File name of the server's private key that [`create`] writes.
pub const KEY_FILE: &str = "tls.key";

/// Clocks of clients may be behind ours by this much.
const BACKDATE: Duration = Duration::days(1);

/// A certificate that ends unnoticed stops a whole cluster, and there is no CA key left to renew
/// with; whoever holds the private key holds the server anyway.
const VALIDITY: Duration = Duration::days(3650);

/// Why TLS cannot be set up.
#[derive(Debug, thiserror::Error)]
pub enum TlsError {
    /// A file cannot be read or written, or is there already.
    #[error("cannot use {}: {source}", path.display())]
    File {
        /// The file.
        path: PathBuf,
        /// The error as it was reported.
        source: io::Error,
    },
    /// The file has no certificate in PEM.
    #[error("{} holds no PEM certificate", path.display())]
    NoCertificate {
        /// The file.
        path: PathBuf,
    },
    /// The file has no unencrypted private key in PEM.
    #[error("{} holds no unencrypted PEM private key", path.display())]
    NoKey {
        /// The file.
        path: PathBuf,
    },
    /// The two do not belong together, or are of a kind that TLS cannot use.
    #[error("certificate and key cannot be used together")]
    Unusable(#[source] rustls::Error),
    /// The authorities for clients' certificates cannot be used.
    #[error("the authorities for clients' certificates cannot be used")]
    ClientCa(#[source] VerifierBuilderError),
    /// A certificate cannot be made: no usable name, or no randomness.
    #[error("cannot make a certificate")]
    Create(#[source] rcgen::Error),
    /// The clock shows a time that a certificate cannot hold.
    #[error("{now} is not a time for a certificate")]
    Time {
        /// Seconds since 1970.
        now: u64,
    },
}

/// The one provider of cryptography.
pub fn provider() -> Arc<CryptoProvider> {
    Arc::new(rustls::crypto::aws_lc_rs::default_provider())
}

/// How a server speaks TLS, from PEM files: the certificate chain, leaf first, and its private key.
/// Whoever serves with it ([`crate::http::serve`]) reads them again when they change.
///
/// # Errors
/// [`TlsError`].
pub fn load(certificate: &Path, key: &Path) -> Result<Arc<ServerTls>, TlsError> {
    ServerTls::load(certificate, key, None)
}

/// Where Debian has the certificates of public authorities.
pub(crate) const SYSTEM_CA_FILE: &str = "/etc/ssl/certs/ca-certificates.crt";

/// For clients that believe public authorities. On a machine that has none, nothing with https is reached.
pub(crate) fn system_client() -> ureq::tls::TlsConfig {
    let roots = certificates(&std::fs::read(SYSTEM_CA_FILE).unwrap_or_default());
    client(&roots.unwrap_or_default(), None)
}

/// For clients that believe `roots`, and show a certificate if asked for one.
pub(crate) fn client(
    roots: &[CertificateDer<'_>],
    shown: Option<ureq::tls::ClientCert>,
) -> ureq::tls::TlsConfig {
    let roots: Vec<_> =
        roots.iter().map(|root| ureq::tls::Certificate::from_der(root).to_owned()).collect();
    ureq::tls::TlsConfig::builder()
        .unversioned_rustls_crypto_provider(provider())
        .root_certs(ureq::tls::RootCerts::from(roots))
        .client_cert(shown)
        .build()
}

/// All certificates in PEM text; `None` if there is none, or one is malformed.
pub(crate) fn certificates(pem: &[u8]) -> Option<Vec<CertificateDer<'static>>> {
    let chain: Vec<_> = CertificateDer::pem_slice_iter(pem).collect::<Result<_, _>>().ok()?;
    (!chain.is_empty()).then_some(chain)
}

/// Makes a certificate authority and a server certificate for `names` (DNS names or IP addresses),
/// and writes [`CA_FILE`], [`CERTIFICATE_FILE`] and [`KEY_FILE`] (mode 0600) into `dir`.
///
/// They hold for ten years from `now` (seconds since 1970). The authority's private key is never
/// written, so nobody can make another certificate that clients of this one would accept. Files
/// that are there already are not replaced: to renew, remove all three.
///
/// # Errors
/// [`TlsError`]; then none of the files this call made is left.
pub fn create(dir: &Path, names: &[String], now: u64) -> Result<(), TlsError> {
    let made = make(names, now)?;
    let files = [
        (CA_FILE, made.ca_pem, 0o644),
        (CERTIFICATE_FILE, made.certificate_pem, 0o644),
        (KEY_FILE, made.key_pem, 0o600),
    ];
    let mut written = Vec::new();
    for (name, pem, mode) in files {
        let path = dir.join(name);
        if let Err(source) = write_new(&path, &pem, mode) {
            for path in written {
                // The first error is the one to report.
                let _ = fs::remove_file(path);
            }
            return Err(TlsError::File { path, source });
        }
        written.push(path);
    }
    File::open(dir)
        .and_then(|dir| dir.sync_all())
        .map_err(|source| TlsError::File { path: dir.to_owned(), source })
}

struct Made {
    ca_pem: String,
    certificate_pem: String,
    key_pem: String,
}

fn make(names: &[String], now: u64) -> Result<Made, TlsError> {
    let from = i64::try_from(now)
        .ok()
        .and_then(|seconds| OffsetDateTime::from_unix_timestamp(seconds).ok())
        .and_then(|time| time.checked_sub(BACKDATE))
        .ok_or(TlsError::Time { now })?;
    let until = from.checked_add(VALIDITY).ok_or(TlsError::Time { now })?;
    let params = |names: Vec<String>, common_name: &str| {
        let mut params = CertificateParams::new(names)?;
        params.distinguished_name.push(DnType::CommonName, common_name);
        (params.not_before, params.not_after) = (from, until);
        Ok(params)
    };

    let mut ca = params(Vec::new(), "sealwright CA").map_err(TlsError::Create)?;
    ca.is_ca = IsCa::Ca(BasicConstraints::Constrained(0));
    ca.key_usages = vec![KeyUsagePurpose::KeyCertSign];
    let ca_key = KeyPair::generate().map_err(TlsError::Create)?;
    let ca_pem = ca.self_signed(&ca_key).map_err(TlsError::Create)?.pem();
    let issuer = Issuer::new(ca, ca_key);

    let mut leaf = params(names.to_vec(), "sealwright").map_err(TlsError::Create)?;
    leaf.key_usages = vec![KeyUsagePurpose::DigitalSignature];
    leaf.extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth];
    leaf.use_authority_key_identifier_extension = true;
    let key = KeyPair::generate().map_err(TlsError::Create)?;
    let certificate = leaf.signed_by(&key, &issuer).map_err(TlsError::Create)?;
    Ok(Made { ca_pem, certificate_pem: certificate.pem(), key_pem: key.serialize_pem() })
}

fn write_new(path: &Path, pem: &str, mode: u32) -> io::Result<()> {
    let mut file = OpenOptions::new().write(true).create_new(true).mode(mode).open(path)?;
    let written = file.write_all(pem.as_bytes()).and_then(|()| file.sync_all());
    if written.is_err() {
        let _ = fs::remove_file(path);
    }
    written
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt as _;

    use super::*;

    const NOW: u64 = 1_800_000_000;

    fn names(names: &[&str]) -> Vec<String> {
        names.iter().map(|name| (*name).to_owned()).collect()
    }

    #[test]
    fn what_is_made_can_be_loaded() {
        let dir = tempfile::tempdir().unwrap();
        create(dir.path(), &names(&["localhost", "127.0.0.1"]), NOW).unwrap();
        load(&dir.path().join(CERTIFICATE_FILE), &dir.path().join(KEY_FILE)).unwrap();
        let mode = fs::metadata(dir.path().join(KEY_FILE)).unwrap().permissions().mode();
        assert_eq!(mode & 0o777, 0o600);
    }

    #[test]
    fn nothing_is_replaced_and_nothing_left_half_done() {
        let dir = tempfile::tempdir().unwrap();
        fs::write(dir.path().join(KEY_FILE), "mine").unwrap();
        let error = create(dir.path(), &names(&["localhost"]), NOW).unwrap_err();
        assert!(matches!(error, TlsError::File { .. }), "{error}");
        assert_eq!(fs::read(dir.path().join(KEY_FILE)).unwrap(), b"mine");
        assert!(!dir.path().join(CA_FILE).exists());
        assert!(!dir.path().join(CERTIFICATE_FILE).exists());
    }

    #[test]
    fn a_pair_that_does_not_fit_does_not_come_into_force() {
        use crate::reload::Reload as _;
        let (dir, other) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
        for dir in [&dir, &other] {
            create(dir.path(), &names(&["localhost"]), NOW).unwrap();
        }
        let path = |name: &str| dir.path().join(name);
        let tls = load(&path(CERTIFICATE_FILE), &path(KEY_FILE)).unwrap();
        let first = tls.config();
        assert_eq!(tls.not_after(), NOW - 86_400 + 3650 * 86_400);
        let replace = |name: &str| fs::copy(other.path().join(name), path(name)).unwrap();
        replace(CERTIFICATE_FILE);
        let before = |_: &str, _: &sealwright_manifest::Sha256| Ok(());
        tls.reload(&before);
        assert!(tls.is_refused());
        assert!(Arc::ptr_eq(&tls.config(), &first));
        replace(KEY_FILE);
        tls.reload(&before);
        assert!(!tls.is_refused());
        assert!(!Arc::ptr_eq(&tls.config(), &first));
        fs::remove_file(path(KEY_FILE)).unwrap();
        tls.reload(&before);
        assert!(tls.is_refused());
    }

    #[test]
    fn what_cannot_be_used_is_named() {
        let dir = tempfile::tempdir().unwrap();
        let path = |name: &str| dir.path().join(name);
        create(dir.path(), &names(&["localhost"]), NOW).unwrap();
        fs::write(path("empty"), "").unwrap();
        let load = |certificate, key| load(&path(certificate), &path(key)).err().unwrap();
        assert!(matches!(load("none", KEY_FILE), TlsError::File { .. }));
        assert!(matches!(load("empty", KEY_FILE), TlsError::NoCertificate { .. }));
        assert!(matches!(load(CERTIFICATE_FILE, "empty"), TlsError::NoKey { .. }));
        assert!(matches!(load(CA_FILE, KEY_FILE), TlsError::Unusable(_)));
        assert!(matches!(make(&[], u64::MAX), Err(TlsError::Time { .. })));
    }
}
