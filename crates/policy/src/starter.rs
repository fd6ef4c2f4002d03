//! The policy that comes with the program: `policies/starter`.

use crate::error::PolicyError;
use crate::policy::Policy;

/// Every file of `policies/starter` that decides or tests.
const FILES: [(&str, &[u8]); 15] = [
    ("approvals.rego", include_bytes!("../../../policies/starter/approvals.rego")),
    ("approvals_test.rego", include_bytes!("../../../policies/starter/approvals_test.rego")),
    ("data.json", include_bytes!("../../../policies/starter/data.json")),
    ("fixtures_test.rego", include_bytes!("../../../policies/starter/fixtures_test.rego")),
    ("freshness.rego", include_bytes!("../../../policies/starter/freshness.rego")),
    ("freshness_test.rego", include_bytes!("../../../policies/starter/freshness_test.rego")),
    ("gates.rego", include_bytes!("../../../policies/starter/gates.rego")),
    ("gates_test.rego", include_bytes!("../../../policies/starter/gates_test.rego")),
    ("lib.rego", include_bytes!("../../../policies/starter/lib.rego")),
    ("main.rego", include_bytes!("../../../policies/starter/main.rego")),
    ("main_test.rego", include_bytes!("../../../policies/starter/main_test.rego")),
    ("revocation.rego", include_bytes!("../../../policies/starter/revocation.rego")),
    ("revocation_test.rego", include_bytes!("../../../policies/starter/revocation_test.rego")),
    ("signature.rego", include_bytes!("../../../policies/starter/signature.rego")),
    ("signature_test.rego", include_bytes!("../../../policies/starter/signature_test.rego")),
];

impl Policy {
    /// The starter policy, built in. Same digest as loading `policies/starter`.
    ///
    /// # Errors
    /// [`PolicyError`] only if the shipped files are broken, which the tests rule out.
    pub fn starter() -> Result<Self, PolicyError> {
        Self::from_files(FILES)
    }
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::*;

    #[test]
    fn the_built_in_policy_is_the_folder() {
        let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../policies/starter");
        let built_in = Policy::starter().unwrap();
        assert_eq!(built_in.digest(), Policy::load(&folder).unwrap().digest());
        let names: Vec<_> = std::fs::read_dir(&folder)
            .unwrap()
            .map(|entry| entry.unwrap().file_name().into_string().unwrap())
            .filter(|name| name != "README.md")
            .collect();
        assert_eq!(names.len(), FILES.len(), "a file is missing in FILES: {names:?}");
    }
}
