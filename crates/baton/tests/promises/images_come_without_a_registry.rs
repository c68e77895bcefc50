//! `baton load`, a deploy from elsewhere on the Docker engine, and a registry's login that is used for one
//! call and kept nowhere.

use std::io::{Read, Write};
use std::net::TcpListener;
use std::process::{Command, Stdio};

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;

use crate::kit::app::{docker, image};
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

#[test]
fn a_registry_login_is_used_once_and_kept_nowhere() {
    let (machine, host) = machine();
    let token = token(&machine, "deploy");
    // A registry that wants a login, and then has no such image.
    let registry = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = registry.local_addr().unwrap();
    let (heard, logins) = std::sync::mpsc::channel();
    std::thread::spawn(move || {
        for stream in registry.incoming() {
            let Ok(mut stream) = stream else { return };
            let mut head = [0; 8192];
            let count = stream.read(&mut head).unwrap_or(0);
            let head = String::from_utf8_lossy(&head[..count]).to_lowercase();
            let login = head
                .lines()
                .find_map(|line| line.strip_prefix("authorization: basic "));
            let answer = match login {
                Some(_) => "404 Not Found",
                None => "401 Unauthorized\r\nWWW-Authenticate: Basic realm=\"registry\"",
            };
            let said = login.map(str::to_owned);
            let _ = write!(
                stream,
                "HTTP/1.1 {answer}\r\nDocker-Distribution-Api-Version: registry/2.0\r\nContent-Length: 0\r\nConnection: close\r\n\r\n"
            );
            if let Some(said) = said {
                let _ = heard.send(said);
            }
        }
    });
    let secret = "b4ton-registry-passw0rd";
    let mut app = App::new(Engine::Docker, "login");
    app.command_environment("BATON_HOST", &host)
        .command_environment("BATON_TOKEN", &token)
        .command_environment("BATON_REGISTRY_USER", "alice")
        .command_environment("BATON_REGISTRY_PASSWORD", secret);
    let reference = format!("{address}/shop/api:1");
    let ran = machine.baton(&app, &["deploy", "--image", &reference]);
    assert!(!ran.ok(), "{ran}");
    let said = logins
        .recv_timeout(crate::kit::machine::PATIENCE)
        .unwrap_or_else(|error| panic!("nobody logged in ({error}): {ran}\n{}", machine.log()));
    let expected = STANDARD.encode(format!("alice:{secret}"));
    assert_eq!(said, expected.to_lowercase());

    let mut kept = vec![("the log".to_owned(), machine.log().into_bytes())];
    kept.push(("the output".to_owned(), format!("{ran}").into_bytes()));
    for file in std::fs::read_dir(machine.data()).unwrap() {
        let path = file.unwrap().path();
        if path.is_file() {
            kept.push((path.display().to_string(), std::fs::read(&path).unwrap()));
        }
    }
    for (place, bytes) in kept {
        for trace in [secret, &expected] {
            let found = bytes
                .windows(trace.len())
                .any(|part| part == trace.as_bytes());
            assert!(!found, "the password is in {place}");
        }
    }
}
