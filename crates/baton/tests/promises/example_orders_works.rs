//! `examples/orders`, as its README says: streams and orders go on through its deploys, with Docker
//! and with processes.

use std::path::Path;
use std::time::Duration;

use testapp::load::Kind;

use crate::kit::app::docker;
use crate::kit::crowd::{Crowd, CrowdPlan};
use crate::kit::machine::testapp;
use crate::kit::redis::{self, Redis};
use crate::kit::{App, Engine, Machine};

/// A file of the example, under a name of the test's own (other tests and users share the machine).
fn example(app: &App, file: &str) -> String {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../examples/orders");
    let text = std::fs::read_to_string(folder.join(file)).unwrap();
    text.replace("name: orders\n", &format!("name: {}\n", app.name()))
        .replace("image: orders-api:", &format!("image: {}:", app.name()))
}

fn deploys(machine: &Machine, app: &mut App) {
    app.command_environment("VERSION", "1");
    machine.deploy(app, &[]);
    let crowd = Crowd::start(
        machine,
        app,
        CrowdPlan {
            http1: 5,
            http2: 5,
            tls: None,
            kinds: vec![Kind::Order],
            posters: 2,
            pause: Duration::from_millis(100),
        },
    );
    for version in ["2", "3"] {
        app.command_environment("VERSION", version);
        machine.deploy(app, &[]);
    }
    let (status, _, page) = machine.get(app.host(), "/page");
    assert!(status == 200 && page.contains("EventSource"), "{page}");
    let account = crowd.finish();
    println!("{:?}: {}", app.engine(), account.summary());
    account.nothing_is_lost();
    account.nobody_was_disconnected();
    account.colors_kept_apart();
    assert!(account.releases().len() >= 2, "{:?}", account.releases());

    app.command_environment("VERSION", "4");
    let staged = machine.baton(app, &["stage", "--json"]);
    assert_eq!(staged.code, 0, "{staged}");
    let (status, head, _) = machine.get("test.localhost", "/");
    assert_eq!(status, 200, "{head}");
    assert!(head.to_lowercase().contains("x-version: 4"), "{head}");
}

#[test]
fn example_orders_works_with_docker() {
    let (machine, image) = (Machine::start(), redis::image());
    let mut app = App::new(Engine::Docker, "orders");
    app.write_file("compose.yaml", &example(&app, "compose.yaml"));
    app.write_file("Dockerfile", &example(&app, "Dockerfile"));
    std::fs::copy(testapp(), app.folder().join("testapp")).unwrap();
    app.command_environment("REDIS_IMAGE", &image);
    deploys(&machine, &mut app);
    let name = app.name().to_owned();
    drop(machine);
    let ours = docker(&["images", "--quiet", &name]);
    for image in ours.split_whitespace().chain([image.as_str()]) {
        docker(&["rmi", "--force", image]);
    }
}

#[test]
fn example_orders_works_with_processes() {
    let (machine, redis) = (Machine::start(), Redis::start());
    let mut app = App::new(Engine::Process, "orders");
    app.write_file("compose.yaml", &example(&app, "compose.process.yaml"));
    std::fs::copy(testapp(), app.folder().join("testapp")).unwrap();
    app.command_environment("REDIS_URL", &redis.url());
    deploys(&machine, &mut app);
}
