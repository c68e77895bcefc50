//! Docker, its Compose plugin, or a new enough one missing: each has its own words.
#![allow(clippy::unwrap_used)]

mod support;

use std::os::unix::fs::PermissionsExt;

use baton_compose::ComposeError;
use support::Folder;

/// A folder whose `docker` is this shell script.
fn with_docker(script: Option<&str>) -> Folder {
    let mut folder = Folder::new(&[
        (
            "compose.yaml",
            "services: { api: { image: x, x-baton: { hosts: ['*'], port: 80 } } }",
        ),
        ("bin/keep", ""),
    ]);
    let bin = folder.path().join("bin");
    if let Some(script) = script {
        let docker = bin.join("docker");
        std::fs::write(&docker, format!("#!/bin/sh\n{script}\n")).unwrap();
        std::fs::set_permissions(&docker, std::fs::Permissions::from_mode(0o755)).unwrap();
    }
    let path = bin.to_str().unwrap().to_owned();
    folder.options.environment.insert("PATH".to_owned(), path);
    folder
}

#[test]
fn docker_itself() {
    let folder = with_docker(None);
    assert!(matches!(folder.read(), Err(ComposeError::DockerMissing)));
    assert!(
        folder.error().contains("engine: process"),
        "{}",
        folder.error()
    );
}

#[test]
fn the_plugin() {
    let folder = with_docker(Some(
        "echo \"docker: 'compose' is not a docker command.\" >&2; exit 1",
    ));
    assert!(matches!(
        folder.read(),
        Err(ComposeError::ComposeMissing { .. })
    ));
    insta::assert_snapshot!(folder.error(), @r"
    `docker compose` is not there: docker: 'compose' is not a docker command.
      install the Compose plugin, v2.20 or newer (package docker-compose-plugin; https://docs.docker.com/compose/install/linux/); the old `docker-compose` v1 cannot be used
    ");
}

#[test]
fn a_plugin_that_is_too_old() {
    let folder = with_docker(Some("echo v2.19.1"));
    insta::assert_snapshot!(folder.error(), @r"
    docker compose is v2.19.1, and Baton needs v2.20 or newer
      update the package docker-compose-plugin
    ");
}

#[test]
fn output_that_is_no_yaml() {
    let folder = with_docker(Some(
        "case \"$*\" in *version*) echo 2.40.0;; *) echo 'a: [';; esac",
    ));
    assert!(matches!(folder.read(), Err(ComposeError::Output { .. })));
}
