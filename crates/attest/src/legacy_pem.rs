//! SEC 1 keys encrypted as OpenSSL did before PKCS#8: `Proc-Type: 4,ENCRYPTED` (RFC 1421 §4.6) with a
//! key derived by one round of MD5. Read and never written.

use aes::cipher::block_padding::Pkcs7;
use aes::cipher::{BlockModeDecrypt, KeyIvInit};
use md5::{Digest as _, Md5};
use zeroize::Zeroizing;

use crate::encoding::decode;
use crate::key::KeyError;

const BEGIN: &str = "-----BEGIN EC PRIVATE KEY-----";
const END: &str = "-----END EC PRIVATE KEY-----";

/// Whether a PEM text holds such a key.
pub(crate) fn is_encrypted(pem: &str) -> bool {
    pem.trim_ascii_start().starts_with(BEGIN) && pem.contains("Proc-Type: 4,ENCRYPTED")
}

/// The DER of the key.
pub(crate) fn decrypt(pem: &str, passphrase: &[u8]) -> Result<Zeroizing<Vec<u8>>, KeyError> {
    let body = pem.trim_ascii().strip_prefix(BEGIN).and_then(|rest| rest.strip_suffix(END));
    let (headers, body) = split(body.ok_or(KeyError::NotPem)?).ok_or(KeyError::NotPem)?;
    let info = headers.lines().find_map(|line| line.trim().strip_prefix("DEK-Info:"));
    let (cipher, iv) = info.and_then(|info| info.trim().split_once(',')).ok_or(KeyError::NotPem)?;
    if !["AES-128-CBC", "AES-192-CBC", "AES-256-CBC"].contains(&cipher) {
        return Err(KeyError::UnsupportedEncryption { found: cipher.to_owned() });
    }
    let iv: [u8; 16] =
        hex::decode(iv).ok().and_then(|iv| iv.try_into().ok()).ok_or(KeyError::NotPem)?;
    let body: String = body.split_ascii_whitespace().collect();
    let encrypted = decode(&body).map_err(|_| KeyError::NotPem)?;
    let key = derived(passphrase, &iv);
    let plain = match cipher {
        "AES-128-CBC" => unlock::<cbc::Decryptor<aes::Aes128>>(key.get(..16), &iv, &encrypted),
        "AES-192-CBC" => unlock::<cbc::Decryptor<aes::Aes192>>(key.get(..24), &iv, &encrypted),
        _ => unlock::<cbc::Decryptor<aes::Aes256>>(key.get(..32), &iv, &encrypted),
    };
    plain.map(Zeroizing::new).ok_or(KeyError::WrongPassphrase)
}

/// Headers and body, between which is an empty line.
fn split(text: &str) -> Option<(&str, &str)> {
    text.split_once("\n\n").or_else(|| text.split_once("\r\n\r\n"))
}

/// `EVP_BytesToKey` with MD5, one round, and the beginning of the IV as salt; 32 bytes.
fn derived(passphrase: &[u8], iv: &[u8; 16]) -> Zeroizing<Vec<u8>> {
    let mut key = Zeroizing::new(Vec::with_capacity(32));
    while key.len() < 32 {
        let last = key.len().checked_sub(16).and_then(|start| key.get(start..));
        let mut hash = Md5::new();
        hash.update(last.unwrap_or_default());
        hash.update(passphrase);
        hash.update(iv.get(..8).unwrap_or_default());
        let digest = hash.finalize();
        key.extend_from_slice(&digest);
    }
    key
}

fn unlock<D>(key: Option<&[u8]>, iv: &[u8], encrypted: &[u8]) -> Option<Vec<u8>>
where
    D: KeyIvInit + BlockModeDecrypt,
{
    D::new_from_slices(key?, iv).ok()?.decrypt_padded_vec::<Pkcs7>(encrypted).ok()
}
