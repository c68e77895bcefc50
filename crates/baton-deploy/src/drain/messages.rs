//! What the color still has to do when no request is left: sessions that live in it, messages of its
//! Redis Streams (Streams.md §3), and whatever the app itself waits for (`drain.until`).

use std::collections::BTreeMap;
use std::time::Duration;

use baton_compose::policy::StreamMode;
use baton_compose::{Color, Policy, Role};
use futures_util::future::{BoxFuture, join_all};
use serde::{Deserialize, Serialize};
use tokio::time::{Instant, sleep, sleep_until};

use super::redis::{self, OfService};
use super::{Leaving, MessagesDone, RequestsDone, running};
use crate::error::DeployError;
use crate::redis::{Before, Draining, EVERY, Handled, Moved, Mover, Overdue, Poll, Which, apart};
use crate::release::Release;
use crate::routes::Beside;
use crate::running::Hurry;
use crate::tail;
use crate::until::Gate;

/// How often sessions and instances are looked at.
const LOOK: Duration = Duration::from_millis(250);

/// Which warning of `status` this module writes.
pub(crate) const WARNING: &str = "messages";

/// What is live in place of the color, and what was there before it: for messages that are left.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Settled<'a> {
    /// None: nothing takes its place (the app is removed); its messages stay where they are.
    pub(crate) successor: Option<Successor<'a>>,
    /// What was pending before the deploy began, by service.
    pub(crate) before: &'a BTreeMap<String, Before>,
    /// `leftover: fail` may take the deploy back; never a way back itself.
    pub(crate) may_fail: bool,
}

#[derive(Debug, Clone, Copy)]
pub(crate) struct Successor<'a> {
    pub(crate) release: &'a Release,
    pub(crate) color: Color,
}

/// What became of the messages.
#[derive(Debug, Default)]
pub(crate) struct Account {
    /// Of each service that is drained.
    pub(crate) handled: Vec<Handled>,
    left: Vec<Leftover>,
}

/// One service's streams that the color does not finish.
#[derive(Debug)]
struct Leftover {
    from: OfService,
    to: OfService,
    before: Before,
}

/// What stands in the journal and the receipt.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub(crate) struct Figures {
    pub(crate) trimmed: u64,
    pub(crate) before: u64,
    pub(crate) leaves: bool,
}

impl Account {
    pub(super) fn leaves(&self) -> bool {
        !self.left.is_empty()
    }

    pub(crate) fn figures(&self) -> Figures {
        Figures {
            trimmed: self.handled.iter().map(|one| one.trimmed).sum(),
            before: self.handled.iter().map(|one| one.before).sum(),
            leaves: self.leaves(),
        }
    }

    /// Run again after an error it goes on where it was.
    pub(super) async fn carry(&mut self, moved: &mut Moved) -> Result<(), DeployError> {
        for left in &self.left {
            let (from, to) = (&left.from, &left.to);
            let redis = (from.redis.clone(), to.redis.clone());
            let mut mover = Mover::new(redis.0, redis.1, left.before.clone());
            let streams = from.messages.streams.iter().zip(&to.messages.streams);
            for (old, new) in streams {
                mover.carry(old, new, Which::All, moved).await?;
            }
        }
        self.left.clear();
        Ok(())
    }
}

impl RequestsDone {
    /// Waits until sessions are idle, messages handled and the app says that it is done. None when
    /// the color is wanted back, also because `leftover: fail` has asked for it.
    ///
    /// A Redis that cannot be asked is waited for without end: a color whose messages nobody can see
    /// is never stopped.
    pub(crate) async fn messages(
        self,
        leaving: &Leaving,
        settled: Settled<'_>,
    ) -> Result<Option<MessagesDone>, DeployError> {
        let work = async {
            sessions(leaving).await?;
            let messages = all(leaving, settled).await?;
            until(leaving).await?;
            Ok(Some(MessagesDone {
                slot: self.slot,
                messages,
            }))
        };
        tokio::select! {
            done = work => done,
            error = no_longer_heard(leaving) => Err(error),
            () = leaving.tail.asked(Hurry::Leave) => Ok(None),
        }
    }
}

/// Clients whose session lives in the color use it until they are idle. A new deploy ends that, and so
/// does the end of the instances. Where nobody is kept there (a release that was taken back), nobody is
/// waited for.
async fn sessions(leaving: &Leaving) -> Result<(), DeployError> {
    let (core, live) = (&leaving.core, leaving.color.other());
    let router = core.routes.router();
    let instances = leaving.instances().await?;
    let left = || -> u64 { running(&instances).map(|i| router.sessions(&i.id)).sum() };
    let kept = core.routes.keeps_sessions(leaving.app()).await;
    let mut told = None;
    while kept && left() > 0 && leaving.tail.hurry() < Hurry::Shorten {
        if told.is_none_or(|told: Instant| told.elapsed() >= Duration::from_secs(30)) {
            (leaving.note)(format!("{} sessions are in use there", left()));
            told = Some(Instant::now());
        }
        tokio::select! {
            () = sleep(LOOK) => {}
            () = leaving.tail.asked(Hurry::Shorten) => {}
        }
    }
    let running: Vec<_> = running(&instances).cloned().collect();
    let beside = Beside::new(&running).streams(is_heard(leaving));
    core.routes.beside(leaving.app(), live, beside).await?;
    Ok(())
}

/// Do event streams still wait for what the color has to say? Those that join both colors do until its
/// end; the others at the latest until `drain.requests` is over (Streams.md §1.1).
fn is_heard(leaving: &Leaving) -> bool {
    joins(leaving) || Instant::now() < heard_until(leaving)
}

fn joins(leaving: &Leaving) -> bool {
    let union = |policy: &Policy| {
        policy.default_stream_mode == StreamMode::Union
            || policy.sse.iter().any(|rule| rule.mode == StreamMode::Union)
    };
    let mut routed = leaving.release.routed();
    routed.any(|service| union(&service.policy))
}

fn heard_until(leaving: &Leaving) -> Instant {
    let requests = leaving.release.routed().map(|s| s.policy.drain.requests);
    leaving.tail.begun + requests.max().unwrap_or_default()
}

/// When its time is over, streams that are told to come back are told so. Ends only with an error.
async fn no_longer_heard(leaving: &Leaving) -> DeployError {
    if joins(leaving) {
        return std::future::pending().await;
    }
    sleep_until(heard_until(leaving)).await;
    let (core, live) = (&leaving.core, leaving.color.other());
    match core.routes.unhear(leaving.app(), live).await {
        Ok(_) => std::future::pending().await,
        Err(error) => error.into(),
    }
}

async fn all(leaving: &Leaving, settled: Settled<'_>) -> Result<Account, DeployError> {
    let (core, release) = (&leaving.core, &leaving.release);
    let asks = |service: &baton_compose::Service| service.policy.redis.is_some();
    let Some(successor) = settled.successor else {
        return Ok(Account::default());
    };
    if !release.project.services.iter().any(asks) {
        return Ok(Account::default());
    }
    let mine = redis::of(core, release, leaving.color, Role::Live).await?;
    // Without streams of its own there is nowhere to move anything.
    let next = redis::of(core, successor.release, successor.color, Role::Live).await?;
    let mut each: Vec<BoxFuture<'_, One>> = Vec::new();
    for service in mine {
        let to = next.iter().find(|one| one.service == service.service);
        let before = settled.before.get(&service.service).cloned();
        each.push(Box::pin(one(
            leaving,
            service,
            to.cloned(),
            before.unwrap_or_default(),
            settled.may_fail,
        )));
    }
    let mut account = Account::default();
    for one in join_all(each).await {
        match one {
            One::Handled(handled) => account.handled.push(handled),
            One::Left(left) => account.left.push(*left),
        }
    }
    Ok(account)
}

enum One {
    Handled(Handled),
    Left(Box<Leftover>),
}

/// One service: until its own streams are empty, or its time is over. Streams that both colors share
/// prove nothing, and hold nothing.
async fn one(
    leaving: &Leaving,
    from: OfService,
    to: Option<OfService>,
    before: Before,
    may_fail: bool,
) -> One {
    let theirs = |index: usize| to.as_ref().and_then(|to| to.messages.streams.get(index));
    let own = from.messages.streams.iter().enumerate();
    let streams = own
        .filter(|(index, stream)| apart(stream, theirs(*index)))
        .map(|(_, stream)| stream.clone())
        .collect();
    let mut draining = Draining::new(from.redis.clone(), streams, before.clone());
    let name = from.service.clone();
    let note = |text: String| {
        let text = format!("{name}: {text}");
        leaving
            .core
            .warn(leaving.app(), WARNING, Some(text.clone()));
        (leaving.note)(text);
    };
    let connections = leaving
        .release
        .service(&name)
        .map_or(Duration::ZERO, |service| service.policy.drain.connections);
    let over = Instant::now() + connections;
    let handled = tokio::select! {
        handled = draining.wait(&note) => Some(handled),
        () = sleep_until(over) => seen(&mut draining, &note).await,
        () = no_reader(leaving, &name) => None,
    };
    if let Some(handled) = handled {
        leaving.core.warn(leaving.app(), WARNING, None);
        return One::Handled(handled);
    }
    let overdue = Overdue::from(from.messages.leftover);
    let reads = reads(leaving, &name).await;
    match to {
        // Nobody is there to handle them: waiting would be in vain.
        Some(to) if !reads || overdue == Overdue::StopAndMove => {
            note("what is left moves to the new color once the old one has ended".to_owned());
            return left(from, to, before);
        }
        _ if overdue == Overdue::SwitchBack && may_fail => {
            note("messages are left, and leftover is fail: traffic goes back".to_owned());
            tail::take_back(&leaving.core, leaving.app(), leaving.color, &leaving.tail).await;
        }
        _ => note("messages are left: the old color is kept until they are handled".to_owned()),
    }
    let handled = draining.wait(&note).await;
    leaving.core.warn(leaving.app(), WARNING, None);
    One::Handled(handled)
}

/// Waits until Redis can be asked: nothing is decided about messages that nobody can see. What was
/// handled if that was all of it by then.
async fn seen(draining: &mut Draining, note: &(dyn Fn(String) + Send + Sync)) -> Option<Handled> {
    loop {
        match draining.poll().await {
            Poll::Drained(handled) => return Some(handled),
            Poll::Left(_) => return None,
            Poll::Settling => {}
            unseen @ Poll::Unseen { .. } => note(unseen.to_string()),
        }
        sleep(EVERY).await;
    }
}

fn left(from: OfService, to: OfService, before: Before) -> One {
    One::Left(Box::new(Leftover { from, to, before }))
}

/// Does any instance of the service run? Unknown counts as yes: nothing is moved under its feet.
async fn reads(leaving: &Leaving, service: &str) -> bool {
    match leaving.instances().await {
        Ok(instances) => running(&instances).any(|instance| instance.service == service),
        Err(_) => true,
    }
}

async fn no_reader(leaving: &Leaving, service: &str) {
    while reads(leaving, service).await {
        sleep(LOOK * 8).await;
    }
}

/// Every running instance must say that it is done, by `drain.until`.
async fn until(leaving: &Leaving) -> Result<(), DeployError> {
    let engine = leaving.core.engine(leaving.release.engine())?;
    let instances = leaving.instances().await?;
    let asked = running(&instances).filter_map(|instance| {
        let service = leaving.release.service(&instance.service)?;
        Some((instance.clone(), service.policy.clone()))
    });
    let note = |text: String| {
        leaving
            .core
            .warn(leaving.app(), WARNING, Some(text.clone()));
        (leaving.note)(text);
    };
    Gate::new(engine, asked).wait(&note).await;
    leaving.core.warn(leaving.app(), WARNING, None);
    Ok(())
}
