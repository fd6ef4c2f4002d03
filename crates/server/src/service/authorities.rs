//! The certificate and timestamp authorities of an instance: their files, and how they come to be.
//!
//! ```text
//! <data_dir>/authority/root.pem          self-signed root of both authorities
//! <data_dir>/authority/ca.pem            the certificate authority: intermediate, root
//! <data_dir>/authority/ca-key.pem        its private key, PKCS#8, mode 0600
//! <data_dir>/authority/ct-key.pem        the key that signs certificate timestamps
//! <data_dir>/authority/tsa.pem           the timestamp authority: leaf, root
//! <data_dir>/authority/tsa-key.pem       its private key
//! <data_dir>/offline/root-key.pem        the root's private key: nothing here needs it
//! ```

use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use serde_json::{Value, json};
use zeroize::Zeroizing;

use sealwright_attest::{Curve, KeyFile, Signer, Timestamp};
use sealwright_authority::{
    AuthorityName, CertificateAuthority, TimestampAuthority, ValidityPeriod, certificate_pem,
    certificate_valid_from, certificates_from_pem, intermediate_certificate, root_certificate,
    timestamp_certificate,
};
use sealwright_manifest::Sha256;

use super::StartError;
use super::data::{create_dir, write_new};

const AUTHORITY_DIR: &str = "authority";
/// What is in here belongs elsewhere.
pub(super) const OFFLINE_DIR: &str = "offline";
const ROOT_KEY: &str = "root-key.pem";

/// Characters of a name in a certificate (RFC 5280 appendix A.1, `ub-organization-name`).
const MAX_NAME: usize = 64;

const YEAR_S: u64 = 365 * 24 * 60 * 60;
/// The root outlives what it issued.
const ROOT_YEARS: u64 = 10;
const ISSUED_YEARS: u64 = 9;

/// The authorities, ready to issue.
pub(crate) struct Authorities {
    pub(crate) ca: CertificateAuthority,
    pub(crate) tsa: TimestampAuthority,
    valid_from: Timestamp,
}

/// Makes keys and certificates of the authorities at `now`, unless they are there. Says where the
/// root's private key is, if it was made.
pub(super) fn create(
    data_dir: &Path,
    organization: &str,
    now: Timestamp,
) -> Result<Option<PathBuf>, StartError> {
    let dir = data_dir.join(AUTHORITY_DIR);
    if dir.exists() {
        return Ok(None);
    }
    if organization.chars().count() > MAX_NAME {
        return Err(StartError::OriginTooLong { origin: organization.to_owned() });
    }
    // Built aside and put into place in one step: a crash leaves nothing half-made but what is
    // removed here.
    create_dir(data_dir)?;
    remove_unfinished(data_dir)?;
    let building = tempfile::Builder::new()
        .prefix(".authority-")
        .tempdir_in(data_dir)
        .map_err(|error| StartError::file(data_dir, error))?;
    let root_key = make(building.path(), organization, now).map_err(|error| match error {
        // The directory that was being made has a name that tells nobody anything.
        StartError::Full { .. } => StartError::Full { path: data_dir.to_owned() },
        StartError::ReadOnly { .. } => StartError::ReadOnly { path: data_dir.to_owned() },
        other => other,
    })?;
    let offline = data_dir.join(OFFLINE_DIR);
    create_dir(&offline)?;
    // Before what it vouches for is there, so that it cannot be lost.
    if !write_new(&offline, ROOT_KEY, root_key.as_bytes(), 0o600)? {
        return Err(StartError::AuthorityLeftover { path: offline.join(ROOT_KEY) });
    }
    let sync = |path: &Path| fs::File::open(path).and_then(|dir| dir.sync_all());
    fs::rename(building.path(), &dir)
        .and_then(|()| sync(data_dir))
        .map_err(|error| StartError::file(&dir, error))?;
    // It has another name now.
    let _ = building.keep();
    Ok(Some(offline.join(ROOT_KEY)))
}

/// Removes what a start left that did not get to its end, keys of authorities that never were.
fn remove_unfinished(data_dir: &Path) -> Result<(), StartError> {
    let failed = |error| StartError::file(data_dir, error);
    for entry in fs::read_dir(data_dir).map_err(failed)? {
        let entry = entry.map_err(failed)?;
        if entry.file_name().as_encoded_bytes().starts_with(b".authority-") {
            fs::remove_dir_all(entry.path()).map_err(failed)?;
            // Its root's key vouches for nothing.
            let leftover = data_dir.join(OFFLINE_DIR).join(ROOT_KEY);
            match fs::remove_file(leftover) {
                Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(failed(error)),
                _ => {}
            }
        }
    }
    Ok(())
}

/// Writes all files but the root's private key, which is the answer.
fn make(dir: &Path, organization: &str, now: Timestamp) -> Result<Zeroizing<String>, StartError> {
    let unmade = |_| StartError::Authority { path: dir.to_owned() };
    let key = |curve| {
        KeyFile::generate(curve).map_err(|_| StartError::Authority { path: dir.to_owned() })
    };
    let name = |common_name: &str| AuthorityName {
        organization: organization.to_owned(),
        common_name: common_name.to_owned(),
    };
    let until = |years: u64| Timestamp::from_unix(now.unix() + years * YEAR_S).unwrap_or(now);
    let validity = |years| ValidityPeriod { from: now, until: until(years) };

    let (root_key, ca_key) = (key(Curve::P384)?, key(Curve::P384)?);
    let (tsa_key, ct_key) = (key(Curve::P384)?, key(Curve::P256)?);
    let root = root_certificate(&root_key, &name("Sealwright root"), validity(ROOT_YEARS))
        .map_err(unmade)?;
    let ca = intermediate_certificate(
        &root,
        &root_key,
        ca_key.public_key(),
        &name("Sealwright certificate authority"),
        validity(ISSUED_YEARS),
    )
    .map_err(unmade)?;
    let tsa = timestamp_certificate(
        &root,
        &root_key,
        tsa_key.public_key(),
        &name("Sealwright timestamp authority"),
        validity(ISSUED_YEARS),
    )
    .map_err(unmade)?;

    let root = certificate_pem(&root);
    write_new(dir, "root.pem", root.as_bytes(), 0o644)?;
    write_new(dir, "ca.pem", (certificate_pem(&ca) + &root).as_bytes(), 0o644)?;
    write_new(dir, "tsa.pem", (certificate_pem(&tsa) + &root).as_bytes(), 0o644)?;
    let plain = |key: &KeyFile| {
        key.unencrypted_pem().map_err(|_| StartError::Authority { path: dir.to_owned() })
    };
    for (file, key) in [("ca-key.pem", &ca_key), ("tsa-key.pem", &tsa_key), ("ct-key.pem", &ct_key)]
    {
        write_new(dir, file, plain(key)?.as_bytes(), 0o600)?;
    }
    plain(&root_key)
}

/// Opens the authorities; `None` if there are none.
pub(super) fn open(data_dir: &Path) -> Result<Option<Authorities>, StartError> {
    let dir = data_dir.join(AUTHORITY_DIR);
    if !dir.exists() {
        return Ok(None);
    }
    let (ca_key, tsa_key, ct_key) =
        (key(&dir, "ca-key.pem")?, key(&dir, "tsa-key.pem")?, key(&dir, "ct-key.pem")?);
    let (ca_chain, tsa_chain) = (chain(&dir, "ca.pem")?, chain(&dir, "tsa.pem")?);
    let unfit = |file: &str| StartError::Authority { path: dir.join(file) };
    let tsa = TimestampAuthority::new(tsa_key, &tsa_chain).map_err(|_| unfit("tsa.pem"))?;
    let valid_from = certificate_valid_from(ca_chain.first().map_or(&[], Vec::as_slice))
        .map_err(|_| unfit("ca.pem"))?;
    let ca = CertificateAuthority::new(ca_key, &ca_chain, ct_key).map_err(|_| unfit("ca.pem"))?;
    Ok(Some(Authorities { ca, tsa, valid_from }))
}

type SharedSigner = Arc<dyn Signer + Send + Sync>;

fn key(dir: &Path, file: &str) -> Result<SharedSigner, StartError> {
    let path = dir.join(file);
    let pem = Zeroizing::new(read(&path)?);
    let key = KeyFile::from_pem(&pem, None);
    key.map(|key| Arc::new(key) as SharedSigner).map_err(|_| StartError::Authority { path })
}

fn chain(dir: &Path, file: &str) -> Result<Vec<Vec<u8>>, StartError> {
    let path = dir.join(file);
    certificates_from_pem(&read(&path)?).ok_or(StartError::Authority { path })
}

fn read(path: &Path) -> Result<String, StartError> {
    fs::read_to_string(path).map_err(|error| match error.kind() {
        io::ErrorKind::NotFound => StartError::Authority { path: path.to_owned() },
        _ => StartError::file(path, error),
    })
}

impl Authorities {
    /// Over their certificates.
    pub(super) fn digest(&self) -> Sha256 {
        let all: Vec<&[u8]> = self.ca.chain().chain(self.tsa.chain()).collect();
        Sha256::of(&all.concat())
    }

    /// Adds them to a `trusted_root.json` that has none, as parts of the service at `base_url`.
    pub(super) fn add_to(&self, trusted_root: &mut Value, base_url: &str) {
        let valid_for = json!({"start": self.valid_from});
        let certificate = |der: &[u8]| json!({"rawBytes": base64(der)});
        let authority = |name: &str, uri: String, certificates: Value| {
            json!([{
                "subject": {"organization": "Sealwright", "commonName": name},
                "uri": uri,
                "certChain": {"certificates": certificates},
                "validFor": valid_for,
            }])
        };
        trusted_root["certificateAuthorities"] = authority(
            "certificate authority",
            base_url.to_owned(),
            self.ca.chain().map(certificate).collect(),
        );
        trusted_root["timestampAuthorities"] = authority(
            "timestamp authority",
            timestamp_url(base_url),
            self.tsa.chain().map(certificate).collect(),
        );
        trusted_root["ctlogs"] = json!([{
            "baseUrl": format!("{base_url}/ct"),
            "hashAlgorithm": "SHA2_256",
            "publicKey": {
                "rawBytes": base64(&self.ca.log_key().spki()),
                "keyDetails": "PKIX_ECDSA_P256_SHA_256",
                "validFor": valid_for,
            },
            "logId": {"keyId": base64(&self.ca.log_id())},
        }]);
    }
}

/// `signing_config.json` (v0.2) of the service at `base_url`: where stock clients send what they want
/// signed, logged and stamped.
pub(super) fn signing_config(base_url: &str, oidc_url: Option<&str>, start: &Value) -> Value {
    let service = |url: String, version: u8| {
        json!([{
            "url": url,
            "majorApiVersion": version,
            "validFor": {"start": start},
            "operator": "sealwright",
        }])
    };
    json!({
        "mediaType": "application/vnd.dev.sigstore.signingconfig.v0.2+json",
        // Version 1 although its paths have a 2: what stock clients ask for.
        "caUrls": service(base_url.to_owned(), 1),
        "oidcUrls": oidc_url.map_or(json!([]), |url| service(url.to_owned(), 1)),
        "rekorTlogUrls": service(base_url.to_owned(), 2),
        "rekorTlogConfig": {"selector": "ANY"},
        "tsaUrls": service(timestamp_url(base_url), 1),
        "tsaConfig": {"selector": "ANY"},
    })
}

fn timestamp_url(base_url: &str) -> String {
    format!("{base_url}/api/v1/timestamp")
}

fn base64(bytes: &[u8]) -> String {
    use base64::Engine as _;
    base64::engine::general_purpose::STANDARD.encode(bytes)
}
