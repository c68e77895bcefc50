//! Sessions in the app's memory live through a deploy: their clients stay on their release until they
//! have been idle, new clients get the new one, and then the old color retires. A restart of the daemon
//! in the middle of that parts nobody from theirs. Who has such sessions and does not say so is warned.

use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use crate::kit::machine::{PATIENCE, call};
use crate::kit::{App, Engine, Machine, Ran, wait_for};

const CLIENTS: usize = 100;
/// Each asks so often.
const PAUSE: Duration = Duration::from_millis(400);
/// Each asks for so long after the switch: longer than `keep`, so that only its requests keep it.
const BUSY: Duration = Duration::from_secs(5);

/// Logs in; the cookie.
fn login(machine: &Machine, app: &App, user: &str) -> String {
    let path = format!("/login?user={user}");
    let (status, head, body) = call(machine.http, "POST", app.host(), &path, "").unwrap();
    assert_eq!(status, 200, "{body}");
    let cookie = head
        .lines()
        .find_map(|line| line.strip_prefix("set-cookie: JSESSIONID="))
        .unwrap_or_else(|| panic!("no session: {head}"));
    cookie.split(';').next().unwrap().to_owned()
}

/// `GET /me` with a session: who the app says that it is, and the release that said so.
fn me(http: std::net::SocketAddr, session: &str) -> (String, String) {
    let cookie = format!("Cookie: theme=dark; JSESSIONID={session}\r\n");
    let (status, head, body) = call(http, "GET", "app.test", "/me", &cookie).unwrap();
    let release = head
        .lines()
        .find_map(|line| line.strip_prefix("x-release: "))
        .unwrap_or_default();
    assert_eq!(status, 200, "{release}: {body}");
    (body.trim().to_owned(), release.to_owned())
}

fn client(
    http: std::net::SocketAddr,
    user: String,
    session: String,
    until: Instant,
) -> JoinHandle<u64> {
    std::thread::spawn(move || {
        let mut asked = 0;
        while Instant::now() < until {
            assert_eq!(me(http, &session), (user.clone(), "r1".to_owned()));
            asked += 1;
            std::thread::sleep(PAUSE);
        }
        asked
    })
}

#[test]
fn a_hundred_clients_stay_logged_in_through_a_deploy() {
    let machine = Machine::start();
    let mut app = App::new(Engine::Process, "sessions");
    app.policy("sessions", "{ cookie: JSESSIONID, keep: 3s }");
    machine.deploy(&app, &[]);
    let old = machine.live(&app);
    let sessions: Vec<(String, String)> = (0..CLIENTS)
        .map(|number| format!("user-{number}"))
        .map(|user| (user.clone(), login(&machine, &app, &user)))
        .collect();
    app.version("v2");
    let started = Instant::now();
    let clients: Vec<_> = sessions
        .into_iter()
        .map(|(user, session)| client(machine.http, user, session, started + BUSY))
        .collect();
    machine.deploy(&app, &[]);
    assert!(
        started.elapsed() < BUSY,
        "the deploy waited for the sessions"
    );

    // Without a session, and with a new one: the new release.
    assert_eq!(machine.answering_release(&app), "r2");
    let session = login(&machine, &app, "new");
    assert_eq!(
        me(machine.http, &session),
        ("new".to_owned(), "r2".to_owned())
    );
    assert_eq!(machine.role(&app, &old), "draining");

    let asked: u64 = clients
        .into_iter()
        .map(|client| client.join().unwrap())
        .sum();
    assert!(asked > CLIENTS as u64 * 5, "only {asked} requests");
    wait_for("the old color to be empty", PATIENCE, || {
        (machine.role(&app, &old) == "empty").then_some(())
    });
    let receipts = machine.baton(&app, &["receipts", "1", "--json"]);
    println!(
        "{CLIENTS} sessions, {asked} requests on their release: {}",
        receipts.stdout
    );
    assert_eq!(
        me(machine.http, &session),
        ("new".to_owned(), "r2".to_owned())
    );
}

#[test]
fn process_sessions_outlive_the_daemon() {
    a_restart_of_the_daemon_parts_nobody_from_their_session(Engine::Process);
}

#[test]
fn docker_sessions_outlive_the_daemon() {
    a_restart_of_the_daemon_parts_nobody_from_their_session(Engine::Docker);
}

fn a_restart_of_the_daemon_parts_nobody_from_their_session(engine: Engine) {
    let mut machine = Machine::start();
    let mut app = App::new(engine, "sessions-kept");
    app.policy("sessions", "{ cookie: JSESSIONID, keep: 10m }");
    machine.deploy(&app, &[]);
    let old = machine.live(&app);
    let mut of_r1: Vec<(String, String)> = Vec::new();
    for number in 0..20 {
        let user = format!("user-{number}");
        let session = login(&machine, &app, &user);
        of_r1.push((user, session));
    }
    app.version("v2");
    machine.deploy(&app, &[]);
    let newcomer = login(&machine, &app, "newcomer");

    // A kill at once, an orderly stop, and a kill of a daemon that knows only what it was told.
    for end in [Machine::kill, Machine::stop, Machine::kill] {
        end(&mut machine);
        machine.up();
        for (user, session) in &of_r1 {
            assert_eq!(
                me(machine.http, session),
                (user.clone(), "r1".to_owned()),
                "{}",
                machine.log()
            );
        }
        let known = ("newcomer".to_owned(), "r2".to_owned());
        assert_eq!(me(machine.http, &newcomer), known);
        assert_eq!(machine.answering_release(&app), "r2");
        assert_eq!(machine.role(&app, &old), "draining");
        let file = machine.data().join("sessions.json");
        let written = std::fs::read_to_string(&file).unwrap();
        let cookies = of_r1.iter().map(|(_, session)| session);
        assert!(
            !cookies
                .chain([&newcomer])
                .any(|cookie| written.contains(cookie))
        );
        let mode = std::os::unix::fs::MetadataExt::mode(&file.metadata().unwrap());
        assert_eq!(mode & 0o777, 0o600);
    }
    let status = machine.app_status(&app);
    let sessions = &status["colors"][&old]["instances"][0]["sessions"];
    assert_eq!(*sessions, of_r1.len(), "{status}");
}

/// What *watch* takes back keeps nobody, and ends although sessions have begun there.
#[test]
fn a_release_that_was_taken_back_does_not_stay_for_its_sessions() {
    let machine = Machine::start();
    let mut app = App::new(Engine::Process, "sessions-back");
    app.policy("sessions", "{ cookie: JSESSIONID, keep: 30m }");
    app.policy("watch", "10m");
    machine.deploy(&app, &[]);
    app.version("v2");
    let command = machine
        .app_command(&app, &["deploy", "--json"])
        .spawn()
        .unwrap();
    wait_for("the new release to be watched", PATIENCE, || {
        (machine.app_status(&app)["deploy"]["step"] == "watch").then_some(())
    });
    let session = login(&machine, &app, "somebody");
    assert_eq!(me(machine.http, &session).1, "r2");
    let new = machine.live(&app);
    let cancelled = machine.baton(&app, &["cancel"]);
    assert_eq!(cancelled.code, 0, "{cancelled}");
    let ran = Ran::from(command.wait_with_output().unwrap());
    assert_eq!(ran.code, 4, "{ran}");
    wait_for("what was taken back to end", PATIENCE, || {
        (machine.role(&app, &new) == "empty").then_some(())
    });
    assert_eq!(machine.answering_release(&app), "r1");
    // What serves again leaves like any other: nobody is inside any more, and nobody is waited for.
    let begun = Instant::now();
    let removed = machine.baton(&app, &["remove", "--yes"]);
    assert_eq!(removed.code, 0, "{removed}");
    assert!(begun.elapsed() < Duration::from_secs(20), "it was cut");
}

#[test]
fn a_session_cookie_without_a_rule_is_warned_of() {
    let machine = Machine::start();
    let mut app = App::new(Engine::Process, "sessions-at-risk");
    machine.deploy(&app, &[]);
    let warning = |machine: &Machine, app: &App| {
        let warnings = machine.app_status(app)["warnings"].clone();
        let warnings = warnings.as_array().cloned().unwrap_or_default();
        warnings
            .iter()
            .filter_map(|warning| warning.as_str())
            .find(|warning| warning.contains("sessions: { cookie: JSESSIONID }"))
            .map(str::to_owned)
    };
    assert_eq!(warning(&machine, &app), None);
    login(&machine, &app, "somebody");
    let said = wait_for("the warning", PATIENCE, || warning(&machine, &app));
    println!("{said}");
    let status = machine.baton(&app, &["status"]);
    assert!(status.stdout.contains("JSESSIONID"), "{status}");

    // The plan of the next deploy, before it runs and as it runs.
    app.version("v2");
    for arguments in [&["check"][..], &["deploy", "--dry-run"], &["deploy"]] {
        let ran = machine.baton(&app, arguments);
        assert_eq!(ran.code, 0, "{ran}");
        let said = format!("{}{}", ran.stdout, ran.stderr);
        assert!(
            said.contains("session cookie JSESSIONID"),
            "{arguments:?}: {ran}"
        );
    }

    // Said in the file, it is warned of no more.
    app.policy("sessions", "{ cookie: JSESSIONID, keep: 1s }");
    let ran = machine.baton(&app, &["check"]);
    assert!(!ran.stdout.contains("session cookie JSESSIONID"), "{ran}");
    machine.deploy(&app, &[]);
    login(&machine, &app, "somebody");
    assert_eq!(warning(&machine, &app), None);
}
