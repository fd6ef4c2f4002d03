//! Files that the webhook does not start with.

use std::path::Path;
use std::sync::Arc;

use sealwright_attest::Signer as _;
use sealwright_server::admission::{Admission, Config, ConfigError};

use super::{Scene, captured, write};

/// Why the webhook does not start after a change to a good configuration.
fn refused(change: impl FnOnce(&Scene, &mut Config)) -> ConfigError {
    let (scene, mut config) = good();
    change(&scene, &mut config);
    Admission::load(&config, scene.service.clone()).unwrap_err()
}

fn good() -> (Scene, Config) {
    let mut used: Option<Config> = None;
    let scene = Scene::approved_with(|config| used = Some(config.clone()));
    (scene, used.unwrap())
}

#[test]
fn every_file_is_named_when_it_is_wrong() {
    let missing = |config: &mut Config| config.trusted_root = "/nowhere/root.json".into();
    let error = refused(|_, config| missing(config));
    assert_eq!(error.to_string(), "cannot read /nowhere/root.json");

    let error = refused(|scene, config| config.owner_keys = vec![write(&scene.dir, "o", "no key")]);
    assert!(matches!(error, ConfigError::OwnerKey { .. }), "{error}");
    let error = refused(|scene, config| config.role_binding = write(&scene.dir, "r", "{}"));
    assert!(matches!(error, ConfigError::RoleBindingFormat { .. }), "{error}");
    let error = refused(|scene, config| {
        let other = scene.people.stranger.public_key().pem();
        config.owner_keys = vec![write(&scene.dir, "o", other)];
    });
    assert!(matches!(error, ConfigError::RoleBinding { .. }), "{error}");
    let error = refused(|scene, config| config.trusted_root = write(&scene.dir, "t", "{}"));
    assert!(matches!(error, ConfigError::TrustedRoot { .. }), "{error}");
    let error = refused(|scene, config| {
        config.policy = Some(scene.dir.path().to_owned());
        config.insecure_unapproved_policy = true;
    });
    assert!(matches!(error, ConfigError::Policy { .. }), "{error}");
    let error = refused(|scene, config| config.decisions = scene.dir.path().to_owned());
    assert!(matches!(error, ConfigError::Decisions { .. }), "{error}");
    let error = refused(|_, config| config.decisions = Path::new("/dev/full").to_owned());
    assert!(matches!(error, ConfigError::Decisions { .. }), "{error}");
}

#[test]
fn what_is_no_file_or_too_large_is_not_read() {
    let no_file = |config: &mut Config| config.role_binding = "/dev/zero".into();
    let huge = |scene: &Scene, config: &mut Config| {
        config.trusted_root = write(&scene.dir, "huge", "");
        let file = std::fs::File::options().write(true).open(&config.trusted_root).unwrap();
        file.set_len(1 << 40).unwrap();
    };
    for error in [refused(|_, config| no_file(config)), refused(huge)] {
        let ConfigError::Read { source, .. } = &error else { panic!("{error}") };
        assert_eq!(source.kind(), std::io::ErrorKind::InvalidInput);
    }
}

#[test]
fn every_value_is_checked() {
    for environment in ["", "Prod", "a&b"] {
        let error = refused(|_, config| config.environment = environment.to_owned());
        assert!(matches!(error, ConfigError::Label { field: "environment", .. }), "{error}");
    }
    let error = refused(|_, config| config.cluster = Some("eu/1".to_owned()));
    assert!(matches!(error, ConfigError::Label { field: "cluster", .. }), "{error}");
    for deadline_ms in [0, 30_000] {
        let error = refused(|_, config| config.deadline_ms = deadline_ms);
        assert!(matches!(error, ConfigError::Deadline { .. }), "{error}");
    }
}

#[test]
fn without_a_policy_the_built_in_one_decides() {
    let (mut scene, config) = good();
    scene.admission = Arc::new(Admission::load(&config, scene.service.clone()).unwrap());
    assert!(scene.ask(&scene.pod()).allowed);
    assert!(!scene.ask(&captured("pod-create-generateName")).allowed);
}
