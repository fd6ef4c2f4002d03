//! `sealwright policy init`, and what it writes.

use serde_json::json;

use crate::home::Home;

#[test]
fn a_profile_is_a_policy_to_begin_with() {
    let home = Home::new();
    for profile in ["starter", "bank", "clinic"] {
        let value = home.json(&format!("policy init --profile {profile} {profile}"));
        assert_eq!((&value["ok"], &value["profile"]), (&json!(true), &json!(profile)));
        let lint = home.must(&format!("policy lint --strict {profile}"));
        assert_eq!(lint.stdout, "0 errors, 0 warnings\n");
        // The rules' own tests run elsewhere; these are about what was written.
        let test = home.must(&format!("policy test {profile} --run profile_test"));
        assert!(test.stdout.ends_with(" passed, 0 failed\n"), "{test:#?}");
        let decided =
            home.json(&format!("policy eval --bundle {profile} --input {profile}/input.json"));
        assert_eq!(decided["allow"], true);
        assert_eq!(decided["policy_digest"], value["policy_digest"]);
        assert!(home.path(profile).join("README.md").is_file());
    }
}

#[test]
fn nothing_is_overwritten() {
    let home = Home::new();
    home.write("mine/notes.txt", "keep me");
    let ran = home.run("policy init mine");
    ran.failed(2, "mine is not empty");
    let left: Vec<_> = std::fs::read_dir(home.path("mine")).unwrap().collect();
    assert_eq!(left.len(), 1);
    std::fs::create_dir(home.path("empty")).unwrap();
    let ran = home.must("policy init empty");
    assert!(ran.stdout.contains("wrote the profile starter to empty"), "{ran:#?}");
    home.run("policy init empty").failed(2, "empty is not empty");
    home.run("policy init no/such/place").failed(2, "no/such/place");
    home.run("policy init --profile hospital x").failed(2, "hospital");
}

#[test]
fn a_section_that_is_misspelt_refuses() {
    let home = Home::new();
    home.must("policy init p");
    let data = std::fs::read_to_string(home.path("p/data.json")).unwrap();
    home.write("p/data.json", data.replace("\"approvals\"", "\"aprovals\""));
    let ran = home.run("policy eval --bundle p --input p/input.json");
    assert_eq!(ran.code, Some(1));
    assert!(ran.stdout.contains("CONFIG_INVALID  "), "{ran:#?}");
    assert!(ran.stdout.contains("aprovals is no section"), "{ran:#?}");
    // The tests of a policy that demands less than it says do not pass.
    home.write(
        "p/data.json",
        data.replace("\"lead-data-scientist\", \"compliance\"]", "\"compliance\", \"owner\"]"),
    );
    assert_eq!(home.run("policy test p --run profile_test").code, Some(1));
}

#[test]
fn explain_says_where_to_read_on() {
    let home = Home::new();
    home.must("policy init --profile bank bank");
    let input = std::fs::read_to_string(home.path("bank/input.json")).unwrap();
    let unsigned =
        input.replace("https://model_signing/signature/v1.0", "https://example.com/other/v1");
    home.write("d.json", format!("{{\"allow\": false, \"policy_input\": {unsigned}}}"));
    let ran = home.must("policy explain d.json --policy bank");
    assert!(ran.stdout.contains("    see 21 CFR Part 11, "), "{ran:#?}");
    assert!(ran.stdout.contains(", as of 20"), "{ran:#?}");
    let value = home.json("policy explain d.json --policy bank");
    let reference = &value["violations"][0]["references"][0];
    for field in ["framework", "clause", "version", "status", "source", "as_of"] {
        assert!(reference[field].is_string(), "{field}: {value}");
    }
}
