//! The policies that come with the program: one library of rules, and configurations of it.

use crate::error::PolicyError;
use crate::policy::Policy;

/// The rules and their tests: `policies/library`.
macro_rules! library {
    ($($name:literal),* $(,)?) => {
        &[$(($name, include_bytes!(concat!("../../../policies/library/", $name)).as_slice())),*]
    };
}

/// What a profile adds: its configuration, an input that it allows, tests, and words.
macro_rules! additions {
    ($profile:literal) => {
        [
            additions!($profile, "README.md"),
            additions!($profile, "data.json"),
            additions!($profile, "input.json"),
            additions!($profile, "profile_test.rego"),
        ]
    };
    ($profile:literal, $name:literal) => {
        ($name, include_bytes!(concat!("../../../policies/", $profile, "/", $name)).as_slice())
    };
}

type File = (&'static str, &'static [u8]);

const LIBRARY: &[File] = library![
    "approvals.rego",
    "approvals_test.rego",
    "configuration.rego",
    "configuration_test.rego",
    "expiry.rego",
    "expiry_test.rego",
    "fixtures_test.rego",
    "freshness.rego",
    "freshness_test.rego",
    "gates.rego",
    "gates_test.rego",
    "inputs.rego",
    "inputs_test.rego",
    "lib.rego",
    "licences.rego",
    "licences_test.rego",
    "main.rego",
    "main_test.rego",
    "model_scan.rego",
    "model_scan_test.rego",
    "provenance.rego",
    "provenance_test.rego",
    "revocation.rego",
    "revocation_test.rego",
    "signature.rego",
    "signature_test.rego",
    "tee.rego",
    "tee_test.rego",
    "vulnerabilities.rego",
    "vulnerabilities_test.rego",
];

/// A configuration of the library for somebody in particular, to begin with.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Profile {
    /// Two roles approve, tests pass, nothing is revoked. The policy if no other is named.
    Starter,
    /// Models that a bank decides with: model risk management.
    Bank,
    /// Models in a diagnostic device.
    Clinic,
}

impl Profile {
    /// Every profile.
    pub const ALL: [Self; 3] = [Self::Starter, Self::Bank, Self::Clinic];

    /// The name, which is also that of its folder below `policies`.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Starter => "starter",
            Self::Bank => "bank",
            Self::Clinic => "clinic",
        }
    }

    /// Names and contents of the files of a folder with this policy: the rules and the tests of the
    /// library, and what the profile adds, a README included.
    pub fn files(self) -> impl Iterator<Item = (&'static str, &'static [u8])> {
        let additions = match self {
            Self::Starter => additions!("starter"),
            Self::Bank => additions!("bank"),
            Self::Clinic => additions!("clinic"),
        };
        LIBRARY.iter().copied().chain(additions)
    }
}

impl Policy {
    /// A policy that is built in. Same digest as loading its folder in `policies`.
    ///
    /// # Errors
    /// [`PolicyError`] only if the shipped files are broken, which the tests rule out.
    pub fn of_profile(profile: Profile) -> Result<Self, PolicyError> {
        Self::from_files(profile.files().filter(|(name, _)| *name != "README.md"))
    }

    /// The starter policy, built in.
    ///
    /// # Errors
    /// As [`Policy::of_profile`].
    pub fn starter() -> Result<Self, PolicyError> {
        Self::of_profile(Profile::Starter)
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;
    use std::path::Path;

    use super::*;

    #[test]
    fn what_is_built_in_is_the_folder() {
        for profile in Profile::ALL {
            let policies = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../policies");
            let folder = policies.join(profile.name());
            let built_in = Policy::of_profile(profile).unwrap();
            assert_eq!(built_in.digest(), Policy::load(&folder).unwrap().digest());
            let found: BTreeMap<String, Vec<u8>> = std::fs::read_dir(&folder)
                .unwrap()
                .map(|entry| {
                    let entry = entry.unwrap();
                    let name = entry.file_name().into_string().unwrap();
                    (name, std::fs::read(entry.path()).unwrap())
                })
                .collect();
            let shipped: BTreeMap<String, Vec<u8>> =
                profile.files().map(|(name, bytes)| (name.to_owned(), bytes.to_vec())).collect();
            let names =
                |files: &BTreeMap<String, Vec<u8>>| files.keys().cloned().collect::<Vec<_>>();
            assert_eq!(names(&found), names(&shipped), "{}", profile.name());
            assert!(found == shipped, "{}", profile.name());
        }
    }
}
