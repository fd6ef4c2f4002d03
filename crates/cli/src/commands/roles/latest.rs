//! What the owners have had logged already: one revision is for one binding.

use sealwright_attest::predicate::ROLE_BINDING;
use sealwright_attest::{Owners, PublicKey, RoleTable};
use sealwright_server::client::ServiceClient;
use sealwright_server::evidence::{EvidenceSource as _, Signers};

use crate::error::CliError;

/// Refuses a revision that is not higher than that of another binding which an owner has had logged:
/// with two bindings of one revision, no verifier decides anything.
pub(super) fn check(
    client: &ServiceClient,
    owners: &Owners,
    payload: &[u8],
    table: &RoleTable,
) -> Result<(), CliError> {
    let own = table.revision();
    // It is never in force by its number.
    if own == 0 {
        return Ok(());
    }
    let keys = owners.keys().iter().map(PublicKey::id).collect();
    let signers = Signers { keys, ..Signers::default() };
    let found = client.statements_by(ROLE_BINDING, &signers).map_err(|error| {
        CliError::environment(format!("the logged role bindings are not known: {error}"))
            .hint("check --service; a revision must not be given twice")
    })?;
    let others = found.bundles.iter().filter(|bundle| bundle.envelope().payload != payload);
    let signed = others.filter_map(|bundle| owners.signature(bundle, 1).ok());
    let tables = signed.filter_map(|signed| RoleTable::of_statement(signed.statement()).ok());
    match tables.map(|table| table.revision()).max() {
        Some(highest) if highest >= own => Err(CliError::input(format!(
            "revision {own} is not newer than {highest}, which an owner has had logged"
        ))
        .hint("write \"revision\": a higher number into the draft, and sign that")),
        _ => Ok(()),
    }
}
