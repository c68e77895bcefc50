//! `redirect_hosts`: `www.` is sent to the apex, whatever the app does.

use crate::kit::{App, Engine, Machine};

#[test]
fn www_is_sent_to_the_first_host() {
    let machine = Machine::start();
    let mut app = App::new(Engine::Process, "redirects");
    app.policy("hosts", "[app.test]")
        .policy("redirect_hosts", "[www.app.test]");
    machine.deploy(&app, &[]);
    let (status, head, _) = machine.get("www.app.test", "/path?query=1");
    assert_eq!(status, 301, "{head}");
    assert!(
        head.to_lowercase()
            .contains("location: http://app.test/path?query=1"),
        "{head}"
    );
    assert_eq!(machine.get("app.test", "/").0, 200);
    // It stands for another also while there is none.
    assert!(machine.baton(&app, &["maintenance", "on"]).ok());
    assert_eq!(machine.get("www.app.test", "/").0, 301);
    assert_eq!(machine.get("app.test", "/").0, 503);
}
