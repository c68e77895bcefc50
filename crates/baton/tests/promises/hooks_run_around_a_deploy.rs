//! `hooks`: four moments of a deploy, in their order, told what is deployed. One that fails before the
//! switch stops the deploy; after it, it is a warning.

use crate::kit::{App, Engine, Machine};

/// Each hook writes its name and what it was told to `hooks.log`, beside the compose file. A `$` that the
/// shell is to see is written `$$` in a compose file.
fn hook(name: &str, end: &str) -> String {
    let told = "$$BATON_RELEASE $$BATON_COLOR $${BATON_OLD_RELEASE:--} $${BATON_OLD_COLOR:--} $$BATON_STRATEGY";
    format!("{name}: [[sh, -c, \"echo {name} {told} >> hooks.log; echo said by {name}; {end}\"]]")
}

fn hooks(app: &mut App, failing: &str) {
    let all = [
        "before_start",
        "before_switch",
        "after_switch",
        "after_deploy",
    ]
    .map(|name| {
        let end = if name == failing { "exit 7" } else { "exit 0" };
        hook(name, end)
    });
    app.policy("hooks", &format!("{{ {} }}", all.join(", ")));
}

fn log(app: &App) -> Vec<String> {
    let text = std::fs::read_to_string(app.folder().join("hooks.log")).unwrap_or_default();
    let _ = std::fs::remove_file(app.folder().join("hooks.log"));
    text.lines().map(str::to_owned).collect()
}

#[test]
fn hooks_run_in_their_order_and_know_what_is_deployed() {
    let machine = Machine::start();
    let mut app = App::new(Engine::Process, "hooks");
    hooks(&mut app, "");
    // Its line shows where it stands among them.
    let command = app.words("migrate");
    app.policy("migrate", &format!("{{ command: {command} }}"))
        .policy("watch", "100ms");
    let file = app.folder().join("hooks.log");
    app.variable("MIGRATE_FILE", &file.display().to_string())
        .variable("DB_URL", "migrated");
    let first = machine.baton(&app, &["deploy", "--json"]);
    assert_eq!(first.code, 0, "{first}");
    assert!(first.stdout.contains("said by before_start"), "{first}");
    let all = |tail: &str| {
        [
            "before_start",
            "before_switch",
            "after_switch",
            "after_deploy",
        ]
        .map(|name| format!("{name} {tail}"))
    };
    let mut wanted = all("r1 blue - - blue-green").to_vec();
    wanted.insert(1, "r1 live migrated".to_owned());
    assert_eq!(log(&app), wanted);
    app.version("v2");
    machine.deploy(&app, &["--wait", "drained"]);
    let mut wanted = all("r2 green r1 blue blue-green").to_vec();
    wanted.insert(1, "r2 live migrated".to_owned());
    assert_eq!(log(&app), wanted);
}

#[test]
fn hook_that_fails_before_the_switch_stops_the_deploy() {
    let machine = Machine::start();
    let mut app = App::new(Engine::Process, "hooksfail");
    machine.deploy(&app, &[]);
    let live = machine.get(app.host(), "/").2;
    for name in ["before_start", "before_switch"] {
        hooks(&mut app, name);
        app.version(name);
        let failed = machine.baton(&app, &["deploy", "--json"]);
        assert_eq!(failed.code, 3, "{failed}");
        let result = failed.result();
        let message = result["message"].as_str().unwrap();
        for part in [
            &format!("{name} of api"),
            "exited with code 7",
            "r1 (blue) is untouched",
        ] {
            assert!(message.contains(part), "{part:?} is not in {message}");
        }
        let said = result["failure"]["log"].to_string();
        assert!(said.contains(&format!("said by {name}")), "{said}");
        assert_eq!(machine.get(app.host(), "/").2, live, "live is untouched");
        let ran = log(&app);
        assert!(
            ran.last().is_some_and(|line| line.starts_with(name)),
            "{ran:?}"
        );
        assert_eq!(machine.role(&app, "green"), "empty");
    }
}

#[test]
fn hook_that_fails_after_the_switch_is_a_warning() {
    let machine = Machine::start();
    let mut app = App::new(Engine::Process, "hookswarn");
    machine.deploy(&app, &[]);
    for (version, name) in [("v2", "after_switch"), ("v3", "after_deploy")] {
        hooks(&mut app, name);
        app.version(version);
        let ran = machine.baton(&app, &["deploy", "--json", "--wait", "drained"]);
        assert_eq!(ran.code, 0, "{ran}");
        let warning = ran.lines().into_iter().find(|line| {
            let text = line.to_string();
            text.contains("warning") && text.contains("exited with code 7")
        });
        assert!(warning.is_some(), "{ran}");
        let (_, _, body) = machine.get(app.host(), "/");
        assert!(
            body.contains(&format!("\"version\":\"{version}\"")),
            "{body}"
        );
        let ran = log(&app);
        assert!(
            ran.last()
                .is_some_and(|line| line.starts_with("after_deploy")),
            "{ran:?}"
        );
    }
}
