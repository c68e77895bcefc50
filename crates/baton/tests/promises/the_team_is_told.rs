//! `x-baton.notify`: Slack, Discord and a signed webhook hear of a deploy, in English or Korean, and never
//! hold it up.

use std::net::TcpListener;
use std::time::{Duration, Instant};

use serde_json::Value;

use crate::kit::machine::{PATIENCE, free_port};
use crate::kit::receiver::{Got, Receiver};
use crate::kit::scrape::Scrape;
use crate::kit::tls::certificate;
use crate::kit::{App, Engine, Machine, wait_for};

const HIDDEN: &str = "T000-hidden-B000";

/// The title of a Slack message.
fn title(got: &Got) -> String {
    got.json()["blocks"][0]["text"]["text"]
        .as_str()
        .unwrap()
        .to_owned()
}

fn events(got: &[Got]) -> Vec<String> {
    got.iter().map(|got| got.field("x-baton-event")).collect()
}

#[test]
fn slack_discord_and_a_signed_webhook_hear_of_a_deploy() {
    let (slack, discord, webhook) = (
        Receiver::start(vec![]),
        Receiver::start(vec![]),
        Receiver::start(vec![]),
    );
    let machine = Machine::start();
    let mut app = App::new(Engine::Process, "told");
    app.command_environment("SLACK_WEBHOOK", &slack.url(HIDDEN));
    app.command_environment("BATON_COMMIT", "0123456789abcdef0123");
    app.command_environment("BATON_AUTHOR", "김민지");
    app.command_environment("BATON_PIPELINE_URL", "https://ci.example.com/runs/7");
    let (there, signed) = (discord.url(HIDDEN), webhook.url(HIDDEN));
    app.policy(
        "notify",
        &format!(
            "[ {{ slack: \"${{SLACK_WEBHOOK}}\", language: ko }}, {{ discord: \"{there}\", events: [switched] }}, {{ webhook: \"{signed}\", secret: s3cret }} ]"
        ),
    );
    let checked = machine.baton(&app, &["check"]);
    assert!(checked.ok(), "{checked}");
    machine.deploy(&app, &["--wait", "drained"]);

    let got = slack.wait(3);
    let titles: Vec<String> = got.iter().map(title).collect();
    let name = app.name();
    assert_eq!(
        titles,
        [
            format!("🚀 {name}: r1 배포를 시작했습니다"),
            format!("🟢 {name}: r1 서비스 전환을 마쳤습니다 (blue)"),
            format!("✅ {name}: r1 배포를 마쳤습니다"),
        ]
    );
    let body = &got[0].body;
    for part in [
        "김민지",
        "0123456789ab",
        "<https://ci.example.com/runs/7|파이프라인>",
        "커밋",
    ] {
        assert!(body.contains(part), "{part} is not in {body}");
    }
    assert!(got[2].body.contains("실패 0건"), "{}", got[2].body);

    let embed = discord.wait(1)[0].json()["embeds"][0].clone();
    assert_eq!(embed["title"], format!("{name}: r1 is live (blue)"));
    assert_eq!(embed["url"], "https://ci.example.com/runs/7");

    let got = webhook.wait(3);
    assert_eq!(events(&got), ["started", "switched", "done"]);
    for one in &got {
        verify(one, "s3cret");
    }
    let done = got[2].json();
    assert_eq!(
        (&done["app"], &done["release"]),
        (&Value::from(name), &Value::from("r1"))
    );
    assert_eq!(done["commit"], "0123456789abcdef0123");
    assert_eq!(done["receipt"]["failed"], 0);

    // The same again is nothing to tell; going back is.
    machine.deploy(&app, &[]);
    app.version("v2");
    machine.deploy(&app, &["--wait", "drained"]);
    let back = machine.baton(&app, &["rollback", "--wait", "drained", "--json"]);
    assert!(back.ok(), "{back}");
    let got = webhook.wait(9);
    let told: Vec<_> = events(&got)[3..].to_vec();
    assert_eq!(
        told,
        [
            "started",
            "switched",
            "done",
            "started",
            "rolled_back",
            "done"
        ]
    );
    assert_eq!(discord.got().len(), 2, "only what it asked for");

    let status = machine.status().to_string();
    let (log, check) = (machine.log(), format!("{checked}"));
    let events = format!("{}", machine.baton(&app, &["events"]));
    let releases = format!("{}", machine.baton(&app, &["releases", "--json"]));
    for (what, text) in [
        ("status", status),
        ("log", log),
        ("check", check),
        ("events", events),
        ("releases", releases),
    ] {
        assert!(
            !text.contains(HIDDEN) && !text.contains("s3cret"),
            "{what} shows a secret: {text}"
        );
    }
}

fn verify(got: &Got, secret: &str) {
    let key = ring::hmac::Key::new(ring::hmac::HMAC_SHA256, secret.as_bytes());
    let timestamp = got.field("x-baton-timestamp");
    let signature = got.field("x-baton-signature");
    let hex = signature.strip_prefix("sha256=").expect("an algorithm");
    let bytes: Vec<u8> = (0..hex.len() / 2)
        .map(|at| u8::from_str_radix(&hex[at * 2..at * 2 + 2], 16).unwrap())
        .collect();
    let signed = format!("{timestamp}.{}", got.body);
    ring::hmac::verify(&key, signed.as_bytes(), &bytes).expect("the signature is right");
    let forged = signed.replace("told", "sold");
    assert!(ring::hmac::verify(&key, forged.as_bytes(), &bytes).is_err());
}

#[test]
fn a_failed_release_is_told_with_its_reason_and_its_last_words() {
    let (slack, webhook) = (Receiver::start(vec![]), Receiver::start(vec![]));
    let machine = Machine::start();
    let mut app = App::new(Engine::Process, "toldfail");
    machine.deploy(&app, &[]);
    let (here, there) = (slack.url(HIDDEN), webhook.url(HIDDEN));
    app.policy(
        "notify",
        &format!("[ {{ slack: \"{here}\", language: ko, events: [failed] }}, {{ webhook: \"{there}\" }} ]"),
    );
    app.variable("CRASH_AT_START", "17");
    let ran = machine.baton(&app, &["deploy", "--json"]);
    assert_eq!(ran.code, 3, "{ran}");
    let got = slack.wait(1);
    let text = &got[0].body;
    assert!(title(&got[0]).contains("r2 배포에 실패했습니다"), "{text}");
    for part in ["원인", "마지막 로그", "told to crash at start"] {
        assert!(text.contains(part), "{part} is not in {text}");
    }
    let failed = webhook.wait(2)[1].json();
    assert_eq!(
        (&failed["event"], &failed["exit_code"]),
        (&Value::from("failed"), &Value::from(3))
    );
    assert_eq!(failed["failure"]["exit_code"], 17);
    assert_eq!(slack.got().len(), 1);
}

#[test]
fn a_place_that_hangs_errs_or_is_down_costs_no_deploy_anything() {
    let (hangs, errs) = (
        Receiver::start(vec![None; 50]),
        Receiver::start(vec![Some(500), Some(500)]),
    );
    let down = {
        let listener = TcpListener::bind(("127.0.0.1", 0)).unwrap();
        format!("http://{}/{HIDDEN}", listener.local_addr().unwrap())
    };
    let machine = Machine::start();
    let mut app = App::new(Engine::Process, "untold");
    machine.deploy(&app, &["--wait", "drained"]);
    let timed = |app: &App| {
        let begun = Instant::now();
        machine.deploy(app, &["--wait", "drained"]);
        begun.elapsed()
    };
    app.version("v2");
    let alone = timed(&app);
    let (hanging, erring) = (hangs.url(HIDDEN), errs.url(HIDDEN));
    app.policy(
        "notify",
        &format!(
            "[ {{ slack: \"{hanging}\" }}, {{ webhook: \"{erring}\" }}, {{ discord: \"{down}\" }} ]"
        ),
    );
    app.version("v3");
    let told = timed(&app);
    assert!(
        told < alone + Duration::from_secs(5),
        "{told:?} with, {alone:?} without"
    );
    // Tried again, and in order.
    let got = errs.wait(5);
    let (events, answers): (Vec<_>, Vec<_>) = got
        .iter()
        .map(|g| (g.field("x-baton-event"), g.answered))
        .unzip();
    assert_eq!(
        events,
        ["started", "started", "started", "switched", "done"]
    );
    assert_eq!(answers, [500, 500, 200, 200, 200]);
    assert_eq!(
        hangs.got().len(),
        1,
        "its first message is still on its way"
    );
    assert!(!machine.log().contains(HIDDEN));
    println!("a deploy took {alone:?} alone and {told:?} with three places that fail");
}

/// Baton's own HTTPS is the receiver, and the machine trusts its authority.
#[test]
fn a_webhook_is_reached_over_https() {
    let folder = tempfile::tempdir().unwrap();
    let certificate = certificate(folder.path(), "localhost");
    let trusted = folder.path().join("authority.pem");
    std::fs::write(&trusted, &certificate.authority).unwrap();
    let metrics = free_port();
    let machine = Machine::start_with(
        &["--metrics", &metrics.to_string()],
        &[("SSL_CERT_FILE", &trusted.to_string_lossy())],
    );
    let mut app = App::new(Engine::Process, "toldtls");
    app.policy("hosts", "[localhost]");
    app.policy(
        "tls",
        &format!(
            "{{ cert: {:?}, key: {:?} }}",
            certificate.cert, certificate.key
        ),
    );
    machine.deploy(&app, &[]);
    let there = format!("https://localhost:{}/echo", machine.https.port());
    app.policy(
        "notify",
        &format!("[ {{ webhook: \"{there}\" }}, {{ slack: \"{there}\", events: [done] }} ]"),
    );
    machine.deploy(&app, &["--wait", "drained"]);
    wait_for("messages over HTTPS", PATIENCE, || {
        let sent = |to| {
            Scrape::of(metrics).sum(
                "baton_notifications_total",
                &[("to", to), ("outcome", "sent")],
            )
        };
        (sent("webhook") == 3 && sent("slack") == 1).then_some(())
    });
}
