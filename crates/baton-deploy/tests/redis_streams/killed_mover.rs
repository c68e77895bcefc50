use std::time::{Duration, Instant};

use baton_deploy::redis::{Moved, Mover, Redis, Url, Which};
use redis::{Commands, Value, cmd};

use crate::kit::{Case, PATIENCE, Server, free_port};

/// Cuts a move off in its middle, as often as it takes, and begins again. Runtime and connection end
/// with each piece, as they would with a killed daemon.
fn carried_in_pieces(server: &Server, case: &Case) -> u32 {
    let mut cuts = 0;
    loop {
        let piece = Duration::from_millis(3 + u64::from(cuts % 7));
        let (redis, before) = (server.baton(), case.before.clone());
        let (old, new) = (case.old.clone(), case.new.clone());
        let killed = std::thread::spawn(move || {
            let mut mover = Mover::new(redis.clone(), redis, before);
            // Its counts die with it.
            let mut moved = Moved::default();
            let runtime = tokio::runtime::Builder::new_current_thread()
                .enable_all()
                .build()
                .expect("a runtime");
            let done = runtime.block_on(async {
                let carry = mover.carry(&old, &new, Which::All, &mut moved);
                tokio::time::timeout(piece, carry).await
            });
            done.map(|done| done.expect("a move")).is_err()
        });
        match killed.join().expect("no panic") {
            true => cuts += 1,
            false => return cuts,
        }
    }
}

#[tokio::test]
async fn a_mover_killed_at_any_point_and_run_again_loses_nothing() {
    let server = Server::start(&[]);
    let mut case = Case::new(&server, "mover killed, by script");
    case.begin().await;
    case.write(2000);
    case.take("api-1", 700);
    let cuts = carried_in_pieces(&server, &case);
    println!("cut off {cuts} times");
    assert!(cuts > 0);
    case.finish();
    assert_eq!(case.by_new.len(), 2000);
    assert_eq!(case.twice(), 0, "a script copies and deletes in one");
}

#[tokio::test]
async fn two_movers_at_once_move_each_entry_once() {
    let server = Server::start(&[]);
    let mut case = Case::new(&server, "two movers at once");
    case.begin().await;
    case.write(1000);
    case.take("api-1", 300);
    let (mut first, mut second) = (Moved::default(), Moved::default());
    let other = server.baton();
    let mut one = Mover::new(case.redis.clone(), case.redis.clone(), case.before.clone());
    let mut two = Mover::new(other.clone(), other, case.before.clone());
    let (old, new) = (&case.old, &case.new);
    let (a, b) = tokio::join!(
        one.carry(old, new, Which::All, &mut first),
        two.carry(old, new, Which::All, &mut second)
    );
    a.and(b).expect("both end");
    assert_eq!(first.total() + second.total(), 1000);
    case.finish();
    assert_eq!((case.by_new.len(), case.twice()), (1000, 0));
}

#[tokio::test]
async fn without_scripts_too() {
    let server = Server::start(&["--rename-command", "EVAL", ""]);
    let mut case = Case::new(&server, "mover killed, step by step");
    case.begin().await;
    case.write(500);
    case.take("api-1", 200);
    let cuts = carried_in_pieces(&server, &case);
    println!("cut off {cuts} times");
    assert!(cuts > 0);
    case.finish();
    assert_eq!(case.by_new.len(), 500);
    let twice = case.twice();
    assert!(twice <= cuts as usize, "{twice} twice after {cuts} cuts");
}

#[tokio::test]
async fn an_entry_with_more_fields_than_a_script_takes_is_moved_by_hand() {
    let server = Server::start(&[]);
    let mut case = Case::new(&server, "an entry of 6,000 fields");
    case.begin().await;
    case.write(1);
    let mut add = cmd("XADD");
    add.arg(&case.old.key).arg("*");
    for field in 0..6000 {
        add.arg(field).arg(vec![0xfe_u8; 3]);
    }
    let _: String = add.query(&mut case.connection).expect("XADD");
    case.write(1);
    case.carry().await;
    assert_eq!(case.moved.undelivered, 3);
    let all: Vec<(String, Vec<Vec<u8>>)> = cmd("XRANGE")
        .arg(&[case.new.key.as_str(), "-", "+"])
        .query(&mut case.connection)
        .expect("XRANGE");
    let mut sizes: Vec<usize> = all.iter().map(|(_, fields)| fields.len()).collect();
    sizes.sort_unstable();
    assert_eq!(sizes, [4, 4, 12_000]);
}

#[tokio::test]
async fn messages_go_to_another_server_step_by_step() {
    let (one, two) = (Server::start(&[]), Server::start(&[]));
    let mut case = Case::new(&one, "another server");
    case.begin().await;
    case.write(250);
    case.take("api-1", 50);
    let mut other = Case::new(&two, "another server");
    let mut mover = Mover::new(case.redis.clone(), other.redis.clone(), case.before.clone());
    let carry = mover.carry(&case.old, &other.new, Which::All, &mut case.moved);
    carry.await.expect("a move");
    assert_eq!((case.moved.pending, case.moved.undelivered), (50, 200));
    case.connection = two.connection();
    case.finish();
    other.finish();
    assert_eq!(case.by_new.len(), 250);
}

/// Two nodes, each with half of the slots.
struct Cluster {
    nodes: Vec<Server>,
    ports: Vec<u16>,
}

impl Cluster {
    fn start() -> Cluster {
        let mut cluster = Cluster {
            nodes: Vec::new(),
            ports: Vec::new(),
        };
        for slots in [["0", "8191"], ["8192", "16383"]] {
            let (port, bus) = (free_port(), free_port().to_string());
            let text = port.to_string();
            let args = ["--cluster-enabled", "yes", "--bind", "127.0.0.1"];
            let mut args = args.to_vec();
            args.extend(["--port", &text, "--cluster-port", &bus]);
            let node = Server::start(&args);
            let mut connection = node.connection();
            let _: Value = cmd("CLUSTER")
                .arg("ADDSLOTSRANGE")
                .arg(&slots)
                .query(&mut connection)
                .expect("slots");
            if let Some(first) = cluster.ports.first() {
                let bus: Vec<String> = cluster.nodes[0].connection().config("cluster-port");
                let _: Value = cmd("CLUSTER")
                    .arg("MEET")
                    .arg("127.0.0.1")
                    .arg(first)
                    .arg(&bus[1])
                    .query(&mut connection)
                    .expect("a meeting");
            }
            cluster.nodes.push(node);
            cluster.ports.push(port);
        }
        let begun = Instant::now();
        let ready = |node: &Server| {
            let info: String = cmd("CLUSTER")
                .arg("INFO")
                .query(&mut node.connection())
                .expect("CLUSTER INFO");
            info.contains("cluster_state:ok") && info.contains("cluster_slots_assigned:16384")
        };
        while !cluster.nodes.iter().all(ready) {
            assert!(begun.elapsed() < PATIENCE, "no cluster");
            std::thread::sleep(Duration::from_millis(50));
        }
        cluster
    }

    /// A connection to the node that holds `key`.
    fn of(&self, key: &str) -> redis::Connection {
        for node in &self.nodes {
            let mut connection = node.connection();
            let there: redis::RedisResult<u64> = connection.exists(key);
            if there.is_ok() {
                return connection;
            }
        }
        panic!("nobody holds {key}")
    }
}

trait Config {
    fn config(&mut self, name: &str) -> Vec<String>;
}

impl Config for redis::Connection {
    fn config(&mut self, name: &str) -> Vec<String> {
        cmd("CONFIG")
            .arg(&["GET", name])
            .query(self)
            .expect("CONFIG")
    }
}

#[tokio::test]
async fn in_a_cluster_without_a_common_slot_the_steps_go_one_by_one() {
    let cluster = Cluster::start();
    let url = format!("redis://127.0.0.1:{}", cluster.ports[0]);
    let url = || Url::parse(&url).expect("a URL");
    for (name, blue, green, twins) in [
        ("cluster, two slots", "orders-blue", "orders-green", false),
        ("cluster, one slot", "{orders}-blue", "{orders}-green", true),
    ] {
        let redis = std::sync::Arc::new(Redis::new(url(), baton_deploy::redis::by_dns()));
        assert!(redis.check().await.expect("a node").cluster);
        let old = crate::kit::stream(blue, "api-blue");
        let new = crate::kit::stream(green, "api-green");
        let both = [old.clone(), new.clone()];
        redis.create_groups(&both).await.expect("groups");
        let mut writer = cluster.of(blue);
        for number in 0..300_u64 {
            let _: String = cmd("XADD")
                .arg(&[blue, "*", "number", &number.to_string()])
                .arg(b"\xff\x00\r\n")
                .arg("")
                .query(&mut writer)
                .expect("XADD");
        }
        crate::kit::read(&mut writer, &old, "api-1", 100, false);
        let before = baton_deploy::redis::Before::default();
        let mut mover = Mover::new(redis.clone(), redis, before);
        let mut moved = Moved::default();
        mover
            .carry(&old, &new, Which::All, &mut moved)
            .await
            .expect("a move");
        assert_eq!((moved.pending, moved.undelivered), (100, 200), "{name}");
        let mut reader = cluster.of(green);
        let numbers = crate::kit::read(&mut reader, &new, "api-1", 1000, false);
        let numbers: Vec<u64> = numbers.into_iter().map(|(_, number)| number).collect();
        assert_eq!(numbers, (0..300).collect::<Vec<u64>>(), "{name}");
        println!("| {name:<44} | moved {moved:?}, common slot: {twins} |");
    }
}
