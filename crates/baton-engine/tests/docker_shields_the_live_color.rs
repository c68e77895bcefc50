//! A candidate cannot starve or kill the live color, and nothing of that is left once it is live.

mod support;

use std::collections::BTreeSet;
use std::path::PathBuf;

use baton_compose::rendering::Rendering;
use baton_compose::{Color, Role};
use baton_engine::{Engine, Instance, InstanceId, Shield, Start};
use serde_json::{Value, json};
use support::{PATIENCE, TestApp, docker, eventually, look, state};
use tokio::time::{Duration, Instant, sleep};

async fn start(app: &TestApp, color: Color, rendering: &Rendering, shielded: bool) -> Instance {
    let start = Start {
        slot: &app.slot(color),
        release: 1,
        role: Role::Live,
        rendering,
        services: &[],
        replicas: baton_engine::Replicas::All,
        shielded,
    };
    app.engine.start(start).await.expect("a start").remove(0)
}

fn family(app: &TestApp, more: Value) -> Rendering {
    let mut service = json!({"command": ["parent"]});
    for (key, value) in more.as_object().expect("keys") {
        service[key] = value.clone();
    }
    app.rendering(Color::Green, &[("job", service)])
}

/// Pid and `oom_score_adj` of every process of the container.
fn scores(id: &InstanceId) -> BTreeSet<(i32, i32)> {
    let listed = docker(&["top", &id.0, "-eo", "pid"]);
    let pids = listed.lines().skip(1).map(|line| line.trim());
    pids.filter_map(|pid| {
        let score = std::fs::read_to_string(format!("/proc/{pid}/oom_score_adj")).ok()?;
        Some((pid.parse().ok()?, score.trim().parse().ok()?))
    })
    .collect()
}

async fn has_children(id: &InstanceId, count: usize) {
    eventually("the children run", || async {
        scores(id).len() == count + 1
    })
    .await;
}

fn all_have(id: &InstanceId, score: i32) -> bool {
    let scores = scores(id);
    !scores.is_empty() && scores.iter().all(|(_, found)| *found == score)
}

/// The folder of the slot's cgroup, its weight and the usual one, as the kernel shows them.
fn weight(app: &TestApp, color: Color) -> (u32, u32) {
    let name = format!("baton-{}", app.slot(color));
    let first = PathBuf::from("/sys/fs/cgroup/cpu")
        .join(&name)
        .join("cpu.shares");
    let second = PathBuf::from("/sys/fs/cgroup")
        .join(&name)
        .join("cpu.weight");
    let read = |path: &PathBuf| std::fs::read_to_string(path).ok()?.trim().parse().ok();
    match (read(&first), read(&second)) {
        (Some(shares), _) => (shares, 1024),
        (_, Some(weight)) => (weight, 100),
        _ => panic!("{} has no weight", first.display()),
    }
}

fn is_low(app: &TestApp) -> bool {
    let (weight, usual) = weight(app, Color::Green);
    weight <= usual / 50
}

fn is_usual(app: &TestApp) -> bool {
    let (weight, usual) = weight(app, Color::Green);
    weight == usual
}

#[tokio::test(flavor = "multi_thread")]
async fn every_process_of_a_candidate_is_shielded_and_of_a_live_one_none() {
    let app = TestApp::new("shield");
    let slot = app.slot(Color::Green);
    let job = start(&app, Color::Green, &family(&app, json!({})), true).await;
    has_children(&job.id, 1).await;
    assert!(all_have(&job.id, 500), "{:?}", scores(&job.id));
    assert!(is_low(&app));
    // Its own weight is as ever: from that a runtime sizes its pools.
    assert_eq!(look(&job.id, "{{.HostConfig.CpuShares}}"), "0");
    docker(&["kill", "--signal", "HUP", &job.id.0]);
    has_children(&job.id, 2).await;
    assert!(all_have(&job.id, 500), "{:?}", scores(&job.id));

    for _ in 0..2 {
        let said = app.engine.shield(&slot, Shield::None).await;
        assert_eq!(said.expect("no shield"), None);
        assert!(all_have(&job.id, 0), "{:?}", scores(&job.id));
        assert!(is_usual(&app));
    }
    docker(&["kill", "--signal", "HUP", &job.id.0]);
    has_children(&job.id, 3).await;
    assert!(all_have(&job.id, 0), "{:?}", scores(&job.id));

    let said = app.engine.shield(&slot, Shield::Leaving).await;
    assert_eq!(said.expect("leaving"), None);
    assert!(all_have(&job.id, 500), "{:?}", scores(&job.id));
    assert!(is_usual(&app));

    // The engine leaves its cgroups behind; with the slot they go.
    app.engine.clear(&slot, &[]).await.expect("cleared");
    let name = format!("baton-{slot}");
    let mut hierarchies: Vec<PathBuf> = vec!["/sys/fs/cgroup".into()];
    let entries = std::fs::read_dir("/sys/fs/cgroup").expect("cgroups");
    hierarchies.extend(entries.flatten().map(|entry| entry.path()));
    let left: Vec<_> = hierarchies
        .iter()
        .map(|folder| folder.join(&name))
        .filter(|folder| folder.exists())
        .collect();
    assert_eq!(left, Vec::<PathBuf>::new());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_shield_holds_over_restarts_and_ends_with_its_slots_last_instance() {
    let app = TestApp::new("again");
    let slot = app.slot(Color::Green);
    let rendering = family(&app, json!({"oom_score_adj": 7}));
    let job = start(&app, Color::Green, &rendering, true).await;
    app.engine.stop(&job.id).await.expect("stopped");
    app.engine.restart(&job.id).await.expect("restarted");
    has_children(&job.id, 1).await;
    assert!(all_have(&job.id, 500), "{:?}", scores(&job.id));
    assert!(is_low(&app));
    // Whoever starts it.
    docker(&["restart", "-t", "5", &job.id.0]);
    has_children(&job.id, 1).await;
    eventually("it is shielded again", || async { all_have(&job.id, 500) }).await;

    // What the file says is what there is without a shield.
    app.engine.shield(&slot, Shield::None).await.expect("none");
    assert!(all_have(&job.id, 7), "{:?}", scores(&job.id));
    app.engine.stop(&job.id).await.expect("stopped");
    app.engine.restart(&job.id).await.expect("restarted");
    has_children(&job.id, 1).await;
    assert!(all_have(&job.id, 7), "{:?}", scores(&job.id));
    assert!(is_usual(&app));

    // Made anew in its place, as after a `docker compose down` of the base.
    app.engine
        .shield(&slot, Shield::Leaving)
        .await
        .expect("one");
    app.engine.stop(&job.id).await.expect("stopped");
    docker(&["network", "rm", &format!("{}_shop", app.name)]);
    let anew = app.engine.restart(&job.id).await.expect("made anew");
    assert_ne!(anew.id, job.id);
    has_children(&anew.id, 1).await;
    assert!(all_have(&anew.id, 500), "{:?}", scores(&anew.id));
    assert!(is_usual(&app));

    app.engine.clear(&slot, &[]).await.expect("cleared");
    let plain = start(&app, Color::Green, &rendering, false).await;
    has_children(&plain.id, 1).await;
    assert!(all_have(&plain.id, 7), "{:?}", scores(&plain.id));
    assert!(is_usual(&app));
    // A stopped instance has no process to touch.
    app.engine.stop(&plain.id).await.expect("stopped");
    let said = app.engine.shield(&slot, Shield::Candidate).await;
    assert_eq!(said.expect("nothing to do"), None);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_cgroup_of_the_users_is_left_alone_and_told() {
    let app = TestApp::new("parent");
    let slot = app.slot(Color::Green);
    let mine = format!("/{}-mine", app.name);
    let rendering = family(&app, json!({"cgroup_parent": mine}));
    let job = start(&app, Color::Green, &rendering, true).await;
    assert_eq!(look(&job.id, "{{.HostConfig.CgroupParent}}"), mine);
    let said = app.engine.shield(&slot, Shield::Candidate).await;
    let said = said.expect("not a failure").expect("a sentence");
    assert!(
        said.contains("cgroup_parent") && said.contains(&mine),
        "{said}"
    );
    has_children(&job.id, 1).await;
    assert!(all_have(&job.id, 500), "{:?}", scores(&job.id));
    let said = app.engine.shield(&slot, Shield::None).await;
    assert_eq!(said.expect("no shield"), None);
    app.engine.clear(&slot, &[]).await.expect("cleared");
    support::remove_cgroups(&mine[1..]);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_candidate_that_burns_leaves_the_live_color_its_cpu() {
    let app = TestApp::new("burn");
    // On one core: between several the kernel moves tasks about as it likes, the more so when the
    // machine has other work, and fairness is a long-term thing.
    let burner = json!({"command": ["burn"], "cpuset": "0"});
    let of = |color| app.rendering(color, &[("job", burner.clone())]);
    let live = start(&app, Color::Blue, &of(Color::Blue), false).await;
    let candidate = start(&app, Color::Green, &of(Color::Green), true).await;
    let used = async || {
        let usage = async |id| app.engine.usage(id).await.expect("measured").cpu;
        (usage(&live.id).await, usage(&candidate.id).await)
    };
    let measure = async || {
        let (live_before, candidate_before) = used().await;
        let until = Instant::now() + PATIENCE;
        loop {
            let (live_now, candidate_now) = used().await;
            let (live, candidate) = (live_now - live_before, candidate_now - candidate_before);
            if live + candidate >= Duration::from_secs(1) {
                break (live, candidate);
            }
            assert!(Instant::now() < until, "{live:?} and {candidate:?} only");
            sleep(Duration::from_millis(20)).await;
        }
    };
    let (live_cpu, candidate_cpu) = measure().await;
    assert!(
        live_cpu > candidate_cpu * 5,
        "live {live_cpu:?}, candidate {candidate_cpu:?}"
    );
    // Without it they share; the measure itself is not one-sided.
    let slot = app.slot(Color::Green);
    app.engine.shield(&slot, Shield::None).await.expect("none");
    let (live_cpu, candidate_cpu) = measure().await;
    assert!(
        candidate_cpu * 3 > live_cpu,
        "live {live_cpu:?}, candidate {candidate_cpu:?}"
    );
    for id in [&live.id, &candidate.id] {
        docker(&["kill", &id.0]);
        assert!(state(&app, id).await.is_some());
    }
}
