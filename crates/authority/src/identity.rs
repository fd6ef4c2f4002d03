//! Who a certificate is for: what Fulcio puts into it (its documents `oid-info.md` and
//! `certificate-specification.md`).

use std::collections::BTreeMap;
use std::fmt;

use der::Encode as _;
use der::asn1::{Any, Ia5String, ObjectIdentifier, Utf8StringRef};
use x509_cert::ext::Extension;
use x509_cert::ext::pkix::SubjectAltName;
use x509_cert::ext::pkix::name::{GeneralName, OtherName};

use crate::oid;
use crate::x509;

/// Parent of Fulcio's extensions.
const FULCIO: ObjectIdentifier = ObjectIdentifier::new_unwrap("1.3.6.1.4.1.57264.1");
const ISSUER_V1: u8 = 1;
const ISSUER_V2: u8 = 8;
/// The extensions below are raw text; from here on they are DER UTF8Strings.
const FIRST_DER: u8 = 8;

/// The one name in a certificate.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Subject {
    /// `rfc822Name`.
    Email(String),
    /// `uniformResourceIdentifier`.
    Uri(String),
    /// `otherName` 1.3.6.1.4.1.57264.1.7, as `user!domain`.
    UserName(String),
}

impl Subject {
    /// The name without its kind, as verifiers compare it.
    pub fn as_str(&self) -> &str {
        match self {
            Self::Email(name) | Self::Uri(name) | Self::UserName(name) => name,
        }
    }

    /// Critical, because a certificate of Fulcio's has no other subject (RFC 5280 §4.2.1.6).
    pub(crate) fn to_extension(&self) -> der::Result<Extension> {
        let name = match self {
            Self::Email(email) => GeneralName::Rfc822Name(Ia5String::new(email)?),
            Self::Uri(uri) => GeneralName::UniformResourceIdentifier(Ia5String::new(uri)?),
            Self::UserName(name) => GeneralName::OtherName(OtherName {
                type_id: oid::USER_NAME,
                value: Any::from(Utf8StringRef::new(name)?),
            }),
        };
        x509::typed(true, &SubjectAltName(vec![name]))
    }
}

impl fmt::Display for Subject {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// What a certificate says beside its subject and the issuer of the token: the last arc of Fulcio's
/// extensions under 1.3.6.1.4.1.57264.1.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
#[repr(u8)]
pub enum Claim {
    /// `event_name`; superseded by [`Claim::BuildTrigger`], as the next four are by others.
    GithubWorkflowTrigger = 2,
    /// `sha`.
    GithubWorkflowSha = 3,
    /// `workflow`.
    GithubWorkflowName = 4,
    /// `repository`.
    GithubWorkflowRepository = 5,
    /// `ref`.
    GithubWorkflowRef = 6,
    /// The build instructions that sign.
    BuildSignerUri = 9,
    /// Their version.
    BuildSignerDigest = 10,
    /// Hosted by the platform, or by its customer.
    RunnerEnvironment = 11,
    /// The source that was built.
    SourceRepositoryUri = 12,
    /// Its commit.
    SourceRepositoryDigest = 13,
    /// Its branch or tag.
    SourceRepositoryRef = 14,
    /// Its immutable number.
    SourceRepositoryIdentifier = 15,
    /// Its owner.
    SourceRepositoryOwnerUri = 16,
    /// The owner's immutable number.
    SourceRepositoryOwnerIdentifier = 17,
    /// The build instructions that were started first.
    BuildConfigUri = 18,
    /// Their version.
    BuildConfigDigest = 19,
    /// The event that started the build.
    BuildTrigger = 20,
    /// This one run.
    RunInvocationUri = 21,
    /// Whether the source was public.
    SourceRepositoryVisibilityAtSigning = 22,
    /// Where the job deploys to.
    DeploymentEnvironment = 23,
    /// `sub` as it was in the token.
    TokenSubject = 24,
}

/// An identity that a trusted issuer vouched for. Only [`verify_token`](crate::verify_token) makes
/// one.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct VerifiedIdentity {
    pub(crate) subject: Subject,
    pub(crate) issuer: String,
    pub(crate) challenge: String,
    /// Others that clients sign; see [`VerifiedIdentity::challenges`].
    pub(crate) other_challenges: Vec<String>,
    /// Never empty strings.
    pub(crate) claims: BTreeMap<Claim, String>,
}

impl VerifiedIdentity {
    /// The name that the certificate will carry.
    pub fn subject(&self) -> &Subject {
        &self.subject
    }

    /// The issuer that the certificate will name: the token's, or the one that it federates.
    pub fn issuer(&self) -> &str {
        &self.issuer
    }

    /// What a proof of possession without a certificate request signs: the e-mail address, or
    /// `sub`.
    pub fn challenge(&self) -> &str {
        &self.challenge
    }

    /// What such a proof may sign: the challenge, and `sub` and `email` of the token whatever its
    /// kind, because some clients (`@sigstore/sign`) do not know which of them the authority wants.
    /// All are of the one token.
    pub fn challenges(&self) -> impl Iterator<Item = &str> {
        std::iter::once(self.challenge()).chain(self.other_challenges.iter().map(String::as_str))
    }

    /// What else the certificate will say.
    pub fn claims(&self) -> &BTreeMap<Claim, String> {
        &self.claims
    }

    /// The extensions in the order of their numbers.
    pub(crate) fn to_extensions(&self) -> der::Result<Vec<Extension>> {
        let mut values: Vec<(u8, &str)> =
            vec![(ISSUER_V1, &self.issuer), (ISSUER_V2, &self.issuer)];
        values.extend(self.claims.iter().map(|(claim, value)| (*claim as u8, value.as_str())));
        values.sort_unstable();
        values
            .into_iter()
            .map(|(arc, text)| {
                let value = if arc < FIRST_DER {
                    text.as_bytes().to_vec()
                } else {
                    Utf8StringRef::new(text)?.to_der()?
                };
                x509::extension(FULCIO.push_arc(arc.into())?, false, value)
            })
            .collect()
    }
}
