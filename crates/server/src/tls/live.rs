//! The certificate of a running server: read again when its files change.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use rustls::pki_types::PrivateKeyDer;
use rustls::pki_types::pem::PemObject as _;
use rustls::server::WebPkiClientVerifier;
use rustls::{RootCertStore, ServerConfig};

use sealwright_manifest::Sha256;
use sealwright_sigstore::details::CertificateDetails;

use super::{TlsError, certificates, provider};
use crate::reload::{Before, FilesRead, Live, Reload};

/// How a server speaks TLS: what its files said when they were last read and could be used.
pub struct ServerTls {
    live: Live<Current, TlsError>,
    /// Whether somebody else looks at the files than whoever serves with it.
    is_followed: AtomicBool,
}

struct Current {
    config: Arc<ServerConfig>,
    /// Last second of the server's certificate, since 1970.
    not_after: u64,
}

#[derive(Debug, Clone)]
struct Files {
    certificate: PathBuf,
    key: PathBuf,
    client_ca: Option<PathBuf>,
}

impl ServerTls {
    /// Reads the PEM files: the certificate chain, leaf first, its private key, and the authorities
    /// for certificates that clients may show (and need not), if any are asked for.
    ///
    /// # Errors
    /// [`TlsError`].
    pub fn load(
        certificate: &Path,
        key: &Path,
        client_ca: Option<&Path>,
    ) -> Result<Arc<Self>, TlsError> {
        let files = Files {
            certificate: certificate.to_owned(),
            key: key.to_owned(),
            client_ca: client_ca.map(Path::to_owned),
        };
        let live = Live::load("tls", move |read| files.current(read))?;
        Ok(Arc::new(Self { live, is_followed: AtomicBool::new(false) }))
    }

    /// From now on whoever serves with it leaves the files to the caller, who looks at them again.
    pub(crate) fn follow_elsewhere(&self) {
        self.is_followed.store(true, Ordering::Release);
    }

    /// Whether the caller looks at the files.
    pub(crate) fn is_followed(&self) -> bool {
        self.is_followed.load(Ordering::Acquire)
    }

    /// Digest of certificate and client authorities.
    pub(crate) fn digest(&self) -> Sha256 {
        self.live.digest()
    }

    /// For the next connection. Another one has sessions of its own, so that nobody resumes what was
    /// agreed under authorities that no longer count.
    pub(crate) fn config(&self) -> Arc<ServerConfig> {
        Arc::clone(&self.live.get().config)
    }

    /// Last second of the certificate, since 1970.
    pub(crate) fn not_after(&self) -> u64 {
        self.live.get().not_after
    }

    /// Whether the files hold something that cannot be used.
    pub(crate) fn is_refused(&self) -> bool {
        self.live.is_refused()
    }
}

impl Reload for ServerTls {
    fn reload(&self, before: &Before) {
        self.live.reload(before);
    }
}

impl Files {
    fn current(&self, files: &mut FilesRead) -> Result<Current, TlsError> {
        let unreadable = |path: &Path, source| TlsError::File { path: path.to_owned(), source };
        let secret = files.read_secret(&self.key).map_err(|source| unreadable(&self.key, source));
        let mut read = |path: &Path| files.read(path).map_err(|source| unreadable(path, source));
        let chain = certificates(&read(&self.certificate)?)
            .ok_or_else(|| TlsError::NoCertificate { path: self.certificate.clone() })?;
        let key = PrivateKeyDer::from_pem_slice(&secret?)
            .map_err(|_| TlsError::NoKey { path: self.key.clone() })?;
        let client_ca = self.client_ca.as_deref().map(|path| {
            let roots = certificates(&read(path)?);
            roots.ok_or_else(|| TlsError::NoCertificate { path: path.to_owned() })
        });
        let not_after = chain.first().and_then(|leaf| CertificateDetails::parse(leaf));
        let builder = ServerConfig::builder_with_provider(provider())
            .with_safe_default_protocol_versions()
            .map_err(TlsError::Unusable)?;
        let builder = match client_ca.transpose()? {
            None => builder.with_no_client_auth(),
            Some(authorities) => {
                let mut roots = RootCertStore::empty();
                for authority in authorities {
                    roots.add(authority).map_err(TlsError::Unusable)?;
                }
                let verifier =
                    WebPkiClientVerifier::builder_with_provider(Arc::new(roots), provider())
                        .allow_unauthenticated()
                        .build();
                builder.with_client_cert_verifier(verifier.map_err(TlsError::ClientCa)?)
            }
        };
        let mut config = builder.with_single_cert(chain, key).map_err(TlsError::Unusable)?;
        config.alpn_protocols = vec![b"http/1.1".to_vec()];
        let not_after = not_after.map_or(u64::MAX, |leaf| leaf.not_after.unix());
        Ok(Current { config: Arc::new(config), not_after })
    }
}
