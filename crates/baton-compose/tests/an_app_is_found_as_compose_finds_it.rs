//! Files and the app's name are found by Compose's own rules; Compose is asked for its opinion.
#![allow(clippy::unwrap_used)]

mod support;

use std::process::Command;

use baton_compose::{ReadOptions, find_app};
use support::Folder;

const ONE: &str = "services: { api: { image: x } }";

/// The name that Compose gives the same folder.
fn composes_name(options: &ReadOptions) -> String {
    let mut command = Command::new("docker");
    command.arg("compose");
    for file in &options.files {
        command.arg("-f").arg(file);
    }
    if let Some(name) = &options.project_name {
        command.arg("-p").arg(name);
    }
    if let Some(directory) = &options.project_directory {
        command.arg("--project-directory").arg(directory);
    }
    let output = command
        .args(["config", "--format", "json"])
        .current_dir(&options.cwd)
        .env_clear()
        .envs(&options.environment)
        .output()
        .unwrap();
    assert!(
        output.status.success(),
        "{}",
        String::from_utf8_lossy(&output.stderr)
    );
    let model: serde_json::Value = serde_json::from_slice(&output.stdout).unwrap();
    model["name"].as_str().unwrap().to_owned()
}

fn same(folder: &Folder, name: &str) {
    assert_eq!(find_app(&folder.options).unwrap().as_str(), name);
    assert_eq!(composes_name(&folder.options), name);
}

#[test]
fn the_folder_names_it() {
    same(&Folder::new(&[("docker-compose.yml", ONE)]), "shop");
}

#[test]
fn a_folder_name_is_made_valid() {
    let mut folder = Folder::new(&[("_My.Shop 2/compose.yml", ONE)]);
    folder.options.cwd = folder.path().join("_My.Shop 2");
    same(&folder, "myshop2");
}

#[test]
fn name_is_stronger_than_the_folder_and_is_interpolated() {
    let file = format!("name: \"${{N:-given}}\"\n{ONE}");
    same(&Folder::new(&[("compose.yaml", &file)]), "given");
    same(
        &Folder::new(&[("compose.yaml", &file), (".env", "N=dotenv")]),
        "dotenv",
    );
}

#[test]
fn the_environment_is_stronger_than_name() {
    let file = format!("name: given\n{ONE}");
    let folder = Folder::new(&[
        ("compose.yaml", &file),
        (".env", "COMPOSE_PROJECT_NAME=dotenv"),
    ]);
    same(&folder, "dotenv");
    let folder = folder.set("COMPOSE_PROJECT_NAME", "outer");
    same(&folder, "outer");
}

#[test]
fn the_command_line_is_strongest() {
    let mut folder = Folder::new(&[("compose.yaml", ONE)]).set("COMPOSE_PROJECT_NAME", "outer");
    folder.options.project_name = Some("typed".to_owned());
    same(&folder, "typed");
    folder.options.project_name = Some("Not Valid".to_owned());
    let error = find_app(&folder.options).unwrap_err().to_string();
    assert!(
        error.contains("\"Not Valid\" cannot name an app"),
        "{error}"
    );
}

#[test]
fn a_parent_folder_is_searched_and_the_override_counts() {
    let mut folder = Folder::new(&[
        ("compose.yaml", ONE),
        ("compose.override.yaml", "name: over"),
        ("a/b/c", ""),
    ]);
    folder.options.cwd = folder.path().join("a/b");
    same(&folder, "over");
}

#[test]
fn compose_file_of_the_environment_and_of_dotenv() {
    let files = [
        ("one.yaml", ONE),
        ("two.yaml", "name: second"),
        (".env", "COMPOSE_FILE=one.yaml:two.yaml"),
    ];
    same(&Folder::new(&files), "second");
    same(&Folder::new(&files).set("COMPOSE_FILE", "one.yaml"), "shop");
}

#[test]
fn a_project_directory_and_a_file_elsewhere() {
    let mut folder = Folder::new(&[
        ("deploy/compose.yaml", ONE),
        ("deploy/.env", "X=1"),
        ("other/x", ""),
    ]);
    folder.options.files = vec!["deploy/compose.yaml".into()];
    same(&folder, "deploy");
    folder.options.project_directory = Some("other".into());
    same(&folder, "other");
}

#[test]
fn composes_own_tags_do_not_hide_the_name() {
    let folder = Folder::new(&[
        (
            "compose.yaml",
            "name: tagged\nservices: { api: { image: x, ports: ['80:80'] } }",
        ),
        (
            "compose.override.yaml",
            "services: { api: { ports: !reset [], image: !override y } }",
        ),
    ]);
    same(&folder, "tagged");
}

#[test]
fn a_broken_file_is_never_taken_for_another_app() {
    let folder = Folder::new(&[("compose.yaml", "name: real\nservices: [\n")]);
    let error = find_app(&folder.options).unwrap_err().to_string();
    assert!(
        error.starts_with("compose.yaml: docker compose says: "),
        "{error}"
    );
}

#[test]
fn what_is_not_there_is_said() {
    let mut folder = Folder::new(&[]);
    let error = folder.error();
    assert!(
        error.starts_with("no compose file: looked for compose.yaml"),
        "{error}"
    );
    assert!(error.contains("/app/shop and its parents"), "{error}");
    folder.options.files = vec!["gone.yaml".into()];
    assert_eq!(
        folder.error(),
        "gone.yaml: cannot read it: No such file or directory (os error 2)"
    );
}
