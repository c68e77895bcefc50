use std::sync::Arc;

use baton_deploy::redis::{Before, Moved, Mover, Poll, RedisError, Which};
use redis::{Commands, Value, cmd};

use crate::kit::{Case, Server, read, stream};

#[tokio::test]
async fn groups_are_made_once_and_a_replay_is_told() {
    let server = Server::start(&[]);
    let redis = server.baton();
    let streams = [stream("orders-green", "api"), stream("mail-green", "api")];
    assert_eq!(redis.create_groups(&streams).await, Ok(vec![]));
    // BUSYGROUP is fine.
    assert_eq!(redis.create_groups(&streams).await, Ok(vec![]));
    let mut connection = server.connection();
    let kind: String = connection.key_type("orders-green").expect("TYPE");
    assert_eq!(kind, "stream");
    let _: String = cmd("XADD")
        .arg(&["orders-green", "*", "number", "0"])
        .query(&mut connection)
        .expect("XADD");
    let later = [stream("orders-green", "later")];
    let warnings = redis.create_groups(&later).await.expect("a group");
    assert!(warnings[0].contains("the 1 entries"), "{warnings:?}");
}

#[tokio::test]
async fn a_group_that_the_file_does_not_name_is_told() {
    let server = Server::start(&[]);
    let redis = server.baton();
    let (api, mail) = (stream("orders-blue", "api"), stream("orders-blue", "mail"));
    redis
        .create_groups(&[api.clone(), mail.clone()])
        .await
        .expect("groups");
    assert_eq!(redis.other_readers(&[api.clone(), mail]).await, Ok(vec![]));
    let told = redis.other_readers(&[api]).await.expect("a look");
    assert!(
        told[0].starts_with("the group mail also reads orders-blue"),
        "{told:?}"
    );
}

#[tokio::test]
async fn two_groups_on_one_stream_lose_nothing() {
    let server = Server::start(&[]);
    let mut case = Case::new(&server, "two groups on one stream");
    let (mail_old, mail_new) = (stream(&case.old.key, "mail"), stream(&case.new.key, "mail"));
    case.group(&mail_old, "0");
    case.group(&mail_new, "0");
    let old = [case.old.clone(), mail_old.clone()];
    case.before = Before::take(&case.redis, &old, std::time::Duration::ZERO)
        .await
        .expect("a look");
    case.write(10);
    // The API has handled eight and holds one, the mailer has handled three and holds two.
    case.handle("api-1", 8);
    case.take("api-1", 1);
    let mut mailed = read(&mut case.connection, &mail_old, "mail-1", 3, false);
    for (id, _) in &mailed {
        let _: u64 = case
            .connection
            .xack(&mail_old.key, "mail", &[id])
            .expect("XACK");
    }
    read(&mut case.connection, &mail_old, "mail-1", 2, false);
    let mut mover = Mover::new(case.redis.clone(), case.redis.clone(), case.before.clone());
    let mut moved = Moved::default();
    for (old, new) in [(&case.old, &case.new), (&mail_old, &mail_new)] {
        mover
            .carry(old, new, Which::All, &mut moved)
            .await
            .expect("a move");
    }
    // Each entry went once, for both groups.
    assert_eq!(moved.total(), 7, "{moved:?}");
    case.moved = moved;
    mailed.extend(read(&mut case.connection, &mail_new, "mail-1", 100, false));
    let numbers: std::collections::BTreeSet<u64> = mailed.iter().map(|(_, n)| *n).collect();
    assert_eq!(numbers.len(), 10, "the mailer misses none");
    case.finish();
    let mut draining = baton_deploy::redis::Draining::new(
        case.redis.clone(),
        vec![case.old.clone(), mail_old],
        case.before.clone(),
    );
    draining.poll().await;
    draining.poll().await;
    let poll = draining.poll().await;
    assert!(matches!(poll, Poll::Drained(_)), "{poll}");
}

#[tokio::test]
async fn nothing_is_moved_to_where_nobody_reads() {
    let server = Server::start(&[]);
    let mut case = Case::new(&server, "no group on the new stream");
    case.begin().await;
    case.write(2);
    let mut mover = Mover::new(case.redis.clone(), case.redis.clone(), case.before.clone());
    let nobody = stream("elsewhere", "api-green");
    let mut moved = Moved::default();
    let error = mover
        .carry(&case.old, &nobody, Which::All, &mut moved)
        .await;
    assert!(
        matches!(error, Err(RedisError::NoReader { .. })),
        "{error:?}"
    );
    assert_eq!(moved, Moved::default());
    case.carry().await;
    assert_eq!(case.moved.undelivered, 2);
    case.finish();
}

#[tokio::test]
async fn entries_without_a_group_are_moved_unless_they_are_the_past() {
    let server = Server::start(&[]);
    let mut case = Case::without_old_group(&server, "group that was never made");
    case.write(3);
    case.excused.extend(0..3);
    case.begin().await;
    let told = case.before.describe();
    assert!(told[0].contains("no group api-blue"), "{told:?}");
    assert!(
        matches!(case.poll().await, Poll::Drained(_)),
        "the past holds nothing"
    );
    case.write(2);
    let Poll::Left(left) = case.poll().await else {
        panic!("two wait for a reader that does not come");
    };
    assert!(left[0].no_group);
    case.carry().await;
    assert_eq!(case.moved.undelivered, 2);
    case.finish();
    assert!(matches!(case.poll().await, Poll::Drained(_)));
}

#[tokio::test]
async fn a_stream_that_both_colors_share_is_never_moved() {
    let server = Server::start(&[]);
    let mut case = Case::new(&server, "the same key for both");
    case.new = stream(&case.old.key, "other");
    let new = case.new.clone();
    case.group(&new, "0");
    case.begin().await;
    case.write(3);
    case.carry().await;
    assert_eq!(case.moved, Moved::default());
    // Nor when its server has two names.
    let link = server.dir.path().join("other.sock");
    std::os::unix::fs::symlink(server.socket(), &link).expect("a link");
    let url = baton_deploy::redis::Url::parse(&format!("unix://{}", link.display()));
    let other = baton_deploy::redis::Redis::new(url.expect("a URL"), baton_deploy::redis::by_dns());
    let mut mover = Mover::new(case.redis.clone(), Arc::new(other), case.before.clone());
    let mut moved = Moved::default();
    mover
        .carry(&case.old, &case.new, Which::All, &mut moved)
        .await
        .expect("nothing");
    assert_eq!(moved, Moved::default());
    case.finish();
}

#[tokio::test]
async fn a_key_that_is_no_stream_is_named() {
    let server = Server::start(&[]);
    let mut connection = server.connection();
    let _: Value = cmd("SET")
        .arg(&["orders", "1"])
        .query(&mut connection)
        .expect("SET");
    let error = Before::take(
        &server.baton(),
        &[stream("orders", "api")],
        std::time::Duration::ZERO,
    )
    .await;
    let error = error.expect_err("not a stream").to_string();
    assert!(
        error.starts_with("orders at ") && error.contains("not a stream"),
        "{error}"
    );
}
