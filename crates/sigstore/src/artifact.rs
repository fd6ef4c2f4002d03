//! The artifact that a bundle is held against: its bytes, or digests of them.

use std::fmt;
use std::io::{self, Read};

use aws_lc_rs::digest;

/// A hash that names artifacts.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum DigestAlgorithm {
    /// SHA-256.
    Sha256,
    /// SHA-384.
    Sha384,
    /// SHA-512.
    Sha512,
}

/// An artifact, known by its bytes or by one or more of its digests.
#[derive(Debug, Clone)]
pub struct Artifact<'a> {
    bytes: Option<&'a [u8]>,
    digests: Vec<(DigestAlgorithm, Vec<u8>)>,
}

impl DigestAlgorithm {
    /// All of them.
    pub const ALL: [Self; 3] = [Self::Sha256, Self::Sha384, Self::Sha512];

    /// Length of a digest in bytes.
    pub fn digest_length(self) -> usize {
        self.implementation().output_len()
    }

    /// `data` hashed.
    pub fn hash(self, data: &[u8]) -> Vec<u8> {
        digest::digest(self.implementation(), data).as_ref().to_vec()
    }

    pub(crate) fn implementation(self) -> &'static digest::Algorithm {
        match self {
            Self::Sha256 => &digest::SHA256,
            Self::Sha384 => &digest::SHA384,
            Self::Sha512 => &digest::SHA512,
        }
    }

    /// By in-toto's and Rekor v1's name, such as `sha256`.
    pub(crate) fn from_name(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|algorithm| algorithm.to_string() == name)
    }

    /// Its name in Sigstore's protobuf-specs.
    pub(crate) fn proto_name(self) -> &'static str {
        match self {
            Self::Sha256 => "SHA2_256",
            Self::Sha384 => "SHA2_384",
            Self::Sha512 => "SHA2_512",
        }
    }

    /// By the name in Sigstore's protobuf-specs, such as `SHA2_256`.
    pub(crate) fn from_proto_name(name: &str) -> Option<Self> {
        match name {
            "SHA2_256" => Some(Self::Sha256),
            "SHA2_384" => Some(Self::Sha384),
            "SHA2_512" => Some(Self::Sha512),
            _ => None,
        }
    }
}

impl fmt::Display for DigestAlgorithm {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Sha256 => "sha256",
            Self::Sha384 => "sha384",
            Self::Sha512 => "sha512",
        })
    }
}

impl<'a> Artifact<'a> {
    /// An artifact in memory; enough for every signature algorithm.
    pub fn from_bytes(bytes: &'a [u8]) -> Self {
        let digests = DigestAlgorithm::ALL.map(|algorithm| (algorithm, algorithm.hash(bytes)));
        Self { bytes: Some(bytes), digests: digests.to_vec() }
    }

    /// An artifact of which only digests are kept, read to its end. Which ones are needed says
    /// [`crate::SigstoreBundle::digest_algorithms`].
    ///
    /// # Errors
    /// Those of the reader.
    pub fn read(mut reader: impl Read, algorithms: &[DigestAlgorithm]) -> io::Result<Self> {
        let mut contexts: Vec<_> = algorithms
            .iter()
            .map(|&algorithm| (algorithm, digest::Context::new(algorithm.implementation())))
            .collect();
        let mut buffer = vec![0; 1 << 16];
        loop {
            let count = match reader.read(&mut buffer) {
                Ok(0) => break,
                Ok(count) => count,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
                Err(error) => return Err(error),
            };
            for (_, context) in &mut contexts {
                context.update(buffer.get(..count).unwrap_or_default());
            }
        }
        let finish = |(algorithm, context): (_, digest::Context)| {
            (algorithm, context.finish().as_ref().to_vec())
        };
        Ok(Self { bytes: None, digests: contexts.into_iter().map(finish).collect() })
    }

    /// An artifact known by one digest; `None` if the length is not that of the algorithm.
    pub fn from_digest(algorithm: DigestAlgorithm, digest: &[u8]) -> Option<Self> {
        (digest.len() == algorithm.digest_length())
            .then(|| Self { bytes: None, digests: vec![(algorithm, digest.to_vec())] })
    }

    /// Adds another digest of the same artifact; `None` as in [`Artifact::from_digest`].
    #[must_use]
    pub fn with_digest(mut self, algorithm: DigestAlgorithm, digest: &[u8]) -> Option<Self> {
        let more = Self::from_digest(algorithm, digest)?;
        self.digests.retain(|(known, _)| *known != algorithm);
        self.digests.extend(more.digests);
        Some(self)
    }

    pub(crate) fn bytes(&self) -> Option<&'a [u8]> {
        self.bytes
    }

    pub(crate) fn digest(&self, algorithm: DigestAlgorithm) -> Option<&[u8]> {
        let found = self.digests.iter().find(|(known, _)| *known == algorithm);
        found.map(|(_, digest)| digest.as_slice())
    }
}
