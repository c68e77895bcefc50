//! What a browser sees when Baton has no answer of the app's is the user's page, of the release that is
//! live; a program still gets a line.

use crate::kit::machine::call;
use crate::kit::{App, Engine, Machine};

#[test]
fn a_browser_gets_the_users_page_and_a_program_a_line() {
    let machine = Machine::start();
    let mut app = App::new(Engine::Process, "errorpage");
    app.policy("max_wait", "300ms");
    app.policy("error_page", "sorry.html");
    let page = app.folder().join("sorry.html");
    std::fs::write(&page, "<h1>Sorry ({status})</h1><p>{message}</p>").unwrap();
    machine.deploy(&app, &[]);
    // The release has it.
    std::fs::remove_file(&page).unwrap();

    let paused = machine.baton(&app, &["pause"]);
    assert!(paused.ok(), "{paused}");
    let browser = call(
        machine.http,
        "GET",
        app.host(),
        "/",
        "Accept: text/html,*/*;q=0.8\r\n",
    )
    .unwrap();
    assert_eq!(browser.0, 503, "{browser:?}");
    assert!(
        browser.1.to_lowercase().contains("text/html"),
        "{browser:?}"
    );
    let name = app.name();
    assert_eq!(
        browser.2,
        format!("<h1>Sorry (503)</h1><p>{name} is paused; please try again.</p>")
    );
    let program = machine.get("app.test", "/");
    assert_eq!(
        (program.0, program.2.as_str()),
        (
            503,
            format!("503 Service Unavailable: {name} is paused; please try again.\n").as_str()
        )
    );
    let resumed = machine.baton(&app, &["resume"]);
    assert!(resumed.ok(), "{resumed}");
    assert_eq!(machine.get("app.test", "/").0, 200);
}
