//! Images of old releases do not fill the disk, and what Baton named goes with the app.

use crate::kit::app::docker;
use crate::kit::{App, Engine, Machine};

/// An image of its own for a release: the test app's with another variable.
fn build(app: &App, number: u64) -> String {
    let name = format!("{}:{number}", app.name());
    let made = docker(&["create", crate::kit::app::image(), "serve"]);
    let change = format!("ENV NUMBER={number}");
    docker(&["commit", "--change", &change, &made, &name]);
    docker(&["rm", &made]);
    name
}

fn tags(app: &App) -> Vec<String> {
    let filter = format!("reference=baton/{}-api", app.name());
    let listed = docker(&["image", "ls", "--format", "{{.Tag}}", "--filter", &filter]);
    let mut tags: Vec<String> = listed.lines().map(str::to_owned).collect();
    tags.sort();
    tags
}

#[test]
fn images_beyond_the_last_five_releases_go_and_all_names_with_the_app() {
    let machine = Machine::start();
    let app = App::new(Engine::Docker, "prune");
    for number in 1..=7 {
        let image = build(&app, number);
        machine.deploy(&app, &["--image", &image, "--wait", "drained"]);
        // Its name is gone, as after the next build: only Baton's keeps the image.
        docker(&["rmi", &image]);
    }
    assert_eq!(tags(&app), ["r3", "r4", "r5", "r6", "r7"]);

    // What is kept can be gone back to, what is not is refused by name.
    let back = machine.baton(&app, &["rollback", "r3", "--json", "--wait", "drained"]);
    assert_eq!(back.code, 0, "{back}");
    assert_eq!(machine.answering_release(&app), "r3");
    let gone = machine.baton(&app, &["rollback", "r1", "--json"]);
    assert_eq!(gone.code, 6, "{gone}");
    assert_eq!(machine.answering_release(&app), "r3");

    // The plan says what they take.
    let check = machine.baton(&app, &["deploy", "--json", "--dry-run"]);
    assert_eq!(check.code, 0, "{check}");
    let figures = check.lines()[0]["check"]["figures"].to_string();
    assert!(figures.contains("r3, r4, r5, r6, r7"), "{figures}");

    let removed = machine.baton(&app, &["remove", "--yes", "--json"]);
    assert_eq!(removed.code, 0, "{removed}");
    assert!(tags(&app).is_empty(), "{:?}", tags(&app));
}
