//! `baton init` writes what the compose file shows, and what it writes is understood.

use crate::kit::Stage;

const PLAIN: &str = "\
name: shop

services:
  # what we sell with
  api:
    image: registry.example/shop/api:${TAG:-latest}
    ports: [\"8080:8080\"]
    environment:
      SPRING_REDIS: redis
    depends_on: [redis]

  redis:
    image: redis:7
    ports: [\"6379:6379\"]
";

#[test]
fn the_app_gets_its_section_and_check_understands_it() {
    let stage = Stage::bare();
    let file = stage.folder().join("compose.yaml");
    std::fs::write(&file, PLAIN).unwrap();
    let shown = stage.ok(&["init", "--print", "--host", "api.example.com"]);
    assert!(
        shown.out.contains("+   hosts: [api.example.com]"),
        "{shown:?}"
    );
    assert_eq!(
        std::fs::read_to_string(&file).unwrap(),
        PLAIN,
        "--print changes nothing"
    );

    let said = stage.ok(&["init", "--host", "api.example.com", "--health", "/healthz"]);
    assert!(said.out.contains("services.api has"), "{said:?}");
    let written = std::fs::read_to_string(&file).unwrap();
    let expected = PLAIN.replace(
        "    depends_on: [redis]\n",
        "    depends_on: [redis]\n    x-baton:\n      hosts: [api.example.com]\n      health: { path: /healthz }\n",
    );
    assert_eq!(written, expected);

    let again = stage.baton(&["init"]);
    assert_eq!(again.code, 2, "{again:?}");
    assert!(again.err.contains("has an `x-baton` already"), "{again:?}");
}

#[test]
fn a_file_that_cannot_be_changed_safely_is_left_alone() {
    let stage = Stage::bare();
    let file = stage.folder().join("compose.yaml");
    let flow = "services: { api: { image: a, expose: [80] } }\n";
    std::fs::write(&file, flow).unwrap();
    let said = stage.baton(&["init"]);
    assert_eq!(said.code, 2, "{said:?}");
    assert!(said.err.contains("add this to it by hand"), "{said:?}");
    assert!(said.err.contains("hosts: [\"*\"]"), "{said:?}");
    assert_eq!(std::fs::read_to_string(&file).unwrap(), flow);
}
