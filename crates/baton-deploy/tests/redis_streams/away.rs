use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use baton_deploy::redis::{Poll, Redis, RedisError, Url};

use crate::kit::{Case, PATIENCE, Server, at, free_port};

#[tokio::test]
async fn preflight_hears_of_a_redis_that_is_not_there() {
    let address = ([127, 0, 0, 1], free_port()).into();
    let url = Url::parse("redis://shop:s3cret@redis:6379").expect("a URL");
    let redis = Redis::new(url, at(address));
    let error = redis.check().await.expect_err("nobody there");
    assert!(error.is_passing(), "{error:?}");
    let text = error.to_string();
    assert!(
        text.contains("redis:6379") && !text.contains("s3cret"),
        "{text}"
    );
    // A name that the engine does not know.
    let url = Url::parse("redis://cache").expect("a URL");
    let error = Redis::new(url, at(address)).check().await;
    let text = error.expect_err("no such host").to_string();
    assert!(text.contains("no service cache"), "{text}");
}

#[tokio::test]
async fn a_redis_that_accepts_and_never_answers_is_given_up_in_time() {
    let listener = std::net::TcpListener::bind("127.0.0.1:0").expect("a port");
    let address = listener.local_addr().expect("an address");
    let redis = Redis::new(Url::parse("redis://redis").expect("a URL"), at(address));
    let begun = Instant::now();
    let error = redis.check().await.expect_err("silence");
    assert!(error.is_passing(), "{error:?}");
    assert!(
        begun.elapsed() < Duration::from_secs(5),
        "{:?}",
        begun.elapsed()
    );
}

#[tokio::test]
async fn a_compose_service_is_found_through_the_engine() {
    let port = free_port();
    let server = Server::start(&["--port", &port.to_string(), "--bind", "127.0.0.1"]);
    let url = Url::parse("redis://redis/0").expect("a URL");
    let redis = Redis::new(url, at(([127, 0, 0, 1], port).into()));
    let found = redis.check().await.expect("it is there");
    assert_eq!(found.flavor, "redis");
    assert!(found.exclusive_ranges && !found.cluster, "{found:?}");
    drop(server);
}

#[tokio::test]
async fn a_wrong_password_is_told_without_it() {
    let server = Server::start(&["--requirepass", "right"]);
    for (text, told) in [
        (
            format!("unix://{}?pass=s3cret", server.socket().display()),
            "refuses",
        ),
        (server.url(), "NOAUTH"),
    ] {
        let redis = Redis::new(
            Url::parse(&text).expect("a URL"),
            baton_deploy::redis::by_dns(),
        );
        let error = redis.check().await.expect_err("not let in");
        assert!(matches!(error, RedisError::Refused { .. }), "{error:?}");
        let text = error.to_string();
        assert!(text.contains(told) && !text.contains("s3cret"), "{text}");
    }
    let right = format!("unix://{}?pass=right", server.socket().display());
    let redis = Redis::new(
        Url::parse(&right).expect("a URL"),
        baton_deploy::redis::by_dns(),
    );
    redis.check().await.expect("let in");
}

#[tokio::test]
async fn a_user_who_may_not_ask_for_info_still_drains() {
    let server = Server::start(&[]);
    let mut case = Case::new(&server, "an ACL without INFO, COMMAND and EVAL");
    let _: redis::Value = redis::cmd("ACL")
        .arg(&[
            "SETUSER", "shop", "on", ">pw", "~*", "+@all", "-info", "-command", "-eval",
        ])
        .query(&mut case.connection)
        .expect("ACL");
    let url = format!("unix://{}?user=shop&pass=pw", server.socket().display());
    let url = Url::parse(&url).expect("a URL");
    case.redis = Arc::new(Redis::new(url, baton_deploy::redis::by_dns()));
    case.begin().await;
    case.write(4);
    case.handle("api-1", 1);
    case.take("api-1", 1);
    assert!(matches!(case.poll().await, Poll::Left(_)));
    case.carry().await;
    assert_eq!((case.moved.pending, case.moved.undelivered), (1, 2));
    case.finish();
    assert!(matches!(case.poll().await, Poll::Drained(_)));
}

/// What a drain told while it waited.
#[derive(Clone, Default)]
struct Told(Arc<Mutex<Vec<String>>>);

impl Told {
    fn note(&self) -> impl Fn(String) + Send + Sync + 'static {
        let list = self.0.clone();
        move |text| {
            println!("{text}");
            list.lock().expect("a lock").push(text);
        }
    }

    /// Waits until it was told so often.
    async fn until(&self, part: &str, times: usize) {
        let begun = Instant::now();
        let count = || {
            let list = self.0.lock().expect("a lock");
            list.iter().filter(|text| text.contains(part)).count()
        };
        while count() < times {
            assert!(begun.elapsed() < PATIENCE, "nobody told {part:?}");
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    }
}

#[tokio::test]
async fn the_drain_waits_for_a_redis_that_restarts() {
    let mut server = Server::durable();
    let mut case = Case::new(&server, "Redis restarted during the drain");
    case.begin().await;
    case.write(5);
    let taken = case.take("api-1", 2);
    let told = Told::default();
    let mut draining = case.draining();
    let note = told.note();
    let waiting = tokio::spawn(async move { draining.wait(&note).await });
    told.until("entries wait, 2 not acknowledged", 1).await;
    server.kill();
    told.until(
        "the old color keeps running until its messages can be seen",
        1,
    )
    .await;
    assert!(!waiting.is_finished(), "it never ends what it cannot see");
    server.revive();
    case.connection = server.connection();
    told.until("entries wait, 2 not acknowledged", 2).await;
    case.acknowledge(&taken);
    case.handle("api-1", 3);
    let handled = tokio::time::timeout(PATIENCE, waiting).await;
    handled.expect("in time").expect("no panic");
    case.finish();
    assert_eq!(case.by_old.len(), 5);
}

#[tokio::test]
async fn a_look_at_a_redis_that_is_away_starts_the_count_anew() {
    let mut server = Server::durable();
    let mut case = Case::new(&server, "Redis away between two looks");
    case.begin().await;
    let mut draining = case.draining();
    assert_eq!(draining.poll().await, Poll::Settling);
    assert_eq!(draining.poll().await, Poll::Settling);
    server.kill();
    assert!(matches!(draining.poll().await, Poll::Unseen { .. }));
    server.revive();
    let mut looks = 0;
    while !matches!(draining.poll().await, Poll::Drained(_)) {
        looks += 1;
    }
    assert!(looks >= 2, "{looks}");
    case.connection = server.connection();
    case.finish();
}

#[tokio::test]
async fn a_move_goes_on_after_redis_restarted() {
    let mut server = Server::durable();
    let mut case = Case::new(&server, "Redis restarted during the move");
    case.begin().await;
    case.write(3000);
    case.take("api-1", 500);
    let (redis, old, new) = (case.redis.clone(), case.old.clone(), case.new.clone());
    let before = case.before.clone();
    let moving = tokio::spawn(async move {
        let mut mover = baton_deploy::redis::Mover::new(redis.clone(), redis, before);
        let mut moved = baton_deploy::redis::Moved::default();
        let mut failures = 0;
        loop {
            let which = baton_deploy::redis::Which::All;
            match mover.carry(&old, &new, which, &mut moved).await {
                Ok(()) => return (moved, failures),
                Err(error) => {
                    assert!(error.is_passing(), "{error:?}");
                    failures += 1;
                    tokio::time::sleep(Duration::from_millis(50)).await;
                }
            }
        }
    });
    let begun = Instant::now();
    let moved_some = |case: &mut Case| -> bool {
        use redis::Commands;
        let length: u64 = case.connection.xlen(&case.new.key).expect("XLEN");
        length > 100
    };
    while !moved_some(&mut case) {
        assert!(begun.elapsed() < PATIENCE, "it does not begin");
        tokio::time::sleep(Duration::from_millis(1)).await;
    }
    server.kill();
    server.revive();
    case.connection = server.connection();
    let (moved, failures) = moving.await.expect("no panic");
    assert!(failures > 0, "it was not interrupted");
    case.moved = moved;
    case.finish();
    assert_eq!(
        (moved.undelivered, moved.pending),
        (2500, 500),
        "the receipt"
    );
}

#[tokio::test]
async fn a_redis_that_lost_its_data_is_told() {
    let mut server = Server::start(&[]);
    let mut case = Case::new(&server, "Redis restarted without its data");
    case.begin().await;
    case.write(2);
    let mut draining = case.draining();
    assert!(matches!(draining.poll().await, Poll::Left(_)));
    server.kill();
    server.revive();
    let begun = Instant::now();
    let handled = loop {
        if let Poll::Drained(handled) = draining.poll().await {
            break handled;
        }
        assert!(begun.elapsed() < PATIENCE);
    };
    assert_eq!(handled.vanished, [case.old.key.clone()]);
}

#[tokio::test]
async fn a_replica_is_waited_for_until_it_is_the_master() {
    let server = Server::start(&[]);
    let mut case = Case::new(&server, "Redis became a replica");
    case.begin().await;
    case.write(2);
    let port = free_port().to_string();
    let _: redis::Value = redis::cmd("REPLICAOF")
        .arg(&["127.0.0.1", port.as_str()])
        .query(&mut case.connection)
        .expect("REPLICAOF");
    let mut mover = baton_deploy::redis::Mover::new(
        case.redis.clone(),
        case.redis.clone(),
        case.before.clone(),
    );
    let which = baton_deploy::redis::Which::All;
    let error = mover
        .carry(&case.old, &case.new, which, &mut case.moved)
        .await;
    let error = error.expect_err("read only");
    assert!(error.is_passing(), "{error:?}");
    let _: redis::Value = redis::cmd("REPLICAOF")
        .arg(&["NO", "ONE"])
        .query(&mut case.connection)
        .expect("REPLICAOF");
    case.carry().await;
    assert_eq!(case.moved.undelivered, 2);
    case.finish();
}

#[tokio::test]
async fn a_redis_that_hangs_is_told_and_waited_for() {
    let server = Server::start(&[]);
    let mut case = Case::new(&server, "Redis hangs during the drain");
    case.begin().await;
    case.write(1);
    let mut draining = case.draining();
    assert!(matches!(draining.poll().await, Poll::Left(_)));
    server.signal("STOP");
    for _ in 0..2 {
        let begun = Instant::now();
        let poll = draining.poll().await;
        assert!(matches!(poll, Poll::Unseen { .. }), "{poll}");
        assert!(
            begun.elapsed() < Duration::from_secs(5),
            "{:?}",
            begun.elapsed()
        );
    }
    server.signal("CONT");
    case.handle("api-1", 1);
    let waiting = tokio::time::timeout(PATIENCE, draining.wait(&|_| {}));
    waiting.await.expect("it drains");
    case.finish();
}

#[tokio::test]
async fn a_full_redis_loses_nothing_and_is_waited_for() {
    let server = Server::start(&[]);
    let mut case = Case::new(&server, "maxmemory reached during the move");
    case.begin().await;
    case.write(500);
    case.take("api-1", 100);
    let limit = |connection: &mut redis::Connection, bytes: &str| {
        let _: redis::Value = redis::cmd("CONFIG")
            .arg(&["SET", "maxmemory", bytes])
            .query(connection)
            .expect("CONFIG SET");
    };
    limit(&mut case.connection, "1");
    let redis = case.redis.clone();
    let mut mover = baton_deploy::redis::Mover::new(redis.clone(), redis, case.before.clone());
    let which = baton_deploy::redis::Which::All;
    let error = mover
        .carry(&case.old, &case.new, which, &mut case.moved)
        .await;
    let error = error.expect_err("no room");
    assert!(
        error.is_passing() && error.to_string().contains("OOM"),
        "{error}"
    );
    limit(&mut case.connection, "0");
    let carried = mover
        .carry(&case.old, &case.new, which, &mut case.moved)
        .await;
    carried.expect("room");
    assert_eq!((case.moved.undelivered, case.moved.pending), (400, 100));
    case.finish();
    assert_eq!(case.twice(), 0);
}
