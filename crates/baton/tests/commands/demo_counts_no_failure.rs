//! `baton demo`: the promise in one command.

use std::time::{Duration, Instant};

use crate::kit::{Said, Stage, command, signal, wait_for};

#[test]
fn it_ends_with_its_figures_and_leaves_nothing_behind() {
    let stage = Stage::bare();
    let began = Instant::now();
    let output = command(stage.folder())
        .arg("demo")
        .env("TMPDIR", stage.folder())
        .output()
        .unwrap();
    let said = Said::from(output);
    assert_eq!(said.code, 0, "{}\n{}", said.out, said.err);
    let last = said.out.lines().last().unwrap();
    assert!(
        last.starts_with("demo: 3 deploys, 1 refused release, 1 rollback, "),
        "{last}"
    );
    assert!(last.contains(" 0 failed"), "{last}");
    assert!(
        last.contains("8 of 8 streams") && last.contains("(0 missing or twice)"),
        "{last}"
    );
    assert!(said.out.contains("exit code 3"), "{}", said.out);
    assert!(said.out.contains("receipt of deploy"), "{}", said.out);
    assert!(
        began.elapsed() < Duration::from_secs(60),
        "{:?}",
        began.elapsed()
    );
    nothing_is_left(&stage);
}

#[test]
fn ctrl_c_takes_everything_away() {
    let stage = Stage::bare();
    let demo = command(stage.folder())
        .arg("demo")
        .env("TMPDIR", stage.folder())
        .stdout(std::process::Stdio::piped())
        .stderr(std::process::Stdio::piped())
        .spawn()
        .unwrap();
    wait_for("the demo's daemon to run its app", || {
        let folder = std::fs::read_dir(stage.folder()).unwrap().next()?.unwrap();
        let socket = folder.path().join("baton.sock");
        let status = command(stage.folder())
            .args(["status", "--json", "--socket"])
            .arg(socket)
            .output()
            .unwrap();
        String::from_utf8_lossy(&status.stdout)
            .contains("\"live\":\"blue\"")
            .then_some(())
    });
    signal(demo.id(), rustix::process::Signal::INT);
    let said = Said::from(demo.wait_with_output().unwrap());
    assert_eq!(said.code, 130, "{said:?}");
    nothing_is_left(&stage);
}

fn nothing_is_left(stage: &Stage) {
    let left: Vec<_> = std::fs::read_dir(stage.folder()).unwrap().collect();
    assert!(left.is_empty(), "{left:?}");
    // Neither a daemon, nor a shim, nor an app whose working folder it was.
    let folder = stage.folder().to_string_lossy().into_owned();
    let of_the_demo = |path: std::path::PathBuf| {
        let words = std::fs::read_to_string(path.join("cmdline")).unwrap_or_default();
        let cwd = std::fs::read_link(path.join("cwd")).unwrap_or_default();
        let found = words.contains(&folder) || cwd.to_string_lossy().contains(&folder);
        found.then(|| format!("{words} in {}", cwd.display()))
    };
    let running: Vec<String> = std::fs::read_dir("/proc")
        .unwrap()
        .filter_map(|entry| of_the_demo(entry.ok()?.path()))
        .collect();
    assert!(running.is_empty(), "{running:?}");
}
