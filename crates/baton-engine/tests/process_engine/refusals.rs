//! Starts that cannot work say why and what to do.

use std::path::PathBuf;

use baton_compose::rendering::ProcessService;
use baton_engine::{Engine, InstanceState};
use libtest_mimic::Trial;

use crate::support::*;

pub(crate) fn tests() -> Vec<Trial> {
    vec![
        test("a_command_that_is_not_there_is_named", missing),
        test("a_file_that_is_no_program_is_named", not_executable),
        test(
            "what_two_colors_cannot_share_is_refused_before_anything_stops",
            refused,
        ),
        test("an_engine_that_can_work_says_so", check),
    ]
}

async fn refusal(bench: &Bench, service: &ProcessService) -> String {
    let started = start(&bench.engine, &bench.slot, 2, service).await;
    started.expect_err("refused").to_string()
}

async fn missing() {
    let bench = Bench::new();
    let error = refusal(&bench, &service(&["no-such-program", "x"])).await;
    assert!(
        error.starts_with(
            "cannot start shop-blue/api#1: cannot execute \"no-such-program\": No such file"
        ),
        "{error}"
    );
    assert!(error.contains("PATH"), "{error}");
    let error = refusal(&bench, &service(&["./server"])).await;
    assert!(error.contains("working_dir"), "{error}");
    let folder = ProcessService {
        working_dir: PathBuf::from("/no/such/folder"),
        ..shell("exit 0")
    };
    let error = refusal(&bench, &folder).await;
    assert!(
        error.ends_with("working_dir /no/such/folder is not a folder"),
        "{error}"
    );
}

async fn not_executable() {
    let bench = Bench::new();
    let file = bench.path("server");
    std::fs::write(&file, "data").expect("written");
    let error = refusal(&bench, &service(&[file.to_str().expect("a name")])).await;
    assert!(
        error.contains("Permission denied") && error.contains("chmod +x"),
        "{error}"
    );
    // What happened can be looked at afterwards.
    let left = bench.engine.instances(&bench.slot).await.expect("listed");
    let InstanceState::Exited(exit) = &left[0].state else {
        panic!("{left:?}");
    };
    assert_eq!(exit.code, Some(126));
    assert!(
        exit.error
            .as_ref()
            .is_some_and(|error| error.contains("Permission denied"))
    );
    // The next start takes its place.
    let next = bench.start_one(&shell("exec sleep 1000")).await;
    assert_eq!(
        bench.engine.instances(&bench.slot).await.expect("listed"),
        [next]
    );
}

async fn refused() {
    let bench = Bench::new();
    let running = bench.start_one(&shell("exec sleep 1000")).await;
    let fixed = ProcessService {
        listens: true,
        port: Some(8080),
        ..shell("exec sleep 1000")
    };
    let error = refusal(&bench, &fixed).await;
    assert!(error.contains("8080") && error.contains("$PORT"), "{error}");
    let signal = ProcessService {
        stop_signal: Some("SIGNOPE".to_owned()),
        ..shell("exec sleep 1000")
    };
    assert!(refusal(&bench, &signal).await.contains("SIGNOPE"));
    let user = ProcessService {
        user: Some("no-such-user".to_owned()),
        ..shell("exec sleep 1000")
    };
    assert!(refusal(&bench, &user).await.contains("no-such-user"));
    assert!(refusal(&bench, &service(&[])).await.contains("no command"));
    assert_eq!(
        bench.engine.instances(&bench.slot).await.expect("listed"),
        [running]
    );
}

async fn check() {
    let bench = Bench::new();
    bench.engine.check().await.expect("it can work");
    assert!(bench.engine.describe().contains("127.0.0.1"));
}
