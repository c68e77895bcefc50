//! Services without `x-baton` are started by plain Compose in the order of their conditions, with
//! the hash that the reader knew, and never the service that Baton takes live.
#![allow(clippy::unwrap_used)]

mod support;

use std::process::Command;

use baton_compose::Project;
use baton_compose::plain::{PlainCommand, plain_up_commands};
use support::Folder;

/// Runs inside the containers of this test: this very (static) binary is their image.
#[test]
fn inside_a_container() {
    match std::env::var("COMPOSE_TEST_PART").as_deref() {
        // Compose ends it; an hour is only there so that nothing is left for ever.
        Ok("stay") => std::thread::sleep(std::time::Duration::from_secs(3600)),
        Ok(other) => assert_eq!(other, "end well"),
        Err(_) => assert!(std::env::current_exe().is_ok()),
    }
}

/// Removes what the test made, also when it fails.
struct Cleanup {
    project: String,
}

impl Drop for Cleanup {
    fn drop(&mut self) {
        docker(&["compose", "-p", &self.project, "down", "-v", "-t", "0"]);
        docker(&["rmi", "-f", &self.project]);
    }
}

fn docker(arguments: &[&str]) -> String {
    let output = Command::new("docker").args(arguments).output().unwrap();
    String::from_utf8_lossy(&output.stdout).trim().to_owned()
}

fn run(command: &PlainCommand) -> bool {
    let output = Command::new(&command.program)
        .args(&command.arguments)
        .env_clear()
        .envs(&command.environment)
        .current_dir(&command.cwd)
        .output()
        .unwrap();
    eprintln!("{command:?}\n{}", String::from_utf8_lossy(&output.stderr));
    output.status.success()
}

fn build(image: &str) {
    let folder = tempfile::tempdir().unwrap();
    std::fs::copy(std::env::current_exe().unwrap(), folder.path().join("part")).unwrap();
    let dockerfile = "FROM scratch\nCOPY part /part\nENTRYPOINT [\"/part\", \"--exact\", \"inside_a_container\"]\n";
    std::fs::write(folder.path().join("Dockerfile"), dockerfile).unwrap();
    let built = Command::new("docker")
        .args(["build", "-q", "-t", image, "."])
        .env("DOCKER_BUILDKIT", "0")
        .current_dir(folder.path())
        .output()
        .unwrap();
    assert!(
        built.status.success(),
        "{}",
        String::from_utf8_lossy(&built.stderr)
    );
}

fn file(name: &str, level: &str) -> String {
    format!(
        r#"
name: {name}
services:
  api:
    image: {name}
    depends_on: {{ migrate: {{ condition: service_completed_successfully }} }}
    x-baton: {{ hosts: ["*"], port: 80 }}
  front: {{ image: {name}, environment: {{ COMPOSE_TEST_PART: stay }}, depends_on: [migrate, api] }}
  migrate:
    image: {name}
    environment: {{ COMPOSE_TEST_PART: end well }}
    depends_on: {{ db: {{ condition: service_healthy }} }}
  db:
    image: {name}
    env_file: [db.env]
    environment: {{ LEVEL: {level}, COLOR: "${{BATON_COLOR:-none}}" }}
    volumes: ["data:/data"]
    healthcheck: {{ test: [CMD, /part, --list], interval: 1s, timeout: 20s, retries: 30 }}
volumes: {{ data: {{}} }}
"#
    )
}

fn label(project: &str, service: &str, what: &str) -> String {
    let id = docker(&[
        "ps",
        "-aq",
        "--filter",
        &format!("label=com.docker.compose.project={project}"),
        "--filter",
        &format!("label=com.docker.compose.service={service}"),
    ]);
    docker(&["inspect", "--format", what, &id])
}

fn commands(folder: &Folder, project: &Project) -> Vec<PlainCommand> {
    let all: Vec<String> = project
        .plain
        .iter()
        .map(|plain| plain.name.clone())
        .collect();
    plain_up_commands(&folder.options, project, &all)
}

#[test]
fn in_order_and_with_the_hash_that_is_known() {
    let name = format!("bc-plain-{}", std::process::id());
    let cleanup = Cleanup {
        project: name.clone(),
    };
    build(&name);
    let folder = Folder::new(&[
        ("compose.yaml", &file(&name, "info")),
        ("db.env", "COMPOSE_TEST_PART=stay\n"),
    ])
    .set("BATON_COLOR", "green")
    .set("COMPOSE_REMOVE_ORPHANS", "1");
    let project = folder.read().unwrap();
    let order: Vec<&str> = project
        .plain
        .iter()
        .map(|plain| plain.name.as_str())
        .collect();
    assert_eq!(order, ["db", "migrate", "front"]);

    let commands = commands(&folder, &project);
    assert_eq!(commands.len(), 4, "{commands:?}");
    for command in &commands {
        assert!(run(command), "{command:?}");
    }
    let hash = "{{index .Config.Labels \"com.docker.compose.config-hash\"}}";
    for plain in &project.plain {
        let known = plain.config_hash.clone().unwrap();
        assert_eq!(label(&name, &plain.name, hash), known, "{}", plain.name);
    }
    assert_eq!(label(&name, "db", "{{.State.Health.Status}}"), "healthy");
    assert_eq!(
        label(&name, "migrate", "{{.State.Status}} {{.State.ExitCode}}"),
        "exited 0"
    );
    assert_eq!(label(&name, "front", "{{.State.Status}}"), "running");
    assert_eq!(
        docker(&["ps", "-aq", "--filter", &format!("name={name}-api")]),
        ""
    );

    // Once more: nothing that runs is touched.
    let before = label(&name, "db", "{{.Id}} {{.State.StartedAt}}");
    assert!(run(&commands[0]));
    assert_eq!(label(&name, "db", "{{.Id}} {{.State.StartedAt}}"), before);

    // A change of the file is seen in the hash.
    std::fs::write(folder.path().join("compose.yaml"), file(&name, "debug")).unwrap();
    let changed = folder.read().unwrap();
    let hashes = |project: &Project| -> Vec<Option<String>> {
        project
            .plain
            .iter()
            .map(|plain| plain.config_hash.clone())
            .collect()
    };
    let (old, new) = (hashes(&project), hashes(&changed));
    assert_ne!(old[0], new[0]);
    assert_eq!(old[1..], new[1..]);
    drop(cleanup);
}
