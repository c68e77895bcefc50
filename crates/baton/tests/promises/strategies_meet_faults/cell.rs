//! One strategy on one engine with one release.

use std::process::Child;
use std::time::{Duration, Instant};

use testapp::load::{VisitPlan, Visitor, Visitors, Visits};

use crate::kit::cgroup::Cgroup;
use crate::kit::machine::PATIENCE;
use crate::kit::{App, Engine, Machine, Ran, long, processes, wait_for};

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Strategy {
    BlueGreen,
    Rolling,
    Canary,
}

/// What is wrong with the new release.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Fault {
    Nothing,
    CrashAtStart,
    CrashLater,
    Errors,
    OomAtStart,
    OomLater,
    Killed,
}

#[derive(Debug, Clone, Copy)]
pub(super) struct Cell {
    pub(super) strategy: Strategy,
    pub(super) engine: Engine,
    pub(super) fault: Fault,
}

/// How one of them ended.
#[derive(Debug)]
pub(super) struct Row {
    pub(super) cell: Cell,
    pub(super) code: i32,
    /// What the command said.
    pub(super) message: String,
    /// The release that answers at the end.
    pub(super) serves: String,
    pub(super) visits: Visits,
    pub(super) took: Duration,
}

/// Who comes: enough that a quarter of them is a crowd, as an error counts once for a client.
const VISITORS: usize = 60;
const PAUSE: Duration = Duration::from_millis(400);

/// The whole machine of a daemon with processes, in MiB: the kernel ends one that takes all of it.
const MACHINE: u64 = 512;

/// From the first answer to a user on.
fn later() -> Duration {
    Duration::from_millis(if long() { 5_000 } else { 1_500 })
}

impl Strategy {
    pub(super) const ALL: [Strategy; 3] =
        [Strategy::BlueGreen, Strategy::Rolling, Strategy::Canary];

    pub(super) fn name(self) -> &'static str {
        match self {
            Strategy::BlueGreen => "blue-green",
            Strategy::Rolling => "rolling",
            Strategy::Canary => "canary",
        }
    }
}

impl Fault {
    pub(super) const ALL: [Fault; 7] = [
        Fault::Nothing,
        Fault::CrashAtStart,
        Fault::CrashLater,
        Fault::Errors,
        Fault::OomAtStart,
        Fault::OomLater,
        Fault::Killed,
    ];

    pub(super) fn name(self) -> String {
        let later = later().as_secs_f32();
        match self {
            Fault::Nothing => "none".to_owned(),
            Fault::CrashAtStart => "crash at start".to_owned(),
            Fault::CrashLater => format!("crash {later} s after its first user"),
            Fault::Errors => "20 % errors from its first user on".to_owned(),
            Fault::OomAtStart => "out of memory at start".to_owned(),
            Fault::OomLater => format!("out of memory {later} s after its first user"),
            Fault::Killed => "kill -9 by hand".to_owned(),
        }
    }

    fn is_oom(self) -> bool {
        matches!(self, Fault::OomAtStart | Fault::OomLater)
    }

    /// DESIGN.md §4.
    pub(super) fn code(self) -> i32 {
        match self {
            Fault::Nothing => 0,
            Fault::CrashAtStart | Fault::OomAtStart => 3,
            Fault::CrashLater | Fault::Errors | Fault::OomLater | Fault::Killed => 4,
        }
    }

    fn plant(self, app: &mut App) {
        let after = later().as_millis().to_string();
        match self {
            Fault::Nothing | Fault::Killed => app,
            Fault::CrashAtStart => app.variable("CRASH_AT_START", "3"),
            Fault::CrashLater => app.variable("CRASH_AFTER_SERVED_MS", &after),
            Fault::Errors => app.variable("FAIL_PERCENT", "20"),
            Fault::OomAtStart => app.variable("OOM_AT_START", "1"),
            Fault::OomLater => app.variable("OOM_AFTER_SERVED_MS", &after),
        };
    }
}

impl Cell {
    pub(super) fn name(self) -> String {
        let (strategy, engine) = (self.strategy.name(), self.engine_name());
        format!("{strategy}, {engine}, {}", self.fault.name())
    }

    pub(super) fn engine_name(self) -> &'static str {
        match self.engine {
            Engine::Docker => "docker",
            Engine::Process => "process",
        }
    }

    fn app(self) -> App {
        let mut app = App::new(self.engine, "fault");
        app.policy("strategy", self.strategy.name());
        let watch = if long() { "8s" } else { "4s" };
        app.policy("watch", watch);
        app.policy("max_wait", "30s");
        // A fault that comes later comes in its first stage.
        let hold = if long() { "6s" } else { "2500ms" };
        app.policy(
            "canary",
            &format!("{{ steps: [25, 50, 100], hold: {hold}, min_requests: 20 }}"),
        );
        if self.strategy == Strategy::Rolling {
            app.service("deploy", "{ replicas: 2 }");
        }
        if self.engine == Engine::Docker {
            // What a container may have; it swaps nothing.
            app.service("mem_limit", "96m");
            app.service("memswap_limit", "96m");
        }
        app
    }

    /// Deploys a good release, then this one, under load all the time.
    pub(super) fn run(self) -> Row {
        let begun = Instant::now();
        let memory = (self.engine == Engine::Process && self.fault.is_oom())
            .then(|| Cgroup::of_mib(MACHINE));
        let machine = match &memory {
            Some(cgroup) => Machine::start_within(cgroup),
            None => Machine::start(),
        };
        let mut app = self.app();
        machine.deploy(&app, &[]);
        let visitors = Visitors::start(VisitPlan {
            pause: PAUSE,
            ..VisitPlan::new(machine.http, app.host(), crowd())
        });
        wait_for("every visitor to have been served", PATIENCE, || {
            (visitors.visits().trails.len() == VISITORS).then_some(())
        });
        app.version("v2");
        self.fault.plant(&mut app);
        let command = machine
            .app_command(&app, &["deploy", "--json"])
            .spawn()
            .unwrap();
        if self.fault == Fault::Killed {
            kill_once_it_serves(&app, &visitors);
        }
        let ran = ended(command);
        wait_for("the app to settle", PATIENCE, || settled(&machine, &app));
        let serves = machine.answering_release(&app);
        let visits = visitors.stop();
        if let Some(cgroup) = &memory {
            assert!(cgroup.kills() > 0, "nobody ran out of memory: {ran}");
        }
        Row {
            cell: self,
            code: ran.code,
            message: ran.message(),
            serves,
            visits,
            took: begun.elapsed(),
        }
    }
}

/// Browsers with addresses of their own: those that come at once from one address are on one side of a
/// canary.
fn crowd() -> Vec<Visitor> {
    let browser = |number| {
        let browser = Visitor::browser(&format!("v{number}"));
        browser.with("x-forwarded-for", &format!("203.0.113.{number}"))
    };
    (0..VISITORS).map(browser).collect()
}

/// What it said, if it ends at all.
fn ended(mut command: Child) -> Ran {
    wait_for("the command to end", 2 * PATIENCE, || {
        command.try_wait().unwrap()
    });
    Ran::from(command.wait_with_output().unwrap())
}

fn kill_once_it_serves(app: &App, visitors: &Visitors) {
    wait_for("the new release to serve", PATIENCE, || {
        let visits = visitors.visits();
        visits.by_release.contains_key("r2").then_some(())
    });
    processes::kill_one(app, "r2");
}

/// One color live with all that it should have, the other empty, no deploy.
fn settled(machine: &Machine, app: &App) -> Option<()> {
    let status = machine.app_status(app);
    let roles = ["blue", "green"].map(|color| status["colors"][color]["role"].clone());
    let calm = status["deploy"].is_null()
        && roles.contains(&"live".into())
        && roles.contains(&"empty".into());
    calm.then_some(())
}
