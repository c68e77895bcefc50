//! A compose file as people have them is deployed unchanged but for `x-baton`, and Compose still
//! reads it.

use std::process::Command;

use crate::kit::machine::PATIENCE;
use crate::kit::{App, Engine, Machine, Ran, wait_for};

fn rich_file(app: &App, version: &str) -> String {
    let image = crate::kit::app::image();
    let name = app.name();
    format!(
        r#"
name: {name}
services:
  api:
    image: ${{IMAGE:-{image}}}
    container_name: {name}_api
    command: [serve]
    ports: ["127.0.0.1:0:8080"]
    depends_on:
      store: {{ condition: service_started }}
    env_file: [app.env]
    environment:
      VERSION: {version}
      COLOR_IN_FILE: "api-${{BATON_COLOR:-blue}}"
      PRICE: "5$$"
    volumes:
      - data:/data
      - /scratch
      - ./conf:/conf:ro
    healthcheck:
      test: [CMD, /testapp, healthcheck, "http://127.0.0.1:8080/healthz"]
      interval: 30s
    networks: [inner, outer]
    restart: unless-stopped
    x-baton:
      hosts: [app.test]
      port: 8080
      keep_warm: 0s
      watch: 0s
  store:
    image: {image}
    command: [worker]
    networks: [inner]
  tools:
    image: {image}
    profiles: [debug]
    networks: [inner]
networks:
  inner: {{}}
  outer:
    external: true
    name: {name}_outer
volumes:
  data: {{}}
"#
    )
}

#[test]
fn existing_compose_file_is_deployed_unchanged() {
    let machine = Machine::start();
    let app = App::new(Engine::Docker, "rich");
    std::fs::create_dir(app.folder().join("conf")).unwrap();
    app.write_file("app.env", "FROM_FILE=yes\n");
    for version in ["v1", "v2", "v3"] {
        app.write_file("compose.yaml", &rich_file(&app, version));
        machine.deploy(&app, &[]);
        let (_, _, body) = machine.get("app.test", "/");
        assert!(
            body.contains(&format!("\"version\":\"{version}\"")),
            "{body}"
        );
        let value = |name: &str| machine.get("app.test", &format!("/env?name={name}")).2;
        assert_eq!(value("FROM_FILE"), "yes");
        assert_eq!(value("PRICE"), "5$");
        assert_eq!(
            value("COLOR_IN_FILE"),
            format!("api-{}", machine.live(&app))
        );
    }

    // The plain service was started once and left alone; the one of a profile was not.
    let label = format!("label=com.docker.compose.project={}", app.name());
    let plain = crate::kit::app::docker(&["ps", "--filter", &label, "--format", "{{.Names}}"]);
    assert_eq!(plain, format!("{}-store-1", app.name()), "{plain}");

    // Only one color is left, and no anonymous volume of the others.
    wait_for("the old color to be empty", PATIENCE, || {
        let ours = crate::kit::app::docker(&[
            "ps",
            "-aq",
            "--filter",
            &format!("label=baton.app={}", app.name()),
        ]);
        (ours.split_whitespace().count() == 1).then_some(())
    });

    let compose = Command::new("docker")
        .args(["compose", "config", "-q"])
        .current_dir(app.folder())
        .output()
        .unwrap();
    assert!(
        Ran::from(compose).ok(),
        "docker compose still reads the file"
    );

    // And the check says what Baton changes for its own copy.
    let check = machine.baton(&app, &["check"]);
    assert_eq!(check.code, 0, "{check}");
    for key in [
        "services.api.container_name",
        "services.api.ports",
        "services.api.volumes",
    ] {
        assert!(
            check.stdout.contains(key),
            "{key} is not in the plan:\n{check}"
        );
    }
    crate::kit::app::docker(&["network", "rm", &format!("{}_outer", app.name())]);
}
