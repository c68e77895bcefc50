//! Is an instance ready? An HTTP check, the service's Compose healthcheck, or a TCP connect to its
//! own address.

mod history;
pub(crate) mod http;

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use baton_compose::Service;
use baton_engine::engine::Address;
use baton_engine::{Engine, Instance};
use tokio::net::TcpStream;
use tokio::time::Instant;

pub(crate) use history::History;

use crate::core::ask;

/// One look at an instance.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Look {
    pub(crate) healthy: bool,
    /// `503 Service Unavailable: "starting"`.
    pub(crate) result: String,
}

impl Look {
    fn healthy(result: impl Into<String>) -> Look {
        Look {
            healthy: true,
            result: result.into(),
        }
    }

    fn unhealthy(result: impl Into<String>) -> Look {
        Look {
            healthy: false,
            result: result.into(),
        }
    }
}

/// How often a check without an interval of its own is repeated. Docker's own first check comes only
/// one interval after the start, 30 s by default (Engines.md §2): hence the exec each second.
const EVERY: Duration = Duration::from_secs(1);

/// Until an instance listens it refuses: looking again soon costs nothing and shortens every deploy.
const REFUSED_EVERY: Duration = Duration::from_millis(100);

const CONNECT: Duration = Duration::from_secs(2);

/// The check of one instance.
#[derive(Debug)]
pub(crate) struct Check<'a> {
    pub(crate) engine: &'a Arc<dyn Engine>,
    pub(crate) service: &'a Service,
    pub(crate) instance: &'a Instance,
}

impl Check<'_> {
    /// Looks until it is healthy as often in a row as asked for; every look goes to `history`, each
    /// other result than the one before to `changed`. Ends only so: put a timeout around it.
    pub(crate) async fn until_healthy(
        &self,
        history: &History,
        changed: &(dyn Fn(&str) + Send + Sync),
    ) {
        let health = self.service.policy.health.as_ref();
        let wanted = health.map_or(1, |health| health.passes.max(1));
        let interval = self.interval();
        let mut passes = 0;
        loop {
            let begun = Instant::now();
            let look = self.look().await;
            passes = if look.healthy { passes + 1 } else { 0 };
            let refused = look.result.starts_with(http::REFUSED);
            let result = look.result.clone();
            if history.add(look) {
                changed(&result);
            }
            if passes >= wanted {
                return;
            }
            let pause = if refused {
                REFUSED_EVERY.min(interval)
            } else {
                interval
            };
            tokio::time::sleep_until(begun + pause).await;
        }
    }

    /// How often it is looked at.
    pub(crate) fn interval(&self) -> Duration {
        let health = self.service.policy.health.as_ref();
        health.map_or(EVERY, |health| health.interval)
    }

    /// One look.
    pub(crate) async fn look(&self) -> Look {
        match (&self.service.policy.health, self.instance.address) {
            (Some(health), Some(address)) => {
                let port = health.port.unwrap_or(address.port);
                let at = SocketAddr::new(address.ip, port);
                http::look(at, health, &self.service.policy).await
            }
            _ if self.service.has_compose_healthcheck => self.compose().await,
            (_, Some(address)) => connect(address).await,
            // A worker without a healthcheck is up when it runs.
            (_, None) if self.service.policy.worker.is_some() => Look::healthy("runs"),
            (_, None) => Look::unhealthy("has no address yet"),
        }
    }

    async fn compose(&self) -> Look {
        let run = self.engine.healthcheck(&self.instance.id, CONNECT * 5);
        match ask("healthcheck", run).await {
            Ok(Some(result)) if result.healthy => Look::healthy("healthcheck passed"),
            Ok(Some(result)) => Look::unhealthy(format!(
                "healthcheck exit code {}: {:?}",
                result.exit_code,
                result.output.trim()
            )),
            Ok(None) => match self.instance.address {
                Some(address) => connect(address).await,
                None => Look::healthy("runs"),
            },
            Err(error) => Look::unhealthy(error.to_string()),
        }
    }
}

/// Never through a published port alone: docker-proxy accepts before the app listens.
async fn connect(address: Address) -> Look {
    let at = SocketAddr::new(address.ip, address.port);
    if address.published {
        return http::any_answer(at).await;
    }
    match tokio::time::timeout(CONNECT, TcpStream::connect(at)).await {
        Ok(Ok(_)) => Look::healthy(format!("{at} accepts connections")),
        Ok(Err(error)) => Look::unhealthy(http::explain(&error)),
        Err(_) => Look::unhealthy(format!("no connection within {} s", CONNECT.as_secs())),
    }
}
