//! Nothing may be in flight on the color any more: requests through Baton first, then connections of
//! other services of the machine that reached it by its plain name.

use std::sync::Arc;
use std::time::Duration;

use baton_compose::policy::Drain;
use baton_engine::Instance;
use futures_util::future::{BoxFuture, join_all};
use tokio::time::{Instant, sleep, sleep_until};

use super::{Leaving, RequestsDone, Unrouted, rules};
use crate::core::ask;
use crate::error::DeployError;
use crate::running::Hurry;

/// How often a drain that is over its time looks whether bytes still move.
const LOOK: Duration = Duration::from_millis(250);

/// A request whose body moved no byte for so long is not alive any more.
const STILL: Duration = Duration::from_secs(10);

impl Unrouted {
    /// Waits for the requests in flight: `drain.requests` for all of them, then as long as bytes move
    /// until `drain.connections`; what is left then is cut, and counted. Neither event streams that
    /// are handed over later nor WebSockets are waited for; requests of pinned sessions may come on.
    ///
    /// None when the color is wanted back ([`Hurry::Leave`]).
    pub(crate) async fn requests(
        self,
        leaving: &Leaving,
    ) -> Result<Option<RequestsDone>, DeployError> {
        let instances = leaving.instances().await?;
        leaving.end_websockets(&instances);
        let mut all: Vec<BoxFuture<'_, u64>> = Vec::new();
        for instance in &instances {
            all.push(Box::pin(one(leaving, instance, leaving.rule(instance))));
        }
        let requests = tokio::select! {
            cut = join_all(all) => RequestsDone { slot: self.slot, cut: cut.iter().sum() },
            () = leaving.tail.asked(Hurry::Leave) => return Ok(None),
        };
        Ok(Some(requests))
    }
}

impl RequestsDone {
    /// Other services do not find the color by its plain name any more, and have closed their
    /// connections; at most `drain.requests` of each service.
    pub(crate) async fn direct_connections(&self, leaving: &Leaving) -> Result<(), DeployError> {
        let engine = leaving.core.engine(leaving.release.engine())?;
        let rendering = leaving.release.filled(leaving.color)?;
        engine.set_live(&self.slot, &rendering, false).await?;
        let rules = rules(&leaving.release);
        let begun = Instant::now();
        for instance in leaving.instances().await? {
            let Some(rule) = rules.get(instance.service.as_str()) else {
                continue;
            };
            while begun.elapsed() < rule.requests && leaving.tail.hurry() < Hurry::Leave {
                match ask("count connections", engine.direct_connections(&instance.id)).await {
                    Ok(Some(open)) if open > 0 => sleep(LOOK).await,
                    _ => break,
                }
            }
        }
        Ok(())
    }
}

/// Waits for one instance; returns how many requests were cut.
pub(super) async fn one(leaving: &Leaving, instance: &Instance, rule: Drain) -> u64 {
    let (router, tail, note) = (leaving.core.routes.router(), &leaving.tail, &leaving.note);
    let begun = Instant::now();
    let drained = router.requests_drained(&instance.id);
    tokio::pin!(drained);
    tokio::select! {
        () = &mut drained => return 0,
        () = sleep_until(begun + rule.requests) => {}
    }
    let figures = || router.instance(&instance.id).unwrap_or_default();
    let left = figures().draining;
    note(format!(
        "{} {}: {left} still in flight after {} s; waiting as long as bytes move, at most {} s",
        instance.service,
        instance.replica,
        rule.requests.as_secs(),
        rule.connections.as_secs()
    ));
    let mut moved = (figures().body_bytes, Instant::now());
    let last = begun + rule.connections.max(rule.requests);
    while Instant::now() < last {
        tokio::select! {
            () = &mut drained => return 0,
            () = sleep(LOOK) => {}
        }
        let now = figures();
        if now.body_bytes != moved.0 {
            moved = (now.body_bytes, Instant::now());
        }
        let still = moved.1.elapsed() >= STILL.min(rule.requests.max(LOOK));
        let streams_only = now.draining <= now.sse.saturating_sub(now.halves) + now.opaque;
        if still || (streams_only && tail.hurry() >= Hurry::Shorten) {
            break;
        }
    }
    let cut = router.cut(&instance.id).await;
    note(format!(
        "{} {}: {cut} cut after {} s",
        instance.service,
        instance.replica,
        begun.elapsed().as_secs()
    ));
    cut
}

impl Leaving {
    /// WebSockets stay `drain.websockets` from now on, and are told to come back over its last tenth.
    /// A new deploy shortens that; a way back ends it. Once a tail: the clock begins with the switch.
    pub(crate) fn end_websockets(&self, instances: &[Instance]) {
        if self.tail.begin_websockets() {
            end_websockets(self, instances);
        }
    }

    /// The same for one of them, from now on.
    pub(super) fn end_websockets_of(&self, instance: &Instance) {
        end_websockets(self, std::slice::from_ref(instance));
    }
}

fn end_websockets(leaving: &Leaving, instances: &[Instance]) {
    for instance in instances {
        let (core, tail) = (Arc::clone(&leaving.core), Arc::clone(&leaving.tail));
        let (id, rule) = (instance.id.clone(), leaving.rule(instance));
        let spread = rule.websockets / 10;
        let service = leaving.release.service(&instance.service);
        let sessions = service.is_some_and(|service| service.policy.sessions.is_some());
        leaving.core.spawn(async move {
            let router = core.routes.router();
            tokio::select! {
                () = sleep(rule.websockets - spread) => {}
                () = tail.asked(Hurry::Shorten) => {}
                () = tail.ended() => return,
            }
            if tail.hurry() < Hurry::Leave {
                router.end_websockets(&id, rule.websocket_code, spread, !sessions);
            }
        });
    }
}
