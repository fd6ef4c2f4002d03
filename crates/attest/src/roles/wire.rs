//! The predicate as it is on the wire, and the checks across principals.

use std::collections::BTreeSet;

use serde::Deserialize;
use serde_json::Value;

use super::{
    CertificateAuthority, CertificateIdentity, EndedKey, Principal, RoleBindingError, RoleGrant,
    RoleTable,
};
use crate::json::from_value;
use crate::key::PublicKey;
use crate::predicate::{self, ROLE_BINDING};

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct WireBinding {
    #[serde(default)]
    revision: u64,
    principals: Vec<WirePrincipal>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct WirePrincipal {
    name: String,
    #[serde(default)]
    public_keys: Vec<String>,
    #[serde(default)]
    identities: Vec<WireIdentity>,
    #[serde(default)]
    ended: Vec<EndedKey>,
    roles: Vec<RoleGrant>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct WireIdentity {
    subject: String,
    #[serde(default)]
    issuer: Option<String>,
    #[serde(default)]
    ca: Option<String>,
}

/// No two of what tells principals apart.
#[derive(Default)]
struct Taken {
    names: BTreeSet<String>,
    keys: BTreeSet<String>,
}

pub(super) fn parse(predicate: &Value) -> Result<RoleTable, RoleBindingError> {
    let shape = |message: String| RoleBindingError::Shape { message };
    let wire: WireBinding =
        from_value(predicate.clone()).map_err(|error| shape(error.to_string()))?;
    predicate::check(ROLE_BINDING, predicate).map_err(|error| shape(error.to_string()))?;
    let mut taken = Taken::default();
    let principals = wire.principals.into_iter().map(|principal| principal.check(&mut taken));
    Ok(RoleTable { revision: wire.revision, principals: principals.collect::<Result<_, _>>()? })
}

impl WirePrincipal {
    fn check(self, taken: &mut Taken) -> Result<Principal, RoleBindingError> {
        let Self { name, public_keys, identities, ended, roles } = self;
        let shared = |what| RoleBindingError::Shared { what, principal: name.clone() };
        if !taken.names.insert(name.clone()) {
            return Err(shared("the name"));
        }
        let mut ids = BTreeSet::new();
        let mut keys = Vec::new();
        for pem in &public_keys {
            let key = PublicKey::from_pem(pem)
                .map_err(|source| RoleBindingError::Key { principal: name.clone(), source })?;
            if !taken.keys.insert(key.id()) {
                return Err(shared("a key"));
            }
            ids.insert(key.id());
            keys.push(key);
        }
        let mut certified = Vec::new();
        for identity in identities {
            let identity = identity.check(&name)?;
            if !taken.keys.insert(identity.id()) {
                return Err(shared("an identity"));
            }
            ids.insert(identity.id());
            certified.push(identity);
        }
        if ids.is_empty() {
            return Err(RoleBindingError::Keyless { principal: name });
        }
        // What has ended is taken away, so that it cannot end a second time.
        if let Some(EndedKey { key_id, .. }) = ended.iter().find(|e| !ids.remove(&e.key_id)) {
            return Err(RoleBindingError::Ended { principal: name, key_id: key_id.clone() });
        }
        Ok(Principal { name, keys, identities: certified, ended, roles })
    }
}

impl WireIdentity {
    fn check(self, principal: &str) -> Result<CertificateIdentity, RoleBindingError> {
        let Self { subject, issuer, ca } = self;
        match (issuer, ca) {
            (Some(issuer), None) => Ok(CertificateIdentity::Issued { subject, issuer }),
            (None, Some(pem)) => {
                let authority = CertificateAuthority::from_pem(&pem).map_err(|source| {
                    RoleBindingError::Authority { principal: principal.to_owned(), source }
                })?;
                Ok(CertificateIdentity::Certified { subject, authority })
            }
            _ => Err(RoleBindingError::Shape {
                message: format!(
                    "an identity of {principal:?} has neither `issuer` nor `ca`, or both"
                ),
            }),
        }
    }
}
