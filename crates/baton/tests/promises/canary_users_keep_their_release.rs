//! Who has met the new release keeps it while a canary rises: 1,000 browsers with cookies, and clients
//! without cookies by their `Authorization` or their address, behind a proxy or not. And a canary that
//! waits says so once.

use std::net::{IpAddr, Ipv4Addr};
use std::time::{Duration, Instant};

use testapp::load::{VisitPlan, Visitor, Visitors, Visits};

use crate::kit::machine::PATIENCE;
use crate::kit::{App, Engine, Machine, Ran, wait_for};

const BROWSERS: usize = 1_000;
/// Of each other kind.
const OTHERS: usize = 200;
/// Four standard deviations of 5 to 50 percent of them, in percent.
const BROWSERS_OFF: usize = 7;
const OTHERS_OFF: usize = 15;

/// The kinds are told apart by their names.
const KINDS: [(&str, usize, usize); 4] = [
    ("browser", BROWSERS, BROWSERS_OFF),
    ("token", OTHERS, OTHERS_OFF),
    ("forwarded", OTHERS, OTHERS_OFF),
    ("address", OTHERS, OTHERS_OFF),
];

fn crowd() -> Vec<Visitor> {
    // Each from elsewhere: browsers that come at once from one address are on one side of a canary.
    let browser = |number| {
        let browser = Visitor::browser(&format!("browser-{number}"));
        let address = format!("198.51.{}.{}", 100 + number / 250, number % 250 + 1);
        browser.with("x-forwarded-for", &address)
    };
    let token = |number| {
        let token = format!("Bearer {number:08}");
        Visitor::authorized(&format!("token-{number}"), &token)
    };
    let forwarded = |number| {
        let address = format!("203.0.{}.{}", 113 + number / 250, number % 250 + 1);
        Visitor::forwarded_for(&format!("forwarded-{number}"), &address)
    };
    let address = |number: usize| {
        let address = Ipv4Addr::new(127, 0, 1, u8::try_from(number + 1).unwrap());
        Visitor::from_address(&format!("address-{number}"), IpAddr::V4(address))
    };
    let browsers = (0..BROWSERS).map(browser);
    let others = (0..OTHERS).flat_map(|number| [token(number), forwarded(number), address(number)]);
    browsers.chain(others).collect()
}

/// Waits until each of them has been answered `times` more often than in `before`.
fn all_came(visitors: &Visitors, before: &Visits, times: u64) -> Visits {
    let count = |visits: &Visits, name: &str| -> u64 {
        let trail = visits.trails.get(name);
        trail.map_or(0, |trail| {
            trail.stays.iter().map(|stay| stay.requests).sum()
        })
    };
    wait_for("every visitor to come again", PATIENCE * 2, || {
        let now = visitors.visits();
        let all = now.trails.len() == BROWSERS + 3 * OTHERS
            && now
                .trails
                .keys()
                .all(|name| count(&now, name) >= count(before, name) + times);
        all.then_some(now)
    })
}

/// Waits until the canary has this weight and waits for a person.
fn waits_at(machine: &Machine, app: &App, weight: u64) {
    wait_for(&format!("the canary at {weight}%"), PATIENCE, || {
        let status = machine.app_status(app);
        let at = |color: &str| &status["colors"][color]["weight"];
        (at("green") == weight || at("blue") == weight).then_some(())
    });
}

#[test]
fn nobody_goes_back_to_the_old_release() {
    let machine = Machine::start();
    let mut app = App::new(Engine::Process, "sticky");
    app.policy("strategy", "canary");
    app.policy(
        "canary",
        "{ steps: [5, 25, 50, 100], hold: 100ms, min_requests: 1, gate: manual }",
    );
    machine.deploy(&app, &[]);
    let visitors = Visitors::start(VisitPlan {
        pause: Duration::from_secs(2),
        ..VisitPlan::new(machine.http, app.host(), crowd())
    });
    all_came(&visitors, &Visits::default(), 1);
    app.version("v2");
    let command = machine
        .app_command(&app, &["deploy", "--json"])
        .spawn()
        .unwrap();
    for weight in [5, 25, 50] {
        waits_at(&machine, &app, weight);
        // One may have been on its way when the weight rose.
        let before = visitors.visits();
        let now = all_came(&visitors, &before, 2);
        for (kind, count, off) in KINDS {
            let on = now.visitors_of("r2");
            let on = on.iter().filter(|name| name.starts_with(kind)).count();
            let percent = on * 100 / count;
            let wanted = usize::try_from(weight).unwrap();
            assert!(
                percent.abs_diff(wanted) <= off,
                "{kind}: {on} of {count} have the new release at {weight}%"
            );
            println!("{weight}%: {on} of {count} ({kind})");
        }
        let resumed = machine.baton(&app, &["canary", "resume"]);
        assert_eq!(resumed.code, 0, "{resumed}");
    }
    let ran = Ran::from(command.wait_with_output().unwrap());
    assert_eq!(ran.code, 0, "{ran}");
    let before = visitors.visits();
    all_came(&visitors, &before, 2);
    let visits = visitors.stop();
    assert_eq!(visits.failed(), 0, "{:#?}", visits.errors);
    for (name, trail) in &visits.trails {
        let way = trail.releases();
        assert_eq!(way, ["r1", "r2"], "{name} went another way");
    }
    println!(
        "{} requests of {} visitors",
        visits.requests,
        visits.trails.len()
    );
}

/// Elsewhere than on a terminal: the same reason to wait is told at most every ten seconds, whatever the
/// figures in it do.
#[test]
fn a_canary_that_waits_says_so_once() {
    let machine = Machine::start();
    let mut app = App::new(Engine::Process, "quiet");
    app.policy("strategy", "canary");
    app.policy(
        "canary",
        "{ steps: [50, 100], hold: 100ms, min_requests: 1000000 }",
    );
    machine.deploy(&app, &[]);
    let visitors = Visitors::start(VisitPlan::new(
        machine.http,
        app.host(),
        (0..10)
            .map(|number| {
                Visitor::forwarded_for(&format!("v{number}"), &format!("203.0.113.{number}"))
            })
            .collect(),
    ));
    app.version("v2");
    let begun = Instant::now();
    let command = machine.app_command(&app, &["deploy"]).spawn().unwrap();
    wait_for("the canary to serve a while", PATIENCE, || {
        let visits = visitors.visits();
        let requests = visits.by_release.get("r2").copied();
        (requests.unwrap_or(0) > 200).then_some(())
    });
    let aborted = machine.baton(&app, &["canary", "abort"]);
    assert_eq!(aborted.code, 0, "{aborted}");
    let ran = Ran::from(command.wait_with_output().unwrap());
    let took = begun.elapsed();
    assert_eq!(ran.code, 4, "{ran}");
    let lines = ran.stdout.lines();
    let waiting: Vec<&str> = lines
        .filter(|line| line.contains("of 1000000 requests came"))
        .collect();
    let most = 1 + usize::try_from(took.as_secs() / 10).unwrap();
    assert!(
        (1..=most).contains(&waiting.len()),
        "{} lines in {took:?}: {ran}",
        waiting.len()
    );
    let visits = visitors.stop();
    assert_eq!(visits.failed(), 0, "{:#?}", visits.errors);
}
