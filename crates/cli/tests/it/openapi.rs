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
    // The same requests every time.
    command.args(["--seed", "1", "--generation-deterministic", "--generation-database", "none"]);
    command.args([
        "--phases",
        "examples,coverage,fuzzing",
        "--max-examples",
        "10",
        "--workers",
        "2",
    ]);
    command.args(["--no-shrink", "--continue-on-failure", "--no-color"]);
    let output = command.current_dir(home.path("")).output().unwrap();
    let said = String::from_utf8_lossy(&output.stdout);
    assert!(output.status.success(), "{said}{}", String::from_utf8_lossy(&output.stderr));
    // It was asked for something, and it still serves.
    assert!(said.contains("/api/v1/statements") || said.contains("operations"), "{said}");
    home.must(&format!("find --service {}", service.url()));
}
