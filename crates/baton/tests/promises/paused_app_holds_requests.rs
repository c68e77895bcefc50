//! `baton pause` holds requests, `baton resume` lets them go on; none fails.

use std::thread;
use std::time::Duration;

use crate::kit::machine::get;
use crate::kit::{App, Engine, Machine};

#[test]
fn paused_app_holds_requests_until_resumed() {
    let machine = Machine::start();
    let mut app = App::new(Engine::Process, "pause");
    app.policy("max_wait", "2s");
    machine.deploy(&app, &[]);
    assert!(machine.baton(&app, &["pause"]).ok());
    let address = machine.http;
    let held = thread::spawn(move || get(address, "app.test", "/").unwrap());
    thread::sleep(Duration::from_millis(700));
    assert!(!held.is_finished(), "the request is held");
    assert_eq!(machine.app_status(&app)["paused"], true);
    assert!(machine.baton(&app, &["resume"]).ok());
    assert_eq!(held.join().unwrap().0, 200);

    // Longer than `max_wait`: an honest 503.
    assert!(machine.baton(&app, &["pause"]).ok());
    let (status, head, _) = machine.get("app.test", "/");
    assert_eq!(status, 503, "{head}");
    assert!(head.to_lowercase().contains("retry-after"), "{head}");
    assert!(machine.baton(&app, &["resume"]).ok());
    assert_eq!(machine.get("app.test", "/").0, 200);
}
