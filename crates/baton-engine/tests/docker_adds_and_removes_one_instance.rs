//! A slot may be filled and emptied one instance after the other, and the others go on undisturbed.

mod support;

use std::collections::BTreeSet;

use baton_compose::rendering::Rendering;
use baton_compose::{Color, Role};
use baton_engine::{Engine, Instance, Replicas, Start};
use serde_json::json;
use support::{TestApp, answers, docker, look};

async fn start(app: &TestApp, rendering: &Rendering, replicas: Replicas) -> Vec<Instance> {
    let start = Start {
        slot: &app.slot(Color::Blue),
        release: 1,
        role: Role::Live,
        rendering,
        services: &[],
        replicas,
        shielded: false,
    };
    app.engine.start(start).await.expect("a start")
}

/// What changes when an instance is made anew or started again.
fn lives(instances: &[Instance]) -> BTreeSet<(String, String)> {
    instances
        .iter()
        .map(|one| (one.id.0.clone(), look(&one.id, "{{.State.StartedAt}}")))
        .collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn instances_are_added_one_by_one_and_those_that_run_stay() {
    let app = TestApp::new("upto");
    let rendering = app.rendering(Color::Blue, &[("api", json!({"port": 8080, "scale": 3}))]);
    let mut before = BTreeSet::new();
    // The last one: never more than the rendering says.
    for (most, expected) in [(1, 1), (2, 2), (3, 3), (9, 3)] {
        let instances = start(&app, &rendering, Replicas::UpTo(most)).await;
        assert_eq!(instances.len(), expected);
        assert!(instances.iter().all(|one| one.restarts == 0));
        let now = lives(&instances);
        assert!(now.is_superset(&before), "{before:?} became {now:?}");
        before = now;
        for instance in &instances {
            answers(instance).await;
        }
    }
    // Fewer than run: none goes.
    let instances = start(&app, &rendering, Replicas::UpTo(1)).await;
    assert_eq!(lives(&instances), before);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_removed_instance_is_gone_and_comes_back_with_a_start_of_all() {
    let app = TestApp::new("remove");
    let service =
        json!({"port": 8080, "scale": 3, "volumes": [{"type": "volume", "target": "/data"}]});
    let rendering = app.rendering(Color::Blue, &[("api", service)]);
    let all = start(&app, &rendering, Replicas::All).await;
    let first = &all[0];
    let volume = look(&first.id, "{{(index .Mounts 0).Name}}");
    let others = lives(&all[1..]);

    app.engine.remove(&first.id).await.expect("removed");
    app.engine.remove(&first.id).await.expect("removed again");
    assert_eq!(app.engine.inspect(&first.id).await.expect("a look"), None);
    let left = app.engine.instances(&app.slot(Color::Blue)).await;
    assert_eq!(lives(&left.expect("a list")), others);
    let volumes = docker(&["volume", "ls", "-q", "--filter", &format!("name={volume}")]);
    assert_eq!(volumes, "");

    let healed = start(&app, &rendering, Replicas::All).await;
    assert_eq!(healed.len(), 3);
    assert!(lives(&healed).is_superset(&others));
    assert!(healed.iter().all(|one| one.restarts == 0), "{healed:?}");
    let numbers: BTreeSet<u32> = healed.iter().map(|one| one.replica).collect();
    assert_eq!(numbers.len(), 3, "{healed:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn an_instance_that_ran_before_is_not_made_anew_because_the_model_has_changed() {
    let app = TestApp::new("model");
    let of = |marker: &str| {
        let service = json!({"port": 8080, "scale": 2, "environment": {"MARKER": marker}});
        app.rendering(Color::Blue, &[("api", service)])
    };
    let first = start(&app, &of("old"), Replicas::UpTo(1)).await;
    let both = start(&app, &of("new"), Replicas::All).await;
    assert_eq!(both.len(), 2);
    assert!(lives(&both).is_superset(&lives(&first)));
}
