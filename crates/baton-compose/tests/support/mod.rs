//! A folder with a user's files, and what Baton reads from them.
#![allow(dead_code, unreachable_pub, clippy::unwrap_used)]

use std::collections::BTreeMap;
use std::io::Write;
use std::path::Path;
use std::process::{Command, Stdio};

use baton_compose::rendering::{ComposeModel, ProcessModel, Rendering};
use baton_compose::{Color, ComposeError, Project, ReadOptions, Role};

pub struct Folder {
    root: tempfile::TempDir,
    pub options: ReadOptions,
}

impl Folder {
    /// A folder `shop` with these files.
    pub fn new(files: &[(&str, &str)]) -> Folder {
        let root = tempfile::tempdir().unwrap();
        let cwd = root.path().canonicalize().unwrap().join("shop");
        std::fs::create_dir(&cwd).unwrap();
        for (name, content) in files {
            let path = cwd.join(name);
            std::fs::create_dir_all(path.parent().unwrap()).unwrap();
            std::fs::write(path, content).unwrap();
        }
        let keep = ["PATH", "HOME"];
        let environment: BTreeMap<String, String> = std::env::vars()
            .filter(|(name, _)| keep.contains(&name.as_str()))
            .collect();
        Folder {
            root,
            options: ReadOptions {
                cwd,
                environment,
                ..ReadOptions::default()
            },
        }
    }

    pub fn path(&self) -> &Path {
        &self.options.cwd
    }

    pub fn set(mut self, name: &str, value: &str) -> Folder {
        self.options
            .environment
            .insert(name.to_owned(), value.to_owned());
        self
    }

    pub fn read(&self) -> Result<Project, ComposeError> {
        tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build()
            .unwrap()
            .block_on(baton_compose::read(self.options.clone()))
    }

    /// What a user sees, with this machine's paths taken out.
    pub fn error(&self) -> String {
        let error = self.read().expect_err("the files should be refused");
        self.shown(&error.to_string())
    }

    pub fn shown(&self, text: &str) -> String {
        text.replace(&self.path().display().to_string(), "/app/shop")
    }
}

pub fn compose_model(project: &Project, color: Color) -> &ComposeModel {
    compose_model_in(project, color, Role::Live)
}

pub fn compose_model_in(project: &Project, color: Color, role: Role) -> &ComposeModel {
    match rendering(project, color, role) {
        Rendering::Docker(model) => model,
        Rendering::Process(_) => panic!("not a docker app"),
    }
}

pub fn process_model(project: &Project, color: Color) -> &ProcessModel {
    process_model_in(project, color, Role::Live)
}

pub fn process_model_in(project: &Project, color: Color, role: Role) -> &ProcessModel {
    match rendering(project, color, role) {
        Rendering::Process(model) => model,
        Rendering::Docker(_) => panic!("not a process app"),
    }
}

fn rendering(project: &Project, color: Color, role: Role) -> &Rendering {
    project
        .renderings
        .iter()
        .find(|(c, r, _)| (*c, *r) == (color, role))
        .map(|(_, _, rendering)| rendering)
        .unwrap()
}

/// `docker compose -f - config` of a model, in a scrubbed environment: what an engine does.
pub fn config_again(model: &ComposeModel, subcommand: &[&str]) -> Result<String, String> {
    let mut child = Command::new("docker")
        .args(["compose", "-p", &model.project, "-f", "-"])
        .args(["--env-file", "/dev/null", "--project-directory"])
        .arg(&model.directory)
        .args(subcommand)
        .env_clear()
        .env("PATH", std::env::var("PATH").unwrap())
        .env("HOME", std::env::var("HOME").unwrap())
        .envs(&model.environment)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    let mut stdin = child.stdin.take().unwrap();
    stdin.write_all(model.model.to_string().as_bytes()).unwrap();
    drop(stdin);
    let output = child.wait_with_output().unwrap();
    if output.status.success() {
        Ok(String::from_utf8(output.stdout).unwrap())
    } else {
        Err(String::from_utf8(output.stderr).unwrap())
    }
}
