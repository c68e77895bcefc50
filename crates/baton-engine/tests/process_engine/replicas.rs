//! Instances are added and removed one by one.

use std::collections::BTreeSet;

use baton_compose::Role;
use baton_compose::rendering::{ProcessModel, ProcessService, Rendering};
use baton_engine::{Engine, Instance, InstanceId, Replicas, Start};
use libtest_mimic::Trial;

use crate::support::*;

pub(crate) fn tests() -> Vec<Trial> {
    vec![
        test("instances_are_added_one_by_one", added),
        test("a_removed_instance_leaves_the_others_alone", removed),
    ]
}

fn three() -> ProcessService {
    ProcessService {
        replicas: 3,
        ..shell("exec sleep 1000")
    }
}

async fn start(bench: &Bench, replicas: Replicas) -> Vec<Instance> {
    let rendering = Rendering::Process(ProcessModel {
        services: vec![three()],
    });
    let start = Start {
        slot: &bench.slot,
        release: 1,
        role: Role::Live,
        rendering: &rendering,
        services: &["api".to_owned()],
        replicas,
        shielded: false,
    };
    bench.engine.start(start).await.expect("started")
}

fn ids(instances: &[Instance]) -> BTreeSet<InstanceId> {
    instances.iter().map(|one| one.id.clone()).collect()
}

async fn added() {
    let bench = Bench::new();
    let mut before = BTreeSet::new();
    for (most, expected) in [(1, 1), (2, 2), (9, 3)] {
        let instances = start(&bench, Replicas::UpTo(most)).await;
        assert_eq!(instances.len(), expected);
        assert!(ids(&instances).is_superset(&before));
        before = ids(&instances);
    }
    assert_eq!(ids(&start(&bench, Replicas::UpTo(1)).await), before);
    bench.engine.clear(&bench.slot, &[]).await.expect("cleared");
}

async fn removed() {
    let bench = Bench::new();
    let all = start(&bench, Replicas::All).await;
    let (first, others) = (&all[0].id, ids(&all[1..]));
    let child = bench.pid(first, "child");
    bench.engine.remove(first).await.expect("removed");
    assert!(!is_alive(child));
    bench.engine.remove(first).await.expect("removed again");
    let left = bench.engine.instances(&bench.slot).await.expect("a list");
    assert_eq!(ids(&left), others);

    // With the life that it had before.
    let second = &all[1].id;
    bench.engine.stop(second).await.expect("stopped");
    let again = bench.engine.restart(second).await.expect("restarted");
    bench.engine.remove(&again.id).await.expect("removed");
    let left = bench.engine.instances(&bench.slot).await.expect("a list");
    assert_eq!(ids(&left), ids(&all[2..]));

    let healed = start(&bench, Replicas::All).await;
    assert!(ids(&healed).is_superset(&ids(&all[2..])));
    let numbers: Vec<u32> = healed.iter().map(|one| one.replica).collect();
    assert_eq!(numbers, [1, 2, 3]);
    bench.engine.clear(&bench.slot, &[]).await.expect("cleared");
}
