//! kill -9 of the daemon before and after every journaled step of a deploy, and in the midst of the long
//! ones: after its restart the live color serves at once, the unfinished deploy is taken back before the
//! switch and forward after it, and no instance is left behind.
//!
//! | module | does |
//! | --- | --- |
//! | here | the harness; blue-green |
//! | `strategies` | rolling and canary |
//! | `previews` | stage and promote |

mod previews;
mod strategies;

use std::time::Duration;

use serde_json::Value;

use crate::kit::machine::PATIENCE;
use crate::kit::processes::{instances, of_app};
use crate::kit::{App, Engine, Machine, Ran, long, wait_for};

/// The steps of a blue-green deploy in their order, with messages or a word of the app to wait for.
const STEPS: [&str; 13] = [
    "preflight",
    "fetch",
    "start",
    "await_healthy",
    "warm_up",
    "attach_streams",
    "switch",
    "drain_requests",
    "drain_messages",
    "end_streams",
    "keep_warm",
    "retire",
    "receipt",
];

/// When the daemon is killed: around one step.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Moment {
    /// The journal says that it begins.
    Started,
    /// It runs.
    Midst,
    /// The journal says that it is done.
    Succeeded,
}

/// One kill.
#[derive(Debug, Clone, Copy)]
struct Kill<'a> {
    step: &'a str,
    moment: Moment,
}

/// What the app must look like after the restart.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Direction {
    Back,
    Forward,
    /// Between the two writes of the switch itself: either, but whole.
    Either,
}

impl Kill<'_> {
    /// `point`: the step from which on there is no way back.
    fn direction(self, steps: &[String], point: &str) -> Direction {
        let at = |name: &str| steps.iter().position(|step| step == name).unwrap();
        match at(self.step).cmp(&at(point)) {
            std::cmp::Ordering::Less => Direction::Back,
            std::cmp::Ordering::Greater => Direction::Forward,
            std::cmp::Ordering::Equal if self.moment == Moment::Started => Direction::Either,
            std::cmp::Ordering::Equal => Direction::Forward,
        }
    }
}

/// Around each step: with `long`, or where `thorough` says so, at every moment, else at one of them in
/// turn. `midst`: steps that take so long that the test can hit them.
fn kills<'a>(steps: &'a [String], thorough: &[&str], midst: &[&str]) -> Vec<Kill<'a>> {
    let mut kills = Vec::new();
    for (number, step) in steps.iter().enumerate() {
        let all = long() || thorough.contains(&step.as_str());
        let moments = [Moment::Started, Moment::Midst, Moment::Succeeded];
        let chosen = moments.into_iter().filter(|moment| match moment {
            Moment::Midst => midst.contains(&step.as_str()),
            Moment::Started => all || number % 2 == 0,
            Moment::Succeeded => all || number % 2 == 1,
        });
        kills.extend(chosen.map(|moment| Kill { step, moment }));
    }
    kills
}

/// The steps that a command has planned.
fn planned(ran: &Ran) -> Vec<String> {
    let lines = ran.lines();
    let plan = lines.iter().find(|line| line["event"] == "planned");
    let steps = plan.unwrap_or_else(|| panic!("no plan: {ran}"))["plan"]["steps"].clone();
    serde_json::from_value(steps).unwrap()
}

/// Runs a command, kills the daemon there, starts it again and waits until `settled`; what the command
/// said. A request is answered as soon as the daemon is back.
fn kill_there(
    machine: &mut Machine,
    app: &App,
    arguments: &[&str],
    kill: Kill<'_>,
    settled: impl Fn(&Machine, &App) -> Option<()>,
) -> Ran {
    let case = format!("{arguments:?} killed at {kill:?}");
    let fault = match kill.moment {
        Moment::Started => Some(format!("kill:{}:started", kill.step)),
        Moment::Succeeded => Some(format!("kill:{}:succeeded", kill.step)),
        Moment::Midst => None,
    };
    if let Some(fault) = &fault {
        machine.kill();
        machine.set_environment(&[("BATON_FAULT", fault)]);
        machine.up();
    }
    let command = machine.app_command(app, arguments).spawn().unwrap();
    if fault.is_some() {
        machine.wait_until_down();
        machine.set_environment(&[]);
    } else {
        wait_for(&format!("{case}: the step to run"), PATIENCE, || {
            (machine.app_status(app)["deploy"]["step"] == kill.step).then_some(())
        });
        machine.kill();
    }
    machine.up();
    // The live color serves at once, and never anything but a whole answer of one of the two.
    let (status, _, body) = machine.get(app.host(), "/");
    assert_eq!(status, 200, "{case}: {body}");
    let command = Ran::from(command.wait_with_output().unwrap());
    wait_for(&format!("{case}: the app to settle"), PATIENCE, || {
        settled(machine, app)
    });
    command
}

/// Deploys again and again, with a kill each time; what each must lead to.
fn deploys_killed(mut machine: Machine, mut app: App, steps: &[String], kills: &[Kill<'_>]) {
    let rolls = steps.iter().any(|step| step == "roll");
    let running = instances(&machine, &app);
    for (number, kill) in kills.iter().enumerate() {
        let case = format!("{:?} killed at {kill:?}", app.engine());
        let old = answer(&machine);
        let version = format!("v{}", number + 2);
        app.version(&version);
        let command = kill_there(&mut machine, &app, &["deploy", "--json"], *kill, settled);
        let new = answer(&machine);
        let forward = new["version"] == version.as_str();
        match kill.direction(steps, "switch") {
            Direction::Back => {
                assert!(!forward, "{case}: must be taken back\n{}", machine.log());
            }
            Direction::Forward => {
                assert!(forward, "{case}: must go forward: {new}\n{}", machine.log());
            }
            Direction::Either => {}
        }
        if !forward && rolls {
            assert_eq!(new["release"], old["release"], "{case}: the old release");
        } else if !forward {
            assert_eq!(new, old, "{case}: the very same instance serves");
        }
        assert_eq!(
            command.code == 0,
            forward,
            "{case}: the command says what happened: {command}"
        );
        assert_eq!(
            instances(&machine, &app),
            running,
            "{case}: instances left behind"
        );
    }
    // And a deploy after all of this is a deploy as any other.
    app.version("last");
    machine.deploy(&app, &["--wait", "drained"]);
    assert_eq!(answer(&machine)["version"], "last");
}

/// Who answers: release, instance, everything.
fn answer(machine: &Machine) -> Value {
    let body = machine.get("app.test", "/").2;
    serde_json::from_str(&body).unwrap_or_else(|error| panic!("{error}: {body}"))
}

/// One color live, the other empty, no deploy.
fn settled(machine: &Machine, app: &App) -> Option<()> {
    settled_as(machine, app, &["empty"])
}

/// The same with the other color in one of these roles.
fn settled_as(machine: &Machine, app: &App, others: &[&str]) -> Option<()> {
    let status = machine.app_status(app);
    let role = |color: &str| status["colors"][color]["role"].as_str().unwrap_or_default();
    let (blue, green) = (role("blue"), role("green"));
    let other = match (blue, green) {
        ("live", other) | (other, "live") => other,
        _ => return None,
    };
    (status["deploy"].is_null() && others.contains(&other)).then_some(())
}

fn killed_at_every_step(engine: Engine) {
    let machine = Machine::start();
    let mut app = App::new(engine, "everystep");
    app.policy("drain", "{ until: { http: /healthz } }");
    machine.deploy(&app, &[]);
    let steps = STEPS.map(ToOwned::to_owned);
    deploys_killed(machine, app, &steps, &kills(&steps, &STEPS, &[]));
}

#[test]
fn daemon_killed_at_every_step_with_processes() {
    killed_at_every_step(Engine::Process);
}

#[test]
fn daemon_killed_at_every_step_with_containers() {
    killed_at_every_step(Engine::Docker);
}

/// The daemon is killed while the app serves: its instances go on, and serve again at once.
#[test]
fn instances_survive_the_daemon() {
    let mut machine = Machine::start();
    let app = App::new(Engine::Process, "survive");
    machine.deploy(&app, &[]);
    let before = machine.get("app.test", "/").2;
    machine.kill();
    std::thread::sleep(Duration::from_millis(100));
    assert_eq!(
        of_app(app.name(), None).len(),
        1,
        "the instance runs on without the daemon"
    );
    machine.up();
    assert_eq!(
        machine.get("app.test", "/").2,
        before,
        "the same process, not another one"
    );
}
