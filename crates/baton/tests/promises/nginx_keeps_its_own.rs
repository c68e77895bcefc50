//! `--router nginx`, when something is wrong: what nginx followed before is put back, it serves all the
//! while, and what it cannot do is refused by name.

use crate::kit::machine::PATIENCE;
use crate::kit::nginx::{Askers, Keeping, Nginx, upstream};
use crate::kit::{App, Engine, Machine, wait_for};

/// Nothing of a trial is left beside the include.
fn assert_alone(nginx: &Nginx) {
    let folder = nginx.include();
    let folder = folder.parent().unwrap();
    let hidden: Vec<_> = std::fs::read_dir(folder)
        .unwrap()
        .map(|entry| entry.unwrap().file_name().into_string().unwrap())
        .filter(|name| name.starts_with('.'))
        .collect();
    assert_eq!(hidden, Vec::<String>::new());
}

#[test]
fn broken_include_is_never_left_behind() {
    let nginx = Nginx::start();
    let mut app = App::new(Engine::Process, "ngxbroken");
    let machine = nginx.serving(&app);
    let askers = Askers::start(nginx.address, Keeping::Fresh, 4);
    let before = nginx.included();

    // Somebody has an upstream of the name that this release asks for.
    let clash = format!(
        "upstream {}_preview {{ server 127.0.0.1:1; }}\n",
        upstream(&app)
    );
    nginx.write("clash.conf", &clash);
    app.version("v2")
        .policy("preview", "{ hosts: [preview.test], share: true }");
    let failed = machine.baton(&app, &["deploy", "--json"]);
    assert_eq!(failed.code, 3, "{failed}\n{}", machine.log());
    assert!(failed.message().contains("duplicate upstream"), "{failed}");
    assert_eq!(nginx.included(), before, "the file is what it was");
    assert_alone(&nginx);
    assert_eq!(nginx.release("app.test"), "r1");
    nginx.remove("clash.conf");

    // Somebody's file is broken already: said before anything is started.
    nginx.write("broken.conf", "nonsense;\n");
    let refused = machine.baton(&app, &["deploy", "--json"]);
    assert_eq!(refused.code, 6, "{refused}\n{}", machine.log());
    assert!(refused.message().contains("nonsense"), "{refused}");
    assert_eq!(nginx.included(), before);
    nginx.remove("broken.conf");

    let done = machine.deploy(&app, &[]);
    assert_eq!(nginx.release("app.test"), done["release"]);
    let (_, failed, _, first) = askers.stop();
    assert_eq!(failed, 0, "{first:?}\n{}", nginx.error_log());
}

#[test]
fn nginx_that_is_down_is_waited_for_and_named() {
    let mut nginx = Nginx::new();
    let app = App::new(Engine::Process, "ngxdown");
    let machine = Machine::start_with_nginx(&nginx, &[]);
    let refused = machine.baton(&app, &["deploy", "--json"]);
    assert_eq!(refused.code, 6, "{refused}");
    assert!(
        refused.message().contains("cannot be reloaded"),
        "{refused}"
    );
    nginx.up();
    wait_for("Baton to see that nginx runs", PATIENCE, || {
        nginx.included().contains("server {").then_some(())
    });
    machine.deploy(&app, &[]);
    nginx.site(&upstream(&app));
    assert_eq!(nginx.release("app.test"), "r1");
}

#[test]
fn reload_that_reaches_nobody_is_seen() {
    let nginx = Nginx::start();
    let app = App::new(Engine::Process, "ngxdeaf");
    let machine = Machine::start_with_nginx(&nginx, &[("BATON_NGINX_RELOAD", "true")]);
    let refused = machine.baton(&app, &["deploy", "--json"]);
    assert_eq!(refused.code, 6, "{refused}");
    assert!(refused.message().contains("did not follow"), "{refused}");
    assert_alone(&nginx);
}

#[test]
fn daemon_killed_while_it_writes_leaves_what_was() {
    let nginx = Nginx::start();
    let mut app = App::new(Engine::Process, "ngxkill");
    let mut machine = nginx.serving(&app);
    let askers = Askers::start(nginx.address, Keeping::Fresh, 4);
    for place in ["nginx:written", "nginx:reloaded", "switch:prepared"] {
        machine.stop();
        let fault = format!("kill:{place}");
        machine.set_environment(&[("BATON_FAULT", &fault)]);
        machine.up();
        app.version(place);
        let mut deploy = machine
            .app_command(&app, &["deploy", "--json"])
            .spawn()
            .unwrap();
        machine.wait_until_down();
        machine.set_environment(&[]);
        machine.up();
        let _ = deploy.wait();
        assert_eq!(
            nginx.release("app.test"),
            "r1",
            "{place}: {}",
            machine.log()
        );
        assert_eq!(machine.live(&app), "blue", "{place}");
        assert!(
            nginx.included().contains("# blue r1"),
            "{}",
            nginx.included()
        );
        assert_alone(&nginx);
    }
    app.version("v9");
    let done = machine.deploy(&app, &[]);
    assert_eq!(nginx.release("app.test"), done["release"]);
    let (requests, failed, _, first) = askers.stop();
    println!("3 kills around the write: {requests} requests, {failed} failed");
    assert_eq!(failed, 0, "{first:?}\n{}", nginx.error_log());
}

#[test]
fn what_nginx_cannot_do_is_refused_by_name() {
    let nginx = Nginx::start();
    let machine = Machine::start_with_nginx(&nginx, &[]);
    let refused = [
        (
            "basic_auth",
            "{ alice: \"$$2y$$05$$N9qo8uLOickgx2ZMRZoMyeIjZAgcfl7p92ldGxad68LJZdL17lhWy\" }",
            "auth_basic",
        ),
        ("allow", "[10.0.0.0/8]", "deny all"),
        ("sessions", "{ cookie: SID, keep: 30m }", "sessions"),
        ("redirect_hosts", "[www.app.test]", "return 301"),
        ("limits", "{ body: 1MiB }", "client_max_body_size"),
        ("sse", "[{ path: \"/sse/**\", mode: union }]", "mode: drain"),
    ];
    let mut app = App::new(Engine::Process, "ngxcannot");
    app.policy("hosts", "[app.test]");
    for (key, value, next) in refused {
        let mut app = App::new(Engine::Process, "ngxcannot");
        app.policy("hosts", "[app.test]").policy(key, value);
        let ran = machine.baton(&app, &["deploy", "--json"]);
        assert_eq!(ran.code, 6, "{key}: {ran}");
        let said = ran.message();
        assert!(said.contains(key) && said.contains(next), "{key}: {said}");
    }
    machine.deploy(&app, &[]);
    app.version("v2");
    for arguments in [
        &["deploy", "--strategy", "canary", "--json"][..],
        &["pause", "--json"],
        &["maintenance", "on", "--json"],
    ] {
        let ran = machine.baton(&app, arguments);
        assert!(matches!(ran.code, 2 | 6), "{arguments:?}: {ran}");
        assert!(
            ran.message().contains("--router nginx"),
            "{arguments:?}: {ran}"
        );
    }
}
