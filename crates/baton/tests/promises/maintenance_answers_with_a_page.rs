//! `baton maintenance on` answers every new request with a page, through a deploy and a restart of the
//! daemon, until `off`.

use crate::kit::{App, Engine, Machine};

#[test]
fn maintenance_answers_with_the_users_page_until_it_is_off() {
    let mut machine = Machine::start();
    let mut app = App::new(Engine::Process, "maintenance");
    machine.deploy(&app, &[]);

    let page = app.folder().join("soon.html");
    std::fs::write(&page, "<h1>Moving house</h1>").unwrap();
    let page = page.to_string_lossy().into_owned();
    let on = machine.baton(
        &app,
        &["maintenance", "on", "--page", &page, "--retry-after", "90s"],
    );
    assert!(on.ok(), "{on}");
    let closed = |machine: &Machine, when: &str| {
        let (status, head, body) = machine.get("app.test", "/any/path");
        assert_eq!(
            (status, body.as_str()),
            (503, "<h1>Moving house</h1>"),
            "{when}: {head}"
        );
        let head = head.to_lowercase();
        assert!(head.contains("retry-after: 90"), "{when}: {head}");
        assert!(head.contains("text/html"), "{when}: {head}");
    };
    closed(&machine, "at once");
    assert_eq!(machine.app_status(&app)["maintenance"], true);

    app.version("v2");
    machine.deploy(&app, &["--wait", "drained"]);
    closed(&machine, "after a deploy");
    machine.kill();
    machine.up();
    closed(&machine, "after a crash of the daemon");

    let off = machine.baton(&app, &["maintenance", "off"]);
    assert!(off.ok(), "{off}");
    let (status, _, body) = machine.get("app.test", "/");
    assert_eq!(status, 200, "{body}");
    assert!(body.contains("\"version\":\"v2\""), "{body}");
}

#[test]
fn a_page_that_cannot_be_read_is_named() {
    let machine = Machine::start();
    let app = App::new(Engine::Process, "nopage");
    machine.deploy(&app, &[]);
    let said = machine.baton(&app, &["maintenance", "on", "--page", "/no/such.html"]);
    assert_eq!(said.code, 2, "{said}");
    assert!(said.stderr.contains("/no/such.html: cannot read it"), "{said}");
    assert_eq!(machine.get("app.test", "/").0, 200);
}
