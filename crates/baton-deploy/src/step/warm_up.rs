//! *warm_up*: sends the requests of `warmup` to each new instance before users do. What they answer is
//! shown and decides nothing, unless the instance cannot be reached.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::time::{Duration, Instant};

use baton_compose::Policy;
use baton_compose::policy::WarmupRequest;
use baton_engine::Instance;
use http::HeaderMap;
use serde_json::json;

use super::{StepError, StepResult, Walk};
use crate::health::http::{Question, REFUSED, ask, with_host};
use crate::plan::StepName;
use crate::release::Release;

const STEP: StepName = StepName::WarmUp;

/// A first request may compile half of the app.
const PATIENCE: Duration = Duration::from_secs(60);

pub(super) async fn run(walk: &mut Walk) -> StepResult {
    let release = walk.release()?;
    let asks_for_it = release
        .routed()
        .any(|service| !service.policy.warmup.is_empty());
    if !asks_for_it {
        return Ok(json!({ "requests": 0 }));
    }
    let instances = walk.core.running_instances(release, walk.plan.to).await?;
    let sent = of(walk, release, &instances).await?;
    Ok(json!({ "requests": sent }))
}

/// Warms these up; returns how many requests that took.
pub(super) async fn of(
    walk: &Walk,
    release: &Release,
    instances: &[Instance],
) -> Result<u32, StepError> {
    let mut sent = 0;
    for instance in instances {
        let Some(service) = release.service(&instance.service) else {
            continue;
        };
        for request in &service.policy.warmup {
            sent += one(walk, instance, &service.policy, request).await?;
        }
    }
    Ok(sent)
}

/// Sends one line of `warmup`; returns how many requests that were.
async fn one(
    walk: &Walk,
    instance: &Instance,
    policy: &Policy,
    request: &WarmupRequest,
) -> Result<u32, StepError> {
    let Some(address) = instance.address else {
        return Ok(0);
    };
    let at = SocketAddr::new(address.ip, address.port);
    let mut headers = HeaderMap::new();
    with_host(&mut headers, policy, at);
    let question = Question {
        method: &request.method,
        path: &request.path,
        headers,
        protocol: policy.protocol,
        body: "",
    };
    let begun = Instant::now();
    let mut results: BTreeMap<String, u32> = BTreeMap::new();
    for _ in 0..request.times {
        let result = tokio::select! {
            answer = ask(at, &question, PATIENCE) => answer,
            () = walk.deploy.cancelled() => return Err(StepError::Cancelled("cancelled".to_owned())),
        };
        let result = result.map_or_else(|reason| reason, |answer| answer.describe());
        if result == REFUSED {
            return Err(StepError::Release {
                message: format!(
                    "{} {} ({}) refused the connection during the warm-up; {}",
                    instance.service,
                    instance.replica,
                    walk.plan.to,
                    walk.untouched()
                ),
                failure: None,
            });
        }
        *results.entry(result).or_default() += 1;
    }
    let results: Vec<_> = results
        .into_iter()
        .map(|(result, times)| format!("{times} × {result}"))
        .collect();
    walk.note(
        STEP,
        format!(
            "{} {}: {} {}: {} in {} ms",
            instance.service,
            instance.replica,
            request.method,
            request.path,
            results.join(", "),
            begun.elapsed().as_millis()
        ),
    );
    Ok(request.times)
}
