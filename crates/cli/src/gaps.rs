//! Gaps in an export: statements of which nothing but the entries are left.
//!
//! Any of them may have been a no. So the export says that they were there, and whoever imports it leaves
//! out what the gap makes unbelievable: another service does not know of the gap.

use std::collections::{BTreeMap, BTreeSet};

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde::{Deserialize, Serialize};
use serde_json::Value;

use sealwright_attest::{OmsPredicate, Statement};
use sealwright_server::client::{
    ClientError, ErasedStatement, ListedSigner, ServiceClient, StatementQuery,
};

/// A line of an export that is no bundle.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct GapLine {
    pub(crate) erased: Gap,
}

/// A statement that was erased.
#[derive(Debug, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct Gap {
    pub(crate) index: u64,
    pub(crate) predicate_type: String,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    signer: Option<ListedSigner>,
    /// SHA-256 of those of its subjects that something of its type in the export is about too.
    subjects: BTreeSet<String>,
}

/// What statements are about, by their types.
#[derive(Debug, Default)]
pub(crate) struct Topics(BTreeMap<String, BTreeSet<String>>);

impl Topics {
    /// Adds those of an unverified bundle; what is no statement has none.
    pub(crate) fn add(&mut self, bundle: &Value) {
        if let Some((predicate_type, subjects)) = topic(bundle) {
            self.0.entry(predicate_type).or_default().extend(subjects);
        }
    }

    /// Asks the service which of what was erased has the topic of something that was not.
    pub(crate) fn gaps(
        &self,
        client: &ServiceClient,
        erased: &[ErasedStatement],
    ) -> Result<Vec<Gap>, ClientError> {
        let mut gaps: BTreeMap<u64, Gap> = BTreeMap::new();
        for ErasedStatement { index, predicate_type, signer } in erased {
            let (predicate_type, signer) = (predicate_type.clone(), signer.clone());
            let subjects = BTreeSet::new();
            gaps.insert(*index, Gap { index: *index, predicate_type, signer, subjects });
        }
        let types: BTreeSet<_> = erased.iter().map(|erased| &erased.predicate_type).collect();
        for predicate_type in types {
            for subject in self.0.get(predicate_type).into_iter().flatten() {
                let query = StatementQuery {
                    subject: Some(subject.clone()),
                    predicate_type: Some(predicate_type.clone()),
                    ..StatementQuery::default()
                };
                let mut next = Some(0);
                while let Some(from) = next {
                    let page = client.list(&query, from, 1000)?;
                    next = page.next;
                    for listed in page.statements {
                        if let Some(gap) = gaps.get_mut(&listed.index) {
                            gap.subjects.insert(subject.clone());
                        }
                    }
                }
            }
        }
        Ok(gaps.into_values().collect())
    }
}

/// The gap that makes an unverified bundle unbelievable.
pub(crate) fn gap_of<'a>(gaps: &'a [Gap], bundle: &Value) -> Option<&'a Gap> {
    let (predicate_type, subjects) = topic(bundle)?;
    gaps.iter().find(|gap| {
        gap.predicate_type == predicate_type
            && subjects.iter().any(|subject| gap.subjects.contains(subject))
    })
}

/// Type and subjects, as the service finds the statement by them.
fn topic(bundle: &Value) -> Option<(String, Vec<String>)> {
    let payload = STANDARD.decode(bundle.pointer("/dsseEnvelope/payload")?.as_str()?).ok()?;
    let value: Value = serde_json::from_slice(&payload).ok()?;
    let predicate_type = value.get("predicateType")?.as_str()?.to_owned();
    let subjects = value.get("subject")?.as_array()?.iter();
    let digest = |subject: &Value| Some(subject.pointer("/digest/sha256")?.as_str()?.to_owned());
    let mut subjects: Vec<String> = subjects.filter_map(digest).collect();
    if OmsPredicate::is_oms_type(&predicate_type) {
        let whole = Statement::parse(&payload).ok()?;
        let oms = OmsPredicate::from_statement(&whole).ok()?;
        subjects.extend(oms.model_digest().map(|digest| digest.to_string()));
    }
    Some((predicate_type, subjects))
}
