//! `baton load`, a deploy from elsewhere on the Docker engine, and a registry's login that is used for one
//! call and kept nowhere.

use std::path::Path;
use std::process::{Command, Stdio};

use crate::kit::app::{docker, image};
use crate::kit::registry::{self, Registry};
use crate::kit::{App, Engine, Machine, Ran};

/// `docker save IMAGE | baton load`.
fn load(machine: &Machine, image: &str, environment: &[(&str, &str)]) -> Ran {
    let mut save = Command::new("docker")
        .args(["save", image])
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let mut command = machine.command(machine.folder(), &["load"]);
    command.envs(environment.iter().copied());
    // What is still in the pipe when nobody reads any more is `docker save`'s to complain about.
    let output = command.stdin(save.stdout.take().unwrap()).output().unwrap();
    save.wait().unwrap();
    Ran::from(output)
}

fn machine() -> (Machine, String) {
    let address = crate::kit::machine::free_port().to_string();
    let machine = Machine::start_with(&["--dashboard", &address], &[]);
    (machine, format!("http://{address}"))
}

fn token(machine: &Machine, scope: &str) -> String {
    let made = machine.run(machine.folder(), &["token", "create", "--scope", scope]);
    assert!(made.ok(), "{made}");
    made.stdout.trim().to_owned()
}

#[test]
fn an_image_is_loaded_and_deployed_from_elsewhere() {
    let (machine, host) = machine();
    let token = token(&machine, "deploy");
    let mut app = App::new(Engine::Docker, "elsewhere");
    let name = format!("{}:1", app.name());
    docker(&["tag", image(), &name]);
    let remote = [
        ("BATON_HOST", host.as_str()),
        ("BATON_TOKEN", token.as_str()),
    ];

    // Through the socket, and through the API; both say the name that `--image` takes.
    for environment in [&[][..], &remote[..]] {
        let loaded = load(&machine, &name, environment);
        assert!(loaded.ok(), "{loaded}\n{}", machine.log());
        assert_eq!(loaded.stdout.trim(), name, "{loaded}");
    }
    app.command_environment("BATON_HOST", &host)
        .command_environment("BATON_TOKEN", &token);
    // A command on another machine has no use for an engine of its own.
    app.command_environment("DOCKER_HOST", "unix:///nowhere.sock");
    let ran = machine.baton(&app, &["deploy", "--image", &name, "--json"]);
    assert!(ran.ok(), "{ran}\n{}", machine.log());
    assert_eq!(ran.result()["ok"], true, "{ran}");
    assert_eq!(machine.answering_release(&app), "r1");

    let nothing = machine.run(machine.folder(), &["load", "/dev/null"]);
    assert_eq!(nothing.code, 1, "{nothing}");
    docker(&["rmi", &name]);
}

/// Everything below the folder.
fn files(folder: &Path) -> Vec<(String, Vec<u8>)> {
    let mut all = Vec::new();
    for entry in std::fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            all.append(&mut files(&path));
        } else if path.is_file() {
            all.push((path.display().to_string(), std::fs::read(&path).unwrap()));
        }
    }
    all
}

#[test]
fn a_registry_login_is_used_once_and_kept_nowhere() {
    let registry = Registry::start();
    let (first, second) = (
        registry.hold("shop/api:1", image()),
        registry.hold("shop/api:2", image()),
    );
    let (machine, host) = machine();
    let token = token(&machine, "deploy");
    let mut app = App::new(Engine::Docker, "login");
    app.command_environment("BATON_HOST", &host)
        .command_environment("BATON_TOKEN", &token)
        .command_environment("BATON_REGISTRY_USER", registry::USER)
        .command_environment("BATON_REGISTRY_PASSWORD", registry::PASSWORD);
    let deploy = |app: &App, reference: &str| {
        let ran = machine.baton(app, &["deploy", "--image", reference]);
        (ran.code, format!("{ran}"))
    };
    let (code, mut said) = deploy(&app, &first);
    assert_eq!(code, 0, "{said}\n{}", machine.log());
    assert_eq!(machine.answering_release(&app), "r1");

    // The next call has to bring it again, and the right one.
    for (user, password) in [("", ""), (registry::USER, "wrong-passw0rd")] {
        app.command_environment("BATON_REGISTRY_USER", user)
            .command_environment("BATON_REGISTRY_PASSWORD", password);
        let (code, refused) = deploy(&app, &second);
        assert_eq!(code, 3, "{refused}");
        assert!(refused.contains(&second), "{refused}");
        let why = match user {
            "" => "wants a login: `docker login 127.0.0.1:",
            _ => "refuses the login of alice",
        };
        assert!(refused.contains(why), "the next step: {refused}");
        assert_eq!(machine.answering_release(&app), "r1");
        said.push_str(&refused);
    }
    app.command_environment("BATON_REGISTRY_USER", registry::USER)
        .command_environment("BATON_REGISTRY_PASSWORD", registry::PASSWORD);
    let (code, output) = deploy(&app, &second);
    assert_eq!(code, 0, "{output}");
    said.push_str(&output);
    assert_eq!(machine.answering_release(&app), "r2");

    let mut kept = files(machine.data());
    kept.push(("the log".to_owned(), machine.log().into_bytes()));
    kept.push(("the output".to_owned(), said.into_bytes()));
    for (place, bytes) in kept {
        for trace in [registry::PASSWORD, &Registry::login()] {
            let found = bytes
                .windows(trace.len())
                .any(|part| part == trace.as_bytes());
            assert!(!found, "the password is in {place}");
        }
    }
    for reference in [first, second] {
        docker(&["rmi", &reference]);
    }
}
