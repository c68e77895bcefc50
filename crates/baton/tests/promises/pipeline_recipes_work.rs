//! The recipes of `docs/ci.md`, as they stand there: their YAML is read as GitHub Actions and GitLab read it, and
//! their shell lines run on a machine that has what a pipeline has: a checkout, an engine that builds, secrets,
//! and the pipeline's variables. Names that only one may have on a machine are exchanged. `ssh` is stood in for by
//! a script that runs the command as sshd does: by a shell of the server, with the server's environment.

use std::os::unix::fs::{PermissionsExt, symlink};
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use serde_json::{Map, Value};
use tempfile::TempDir;

use crate::kit::Machine;
use crate::kit::app::{docker, image, remove_from_docker};
use crate::kit::machine::{baton, free_port};
use crate::kit::receiver::Receiver;
use crate::kit::registry::{PASSWORD, Registry, USER};
use crate::kit::tls::certificate;

const PAGE: &str = include_str!("../../../../docs/ci.md");
const HOST: &str = "shop.test";

/// The recipe below these headings.
fn recipe(way: &str, pipeline: &str) -> Value {
    let section = PAGE.split("\n## ").find(|text| text.starts_with(way));
    let after = section.unwrap().split(&format!("\n{pipeline}:\n")).nth(1);
    let yaml = after.unwrap().split("```yaml\n").nth(1).unwrap();
    serde_saphyr::from_str(yaml.split("\n```").next().unwrap()).unwrap()
}

/// A server with a daemon, and a machine beside it on which pipelines run.
struct Scene {
    folder: TempDir,
    machine: Machine,
    registry: Registry,
    team: Receiver,
    app: String,
    token: String,
    page: String,
}

impl Scene {
    fn set(name: &str) -> Scene {
        let folder = TempDir::with_prefix("baton-pipeline-").unwrap();
        let page = free_port();
        let files = certificate(folder.path(), "127.0.0.1");
        std::fs::write(folder.path().join("ca.pem"), &files.authority).unwrap();
        let [cert, key] = [&files.cert, &files.key].map(|path| path.to_str().unwrap());
        let machine = Machine::start_with(
            &[
                "--dashboard",
                &page.to_string(),
                "--dashboard-cert",
                cert,
                "--dashboard-key",
                key,
            ],
            &[],
        );
        let create = ["token", "create", "--scope", "deploy", "--name", "pipeline"];
        let token = machine.run(machine.folder(), &create);
        assert!(token.ok(), "{token}");
        let scene = Scene {
            folder,
            registry: Registry::start(),
            team: Receiver::start(Vec::new()),
            app: format!("{name}-{}", std::process::id()),
            token: token.stdout.trim().to_owned(),
            page: format!("https://{page}"),
            machine,
        };
        scene.make_checkout();
        scene.make_programs();
        scene
    }

    fn at(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    fn make_checkout(&self) {
        for folder in ["checkout/ci", "server", "bin", "server-bin", "home/.docker"] {
            std::fs::create_dir_all(self.at(folder)).unwrap();
        }
        let compose = format!(
            "name: {}\nservices:\n  api:\n    image: none\n    x-baton:\n      hosts: [{HOST}]\n      port: 8080\n      \
             watch: 1s\n      keep_warm: 0s\n      notify: [{{ webhook: \"{}\" }}]\n",
            self.app,
            self.team.url("team")
        );
        std::fs::write(self.at("checkout/compose.yaml"), compose).unwrap();
        symlink(baton(), self.at("checkout/ci/baton")).unwrap();
        symlink(baton(), self.at("server-bin/baton")).unwrap();
        // The Compose plugin may be the user's own.
        if let Some(home) = std::env::var_os("HOME") {
            let plugins = Path::new(&home).join(".docker/cli-plugins");
            symlink(plugins, self.at("home/.docker/cli-plugins")).unwrap();
        }
    }

    /// What a commit of this version is in the checkout.
    fn commit(&self, variables: &str) {
        let file = format!("FROM {}\nENV PORT=8080 {variables}\n", image());
        std::fs::write(self.at("checkout/Dockerfile"), file).unwrap();
    }

    fn make_programs(&self) {
        let ssh = format!(
            "[ \"$1\" = -i ] && [ \"$(stat -c %a \"$2\")\" = 600 ] && grep -q SECRET \"$2\" || exit 255\n\
             grep -q server.example \"$HOME/.ssh/known_hosts\" || exit 255\n\
             [ \"$3\" = deploy@server.example ] || exit 255\n\
             shift 3\n\
             exec env -i HOME={0}/server PATH={0}/server-bin:$PATH DOCKER_CONFIG={0}/home/.docker BATON_SOCKET={1} sh -c \"$*\"",
            self.folder.path().display(),
            self.machine.socket().display()
        );
        // GitLab's image has it from Alpine; here it is the script above.
        for (name, text) in [("ssh", ssh.as_str()), ("apk", "exit 0")] {
            let file = self.at("bin").join(name);
            std::fs::write(&file, format!("#!/bin/sh\n{text}\n")).unwrap();
            std::fs::set_permissions(&file, std::fs::Permissions::from_mode(0o755)).unwrap();
        }
    }

    /// What is said of the world outside, as it is here.
    fn here(&self, text: &str) -> String {
        text.replace("/srv/shop", &self.at("server").display().to_string())
            .replace("shop/api", &format!("{}/api", self.app))
            .replace("registry.example", &self.registry.host())
            .replace("https://baton.example.com:7070", &self.page)
            .replace("https://baton.example.com", &self.page)
    }

    /// Runs a script in the checkout as the pipeline's runner does.
    fn shell(&self, script: &str, variables: &[(String, String)]) -> Output {
        let path = std::env::var("PATH").unwrap_or_default();
        Command::new("bash")
            .args(["-e", "-c", &self.here(script)])
            .current_dir(self.at("checkout"))
            .env("HOME", self.at("home"))
            .env("PATH", format!("{}:{path}", self.at("bin").display()))
            .env("DOCKER_BUILDKIT", "0")
            // The authority of this test's certificate.
            .env("BATON_CA", self.at("ca.pem"))
            .envs(variables.iter().cloned())
            .output()
            .unwrap()
    }

    /// Version that answers.
    fn version(&self) -> String {
        let (status, _, body) = self.machine.get(HOST, "/");
        assert_eq!(status, 200, "{body}");
        let body: Value = serde_json::from_str(&body).unwrap();
        body["version"].as_str().unwrap().to_owned()
    }

    /// A good commit goes live and the team hears whose it is; a broken one fails the job with 3.
    fn try_recipe(&self, run: impl Fn(&Scene, &str) -> Output) {
        self.commit("VERSION=one");
        let good = run(self, "c0ffee1");
        assert_eq!(
            good.status.code(),
            Some(0),
            "{}\n{}",
            said(&good),
            self.machine.log()
        );
        assert_eq!(self.version(), "one");
        let told = self.team.wait(1)[0].json();
        assert_eq!(told["commit"], "c0ffee1", "{told:#}");
        assert_eq!(told["author"], "minji", "{told:#}");
        assert_eq!(
            told["pipeline"], "https://git.example/shop/api/actions/runs/42",
            "{told:#}"
        );

        self.commit("VERSION=two CRASH_AT_START=7");
        let broken = run(self, "c0ffee2");
        assert_eq!(broken.status.code(), Some(3), "{}", said(&broken));
        assert!(said(&broken).contains("exit code 7"), "{}", said(&broken));
        assert_eq!(self.version(), "one", "the old one serves");
        for file in [".ssh/id", ".docker/config.json"] {
            let kept = self.at("server").join(file);
            assert!(!kept.exists(), "{} is on the server", kept.display());
        }
    }
}

impl Drop for Scene {
    fn drop(&mut self) {
        self.machine
            .run(self.folder.path(), &["remove", "--yes", "--app", &self.app]);
        remove_from_docker(&self.app);
        for commit in ["c0ffee1", "c0ffee2"] {
            let name = format!("{}/api:{commit}", self.app);
            docker(&["rmi", "-f", &name, &self.registry.reference(&name)]);
        }
    }
}

fn said(output: &Output) -> String {
    let text = [&output.stdout[..], &output.stderr].concat();
    String::from_utf8_lossy(&text).into_owned()
}

/// `${{ … }}`
fn github(text: &str, commit: &str, scene: &Scene) -> String {
    let mut text = text.to_owned();
    for (name, value) in [
        ("github.sha", commit),
        ("github.repository", "shop/api"),
        ("secrets.DEPLOY_KEY", "A SECRET KEY"),
        (
            "secrets.DEPLOY_KNOWN_HOSTS",
            "server.example ssh-ed25519 AAAA",
        ),
        ("secrets.BATON_TOKEN", &scene.token),
        ("secrets.REGISTRY_USER", USER),
        ("secrets.REGISTRY_PASSWORD", PASSWORD),
    ] {
        text = text.replace(&format!("${{{{ {name} }}}}"), value);
    }
    assert!(!text.contains("${{"), "not known here: {text}");
    text
}

/// One job of GitHub Actions: its steps, each in a shell of its own, until one fails.
fn run_github(scene: &Scene, recipe: &Value, commit: &str) -> Output {
    let job = &recipe["jobs"]["deploy"];
    let mut variables: Vec<(String, String)> = [
        ("GITHUB_SHA", commit),
        ("GITHUB_ACTOR", "minji"),
        ("GITHUB_SERVER_URL", "https://git.example"),
        ("GITHUB_REPOSITORY", "shop/api"),
        ("GITHUB_RUN_ID", "42"),
    ]
    .map(|(name, value)| (name.to_owned(), value.to_owned()))
    .to_vec();
    let mut add = |some: &Value| {
        for (name, value) in some.as_object().unwrap_or(&Map::new()) {
            let value = github(value.as_str().unwrap(), commit, scene);
            variables.push((name.clone(), scene.here(&value)));
        }
        variables.clone()
    };
    add(&job["env"]);
    let mut last = None;
    for step in job["steps"].as_array().unwrap() {
        if let Some(action) = step["uses"].as_str() {
            assert_eq!(
                action, "actions/checkout@v4",
                "the checkout is there already"
            );
            continue;
        }
        let script = github(step["run"].as_str().unwrap(), commit, scene);
        let ran = scene.shell(&script, &add(&step["env"]));
        let failed = !ran.status.success();
        last = Some(ran);
        if failed {
            break;
        }
    }
    last.unwrap()
}

/// One job of GitLab: `before_script` and `script` in one shell, with variables of variables.
fn run_gitlab(scene: &Scene, recipe: &Value, commit: &str) -> Output {
    let job = &recipe["deploy"];
    for (name, text) in [
        ("key", "A SECRET KEY"),
        ("hosts", "server.example ssh-ed25519 AAAA"),
    ] {
        std::fs::write(scene.at(name), text).unwrap();
    }
    let path = |name: &str| scene.at(name).display().to_string();
    let registry = scene.registry.host();
    let mut variables: Vec<(String, String)> = [
        ("CI_COMMIT_SHA", commit.to_owned()),
        ("CI_COMMIT_AUTHOR", "minji <minji@example.com>".to_owned()),
        ("GITLAB_USER_LOGIN", "minji".to_owned()),
        (
            "CI_PIPELINE_URL",
            "https://git.example/shop/api/actions/runs/42".to_owned(),
        ),
        ("CI_REGISTRY", registry.clone()),
        ("CI_REGISTRY_IMAGE", format!("{registry}/{}/api", scene.app)),
        ("CI_REGISTRY_USER", USER.to_owned()),
        ("CI_REGISTRY_PASSWORD", PASSWORD.to_owned()),
        ("DEPLOY_KEY", path("key")),
        ("DEPLOY_KNOWN_HOSTS", path("hosts")),
        ("BATON_TOKEN", scene.token.clone()),
    ]
    .map(|(name, value)| (name.to_owned(), value))
    .to_vec();
    for (name, value) in job["variables"].as_object().unwrap_or(&Map::new()) {
        let mut value = scene.here(value.as_str().unwrap());
        // The longest name first: one may begin as another does.
        let mut known = variables.clone();
        known.sort_by_key(|(name, _)| std::cmp::Reverse(name.len()));
        for (name, inner) in known {
            value = value.replace(&format!("${name}"), &inner);
        }
        variables.push((name.clone(), value));
    }
    let lines = ["before_script", "script"].map(|part| job[part].as_array().cloned());
    let lines: Vec<_> = lines.into_iter().flatten().flatten().collect();
    let lines: Vec<&str> = lines.iter().map(|line| line.as_str().unwrap()).collect();
    // As GitLab's runner sets a shell up.
    scene.shell(
        &format!("set -o pipefail\n{}", lines.join("\n")),
        &variables,
    )
}

#[test]
fn github_actions_by_ssh() {
    let recipe = recipe("By SSH", "GitHub Actions");
    Scene::set("gh-ssh").try_recipe(|scene, commit| run_github(scene, &recipe, commit));
}

#[test]
fn gitlab_by_ssh() {
    let recipe = recipe("By SSH", "GitLab");
    Scene::set("gl-ssh").try_recipe(|scene, commit| run_gitlab(scene, &recipe, commit));
}

#[test]
fn github_actions_by_api() {
    let recipe = recipe("By API", "GitHub Actions");
    Scene::set("gh-api").try_recipe(|scene, commit| run_github(scene, &recipe, commit));
}

#[test]
fn gitlab_by_api() {
    let recipe = recipe("By API", "GitLab");
    Scene::set("gl-api").try_recipe(|scene, commit| run_gitlab(scene, &recipe, commit));
}
