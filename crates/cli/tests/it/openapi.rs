//! The service's answers, held against its OpenAPI description by schemathesis.

use std::process::Command;

use crate::home::Home;
use crate::server::Server;

#[test]
fn every_answer_is_one_that_the_description_promises() {
    let home = Home::with_keys();
    home.model("model");
    let service = Server::serve(&home, "data");
    home.must(&format!("sign model --key keys/trainer.key --service {}", service.url()));
    let program = std::env::var("SEALWRIGHT_TEST_SCHEMATHESIS")
        .expect("SEALWRIGHT_TEST_SCHEMATHESIS is not set: run the tests with ./test");
    let checks = [
        "not_a_server_error",
        "status_code_conformance",
        "content_type_conformance",
        "response_headers_conformance",
        "response_schema_conformance",
        "unsupported_method",
    ];
    let mut command = Command::new(program);
    command.args(["run", &format!("{}/openapi.json", service.url())]);
    command.args(["--checks", &checks.join(",")]);
    // The same requests every time, one after the other.
    command.args(["--seed", "1", "--generation-deterministic"]);
    command.args([
        "--phases",
        "examples,coverage,fuzzing",
        "--max-examples",
        "30",
        "--workers",
        "1",
    ]);
    command.args(["--no-shrink", "--continue-on-failure", "--no-color"]);
    let output = command.current_dir(home.path("")).output().unwrap();
    let said = String::from_utf8_lossy(&output.stdout);
    assert!(output.status.success(), "{said}{}", String::from_utf8_lossy(&output.stderr));
    let cases = said.split(" generated, ").next().and_then(|before| before.split(' ').next_back());
    assert!(cases.unwrap().parse::<u32>().unwrap() > 500, "{said}");
    home.must(&format!("find --service {}", service.url()));
}
