//! Several apps at once; two cannot claim one host.

use crate::kit::{App, Engine, Machine};

#[test]
fn two_apps_serve_their_own_hosts_and_paths() {
    let machine = Machine::start();
    let mut first = App::new(Engine::Process, "first");
    first.policy("hosts", "[a.test]").version("first");
    let mut second = App::new(Engine::Process, "second");
    second.policy("hosts", "[\"*.b.test\"]").version("second");
    let mut third = App::new(Engine::Process, "third");
    third
        .policy("hosts", "[a.test]")
        .policy("path", "/third")
        .policy("strip_path", "true")
        .version("third");
    for app in [&first, &second, &third] {
        machine.deploy(app, &[]);
    }
    let version = |host: &str, path: &str| {
        let (status, _, body) = machine.get(host, path);
        let json: serde_json::Value = serde_json::from_str(&body).unwrap_or_default();
        (
            status,
            json["version"].as_str().unwrap_or_default().to_owned(),
        )
    };
    assert_eq!(version("a.test", "/"), (200, "first".to_owned()));
    assert_eq!(version("x.b.test", "/"), (200, "second".to_owned()));
    assert_eq!(version("A.TEST:80", "/third/"), (200, "third".to_owned()));
    assert_eq!(version("nobody.test", "/").0, 404);
    assert_eq!(machine.status()["apps"].as_array().unwrap().len(), 3);
}

#[test]
fn two_apps_cannot_claim_one_host() {
    let machine = Machine::start();
    let mut first = App::new(Engine::Process, "owner");
    first.policy("hosts", "[a.test]");
    machine.deploy(&first, &[]);
    let mut second = App::new(Engine::Process, "thief");
    second.policy("hosts", "[a.test]");
    let ran = machine.baton(&second, &["deploy", "--json"]);
    assert_eq!(ran.code, 6, "{ran}");
    let message = ran.message();
    assert!(
        message.contains("a.test") && message.contains(first.name()),
        "{message}"
    );
    let (status, _, _) = machine.get("a.test", "/");
    assert_eq!(status, 200);
}
