//! Tokens of builds, by the examples of their providers' documentation.

use sealwright_authority::{Claim, IssuerConfig, IssuerKind, Subject, verify_token};
use serde_json::{Value, json};

use crate::instance::now;
use crate::tokens::{AUDIENCE, ISSUER, Issuer};

pub(crate) fn github_claims() -> Value {
    json!({
        "sub": "repo:octo-org/octo-repo:ref:refs/heads/main",
        "email": null,
        "email_verified": null,
        "event_name": "push",
        "sha": "example-sha",
        "workflow": "example-workflow",
        "repository": "octo-org/octo-repo",
        "ref": "refs/heads/main",
        "job_workflow_ref": "octo-org/octo-automation/.github/workflows/oidc.yml@refs/heads/main",
        "job_workflow_sha": "job-sha",
        "runner_environment": "github-hosted",
        "repository_id": "74",
        "repository_owner": "octo-org",
        "repository_owner_id": 65,
        "workflow_ref": "octo-org/octo-repo/.github/workflows/example.yml@refs/heads/main",
        "workflow_sha": "workflow-sha",
        "run_id": "42",
        "run_attempt": "2",
        "repository_visibility": "private",
        // Of the token, and not to be mistaken for the server's address.
        "url": "https://evil.example",
    })
}

pub(crate) fn github() -> IssuerKind {
    IssuerKind::GitHub { url: "https://github.com".into() }
}

#[test]
fn github_workflows_say_what_fulcio_says() {
    use Claim::*;
    let issuer = Issuer::new();
    let identity = issuer.identity(github(), &github_claims());
    let signer =
        "https://github.com/octo-org/octo-automation/.github/workflows/oidc.yml@refs/heads/main";
    assert_eq!(identity.subject(), &Subject::Uri(signer.into()));
    let expected = [
        (GithubWorkflowTrigger, "push"),
        (GithubWorkflowSha, "example-sha"),
        (GithubWorkflowName, "example-workflow"),
        (GithubWorkflowRepository, "octo-org/octo-repo"),
        (GithubWorkflowRef, "refs/heads/main"),
        (BuildSignerUri, signer),
        (BuildSignerDigest, "job-sha"),
        (RunnerEnvironment, "github-hosted"),
        (SourceRepositoryUri, "https://github.com/octo-org/octo-repo"),
        (SourceRepositoryDigest, "example-sha"),
        (SourceRepositoryRef, "refs/heads/main"),
        (SourceRepositoryIdentifier, "74"),
        (SourceRepositoryOwnerUri, "https://github.com/octo-org"),
        (SourceRepositoryOwnerIdentifier, "65"),
        (
            BuildConfigUri,
            "https://github.com/octo-org/octo-repo/.github/workflows/example.yml@refs/heads/main",
        ),
        (BuildConfigDigest, "workflow-sha"),
        (BuildTrigger, "push"),
        (RunInvocationUri, "https://github.com/octo-org/octo-repo/actions/runs/42/attempts/2"),
        (SourceRepositoryVisibilityAtSigning, "private"),
        (TokenSubject, "repo:octo-org/octo-repo:ref:refs/heads/main"),
    ];
    assert_eq!(identity.claims(), &expected.map(|(claim, value)| (claim, value.to_owned())).into());

    let mut production = github_claims();
    production["environment"] = json!("production");
    production["job_workflow_ref"] = json!("o/r/.github/workflows/x.yml@refs/heads/\u{fc} 1");
    let identity = issuer.identity(github(), &production);
    assert_eq!(identity.claims()[&DeploymentEnvironment], "production");
    let encoded = "https://github.com/o/r/.github/workflows/x.yml@refs/heads/%C3%BC%201";
    assert_eq!(identity.subject().as_str(), encoded);

    let config = IssuerConfig::new(ISSUER, AUDIENCE, github()).unwrap();
    for name in ["job_workflow_ref", "sha", "run_attempt", "repository_visibility"] {
        for value in [json!(null), json!(["x"]), json!("a\nb")] {
            let mut change = github_claims();
            change[name] = value;
            let error = verify_token(&issuer.token(&change), &config, &issuer.keys(), now(), 60);
            assert_eq!(error.unwrap_err().code(), "claim", "{name}");
        }
    }
}

#[test]
fn gitlab_pipelines_say_what_fulcio_says() {
    use Claim::*;
    let issuer = Issuer::new();
    let change = json!({
        "sub": "project_path:my-group/my-project:ref_type:branch:ref:feature-branch-1",
        "ci_config_ref_uri": "gitlab.com/my-group/my-project//.gitlab-ci.yml@refs/heads/main",
        "ci_config_sha": "714a629c0b401fdce83e847fc9589983fc6f46bc",
        "runner_environment": "gitlab-hosted",
        "project_path": "my-group/my-project",
        "sha": "714a629c0b401fdce83e847fc9589983fc6f46bc",
        "ref": "feature-branch-1",
        "ref_type": "branch",
        "project_id": 22,
        "namespace_path": "my-group",
        "namespace_id": "72",
        "pipeline_source": "web",
        "job_id": "302",
        "project_visibility": "public",
    });
    let kind = || IssuerKind::GitLab { url: "https://gitlab.com".into() };
    let identity = issuer.identity(kind(), &change);
    let signer = "https://gitlab.com/my-group/my-project//.gitlab-ci.yml@refs/heads/main";
    assert_eq!(identity.subject(), &Subject::Uri(signer.into()));
    let expected = [
        (BuildSignerUri, signer),
        (BuildSignerDigest, "714a629c0b401fdce83e847fc9589983fc6f46bc"),
        (RunnerEnvironment, "gitlab-hosted"),
        (SourceRepositoryUri, "https://gitlab.com/my-group/my-project"),
        (SourceRepositoryDigest, "714a629c0b401fdce83e847fc9589983fc6f46bc"),
        (SourceRepositoryRef, "refs/heads/feature-branch-1"),
        (SourceRepositoryIdentifier, "22"),
        (SourceRepositoryOwnerUri, "https://gitlab.com/my-group"),
        (SourceRepositoryOwnerIdentifier, "72"),
        (BuildConfigUri, signer),
        (BuildConfigDigest, "714a629c0b401fdce83e847fc9589983fc6f46bc"),
        (BuildTrigger, "web"),
        (RunInvocationUri, "https://gitlab.com/my-group/my-project/-/jobs/302"),
        (SourceRepositoryVisibilityAtSigning, "public"),
        (TokenSubject, "project_path:my-group/my-project:ref_type:branch:ref:feature-branch-1"),
    ];
    assert_eq!(identity.claims(), &expected.map(|(claim, value)| (claim, value.to_owned())).into());

    let mut tag = change.clone();
    tag["ref_type"] = json!("tag");
    let identity = issuer.identity(kind(), &tag);
    assert_eq!(identity.claims()[&SourceRepositoryRef], "refs/tags/feature-branch-1");
    let config = IssuerConfig::new(ISSUER, AUDIENCE, kind()).unwrap();
    for (name, value) in [
        ("ref_type", json!("merge")),
        ("ci_config_ref_uri", json!(null)),
        ("ci_config_ref_uri", json!("gitlab.com.evil.example/a/b//c@d")),
    ] {
        let mut change = change.clone();
        change[name] = value;
        let error = verify_token(&issuer.token(&change), &config, &issuer.keys(), now(), 60);
        assert_eq!(error.unwrap_err().code(), "claim", "{name}");
    }
}
