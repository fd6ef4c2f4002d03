//! What an in-toto statement says of its subjects: their digests.

use std::collections::BTreeMap;

use serde::Deserialize;

use sealwright_attest::{IN_TOTO_PAYLOAD_TYPE, from_value, parse_strict};

use crate::artifact::{Artifact, DigestAlgorithm};
use crate::bundle::{Content, MAX_BUNDLE_SIZE};
use crate::error::{ArtifactProblem, StatementProblem};

/// The types of statement that Sigstore clients accept.
const TYPES: [&str; 2] = ["https://in-toto.io/Statement/v1", "https://in-toto.io/Statement/v0.1"];

/// The digests of each subject that has any of an algorithm known here.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct SubjectDigests(Vec<Vec<(DigestAlgorithm, Vec<u8>)>>);

#[derive(Deserialize)]
struct Statement {
    #[serde(rename = "_type")]
    type_: String,
    subject: Vec<Subject>,
}

#[derive(Deserialize)]
struct Subject {
    digest: BTreeMap<String, String>,
}

impl SubjectDigests {
    /// Those of the statement in an envelope.
    pub(crate) fn of(content: &Content) -> Result<Self, StatementProblem> {
        match content {
            Content::Message { .. } => Err(StatementProblem::None),
            Content::Envelope { payload_type, .. } if payload_type != IN_TOTO_PAYLOAD_TYPE => {
                Err(StatementProblem::PayloadType { found: payload_type.clone() })
            }
            Content::Envelope { payload, .. } => {
                Self::parse(payload).ok_or(StatementProblem::Malformed)
            }
        }
    }

    pub(crate) fn parse(payload: &[u8]) -> Option<Self> {
        let value = parse_strict(payload, MAX_BUNDLE_SIZE).ok()?;
        let statement: Statement = from_value(value).ok()?;
        if !TYPES.contains(&statement.type_.as_str()) || statement.subject.is_empty() {
            return None;
        }
        statement.subject.into_iter().map(Subject::digests).collect::<Option<_>>().map(Self)
    }

    /// Every algorithm that occurs.
    pub(crate) fn algorithms(&self) -> Vec<DigestAlgorithm> {
        let occurs = |&algorithm: &DigestAlgorithm| {
            self.0.iter().flatten().any(|(known, _)| *known == algorithm)
        };
        DigestAlgorithm::ALL.into_iter().filter(occurs).collect()
    }

    /// The first digest of the first subject that has one.
    pub(crate) fn first(&self) -> Option<(DigestAlgorithm, &[u8])> {
        self.0.iter().flatten().next().map(|(algorithm, digest)| (*algorithm, digest.as_slice()))
    }

    /// The digest by which a subject is this artifact. All digests of a subject that can be compared
    /// must agree, and at least one must be comparable.
    pub(crate) fn find(
        &self,
        artifact: &Artifact<'_>,
    ) -> Result<(DigestAlgorithm, &[u8]), ArtifactProblem> {
        let comparable = |(algorithm, expected): &'_ (DigestAlgorithm, Vec<u8>)| {
            artifact.digest(*algorithm).map(|actual| actual == expected)
        };
        let is_it = |subject: &&Vec<(DigestAlgorithm, Vec<u8>)>| {
            let mut results = subject.iter().filter_map(comparable).peekable();
            results.peek().is_some() && results.all(|same| same)
        };
        let by = |subject: &'_ Vec<(DigestAlgorithm, Vec<u8>)>| {
            subject.iter().position(|digest| comparable(digest).is_some())
        };
        if let Some(subject) = self.0.iter().find(is_it) {
            let digest = by(subject).and_then(|at| subject.get(at));
            return digest
                .map(|(algorithm, digest)| (*algorithm, digest.as_slice()))
                .ok_or(ArtifactProblem::Mismatch);
        }
        let algorithms = self.algorithms();
        match algorithms.first() {
            Some(&algorithm) if algorithms.iter().all(|&a| artifact.digest(a).is_none()) => {
                Err(ArtifactProblem::DigestNeeded { algorithm })
            }
            _ => Err(ArtifactProblem::Mismatch),
        }
    }
}

impl Subject {
    /// `None` if a digest of a known algorithm is not one.
    fn digests(self) -> Option<Vec<(DigestAlgorithm, Vec<u8>)>> {
        let known = self.digest.into_iter().filter_map(|(name, text)| {
            DigestAlgorithm::from_name(&name).map(|algorithm| (algorithm, text))
        });
        known
            .map(|(algorithm, text)| {
                let digest = hex::decode(text).ok()?;
                (digest.len() == algorithm.digest_length()).then_some((algorithm, digest))
            })
            .collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn find(subjects: &str, artifact: &Artifact<'_>) -> Result<DigestAlgorithm, ArtifactProblem> {
        let payload = format!(r#"{{"_type":"{}","subject":{subjects}}}"#, TYPES[0]);
        let subjects = SubjectDigests::parse(payload.as_bytes()).unwrap();
        subjects.find(artifact).map(|(algorithm, _)| algorithm)
    }

    #[test]
    fn all_comparable_digests_must_agree() {
        let bytes = b"weights";
        let artifact = Artifact::from_bytes(bytes);
        let hex = |algorithm: DigestAlgorithm| hex::encode(algorithm.hash(bytes));
        let (right256, right512) = (hex(DigestAlgorithm::Sha256), hex(DigestAlgorithm::Sha512));
        let other = hex::encode(DigestAlgorithm::Sha512.hash(b"other"));
        let with = |sha256: &str, sha512: &str| {
            format!(r#"[{{"digest":{{"sha1":"x","sha256":"{sha256}","sha512":"{sha512}"}}}}]"#)
        };
        assert_eq!(find(&with(&right256, &right512), &artifact), Ok(DigestAlgorithm::Sha256));
        assert_eq!(find(&with(&right256, &other), &artifact), Err(ArtifactProblem::Mismatch));
        let only = format!(r#"[{{"digest":{{"sha512":"{right512}"}}}}]"#);
        assert_eq!(find(&only, &artifact), Ok(DigestAlgorithm::Sha512));
        let short =
            Artifact::from_digest(DigestAlgorithm::Sha256, &DigestAlgorithm::Sha256.hash(bytes));
        assert_eq!(
            find(&only, &short.unwrap()),
            Err(ArtifactProblem::DigestNeeded { algorithm: DigestAlgorithm::Sha512 })
        );
        assert_eq!(find(r#"[{"digest":{"sha1":"x"}}]"#, &artifact), Err(ArtifactProblem::Mismatch));
    }

    #[test]
    fn other_payloads_are_refused() {
        for payload in [
            r#"{"_type":"https://in-toto.io/Statement/v2","subject":[{"digest":{"sha256":""}}]}"#,
            r#"{"_type":"https://in-toto.io/Statement/v1","subject":[]}"#,
            r#"{"_type":"https://in-toto.io/Statement/v1","subject":[{"digest":{"sha256":"00"}}]}"#,
            r#"{"subject":[]}"#,
            "[]",
        ] {
            assert_eq!(SubjectDigests::parse(payload.as_bytes()), None, "{payload}");
        }
    }
}
