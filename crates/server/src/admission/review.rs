//! `AdmissionReview`: reading requests, writing responses (`admission.k8s.io/v1` only).
//!
//! Reading is strict where two readers could disagree (a name twice in one object, wrong types)
//! and tolerant of fields that a later Kubernetes may add. Bytes that are not a review are
//! answered, too: an API server that gets a denial can show its reason, while one that gets an
//! error page can only say that the webhook failed.

use std::fmt;

use sealwright_attest::{from_value, parse_strict};
use serde::Deserialize;
use serde_json::{Map, Value, json};

use super::code;
use crate::text;

/// Largest review that is read, in bytes. The API server admits objects of 3 MiB, and an UPDATE
/// carries two of them.
pub const MAX_REVIEW_SIZE: usize = 8 << 20;

const API_VERSION: &str = "admission.k8s.io/v1";
const KIND: &str = "AdmissionReview";

/// The API server's uids are UUIDs; anything much longer is not from one.
const MAX_UID_LENGTH: usize = 256;

/// Upper bound of the message in a response, in characters.
const MAX_MESSAGE_CHARS: usize = 8000;

/// One request of the API server, as it was sent; nothing in it is trusted.
#[derive(Debug)]
pub(crate) struct Review {
    pub(crate) uid: String,
    pub(crate) operation: Operation,
    pub(crate) resource: Resource,
    /// `group/version/Kind` of the object, `v1/Pod` for the core group.
    pub(crate) kind: String,
    pub(crate) name: String,
    pub(crate) namespace: String,
    pub(crate) user: String,
    pub(crate) dry_run: bool,
    pub(crate) object: Option<Value>,
    pub(crate) old_object: Option<Value>,
}

/// What is being done to the object.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "UPPERCASE")]
pub(crate) enum Operation {
    Create,
    Update,
    Delete,
    Connect,
}

/// The resource that the request was made to. Compared as a whole, so that a resource of the same
/// name in another API group is another resource.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Resource {
    pub(crate) group: String,
    pub(crate) version: String,
    pub(crate) resource: String,
    pub(crate) subresource: String,
}

/// Bytes that are not a review which can be judged; answered with a denial.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Unreadable {
    /// The uid to echo; empty if none could be found.
    pub(crate) uid: String,
    pub(crate) code: &'static str,
    pub(crate) message: String,
}

/// What goes back to the API server.
#[derive(Debug, Clone)]
pub(crate) struct Response {
    pub(crate) uid: String,
    pub(crate) allowed: bool,
    /// HTTP status that the API server shows its own caller; 200 when allowed.
    pub(crate) status: u16,
    pub(crate) message: String,
    pub(crate) warnings: Vec<String>,
    /// Keys without prefix; the API server puts the webhook's name before them.
    pub(crate) audit: Vec<(&'static str, String)>,
}

impl Review {
    /// Reads one review.
    pub(crate) fn parse(bytes: &[u8]) -> Result<Self, Unreadable> {
        let malformed = |message: String| Unreadable {
            uid: find_uid(bytes),
            code: code::REVIEW_MALFORMED,
            message: format!("The AdmissionReview cannot be read: {message}."),
        };
        let value =
            parse_strict(bytes, MAX_REVIEW_SIZE).map_err(|error| malformed(error.to_string()))?;
        let wire: wire::Review = from_value(value).map_err(|error| malformed(error.to_string()))?;
        if (wire.api_version.as_str(), wire.kind.as_str()) != (API_VERSION, KIND) {
            return Err(Unreadable {
                uid: find_uid(bytes),
                code: code::REVIEW_VERSION,
                message: format!(
                    "{:?} of {:?} is not supported; set admissionReviewVersions to [\"v1\"].",
                    text::short(&wire.kind, 100),
                    text::short(&wire.api_version, 100),
                ),
            });
        }
        let request = wire.request.ok_or_else(|| malformed("it has no request".to_owned()))?;
        if request.uid.is_empty() || request.uid.len() > MAX_UID_LENGTH {
            return Err(malformed("its uid is empty or too long".to_owned()));
        }
        Ok(request.into())
    }

    /// What the request is about, in one line for people.
    pub(crate) fn subject(&self) -> String {
        text::short(&format!("{:?} {} in {:?}", self.operation, self.resource, self.namespace), 400)
    }
}

impl Resource {
    /// The subresource of `pods` that is meant, empty for the pods themselves; none for every
    /// other resource.
    pub(crate) fn of_pods(&self) -> Option<&str> {
        let resource = (self.group.as_str(), self.version.as_str(), self.resource.as_str());
        (resource == ("", "v1", "pods")).then_some(self.subresource.as_str())
    }
}

impl fmt::Display for Resource {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.resource)?;
        if !self.group.is_empty() {
            write!(f, ".{}", self.group)?;
        }
        if !self.subresource.is_empty() {
            write!(f, "/{}", self.subresource)?;
        }
        Ok(())
    }
}

impl Response {
    /// The whole `AdmissionReview`, as JSON.
    pub(crate) fn to_json(&self) -> Vec<u8> {
        let mut status = json!({
            "code": self.status,
            "message": text::short(&self.message, MAX_MESSAGE_CHARS),
        });
        if let Some(reason) = reason(self.status) {
            status["reason"] = json!(reason);
        }
        let audit: Map<String, Value> =
            self.audit.iter().map(|(key, value)| ((*key).to_owned(), json!(value))).collect();
        let mut response = json!({
            "uid": self.uid,
            "allowed": self.allowed,
            "status": status,
            "auditAnnotations": audit,
        });
        if !self.warnings.is_empty() {
            response["warnings"] = json!(self.warnings);
        }
        let review = json!({"apiVersion": API_VERSION, "kind": KIND, "response": response});
        // String keys, strings and small integers: this cannot fail.
        serde_json::to_vec(&review).unwrap_or_default()
    }
}

/// `metav1.StatusReason`.
fn reason(status: u16) -> Option<&'static str> {
    match status {
        400 => Some("BadRequest"),
        403 => Some("Forbidden"),
        _ => None,
    }
}

/// The uid of a review that cannot be read as a whole. Without it the API server reports a broken
/// webhook and hides the message.
fn find_uid(bytes: &[u8]) -> String {
    if bytes.len() > MAX_REVIEW_SIZE {
        return String::new();
    }
    let found: Option<wire::OnlyUid> = serde_json::from_slice(bytes).ok();
    let uid = found.and_then(|review| review.request).and_then(|request| request.uid);
    uid.filter(|uid| uid.len() <= MAX_UID_LENGTH).unwrap_or_default()
}

/// `k8s.io/api/admission/v1`, as far as it is read.
mod wire {
    use super::{Deserialize, Operation, Value};

    #[derive(Deserialize)]
    #[serde(rename_all = "camelCase")]
    pub(super) struct Review {
        #[serde(default)]
        pub(super) api_version: String,
        #[serde(default)]
        pub(super) kind: String,
        pub(super) request: Option<Request>,
    }

    #[derive(Deserialize)]
    #[serde(rename_all = "camelCase")]
    pub(super) struct Request {
        pub(super) uid: String,
        kind: GroupVersionKind,
        resource: GroupVersionResource,
        sub_resource: Option<String>,
        name: Option<String>,
        namespace: Option<String>,
        operation: Operation,
        #[serde(default)]
        user_info: UserInfo,
        object: Option<Value>,
        old_object: Option<Value>,
        dry_run: Option<bool>,
    }

    #[derive(Deserialize)]
    struct GroupVersionKind {
        group: String,
        version: String,
        kind: String,
    }

    #[derive(Deserialize)]
    struct GroupVersionResource {
        group: String,
        version: String,
        resource: String,
    }

    #[derive(Deserialize, Default)]
    struct UserInfo {
        username: Option<String>,
    }

    #[derive(Deserialize)]
    pub(super) struct OnlyUid {
        pub(super) request: Option<OnlyRequestUid>,
    }

    #[derive(Deserialize)]
    pub(super) struct OnlyRequestUid {
        pub(super) uid: Option<String>,
    }

    impl From<Request> for super::Review {
        fn from(request: Request) -> Self {
            let GroupVersionKind { group, version, kind } = request.kind;
            let kind = if group.is_empty() {
                format!("{version}/{kind}")
            } else {
                format!("{group}/{version}/{kind}")
            };
            let GroupVersionResource { group, version, resource } = request.resource;
            let subresource = request.sub_resource.unwrap_or_default();
            Self {
                uid: request.uid,
                operation: request.operation,
                resource: super::Resource { group, version, resource, subresource },
                kind,
                // Empty for generateName while mutating webhooks run.
                name: request.name.unwrap_or_default(),
                namespace: request.namespace.unwrap_or_default(),
                user: request.user_info.username.unwrap_or_default(),
                dry_run: request.dry_run.unwrap_or(false),
                object: request.object,
                old_object: request.old_object,
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const GOOD: &str = r#"{"apiVersion":"admission.k8s.io/v1","kind":"AdmissionReview","new":1,
        "request":{"uid":"u-1","kind":{"group":"","version":"v1","kind":"Pod"},
        "resource":{"group":"","version":"v1","resource":"pods"},"subResource":"status",
        "operation":"UPDATE","object":null,"later":[]}}"#;

    #[test]
    fn unknown_fields_are_let_stand() {
        let review = Review::parse(GOOD.as_bytes()).unwrap();
        assert_eq!((review.uid.as_str(), review.operation), ("u-1", Operation::Update));
        assert_eq!(review.resource.of_pods(), Some("status"));
        assert_eq!(review.resource.to_string(), "pods/status");
        assert_eq!(review.kind, "v1/Pod");
        assert!(review.object.is_none() && !review.dry_run);
    }

    #[test]
    fn what_cannot_be_read_has_a_code_and_where_possible_the_uid() {
        for (from, to, uid, code) in [
            ("admission.k8s.io/v1", "admission.k8s.io/v1beta1", "u-1", code::REVIEW_VERSION),
            (r#""kind":"AdmissionReview""#, r#""kind":"Pod""#, "u-1", code::REVIEW_VERSION),
            (r#""later""#, r#""object""#, "u-1", code::REVIEW_MALFORMED),
            (r#""UPDATE""#, r#""PATCH""#, "u-1", code::REVIEW_MALFORMED),
            (r#""later":[]"#, r#""dryRun":"no""#, "u-1", code::REVIEW_MALFORMED),
            (r#""u-1""#, "7", "", code::REVIEW_MALFORMED),
            (r#""u-1""#, r#""""#, "", code::REVIEW_MALFORMED),
            (r#""request""#, r#""response""#, "", code::REVIEW_MALFORMED),
            ("}}", "}", "", code::REVIEW_MALFORMED),
        ] {
            let error = Review::parse(GOOD.replace(from, to).as_bytes()).unwrap_err();
            assert_eq!((error.uid.as_str(), error.code), (uid, code), "{from} to {to}: {error:?}");
        }
        let huge = format!("{GOOD}{}", " ".repeat(MAX_REVIEW_SIZE));
        let error = Review::parse(huge.as_bytes()).unwrap_err();
        assert_eq!((error.uid.as_str(), error.code), ("", code::REVIEW_MALFORMED));
    }
}
