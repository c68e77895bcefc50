//! `activate`: the app is told whether it is the active color, so that jobs and consumers which must
//! never run in two colors at once do not.
//!
//! The answer to `false` says that no job runs any more. Whoever cannot give it (it does not answer, or
//! not in time) is asked again until `wait` is over, and must not be followed by another active color.

use std::net::SocketAddr;
use std::time::Duration;

use baton_compose::policy::Activate;
use baton_compose::{Color, Policy};
use baton_engine::{Instance, InstanceState};
use futures_util::future::join_all;
use http::HeaderMap;
use tokio::time::{Instant, sleep};

use crate::core::Core;
use crate::health::http::{Question, ask, with_host};
use crate::release::Release;

/// Between two tries.
const AGAIN: Duration = Duration::from_millis(250);

/// An answer to `true` is not waited for longer: the app has begun, or will when it is told again.
const PATIENCE: Duration = Duration::from_secs(10);

/// Tells all running instances of a color; the error says who has not confirmed, and why.
pub(crate) async fn tell(
    core: &Core,
    release: &Release,
    color: Color,
    active: bool,
) -> Result<(), String> {
    if !asked_for(release) {
        return Ok(());
    }
    let instances = core
        .running_instances(release, color)
        .await
        .map_err(|error| error.to_string())?;
    tell_these(core, release, &instances, active).await
}

/// Does any service of it want to know?
pub(crate) fn asked_for(release: &Release) -> bool {
    release
        .routed()
        .any(|service| service.policy.activate.is_some())
}

/// The same for some of its instances.
pub(crate) async fn tell_these(
    core: &Core,
    release: &Release,
    instances: &[Instance],
    active: bool,
) -> Result<(), String> {
    let told = instances.iter().filter_map(|instance| {
        let policy = &release.service(&instance.service)?.policy;
        let rule = policy.activate.as_ref()?;
        Some(one(core, release, instance, (policy, rule), active))
    });
    let failed: Vec<_> = join_all(told)
        .await
        .into_iter()
        .filter_map(Result::err)
        .collect();
    if failed.is_empty() {
        Ok(())
    } else {
        Err(failed.join("; "))
    }
}

async fn one(
    core: &Core,
    release: &Release,
    instance: &Instance,
    (policy, rule): (&Policy, &Activate),
    active: bool,
) -> Result<(), String> {
    let Some(address) = instance.address else {
        return Ok(());
    };
    let at = SocketAddr::new(address.ip, address.port);
    let mut headers = HeaderMap::new();
    with_host(&mut headers, policy, at);
    headers.insert(
        http::header::CONTENT_TYPE,
        http::HeaderValue::from_static("application/json"),
    );
    let body = if active {
        r#"{"active":true}"#
    } else {
        r#"{"active":false}"#
    };
    let question = Question {
        method: "POST",
        path: &rule.path,
        headers,
        protocol: policy.protocol,
        body,
    };
    let over = Instant::now() + if active { PATIENCE } else { rule.wait };
    let mut last = "no answer".to_owned();
    while Instant::now() < over {
        let left = over - Instant::now();
        match ask(at, &question, left).await {
            Ok(answer) if answer.status.is_success() => return Ok(()),
            Ok(answer) => last = answer.describe(),
            Err(reason) => last = reason,
        }
        // One that has ended runs no job.
        if let Ok(now) = core.inspect(release, &instance.id).await
            && now.is_none_or(|now| now.state != InstanceState::Running)
        {
            return Ok(());
        }
        sleep(AGAIN.min(over.saturating_duration_since(Instant::now()))).await;
    }
    Err(format!(
        "{} {} did not confirm POST {} {body}: {last}",
        instance.service, instance.replica, rule.path
    ))
}
