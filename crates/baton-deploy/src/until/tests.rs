use std::collections::VecDeque;
use std::sync::Mutex;

use baton_compose::policy::Drain;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpListener;

use super::*;
use crate::run::kit::{FakeEngine, Freezer};

/// An engine with `count` instances of the service `api`.
fn engine(count: usize) -> (Arc<FakeEngine>, Vec<Instance>) {
    let engine = Arc::new(FakeEngine::new(Arc::new(Freezer::default())));
    for _ in 0..count {
        engine.run_plain("shop", "api");
    }
    let instances = engine.state().instances.clone();
    (engine, instances)
}

fn policy(until: Until) -> Policy {
    Policy {
        hosts: vec!["shop.example.com".to_owned()],
        drain: Drain {
            until: Some(until),
            ..Drain::default()
        },
        ..Policy::default()
    }
}

fn gate(engine: &Arc<FakeEngine>, instances: &[Instance], until: &Until) -> Gate {
    let asked = instances
        .iter()
        .map(|instance| (instance.clone(), policy(until.clone())));
    Gate::new(engine.clone(), asked)
}

fn command() -> Until {
    Until::Exec(vec!["./done".to_owned(), "--jobs".to_owned()])
}

/// Gives these answers, one a connection, and keeps the first lines of what it was asked.
async fn app(answers: Vec<&'static str>) -> (SocketAddr, Arc<Mutex<Vec<String>>>) {
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
    let at = listener.local_addr().expect("an address");
    let asked: Arc<Mutex<Vec<String>>> = Arc::default();
    let seen = asked.clone();
    tokio::spawn(async move {
        for answer in answers {
            let (mut client, _) = listener.accept().await.expect("a client");
            let mut head = [0; 1024];
            let read = client.read(&mut head).await.expect("a request");
            let text = String::from_utf8_lossy(&head[..read]).into_owned();
            seen.lock().expect("a lock").push(text);
            client
                .write_all(answer.as_bytes())
                .await
                .expect("an answer");
        }
    });
    (at, asked)
}

fn lives_at(engine: &FakeEngine, instance: &Instance, at: SocketAddr) {
    let mut state = engine.state();
    let found = state.instances.iter_mut().find(|one| one.id == instance.id);
    let address = found.and_then(|one| one.address.as_mut()).expect("it runs");
    (address.ip, address.port) = (at.ip(), at.port());
}

const BUSY: &str = "HTTP/1.1 503 Service Unavailable\r\ncontent-length: 6\r\n\r\n3 jobs";
const DONE: &str = "HTTP/1.1 204 No Content\r\n\r\n";
const LOGIN: &str = "HTTP/1.1 302 Found\r\nlocation: /login\r\ncontent-length: 0\r\n\r\n";

#[tokio::test]
async fn without_the_key_nobody_is_asked() {
    let (engine, instances) = engine(2);
    let asked = instances.into_iter().map(|one| (one, Policy::default()));
    let mut gate = Gate::new(engine.clone(), asked);
    assert!(gate.poll().await);
    assert_eq!(gate.describe(), "");
    assert!(engine.state().calls.is_empty());
}

#[tokio::test]
async fn a_path_must_answer_2xx() {
    let (engine, instances) = engine(1);
    let (at, asked) = app(vec![BUSY, LOGIN, DONE]).await;
    lives_at(&engine, &instances[0], at);
    let mut gate = gate(&engine, &instances, &Until::Http("/drained".to_owned()));
    assert!(!gate.poll().await);
    assert_eq!(
        gate.describe(),
        "api 1 is not done yet (GET /drained: 503 Service Unavailable: \"3 jobs\")"
    );
    // A redirect is no yes.
    assert!(!gate.poll().await);
    assert!(
        gate.describe().contains("302 Found to /login"),
        "{}",
        gate.describe()
    );
    assert!(gate.poll().await);
    assert_eq!(gate.describe(), "");
    let asked = asked.lock().expect("a lock");
    assert!(
        asked[0].starts_with("GET /drained HTTP/1.1\r\n"),
        "{asked:?}"
    );
    assert!(asked[0].contains("host: shop.example.com"), "{asked:?}");
}

#[tokio::test]
async fn an_app_that_cannot_be_asked_is_not_done() {
    let (engine, instances) = engine(1);
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
    lives_at(
        &engine,
        &instances[0],
        listener.local_addr().expect("an address"),
    );
    drop(listener);
    let mut gate = gate(&engine, &instances, &Until::Http("/drained".to_owned()));
    assert!(!gate.poll().await);
    assert!(
        gate.describe().contains("connection refused"),
        "{}",
        gate.describe()
    );
}

#[tokio::test]
async fn a_command_is_run_until_it_exits_with_0() {
    let (engine, instances) = engine(1);
    engine.state().exit_codes = VecDeque::from([3, 1, 1]);
    let mut gate = gate(&engine, &instances, &command());
    let told = Mutex::new(Vec::new());
    let begun = Instant::now();
    gate.every = Duration::from_millis(50);
    gate.wait(&|text| told.lock().expect("a lock").push(text))
        .await;
    assert!(begun.elapsed() >= gate.every * 3);
    // The same is told once.
    assert_eq!(
        *told.lock().expect("a lock"),
        [
            "api 1 is not done yet (./done --jobs: exit code 3: \"3 left\")",
            "api 1 is not done yet (./done --jobs: exit code 1: \"1 left\")"
        ]
    );
    let id = &instances[0].id;
    assert_eq!(
        engine.state().calls,
        vec![format!("exec {id} ./done --jobs"); 4]
    );
}

#[tokio::test]
async fn every_instance_must_be_done_in_the_same_round() {
    let (engine, instances) = engine(2);
    let mut gate = gate(&engine, &instances, &command());
    // One is done while the other is not; then the other way round.
    for (first, second) in [(0, 1), (1, 0)] {
        engine.state().exit_codes = VecDeque::from([first, second]);
        assert!(!gate.poll().await);
    }
    assert!(gate.poll().await);
}

#[tokio::test]
async fn one_that_has_ended_holds_nothing() {
    let (engine, instances) = engine(2);
    engine.kill(&instances[0].id);
    engine
        .state()
        .instances
        .retain(|one| one.id == instances[0].id);
    let mut gate = gate(&engine, &instances, &command());
    assert!(gate.poll().await);
    assert!(engine.state().calls.is_empty(), "nobody was asked");
}
