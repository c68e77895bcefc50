//! What really runs of an app, whatever Baton says.

use super::{App, Engine, Machine};

/// Process ids of an app's instances, as the environment of the machine's processes tells it; of one
/// release (`r2`) or of all.
pub(crate) fn of_app(app: &str, release: Option<&str>) -> Vec<u32> {
    let mut wanted = vec![format!("BATON_APP={app}")];
    wanted.extend(release.map(|release| format!("BATON_RELEASE={release}")));
    let mut found = Vec::new();
    for entry in std::fs::read_dir("/proc").unwrap().flatten() {
        let Some(pid) = entry
            .file_name()
            .to_str()
            .and_then(|name| name.parse().ok())
        else {
            continue;
        };
        // Containers of the app carry the same variables, but are in a cgroup of Docker's or, under the
        // shield, of their slot's; they are counted by Docker.
        let cgroup = std::fs::read_to_string(entry.path().join("cgroup")).unwrap_or_default();
        let environment = std::fs::read(entry.path().join("environ")).unwrap_or_default();
        let says = |pair: &String| {
            let mut pairs = environment.split(|byte| *byte == 0);
            pairs.any(|found| found == pair.as_bytes())
        };
        let in_container = ["docker", &format!("baton-{app}-")]
            .iter()
            .any(|name| cgroup.contains(name));
        if wanted.iter().all(says) && !in_container {
            found.push(pid);
        }
    }
    found
}

/// Instances of the app that `status` lists.
///
/// # Panics
/// When that is not what really runs: containers or processes of this app.
pub(crate) fn instances(machine: &Machine, app: &App) -> usize {
    let status = machine.app_status(app);
    let listed: usize = ["blue", "green"]
        .map(|color| {
            status["colors"][color]["instances"]
                .as_array()
                .map_or(0, Vec::len)
        })
        .iter()
        .sum();
    let filter = format!("label=baton.app={}", app.name());
    let containers = super::app::docker(&["ps", "-aq", "--filter", &filter]);
    assert_eq!(
        listed,
        containers.split_whitespace().count() + of_app(app.name(), None).len(),
        "what status lists is what runs"
    );
    listed
}

/// `kill -9` of one instance of a release.
pub(crate) fn kill_one(app: &App, release: &str) {
    match app.engine() {
        Engine::Docker => {
            let of_app = format!("label=baton.app={}", app.name());
            let of_release = format!("label=baton.release={release}");
            let ids =
                super::app::docker(&["ps", "-q", "--filter", &of_app, "--filter", &of_release]);
            let id = ids.split_whitespace().next();
            super::app::docker(&["kill", id.expect("a container of the release")]);
        }
        Engine::Process => {
            let pids = of_app(app.name(), Some(release));
            let pid = pids.first().expect("a process of the release").to_string();
            let killed = std::process::Command::new("kill")
                .args(["-9", &pid])
                .status();
            assert!(killed.unwrap().success());
        }
    }
}
