//! RFC 3161 timestamps.

use serde_json::json;

use sealwright_sigstore::details::TimestampDetails;

use super::certificate;
use super::report::{Report, Section};

/// A timestamp in a file of its own.
pub(super) fn explain(der: &[u8]) -> Option<Report> {
    let details = TimestampDetails::parse(der)?;
    let mut section = Section::item("timestamps", "Timestamp", 0, 1);
    describe(&mut section, &details, None);
    Some(Report::new("timestamp", "timestamp (RFC 3161)", vec![section]))
}

/// One timestamp over `signature`, if that is known.
pub(super) fn describe(
    section: &mut Section,
    details: &TimestampDetails,
    signature: Option<&[u8]>,
) {
    section.text("time", "time", details.time.to_string());
    let hash = details.hash.map_or_else(|| details.hash_oid.clone(), |hash| hash.to_string());
    let imprint = hex::encode(&details.imprint);
    let over = match signature.map(|signature| details.is_over(signature)) {
        Some(Some(true)) => format!("the {hash} of this signature"),
        Some(Some(false)) => format!("something else than this signature: {hash} {imprint}"),
        Some(None) | None => format!("{hash} {imprint}"),
    };
    let is_over = signature.and_then(|signature| details.is_over(signature));
    section.row(
        "imprint",
        "over",
        over,
        json!({"hash": hash, "digest": imprint, "is_of_this_signature": is_over}),
    );
    section.text("signer", "signer", details.signer.as_str());
    section.text("policy", "policy", details.policy.as_str());
    section.text("serial", "serial", details.serial.as_str());
    let lines: Vec<_> = details.certificates.iter().map(|der| certificate::line(der)).collect();
    section.lines("certificates", "carries", lines.clone(), json!(lines));
}
