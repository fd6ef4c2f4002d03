//! Statements of the service: submitting them, finding them, fetching one.

use std::time::{Duration, Instant};

use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use ureq::RequestBuilder;
use ureq::typestate::WithoutBody;

use sealwright_attest::{
    Bundle, BundleError, PublicKey, VerificationMaterial, certified_hashedrekord_body,
    hashedrekord_body, parse_strict,
};

use super::{ClientError, MAX_ANSWER, ServiceClient, TOTAL_TIMEOUT, from_json, malformed};

/// For all the pages of one answer. Without it a service could give one page after the other for
/// ever, and hold a thread of whoever asks.
const PAGES_TIMEOUT: Duration = Duration::from_secs(30);

/// Which statements to find: those to which all of this applies. The default finds all.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct StatementQuery {
    /// SHA-256 of a subject, 64 lower-case hexadecimal digits.
    pub subject: Option<String>,
    /// The type of the predicate.
    pub predicate_type: Option<String>,
    /// Not of this type.
    pub except_type: Option<String>,
    /// The signer's key: [`PublicKey::id`].
    pub signer: Option<String>,
    /// A subject alternative name of the signer's certificate.
    pub identity: Option<String>,
    /// The OIDC issuer that the certificate names.
    pub issuer: Option<String>,
    /// The project that they belong to.
    pub project: Option<String>,
    /// Logged at this time (RFC 3339) or later.
    pub since: Option<String>,
    /// Logged before this time.
    pub until: Option<String>,
}

/// What was found, unverified.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Found {
    /// The bundles, in log order.
    pub bundles: Vec<Bundle>,
    /// Statements whose bundles were erased, in log order.
    pub erased: Vec<ErasedStatement>,
    /// Whether the service says that nothing was kept back: some services give everybody only the
    /// statements of some projects.
    pub complete: bool,
}

impl Found {
    /// Adds what another question found.
    pub(crate) fn append(&mut self, other: Self) {
        self.bundles.extend(other.bundles);
        self.erased.extend(other.erased);
        self.complete &= other.complete;
    }
}

/// What a query finds beside the bundles.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Gaps {
    /// As in [`Found::erased`].
    pub erased: Vec<ErasedStatement>,
    /// As [`Found::complete`].
    pub complete: bool,
}

/// A statement of which nothing but the entry is left.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct ErasedStatement {
    /// Its index in the log.
    pub index: u64,
    /// The type of its predicate, as the service says.
    pub predicate_type: String,
    /// Who signed it, by what was logged, as the service says; `None` if it says nothing.
    #[serde(default)]
    pub signer: Option<ListedSigner>,
}

/// What the service says of a statement; unverified.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct ListedStatement {
    /// Its index in the log.
    pub index: u64,
    /// Names the statement: SHA-256 of the envelope's PAE, or of an artifact that is signed itself.
    pub digest: String,
    /// The type of its predicate; empty if an artifact itself is signed.
    pub predicate_type: String,
    /// SHA-256 of the subjects; none if it was erased.
    #[serde(default)]
    pub subjects: Vec<String>,
    /// Who signed; `None` if it was erased.
    #[serde(default)]
    pub signer: Option<ListedSigner>,
    /// The project that it belongs to; empty for none.
    #[serde(default)]
    pub project: String,
    /// The class of its retention; empty if it is kept for ever.
    #[serde(default)]
    pub retention: String,
    /// The log-signed time of its entry (RFC 3339).
    pub logged_at: Option<String>,
    /// When it was erased (RFC 3339).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub erased_at: Option<String>,
}

/// A signer as the service names it.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct ListedSigner {
    /// The key's id, if there is no certificate.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub key_id: Option<String>,
    /// Names in the certificate.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub identities: Vec<String>,
    /// The OIDC issuer that it names.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub issuer: Option<String>,
}

/// A page of statements, and where to go on.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
pub struct StatementPage {
    /// In log order.
    pub statements: Vec<ListedStatement>,
    /// Where the next page begins; `None` if this is the last.
    #[serde(default)]
    pub next: Option<u64>,
}

#[derive(Deserialize)]
struct WirePage {
    bundles: Vec<Value>,
    #[serde(default)]
    erased: Vec<ErasedStatement>,
    /// A service that does not say so keeps something back.
    #[serde(default)]
    complete: bool,
    #[serde(default)]
    next: Option<u64>,
}

impl From<Vec<Bundle>> for Found {
    fn from(bundles: Vec<Bundle>) -> Self {
        Self { bundles, erased: Vec::new(), complete: true }
    }
}

impl StatementQuery {
    fn pairs(&self) -> impl Iterator<Item = (&'static str, &str)> {
        let pairs = [
            ("subject", &self.subject),
            ("predicateType", &self.predicate_type),
            ("exceptType", &self.except_type),
            ("signer", &self.signer),
            ("identity", &self.identity),
            ("issuer", &self.issuer),
            ("project", &self.project),
            ("since", &self.since),
            ("until", &self.until),
        ];
        pairs.into_iter().filter_map(|(name, value)| Some((name, value.as_deref()?)))
    }
}

impl ServiceClient {
    /// Has `bundle`, signed by `key`, logged; returns it completed by its log entry.
    ///
    /// The envelope in the answer is the one that was sent, and the entry is about it; whether the
    /// log holds the entry is for the caller to verify. Submitting again is safe.
    ///
    /// # Errors
    /// [`ClientError`]. After [`ClientError::Unreachable`] the bundle may be in the log.
    pub fn submit(&self, bundle: &Bundle, key: &PublicKey) -> Result<Bundle, ClientError> {
        let body = match bundle.material() {
            VerificationMaterial::PublicKey { .. } => hashedrekord_body(bundle.envelope(), key),
            VerificationMaterial::Certificates(chain) => {
                let leaf = chain.first().map(Vec::as_slice).unwrap_or_default();
                certified_hashedrekord_body(bundle.envelope(), key, leaf)
            }
        };
        let is_certified = matches!(bundle.material(), VerificationMaterial::Certificates(_));
        let key = (!is_certified).then_some(key);
        let answer = self.submit_json(&bundle.to_value(), key)?;
        let completed = Bundle::from_value(answer).map_err(malformed)?;
        let is_complete = completed.envelope() == bundle.envelope()
            && matches!(completed.log_entries(), [entry] if entry.canonicalized_body == body);
        if is_complete { Ok(completed) } else { Err(ClientError::OtherBundle) }
    }

    /// The same for any bundle that the service takes, as JSON; `key` unless it has a certificate. The
    /// answer is unverified.
    ///
    /// # Errors
    /// [`ClientError`].
    pub fn submit_json(
        &self,
        bundle: &Value,
        key: Option<&PublicKey>,
    ) -> Result<Value, ClientError> {
        let url = format!("{}/api/v1/bundles", self.base);
        let mut body = json!({"bundle": bundle});
        if let Some(key) = key {
            body["publicKey"] = key.pem().into();
        }
        let mut request = self.agent.post(&url).content_type("application/json");
        if let Some(token) = &self.token {
            request = request.header("authorization", format!("Bearer {token}"));
        }
        if let Some(project) = &self.project {
            request = request.query("project", project);
        }
        let answer = self.answer(&url, request.send(body.to_string()), MAX_ANSWER)?;
        parse_strict(&answer, MAX_ANSWER).map_err(malformed)
    }

    /// All bundles about the subject with this SHA-256 (64 lower-case hexadecimal digits), in log
    /// order. Those that were erased are missing: whoever decides asks [`ServiceClient::find`].
    ///
    /// # Errors
    /// [`ClientError`]; also when one of them cannot be read, since the one left out could be a
    /// revocation.
    pub fn statements_about(&self, sha256: &str) -> Result<Vec<Bundle>, ClientError> {
        let subject = Some(sha256.to_owned());
        Ok(self.find(&StatementQuery { subject, ..StatementQuery::default() })?.bundles)
    }

    /// All bundles of a predicate type, in log order.
    ///
    /// # Errors
    /// [`ClientError`], as for [`ServiceClient::statements_about`].
    pub fn statements_of_type(&self, predicate_type: &str) -> Result<Vec<Bundle>, ClientError> {
        let predicate_type = Some(predicate_type.to_owned());
        Ok(self.find(&StatementQuery { predicate_type, ..StatementQuery::default() })?.bundles)
    }

    /// Everything that a query finds. Signatures over artifacts themselves are no statements and are
    /// left out.
    ///
    /// # Errors
    /// [`ClientError`]; also when a statement cannot be read, since the one left out could be a
    /// revocation.
    pub fn find(&self, query: &StatementQuery) -> Result<Found, ClientError> {
        let mut found = Found::default();
        let Gaps { erased, complete } = self.pages(query, Some(PAGES_TIMEOUT), |bundle| {
            match Bundle::from_value(bundle) {
                Ok(bundle) => found.bundles.push(bundle),
                Err(BundleError::NoStatement) => {}
                Err(error) => return Err(malformed(error)),
            }
            Ok(())
        })?;
        Ok(Found { erased, complete, ..found })
    }

    /// Gives every bundle that a query finds to `take`, as JSON, in log order, however many and however
    /// long it takes; and then what is missing.
    ///
    /// # Errors
    /// [`ClientError`], and those of `take`.
    pub fn find_json(
        &self,
        query: &StatementQuery,
        take: impl FnMut(Value) -> Result<(), ClientError>,
    ) -> Result<Gaps, ClientError> {
        self.pages(query, None, take)
    }

    /// All pages; with a time for all of them, they may not be larger than one answer together.
    fn pages(
        &self,
        query: &StatementQuery,
        time: Option<Duration>,
        mut take: impl FnMut(Value) -> Result<(), ClientError>,
    ) -> Result<Gaps, ClientError> {
        let url = format!("{}/api/v1/bundles", self.base);
        let mut gaps = Gaps { erased: Vec::new(), complete: true };
        let mut left = MAX_ANSWER;
        let mut from = 0;
        let started = Instant::now();
        loop {
            let time_left = time.map_or(TOTAL_TIMEOUT, |time| {
                time.saturating_sub(started.elapsed()).min(TOTAL_TIMEOUT)
            });
            let request = self.reading(&url).query_pairs(query.pairs());
            let request = request.query("from", from.to_string());
            let request = request.config().timeout_global(Some(time_left)).build();
            let answer = self.answer(&url, request.call(), left)?;
            if time.is_some() {
                left = left.saturating_sub(answer.len());
            }
            let page: WirePage = from_json(&answer)?;
            if page.bundles.is_empty() && page.erased.is_empty() && page.next.is_some() {
                return Err(malformed("an empty page that is not the last"));
            }
            page.bundles.into_iter().try_for_each(&mut take)?;
            gaps.erased.extend(page.erased);
            gaps.complete &= page.complete;
            match page.next {
                None => return Ok(gaps),
                // Otherwise it would go on for ever.
                Some(next) if next > from => from = next,
                Some(_) => return Err(malformed("a page that leads nowhere")),
            }
        }
    }

    /// A page of at most `limit` statements, without their bundles, from index `from` on.
    ///
    /// # Errors
    /// [`ClientError`].
    pub fn list(
        &self,
        query: &StatementQuery,
        from: u64,
        limit: u32,
    ) -> Result<StatementPage, ClientError> {
        let url = format!("{}/api/v1/statements", self.base);
        let request = self.reading(&url).query_pairs(query.pairs());
        let request = request.query("from", from.to_string()).query("limit", limit.to_string());
        let page: StatementPage = from_json(&self.answer(&url, request.call(), MAX_ANSWER)?)?;
        match page.next {
            Some(next) if next <= from => Err(malformed("a page that leads nowhere")),
            _ => Ok(page),
        }
    }

    /// The bundle of an entry as the service gives it, JSON; unverified.
    ///
    /// # Errors
    /// [`ClientError`].
    pub fn bundle(&self, index: u64) -> Result<Vec<u8>, ClientError> {
        let url = format!("{}/api/v1/bundles/{index}", self.base);
        self.answer(&url, self.reading(&url).call(), MAX_ANSWER)
    }

    /// The same with the log entries that it was submitted with; unverified.
    ///
    /// # Errors
    /// [`ClientError`].
    pub fn original_bundle(&self, index: u64) -> Result<Vec<u8>, ClientError> {
        let url = format!("{}/api/v1/bundles/{index}/original", self.base);
        self.answer(&url, self.reading(&url).call(), MAX_ANSWER)
    }

    /// A request for what may not be everybody's to read.
    fn reading(&self, url: &str) -> RequestBuilder<WithoutBody> {
        let request = self.agent.get(url);
        match &self.token {
            Some(token) => request.header("authorization", format!("Bearer {token}")),
            None => request,
        }
    }
}
