//! The certificate and timestamp authorities of an instance: their files, and how they come to be.
//!
//! ```text
//! <data_dir>/authority/root.pem          self-signed root of both authorities
//! <data_dir>/authority/ca.pem            the certificate authority: intermediate, root
//! <data_dir>/authority/ca-key.pem        its private key, PKCS#8, mode 0600
//! <data_dir>/authority/ct-key.pem        the key that signs certificate timestamps
//! <data_dir>/authority/tsa.pem           the timestamp authority: leaf, root
//! <data_dir>/authority/tsa-key.pem       its private key
//! <data_dir>/authority-2/…               the same after a renewal: the highest number counts
//! <data_dir>/offline/root-key.pem        the root's private key: nothing here needs it
//! ```
//!
//! Keys that come from outside ([`AuthorityKeys`]) have no file.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use serde_json::{Value, json};
use zeroize::Zeroizing;

use sealwright_attest::{Curve, KeyFile, SharedSigner, Signer, Timestamp};
use sealwright_authority::{
    AuthorityName, CertificateAuthority, TimestampAuthority, ValidityPeriod, certificate_pem,
    certificate_valid_from, certificate_valid_until, certificates_from_pem,
    intermediate_certificate, root_certificate, timestamp_certificate,
};

use super::StartError;
use super::authority_keys::AuthorityKeys;
use super::data::{create_dir, write_new};
use super::tuf::Certificate;

pub(super) const AUTHORITY_DIR: &str = "authority";
const CA_KEY: &str = "ca-key.pem";
const TSA_KEY: &str = "tsa-key.pem";
const CT_KEY: &str = "ct-key.pem";
/// Private keys in it.
const PRIVATE_KEYS: [&str; 3] = [CA_KEY, TSA_KEY, CT_KEY];
/// What is in here belongs elsewhere.
pub(super) const OFFLINE_DIR: &str = "offline";
const ROOT_KEY: &str = "root-key.pem";

/// Characters of a name in a certificate (RFC 5280 appendix A.1, `ub-organization-name`).
const MAX_NAME: usize = 64;

pub(super) const YEAR_S: u64 = 365 * 24 * 60 * 60;
/// What was renewed counts for this long beside its successor: a running service goes over to it within
/// seconds, and one that could not still makes nothing that is worthless.
pub(super) const OVERLAP_S: u64 = 24 * 60 * 60;
/// The root outlives what it issued.
const ROOT_YEARS: u64 = 10;
const ISSUED_YEARS: u64 = 9;

/// The authorities, ready to issue.
pub(crate) struct Authorities {
    pub(crate) ca: CertificateAuthority,
    pub(crate) tsa: TimestampAuthority,
    ca_validity: ValidityPeriod,
    tsa_validity: ValidityPeriod,
}

/// What is renewed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Renewal {
    /// Both authorities.
    All,
    /// The certificate authority, and the key of its certificate log.
    Certificates,
    /// The timestamp authority.
    Timestamps,
}

/// Who issues the authorities' certificates.
pub(super) struct Issuing<'a> {
    /// The root's certificate, DER.
    pub(super) root: &'a [u8],
    pub(super) signer: &'a dyn Signer,
    /// The root's last second.
    pub(super) until: Timestamp,
}

/// Makes keys and certificates of the authorities at `now`, unless they are there. Says where the
/// root's private key is, if it was made.
pub(super) fn create(
    data_dir: &Path,
    organization: &str,
    keys: &AuthorityKeys,
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
    let root_key = make(building.path(), organization, keys, now).map_err(|error| match error {
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
pub(super) fn make(
    dir: &Path,
    organization: &str,
    keys: &AuthorityKeys,
    now: Timestamp,
) -> Result<Zeroizing<String>, StartError> {
    let unmade = |_| StartError::Authority { path: dir.to_owned() };
    let key = KeyFile::generate(Curve::P384);
    let key = key.map_err(|_| StartError::Authority { path: dir.to_owned() })?;
    let until = now.plus_seconds(ROOT_YEARS * YEAR_S);
    let validity = ValidityPeriod { from: now, until };
    let root = root_certificate(&key, &name(organization, "Sealwright root"), validity);
    let issuing = Issuing { root: &root.map_err(unmade)?, signer: &key, until };
    issue(dir, organization, &issuing, Renewal::All, keys, None, now)?;
    key.unencrypted_pem().map_err(|_| StartError::Authority { path: dir.to_owned() })
}

/// Writes the files of one generation: new keys and certificates for `parts`, the others as they are in
/// the generation `before`. What `keys` has gets a certificate and no file.
pub(super) fn issue(
    dir: &Path,
    organization: &str,
    issuing: &Issuing<'_>,
    parts: Renewal,
    keys: &AuthorityKeys,
    before: Option<&Path>,
    now: Timestamp,
) -> Result<(), StartError> {
    let unmade = |_| StartError::Authority { path: dir.to_owned() };
    let new_key = |curve, file: &str, elsewhere: &Option<SharedSigner>| {
        if let Some(signer) = elsewhere {
            return Ok(signer.public_key().clone());
        }
        // What was kept elsewhere does not come to lie here because an option was forgotten.
        if let Some(path) = before.map(|before| before.join(file)).filter(|path| !path.exists()) {
            return Err(StartError::AuthorityKeyMissing { path });
        }
        let bad = |_| StartError::Authority { path: dir.to_owned() };
        let key = KeyFile::generate(curve).map_err(bad)?;
        write_new(dir, file, key.unencrypted_pem().map_err(bad)?.as_bytes(), 0o600)?;
        Ok::<_, StartError>(key.public_key().clone())
    };
    let Issuing { root, signer, until } = *issuing;
    let until = until.min(now.plus_seconds(ISSUED_YEARS * YEAR_S));
    let validity = ValidityPeriod { from: now, until };
    let root_pem = certificate_pem(root);
    write_new(dir, "root.pem", root_pem.as_bytes(), 0o644)?;
    let chain = |file: &str, certificate: &[u8]| {
        write_new(dir, file, (certificate_pem(certificate) + &root_pem).as_bytes(), 0o644)
    };
    if parts != Renewal::Timestamps {
        let key = new_key(Curve::P384, CA_KEY, &keys.certificates)?;
        let log = new_key(Curve::P256, CT_KEY, &keys.certificate_log)?;
        if log.curve() != Curve::P256 {
            return Err(StartError::AuthorityKeyCurve);
        }
        let name = name(organization, "Sealwright certificate authority");
        let ca = intermediate_certificate(root, signer, &key, &name, validity);
        chain("ca.pem", &ca.map_err(unmade)?)?;
    }
    if parts != Renewal::Certificates {
        let key = new_key(Curve::P384, TSA_KEY, &keys.timestamps)?;
        let name = name(organization, "Sealwright timestamp authority");
        let tsa = timestamp_certificate(root, signer, &key, &name, validity);
        chain("tsa.pem", &tsa.map_err(unmade)?)?;
    }
    type Kept<'a> = (&'a str, u32, Option<&'a SharedSigner>);
    let (ca, ct) = (keys.certificates.as_ref(), keys.certificate_log.as_ref());
    let tsa = keys.timestamps.as_ref();
    let kept: &[Kept<'_>] = match parts {
        Renewal::All => &[],
        Renewal::Certificates => &[("tsa.pem", 0o644, None), (TSA_KEY, 0o600, tsa)],
        Renewal::Timestamps => &[("ca.pem", 0o644, None), (CA_KEY, 0o600, ca), (CT_KEY, 0o600, ct)],
    };
    for (file, mode, elsewhere) in kept {
        let path = before.unwrap_or(dir).join(file);
        if PRIVATE_KEYS.contains(file) && !path.exists() {
            match elsewhere {
                Some(_) => continue,
                None => return Err(StartError::AuthorityKeyMissing { path }),
            }
        }
        let content = Zeroizing::new(read(&path)?);
        write_new(dir, file, content.as_bytes(), *mode)?;
    }
    Ok(())
}

fn name(organization: &str, common_name: &str) -> AuthorityName {
    AuthorityName { organization: organization.to_owned(), common_name: common_name.to_owned() }
}

/// The directory of a generation; the first is 1.
pub(super) fn generation(number: u64) -> String {
    match number {
        0 | 1 => AUTHORITY_DIR.to_owned(),
        number => format!("{AUTHORITY_DIR}-{number}"),
    }
}

/// The generation that counts, if there is one.
pub(super) fn newest(data_dir: &Path) -> Option<(u64, PathBuf)> {
    let number = generations(data_dir).ok()?.into_iter().max()?;
    Some((number, data_dir.join(generation(number))))
}

/// All generations that there are.
fn generations(data_dir: &Path) -> io::Result<Vec<u64>> {
    let mut numbers = Vec::new();
    for entry in fs::read_dir(data_dir)? {
        let name = entry?.file_name();
        let Some(rest) = name.to_str().and_then(|name| name.strip_prefix(AUTHORITY_DIR)) else {
            continue;
        };
        let number = match rest.strip_prefix('-') {
            Some(number) => number.parse().unwrap_or(0),
            None => 1,
        };
        // Other spellings of a number are not ours.
        if number > 0 && name.to_str() == Some(&*generation(number)) {
            numbers.push(number);
        }
    }
    Ok(numbers)
}

/// Nothing needs the private keys of authorities that issue no more, once the trusted root has generation
/// `number`; a running service has them in memory, for as long as it still uses them.
pub(super) fn forget_keys_before(data_dir: &Path, number: u64) -> Result<(), StartError> {
    let numbers = generations(data_dir).map_err(|error| StartError::file(data_dir, error))?;
    for older in numbers.into_iter().filter(|older| *older < number) {
        for name in PRIVATE_KEYS {
            let path = data_dir.join(generation(older)).join(name);
            match fs::remove_file(&path) {
                Err(error) if error.kind() != io::ErrorKind::NotFound => {
                    return Err(StartError::file(&path, error));
                }
                _ => {}
            }
        }
    }
    Ok(())
}

/// Until when the authorities' certificates are valid, if there are any. Needs no key.
pub(super) fn expiries(data_dir: &Path) -> Result<Vec<Certificate>, StartError> {
    let Some((_, dir)) = newest(data_dir) else { return Ok(Vec::new()) };
    let until = |name, file: &str| {
        let validity = validity(&chain(&dir, file)?);
        let validity = validity.ok_or_else(|| StartError::Authority { path: dir.join(file) })?;
        Ok::<_, StartError>(Certificate { name, until: validity.until })
    };
    Ok(vec![until("certificate authority", "ca.pem")?, until("timestamp authority", "tsa.pem")?])
}

/// Opens the authorities, with the private keys that are kept elsewhere; `None` if there are none.
pub(super) fn open(
    data_dir: &Path,
    keys: &AuthorityKeys,
) -> Result<Option<Authorities>, StartError> {
    newest(data_dir).map(|(_, dir)| open_generation(&dir, keys)).transpose()
}

/// Opens the authorities of the generation in `dir`.
pub(super) fn open_generation(dir: &Path, keys: &AuthorityKeys) -> Result<Authorities, StartError> {
    let ca_key = key(dir, CA_KEY, &keys.certificates)?;
    let tsa_key = key(dir, TSA_KEY, &keys.timestamps)?;
    let ct_key = key(dir, CT_KEY, &keys.certificate_log)?;
    let (ca_chain, tsa_chain) = (chain(dir, "ca.pem")?, chain(dir, "tsa.pem")?);
    let unfit = |file: &str, given: &Option<SharedSigner>| match given {
        Some(_) => StartError::OtherAuthorityKey { path: dir.join(file) },
        None => StartError::Authority { path: dir.join(file) },
    };
    let (ca_validity, tsa_validity) = (validity(&ca_chain), validity(&tsa_chain));
    if ct_key.public_key().curve() != Curve::P256 {
        return Err(StartError::AuthorityKeyCurve);
    }
    let tsa = TimestampAuthority::new(tsa_key, &tsa_chain)
        .map_err(|_| unfit("tsa.pem", &keys.timestamps))?;
    let ca = CertificateAuthority::new(ca_key, &ca_chain, ct_key)
        .map_err(|_| unfit("ca.pem", &keys.certificates))?;
    let ca_validity = ca_validity.ok_or_else(|| unfit("ca.pem", &None))?;
    let tsa_validity = tsa_validity.ok_or_else(|| unfit("tsa.pem", &None))?;
    Ok(Authorities { ca, tsa, ca_validity, tsa_validity })
}

/// That of the first certificate.
fn validity(chain: &[Vec<u8>]) -> Option<ValidityPeriod> {
    let first = chain.first()?;
    let (from, until) = (certificate_valid_from(first), certificate_valid_until(first));
    Some(ValidityPeriod { from: from.ok()?, until: until.ok()? })
}

/// The key that is kept elsewhere, or the one in the file.
fn key(
    dir: &Path,
    file: &str,
    elsewhere: &Option<SharedSigner>,
) -> Result<SharedSigner, StartError> {
    if let Some(signer) = elsewhere {
        return Ok(Arc::clone(signer));
    }
    let path = dir.join(file);
    if !path.exists() {
        return Err(StartError::AuthorityKeyMissing { path });
    }
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
    /// The last second of each, with its whole chain, in Unix seconds.
    pub(super) fn ends(&self) -> [(&'static str, u64); 2] {
        let last = |chain: &mut dyn Iterator<Item = &[u8]>| {
            chain
                .filter_map(|der| Some(certificate_valid_until(der).ok()?.unix()))
                .min()
                .unwrap_or(0)
        };
        [
            ("certificate-authority", last(&mut self.ca.chain())),
            ("timestamp-authority", last(&mut self.tsa.chain())),
        ]
    }

    /// The last second at which both have a certificate.
    pub(super) fn until(&self) -> Timestamp {
        self.ca_validity.until.min(self.tsa_validity.until)
    }

    /// Adds them to a `trusted_root.json`, as parts of the service at `base_url`, unless they are there.
    /// Those before them end soon after `now`. Says whether it changed anything.
    pub(super) fn add_to(&self, trusted_root: &mut Value, base_url: &str, now: Timestamp) -> bool {
        let certificate = |der: &[u8]| json!({"rawBytes": base64(der)});
        let authority = |name: &str, uri: String, certificates: Value, from: Timestamp| {
            json!({
                "subject": {"organization": "Sealwright", "commonName": name},
                "uri": uri,
                "certChain": {"certificates": certificates},
                "validFor": {"start": from},
            })
        };
        let ca = authority(
            "certificate authority",
            base_url.to_owned(),
            self.ca.chain().map(certificate).collect(),
            self.ca_validity.from,
        );
        let tsa = authority(
            "timestamp authority",
            timestamp_url(base_url),
            self.tsa.chain().map(certificate).collect(),
            self.tsa_validity.from,
        );
        let ct = json!({
            "baseUrl": format!("{base_url}/ct"),
            "hashAlgorithm": "SHA2_256",
            "publicKey": {
                "rawBytes": base64(&self.ca.log_key().spki()),
                "keyDetails": "PKIX_ECDSA_P256_SHA_256",
                "validFor": {"start": self.ca_validity.from},
            },
            "logId": {"keyId": base64(&self.ca.log_id())},
        });
        let end = now.plus_seconds(OVERLAP_S);
        let lists = [
            ("certificateAuthorities", "/certChain", "/validFor", ca),
            ("timestampAuthorities", "/certChain", "/validFor", tsa),
            ("ctlogs", "/logId", "/publicKey/validFor", ct),
        ];
        let added = lists.map(|(list, what, window, entry)| {
            succeed(&mut trusted_root[list], what, window, entry, end)
        });
        added.contains(&true)
    }
}

/// Adds an entry to a list, unless one is there that says the same at `what`; all others end at `end`, if
/// they had no end. The list stays in ascending order, since the newest comes last.
fn succeed(list: &mut Value, what: &str, window: &str, entry: Value, end: Timestamp) -> bool {
    if !list.is_array() {
        *list = json!([]);
    }
    let Some(entries) = list.as_array_mut() else { return false };
    if entries.iter().any(|known| known.pointer(what) == entry.pointer(what)) {
        return false;
    }
    for window in entries.iter_mut().filter_map(|entry| entry.pointer_mut(window)) {
        if window["end"].is_null() {
            window["end"] = json!(end);
        }
    }
    entries.push(entry);
    true
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_highest_generation_counts_and_lower_ones_have_no_keys() {
        let dir = tempfile::tempdir().unwrap();
        assert_eq!(newest(dir.path()), None);
        let names = ["authority", "authority-3", "authority-10"];
        for name in names.into_iter().chain(["authority-011", "authority-x", "authority-1"]) {
            fs::create_dir(dir.path().join(name)).unwrap();
            for file in PRIVATE_KEYS.into_iter().chain(["ca.pem"]) {
                fs::write(dir.path().join(name).join(file), "").unwrap();
            }
        }
        assert_eq!(newest(dir.path()), Some((10, dir.path().join("authority-10"))));
        forget_keys_before(dir.path(), 10).unwrap();
        for (name, files) in names.into_iter().zip([1, 1, 4]) {
            assert_eq!(fs::read_dir(dir.path().join(name)).unwrap().count(), files, "{name}");
        }
        forget_keys_before(dir.path(), 10).unwrap();
    }
}
