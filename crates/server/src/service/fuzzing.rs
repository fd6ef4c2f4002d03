//! What the fuzz targets reach of the service's parsers; in no other build.

use axum::extract::Query;
use axum::http::Uri;

use sealwright_attest::Timestamp;
use sealwright_store::{Filter, Store};

use super::find::FindQuery;
use super::submission::{Judge, Submission};
use super::upload_trust::UploadTrust;

/// What a body of `POST /api/v1/bundles` would log.
pub struct Logged {
    /// The entry's body.
    pub body: Vec<u8>,
    /// The bundle as it would be kept.
    pub bundle: Vec<u8>,
    /// What it would be found by.
    pub subjects: Vec<String>,
}

/// Whom the service trusts that reads submissions.
pub struct Uploads(UploadTrust);

impl Uploads {
    /// An instance with this `trusted_root.json`; `None` if it is none.
    #[must_use]
    pub fn of(trusted_root: &str) -> Option<Self> {
        UploadTrust::read(trusted_root, None, &[], &[]).ok().map(Self)
    }

    /// What would be logged of a body; `None` if it is refused.
    #[must_use]
    pub fn submission(&self, body: &[u8], now: Timestamp) -> Option<Logged> {
        let judge = Judge { trust: &self.0, tsa: None, now };
        let Submission { body, bundle, facts } = Submission::check(body, &judge).ok()?;
        Some(Logged { body, bundle, subjects: facts.subjects })
    }
}

/// What the store is asked for a query string of `GET /api/v1/bundles`; `None` if it is refused.
#[must_use]
pub fn filter(query: &str, store: &Store) -> Option<Filter> {
    let uri = Uri::builder().path_and_query(format!("/api/v1/bundles?{query}")).build().ok()?;
    let Query(query) = Query::<FindQuery>::try_from_uri(&uri).ok()?;
    query.filter(store).ok()
}
