//! The status page in a real Chromium: readable on a phone and on a desk, by day and by night, in English
//! and Korean, while a canary runs; and its buttons act. `BATON_SCREENSHOTS=FOLDER` keeps the pictures.

use std::io::Write;
use std::net::TcpStream;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use serde_json::{Value, json};

use crate::kit::browser::Page;
use crate::kit::machine::{PATIENCE, call, free_port};
use crate::kit::{App, Engine, Machine, wait_for};

/// Text that would act if it were not text.
const HOSTILE: &str = "<img src=x onerror=alert(1)>";

/// Visitors until it is dropped, each time another client, and some that listen to events.
struct Visitors {
    stop: Arc<AtomicBool>,
    _streams: Vec<TcpStream>,
}

impl Visitors {
    fn come(machine: &Machine, app: &App) -> Visitors {
        let stop = Arc::new(AtomicBool::new(false));
        for number in 0..4 {
            let (stop, address) = (Arc::clone(&stop), machine.http);
            let host = app.host().to_owned();
            std::thread::spawn(move || {
                for visit in 0.. {
                    if stop.load(Ordering::Relaxed) {
                        return;
                    }
                    let client = format!("Authorization: Visitor {number}-{visit}\r\n");
                    // One that fails shows in the page, too.
                    let _ = call(address, "GET", &host, "/", &client);
                    std::thread::sleep(Duration::from_millis(20 + 10 * number));
                }
            });
        }
        let listen = |number| {
            let mut stream = TcpStream::connect(machine.http).unwrap();
            write!(
                stream,
                "GET /sse/visitor-{number} HTTP/1.1\r\nHost: {}\r\nAccept: text/event-stream\r\nAuthorization: Visitor {number}\r\n\r\n",
                app.host()
            )
            .unwrap();
            stream
        };
        Visitors {
            stop,
            _streams: (0..12).map(listen).collect(),
        }
    }
}

impl Drop for Visitors {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Relaxed);
    }
}

struct Scene {
    machine: Machine,
    app: App,
    page: Page,
    pictures: PathBuf,
    /// How much of a chart has to be there: more of it where the pictures are kept.
    longest: u64,
}

impl Scene {
    /// With `v1` deployed.
    fn set(app: App) -> Scene {
        let address = free_port();
        let machine = Machine::start_with(&["--dashboard", &address.to_string()], &[]);
        machine.deploy(&app, &[]);
        let kept = std::env::var_os("BATON_SCREENSHOTS").map(PathBuf::from);
        let longest = if kept.is_some() { 280 } else { 60 };
        let pictures = kept.unwrap_or_else(|| machine.folder().to_owned());
        Scene {
            page: Page::on(&format!("http://{address}")),
            pictures,
            longest,
            machine,
            app,
        }
    }

    fn token(&self, scope: &str) -> String {
        let made = self.machine.run(
            self.machine.folder(),
            &["token", "create", "--scope", scope],
        );
        assert!(made.ok(), "{made}");
        made.stdout.trim().to_owned()
    }

    fn open(&mut self, (width, height): (u32, u32), scheme: &str, locale: &str) {
        let how = json!({"width": width, "height": height, "scheme": scheme, "locale": locale});
        self.page.does(&json!(["open", how]));
    }

    fn log_in(&mut self, token: &str) {
        let wrong = self.page.does(&json!(["log_in", token]));
        assert_eq!(wrong, "", "the token is taken");
        self.page.does(&json!(["wait", ".app h2", self.app.name()]));
    }

    fn look(&mut self) -> Value {
        self.page.does(&json!(["look"]))
    }

    /// Waits for the text there.
    fn sees(&mut self, selector: &str, text: &str) {
        self.page.does(&json!(["wait", selector, text]));
    }

    /// Presses a button and says yes.
    fn presses(&mut self, selector: &str, text: &str) -> String {
        self.page.does(&json!(["click", selector, text]));
        let question = self.page.does(&json!(["confirm", "yes"]));
        question.as_str().unwrap().to_owned()
    }

    /// What is seen fits, nothing broke, and nothing but this page was asked.
    fn picture(&mut self, name: &str) -> Value {
        let seen = self.look();
        assert!(
            seen["wide"].as_u64() <= seen["width"].as_u64(),
            "{name} is too wide: {seen:#}"
        );
        assert_eq!(seen["wrong"], json!([]), "{name}");
        assert_eq!((&seen["cookies"], &seen["images"]), (&json!(""), &json!(0)));
        let path = self.pictures.join(format!("{name}.png"));
        self.page.does(&json!(["shot", path]));
        let bytes = std::fs::metadata(&path).unwrap().len();
        assert!(bytes < 200_000, "{name} has {bytes} bytes");
        seen
    }
}

const PHONE: (u32, u32) = (375, 812);
const DESK: (u32, u32) = (1440, 900);

#[test]
fn the_page_is_readable_everywhere_during_a_canary_and_its_buttons_act() {
    let mut app = App::new(Engine::Process, "shop");
    app.policy("keep_warm", "10m")
        .policy(
            "canary",
            "{ steps: [20, 50, 100], hold: 10m, min_requests: 20, gate: manual }",
        )
        .policy("max_wait", "30s")
        .command_environment("GITHUB_ACTOR", "jiwoo");
    let mut scene = Scene::set(app);
    scene.app.version("v2");
    scene.machine.deploy(&scene.app, &[]);
    let (read, deploy) = (scene.token("read"), scene.token("deploy"));
    let _visitors = Visitors::come(&scene.machine, &scene.app);
    scene.app.version("v3");
    let mut command = scene
        .machine
        .app_command(&scene.app, &["deploy", "--strategy", "canary"]);
    let mut canary = command.spawn().unwrap();

    // A token that is none, then one that may only look.
    scene.open(DESK, "light", "en-US");
    let wrong = scene.page.does(&json!(["log_in", "baton_nobody"]));
    assert!(wrong.as_str().unwrap().contains("not known"), "{wrong}");
    scene.open(DESK, "light", "en-US");
    scene.log_in(&read);
    scene.sees(".steps .runs", "Canary");
    let seen = scene.look();
    for button in ["Pause", "Set", "Take back", "Cancel deploy"] {
        let buttons = seen["buttons"].as_array().unwrap();
        assert!(
            !buttons.contains(&json!(button)),
            "{button} with a token to read"
        );
    }

    // Everywhere, with figures in the charts.
    for (size, name) in [(PHONE, "phone"), (DESK, "desk")] {
        for (scheme, locale) in [("light", "en-US"), ("dark", "ko-KR")] {
            scene.open(size, scheme, locale);
            scene.log_in(&deploy);
            let (step, role) = match locale {
                "ko-KR" => ("카나리", "운영 중"),
                _ => ("Canary", "live"),
            };
            scene.sees(".steps .runs", step);
            scene.sees(".chip.live", role);
            scene.sees(
                ".canary .figures",
                if locale == "ko-KR" {
                    "요청"
                } else {
                    "requests"
                },
            );
            wait_for("lines in the charts", PATIENCE, || {
                let lines = scene.look()["lines"].clone();
                let long = lines
                    .as_array()?
                    .iter()
                    .filter(|length| length.as_u64() > Some(scene.longest));
                (long.count() >= 3).then_some(())
            });
            let seen = scene.picture(&format!("{name}-{scheme}"));
            let text = seen["text"].as_str().unwrap();
            assert!(text.contains("20%"), "{text}");
            assert!(text.contains("jiwoo"), "who deployed is shown: {text}");
            assert_eq!(seen["language"], locale[..2]);
            let dark = seen["background"] == "rgb(16, 21, 29)";
            assert_eq!(dark, scheme == "dark", "{seen}");
        }
    }

    // Steered by hand.
    scene.open(DESK, "light", "en-US");
    scene.log_in(&deploy);
    scene.sees(".steps .runs", "Canary");
    scene.sees(".canary button", "Set");
    scene.page.does(&json!(["fill", ".canary input", "35"]));
    let question = scene.presses(".canary button", "Set");
    assert!(question.contains("35%"), "{question}");
    scene.sees(".canary h3", "35%");
    let status = scene.machine.app_status(&scene.app);
    let candidate = ["blue", "green"].map(|color| status["colors"][color]["weight"].clone());
    assert!(candidate.contains(&json!(35)), "{status:#}");
    // No is no.
    scene.page.does(&json!(["click", ".head button", "Pause"]));
    scene.page.does(&json!(["confirm", "no"]));
    assert_eq!(scene.machine.app_status(&scene.app)["paused"], false);
    scene.presses(".head button", "Pause");
    scene.sees(".head .chip", "paused");
    assert_eq!(scene.machine.app_status(&scene.app)["paused"], true);
    scene.presses(".head button", "Resume");
    wait_for("the app to take requests again", PATIENCE, || {
        (scene.machine.app_status(&scene.app)["paused"] == false).then_some(())
    });
    scene.presses(".canary button", "Take back");
    let ended = canary.wait().unwrap();
    assert_eq!(ended.code(), Some(4), "a canary that was taken back");

    // And a rollback by a click: to r1, which was live before.
    wait_for("the canary to be over", PATIENCE, || {
        let status = scene.machine.app_status(&scene.app);
        (status["deploy"].is_null() && status["live"].is_string()).then_some(())
    });
    assert_eq!(scene.machine.answering_release(&scene.app), "r2");
    scene.sees(".head button", "Roll back");
    scene.presses(".head button", "Roll back");
    wait_for("r1 to answer", PATIENCE, || {
        (scene.machine.answering_release(&scene.app) == "r1").then_some(())
    });
    scene.sees(".color .release", "r1");

    // What somebody says of themselves is text, whatever it looks like. The rollback before may still hold
    // the lock for a moment.
    let mut back = scene
        .machine
        .app_command(&scene.app, &["rollback", "--wait-lock", "30s"]);
    let back = back.env("GITHUB_ACTOR", HOSTILE).output().unwrap();
    assert!(back.status.success(), "{back:?}");
    scene.sees(".events li", HOSTILE);
    let seen = scene.look();
    assert_eq!(seen["wrong"], json!([]), "{seen:#}");
    assert_eq!(
        (&seen["title"], &seen["images"]),
        (&json!("Baton"), &json!(0))
    );
}

#[test]
fn a_staged_release_is_promoted_by_a_click() {
    let mut app = App::new(Engine::Process, "staged");
    app.policy(
        "preview",
        "{ hosts: [test.app.test], environment: { DB_URL: db-test } }",
    );
    let mut scene = Scene::set(app);
    let (read, deploy) = (scene.token("read"), scene.token("deploy"));
    scene.app.version("v2");
    let staged = scene.machine.app_command(&scene.app, &["stage"]).output();
    let staged = staged.unwrap();
    assert!(staged.status.success(), "{staged:?}");

    scene.open(PHONE, "light", "en-US");
    scene.log_in(&read);
    scene.sees(".color .release", "r2");
    let buttons = scene.look()["buttons"].clone();
    let promote = json!("Promote preview");
    assert!(!buttons.as_array().unwrap().contains(&promote), "{buttons}");

    scene.open(PHONE, "light", "en-US");
    scene.log_in(&deploy);
    scene.sees(".head button", "Promote preview");
    // No is no.
    scene
        .page
        .does(&json!(["click", ".head button", "Promote preview"]));
    scene.page.does(&json!(["confirm", "no"]));
    assert_eq!(scene.machine.answering_release(&scene.app), "r1");
    let question = scene.presses(".head button", "Promote preview");
    assert!(question.contains("live environment"), "{question}");
    wait_for("the promoted release to answer", PATIENCE, || {
        let (_, _, body) = scene.machine.get(scene.app.host(), "/who?env=DB_URL");
        let who: Value = serde_json::from_str(&body).ok()?;
        (who["version"] == "v2").then_some(who)
    });
    let (_, _, body) = scene.machine.get(scene.app.host(), "/who?env=DB_URL");
    assert!(
        !body.contains("db-test"),
        "with the live environment: {body}"
    );
    wait_for("the page to say so", PATIENCE, || {
        let buttons = scene.look()["buttons"].clone();
        (!buttons.as_array()?.contains(&promote)).then_some(())
    });
    scene.sees(".events li", "is live");
    assert_eq!(scene.look()["wrong"], json!([]));
}
