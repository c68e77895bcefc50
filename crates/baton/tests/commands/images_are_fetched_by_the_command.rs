//! Docker: what is built or pulled is built or pulled by the command line. When it goes away before
//! that has ended, nothing is changed and nothing waits for it. Plain services are started once, and
//! touched again only when that is asked for.

use std::process::{Command, Stdio};

use rustix::process::Signal;
use serde_json::Value;

use crate::kit::{Said, Stage, command, signal, wait_for};

/// A Compose project on the shared Docker Engine; what it made goes with it.
struct Docker {
    stage: Stage,
    app: String,
}

impl Docker {
    fn new(name: &str) -> Docker {
        let docker = Docker {
            stage: Stage::start(),
            app: format!("baton-cli-{name}-{}", std::process::id()),
        };
        let image = testapp::image::ensure_image(&testapp::image::binary());
        let folder = docker.stage.folder();
        // A build that does not end by itself.
        let endless = format!("FROM {image}\nRUN [\"/testapp\", \"worker\"]\n");
        std::fs::write(folder.join("Dockerfile.endless"), endless).unwrap();
        std::fs::write(folder.join("Dockerfile"), format!("FROM {image}\n")).unwrap();
        let file = format!(
            "name: {}
services:
  api:
    build: {{ context: ., dockerfile: \"${{DOCKERFILE:-Dockerfile}}\" }}
    command: [serve]
    environment: {{ VERSION: \"${{VERSION:-one}}\" }}
    depends_on: [side]
    x-baton:
      hosts: [\"*\"]
      port: 8080
      health: {{ path: /healthz, interval: 50ms }}
      keep_warm: 0s
      watch: 0s
  side:
    image: {image}
    command: [worker]
    environment: {{ SIDE: \"${{SIDE:-one}}\" }}
",
            docker.app
        );
        std::fs::write(folder.join("compose.yaml"), file).unwrap();
        docker
    }

    fn deploy(&self, environment: &[(&str, &str)], arguments: &[&str]) -> Command {
        let mut command = command(self.stage.folder());
        command
            .arg("deploy")
            .args(arguments)
            .envs(environment.iter().copied())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped());
        command
    }

    fn side(&self) -> String {
        let filter = format!("name=^{}-side-1$", self.app);
        docker(&["ps", "-q", "--no-trunc", "--filter", &filter])
    }

    fn step(&self) -> Value {
        let apps = self.stage.ok(&["status", "--json"]).result();
        let apps = apps["apps"].as_array().unwrap().clone();
        let app = apps
            .into_iter()
            .find(|app| app["name"] == self.app.as_str());
        app.map_or(Value::Null, |app| app["deploy"]["step"].clone())
    }

    fn failed(&self) -> bool {
        let events = self.stage.ok(&["events", "--json"]).lines();
        events.iter().any(|event| event["kind"] == "deploy_failed")
    }
}

impl Drop for Docker {
    fn drop(&mut self) {
        self.stage.baton(&["cancel", "--app", &self.app]);
        self.stage.baton(&["remove", "--yes", "--app", &self.app]);
        for project in ["", "-blue", "-green"] {
            let label = format!("label=com.docker.compose.project={}{project}", self.app);
            for id in docker(&["ps", "-aq", "--filter", &label]).split_whitespace() {
                docker(&["rm", "-fv", id]);
            }
            for id in docker(&["network", "ls", "-q", "--filter", &label]).split_whitespace() {
                docker(&["network", "rm", id]);
            }
        }
        docker(&["network", "rm", &format!("{}_live", self.app)]);
        docker(&["image", "rm", &format!("{}-api", self.app)]);
        let tagged = format!("baton/{}-api", self.app);
        let list = docker(&[
            "image",
            "ls",
            "--format",
            "{{.Repository}}:{{.Tag}}",
            &tagged,
        ]);
        for image in list.split_whitespace() {
            docker(&["image", "rm", image]);
        }
    }
}

fn docker(arguments: &[&str]) -> String {
    let output = Command::new("docker").args(arguments).output().unwrap();
    String::from_utf8_lossy(&output.stdout).trim().to_owned()
}

#[test]
fn a_build_is_shown_and_plain_services_are_left_alone() {
    let docker = Docker::new("build");
    let first = Said::from(docker.deploy(&[], &[]).output().unwrap());
    assert_eq!(first.code, 0, "{first:?}\n{}", docker.stage.log());
    assert!(
        first
            .out
            .contains("side: not running, started with Compose"),
        "{}",
        first.out
    );
    assert!(first.out.contains("fetch: api: "), "{}", first.out);
    assert_eq!(docker.stage.version(), "one");
    let side = docker.side();
    assert!(!side.is_empty());

    let changed = [("VERSION", "two"), ("SIDE", "two")];
    let second = Said::from(docker.deploy(&changed, &["--json"]).output().unwrap());
    assert_eq!(second.code, 0, "{second:?}");
    assert_eq!(second.result()["event"], "result");
    assert_eq!(docker.stage.version(), "two");
    assert_eq!(docker.side(), side, "it was touched without --with-deps");

    let third = Said::from(docker.deploy(&changed, &["--with-deps"]).output().unwrap());
    assert_eq!(third.code, 0, "{third:?}");
    assert!(
        third.out.contains("side: its part of the file has changed"),
        "{}",
        third.out
    );
    assert_ne!(docker.side(), side);
}

#[test]
fn ctrl_c_and_a_kill_during_the_build_change_nothing() {
    let docker = Docker::new("gone");
    for ends_with in [Signal::INT, Signal::KILL] {
        let endless = [("DOCKERFILE", "Dockerfile.endless")];
        let deploy = docker.deploy(&endless, &[]).spawn().unwrap();
        wait_for("the build", || (docker.step() == "fetch").then_some(()));
        signal(deploy.id(), ends_with);
        let said = Said::from(deploy.wait_with_output().unwrap());
        if ends_with == Signal::INT {
            assert_eq!(said.code, 130, "{said:?}");
            assert!(said.err.contains("nothing of"), "{said:?}");
        }
        wait_for("the deploy to end", || {
            (docker.step() == Value::Null && docker.failed()).then_some(())
        });
    }
    // The lock is free again.
    let deploy = Said::from(docker.deploy(&[], &[]).output().unwrap());
    assert_eq!(deploy.code, 0, "{deploy:?}");
    assert_eq!(docker.stage.version(), "one");
}
