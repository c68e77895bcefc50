use std::time::Duration;

use baton_deploy::redis::{Moved, Poll};
use redis::{Commands, Value, cmd};

use crate::kit::{Case, Server};

/// `lag` as Redis says it, to show what would have come of it.
fn lag(case: &mut Case) -> Option<i64> {
    let groups: Vec<std::collections::HashMap<String, Value>> = cmd("XINFO")
        .arg("GROUPS")
        .arg(&case.old.key)
        .query(&mut case.connection)
        .expect("XINFO");
    match groups[0]["lag"] {
        Value::Int(lag) => Some(lag),
        _ => None,
    }
}

#[tokio::test]
async fn nothing_left_is_drained_after_three_looks() {
    let server = Server::start(&[]);
    let mut case = Case::new(&server, "all handled");
    case.begin().await;
    case.write(5);
    case.handle("api-1", 5);
    let mut draining = case.draining();
    assert_eq!(draining.poll().await, Poll::Settling);
    assert_eq!(draining.poll().await, Poll::Settling);
    assert!(matches!(draining.poll().await, Poll::Drained(_)));
    case.carry().await;
    assert_eq!(case.moved, Moved::default());
    case.finish();
    assert_eq!(case.twice(), 0);
}

#[tokio::test]
async fn work_between_two_looks_starts_the_count_anew() {
    let server = Server::start(&[]);
    let mut case = Case::new(&server, "work between two looks");
    case.begin().await;
    let mut draining = case.draining();
    for _ in 0..2 {
        assert_eq!(draining.poll().await, Poll::Settling);
    }
    // Written and handled between two looks: nothing is left, and yet it is not quiet.
    case.write(1);
    case.handle("api-1", 1);
    for _ in 0..2 {
        assert_eq!(draining.poll().await, Poll::Settling);
    }
    assert!(matches!(draining.poll().await, Poll::Drained(_)));
    case.finish();
}

#[tokio::test]
async fn entries_trimmed_before_they_were_read_do_not_hold_the_drain() {
    let server = Server::start(&[]);
    let mut case = Case::new(&server, "XTRIM past unread");
    case.begin().await;
    case.write(5);
    case.handle("api-1", 2);
    let _: u64 = cmd("XTRIM")
        .arg(&[case.old.key.as_str(), "MAXLEN", "0"])
        .query(&mut case.connection)
        .expect("XTRIM");
    case.excused.extend(2..5);
    assert_eq!(lag(&mut case), Some(3), "lag speaks of what is not there");
    assert!(matches!(case.poll().await, Poll::Drained(_)));
    case.carry().await;
    case.finish();
}

#[tokio::test]
async fn unread_entries_are_seen_though_the_tail_was_deleted() {
    let server = Server::start(&[]);
    let mut case = Case::new(&server, "XDEL of the tail");
    case.begin().await;
    let ids = case.write(4);
    case.handle("api-1", 1);
    let _: u64 = case
        .connection
        .xdel(&case.old.key, &[&ids[3]])
        .expect("XDEL");
    case.excused.insert(3);
    assert_eq!(lag(&mut case), None, "lag knows nothing");
    let Poll::Left(left) = case.poll().await else {
        panic!("it is drained with two undelivered");
    };
    assert!(left[0].undelivered);
    assert_eq!(left[0].to_string().split(": ").last(), Some("entries wait"));
    case.carry().await;
    assert_eq!(case.moved.undelivered, 2);
    case.finish();
    assert_eq!(case.twice(), 0);
}

#[tokio::test]
async fn what_was_trimmed_while_pending_is_acknowledged_by_baton() {
    let server = Server::start(&[]);
    let mut case = Case::new(&server, "trimmed while pending");
    case.begin().await;
    case.write(3);
    let taken = case.take("api-1", 3);
    let _: u64 = cmd("XTRIM")
        .arg(&[case.old.key.as_str(), "MAXLEN", "0"])
        .query(&mut case.connection)
        .expect("XTRIM");
    let Poll::Left(left) = case.poll().await else {
        panic!("its consumer may still be at work on them");
    };
    assert_eq!(left[0].pending, 3);
    assert_eq!(left[0].consumers[0].name, "api-1");
    // It handles one, and dies.
    case.acknowledge(&taken[..1]);
    case.excused.extend([1, 2]);
    case.drains().await;
    assert_eq!(case.acknowledged, 2);
    case.carry().await;
    assert_eq!(case.moved, Moved::default());
    case.finish();
}

#[tokio::test]
async fn what_was_trimmed_while_pending_is_not_moved() {
    let server = Server::start(&[]);
    let mut case = Case::new(&server, "trimmed while pending, then the exit");
    case.begin().await;
    let ids = case.write(3);
    case.take("api-1", 2);
    let _: u64 = case
        .connection
        .xdel(&case.old.key, &[&ids[0]])
        .expect("XDEL");
    case.excused.insert(0);
    case.carry().await;
    assert_eq!(
        case.moved,
        Moved {
            undelivered: 1,
            pending: 1,
            gone: 1
        }
    );
    case.finish();
    assert!(
        matches!(case.poll().await, Poll::Drained(_)),
        "none pending"
    );
}

#[tokio::test]
async fn a_noack_consumer_looks_idle_and_needs_drain_until() {
    let server = Server::start(&[]);
    let mut case = Case::new(&server, "NOACK");
    case.old.noack = true;
    case.begin().await;
    case.write(3);
    let taken = case.take("api-1", 2);
    assert!(matches!(case.poll().await, Poll::Left(_)), "one waits");
    // It works on these; Redis does not know.
    case.acknowledge(&taken);
    let rest = case.take("api-1", 1);
    assert!(matches!(case.poll().await, Poll::Drained(_)));
    let text = baton_deploy::redis::needs_until(&[case.old.clone()], None).expect("a refusal");
    assert!(text.contains("drain.until"), "{text}");
    case.acknowledge(&rest);
    case.carry().await;
    case.finish();
}

#[tokio::test]
async fn a_group_that_starts_in_the_middle_is_not_given_what_was_before() {
    let server = Server::start(&[]);
    let mut case = Case::without_old_group(&server, "group at an arbitrary id");
    let ids = case.write(6);
    let old = case.old.clone();
    case.group(&old, &ids[2]);
    case.excused.extend(0..3);
    case.begin().await;
    case.handle("api-1", 1);
    assert!(matches!(case.poll().await, Poll::Left(_)));
    case.carry().await;
    assert_eq!(case.moved.undelivered, 2);
    case.finish();
    assert_eq!(case.twice(), 0);
    assert!(matches!(case.poll().await, Poll::Drained(_)));
}

#[tokio::test]
async fn a_group_at_the_largest_id_has_nothing_behind_it() {
    let server = Server::start(&[]);
    let mut case = Case::without_old_group(&server, "group at the largest id");
    case.write(2);
    case.excused.extend(0..2);
    let old = case.old.clone();
    case.group(&old, "18446744073709551615-18446744073709551615");
    case.begin().await;
    assert!(matches!(case.poll().await, Poll::Drained(_)));
    case.carry().await;
    case.finish();
}

#[tokio::test]
async fn ten_thousand_entries_are_moved_in_order() {
    let server = Server::start(&[]);
    let mut case = Case::new(&server, "10,000 entries");
    case.begin().await;
    case.write(10_000);
    case.handle("api-1", 1000);
    case.take("api-1", 2500);
    let Poll::Left(left) = case.poll().await else {
        panic!("it is full");
    };
    assert!(left[0].undelivered);
    assert_eq!(left[0].pending, 2500);
    let begun = std::time::Instant::now();
    case.carry().await;
    println!("moved {} in {:?}", case.moved.total(), begun.elapsed());
    assert_eq!((case.moved.pending, case.moved.undelivered), (2500, 6500));
    let all: Vec<(String, Vec<Vec<u8>>)> = cmd("XRANGE")
        .arg(&[case.new.key.as_str(), "-", "+"])
        .query(&mut case.connection)
        .expect("XRANGE");
    let numbers = all
        .iter()
        .map(|(_, fields)| String::from_utf8_lossy(&fields[1]).parse::<u64>());
    let numbers: Result<Vec<u64>, _> = numbers.collect();
    assert_eq!(numbers, Ok((1000..10_000).collect()));
    case.finish();
    assert_eq!(case.twice(), 0);
    let left: u64 = case.connection.xlen(&case.old.key).expect("XLEN");
    assert_eq!(left, 1000, "what was handled stays, what was moved goes");
}

#[tokio::test]
async fn what_a_dead_consumer_held_goes_to_the_new_color() {
    let server = Server::start(&[]);
    let mut case = Case::new(&server, "a consumer that dies");
    case.begin().await;
    case.write(10);
    case.take("dead", 4);
    case.handle("alive", 6);
    tokio::time::sleep(Duration::from_millis(20)).await;
    let Poll::Left(left) = case.poll().await else {
        panic!("four are pending");
    };
    assert_eq!((left[0].undelivered, left[0].pending), (false, 4));
    let dead = &left[0].consumers[0];
    assert_eq!((dead.name.as_str(), dead.pending), ("dead", 4));
    assert!(left[0].idle().expect("a time") >= Duration::from_millis(20));
    assert!(left[0].to_string().contains("consumer dead holds 4"));
    case.carry().await;
    assert_eq!(case.moved.pending, 4);
    case.finish();
    assert_eq!(case.twice(), 0);
    assert!(matches!(case.poll().await, Poll::Drained(_)));
}

#[tokio::test]
async fn what_was_pending_before_the_deploy_is_reported_and_left_alone() {
    let server = Server::start(&[]);
    let mut case = Case::new(&server, "pending before the deploy");
    case.write(5);
    case.take("never-acknowledges", 3);
    case.excused.extend(0..3);
    case.begin().await;
    let told = case.before.describe();
    let (key, group) = (&case.old.key, &case.old.group);
    let said = format!(
        "{key}: 3 messages were delivered to group {group} before this deploy and not acknowledged; "
    );
    assert!(told[0].starts_with(&said), "{told:?}");
    // The deploy's notes survive a restart of the daemon.
    let json = serde_json::to_string(&case.before).expect("JSON");
    case.before = serde_json::from_str(&json).expect("the same");
    case.write(2);
    case.take("api-1", 1);
    let Poll::Left(left) = case.poll().await else {
        panic!("one is pending, three wait");
    };
    assert_eq!(left[0].pending, 1, "those of before do not count");
    case.carry().await;
    assert_eq!(case.moved.total(), 4);
    case.finish();
    let Poll::Drained(handled) = case.poll().await else {
        panic!("only the past is pending");
    };
    assert_eq!(handled.before, 3);
    let (count, ..): (u64, Value, Value, Value) = cmd("XPENDING")
        .arg(&[&case.old.key, &case.old.group])
        .query(&mut case.connection)
        .expect("XPENDING");
    assert_eq!(count, 3, "they are still there");
}
