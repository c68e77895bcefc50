//! `GET /metrics` for Prometheus, on a listener of its own (`--metrics`).
//!
//! | module | does |
//! | --- | --- |
//! | [`table`] | every metric: name, kind, unit, help, labels |
//! | [`gather`] | reads the counters, and makes the page |
//! | [`encode`] | the text format |
//! | [`deploys`] | counts deploys as they end |
//! | `docs` | `docs/metrics.md` and the board, compared with the table |
//!
//! A scrape reads counters that requests have written; a request never waits for a scrape.

pub mod deploys;
#[cfg(test)]
mod docs;
mod encode;
mod gather;
pub mod table;

use std::sync::Arc;
use std::time::{SystemTime, UNIX_EPOCH};

use axum::Router;
use axum::extract::State;
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use baton_deploy::ControlPlane;
use baton_deploy::router::Embedded;
use http::header::CONTENT_TYPE;
use tokio::net::TcpListener;

use self::deploys::Deploys;
use crate::access_log;
use crate::notify::Team;

/// Figures of Baton itself.
#[derive(Debug, Clone, Default)]
pub struct Extra {
    pub log_lines: u64,
    pub log_dropped: u64,
    /// To what kind of place, how it ended, how often.
    pub notices: Vec<(&'static str, &'static str, u64)>,
    /// Seconds since 1970.
    pub started_at: u64,
}

/// What a scrape reads.
#[derive(Debug, Clone)]
pub struct Sources {
    pub control: Arc<ControlPlane>,
    pub router: Arc<Embedded>,
    pub deploys: Arc<Deploys>,
    pub team: Arc<Team>,
    pub log: access_log::Counts,
}

#[derive(Debug, Clone)]
struct Served {
    sources: Sources,
    started_at: u64,
}

/// Answers scrapes until the daemon ends.
pub async fn serve(listener: TcpListener, sources: Sources) {
    let since_1970 = SystemTime::now().duration_since(UNIX_EPOCH);
    let served = Served {
        sources,
        started_at: since_1970.map_or(0, |since| since.as_secs()),
    };
    let router = Router::new()
        .route("/metrics", get(metrics))
        .with_state(served);
    if let Err(error) = axum::serve(listener, router).await {
        tracing::error!(%error, "metrics are not served any more");
    }
}

async fn metrics(State(served): State<Served>) -> Response {
    let Sources {
        control,
        router,
        deploys,
        team,
        log,
    } = &served.sources;
    let places = control.places().await;
    let extra = Extra {
        started_at: served.started_at,
        notices: team
            .counts()
            .into_iter()
            .map(|((to, outcome), count)| (to, outcome, count))
            .collect(),
        log_lines: log.written(),
        log_dropped: log.dropped(),
    };
    let page = gather::page(&router.traffic(), &places, deploys, &extra);
    ([(CONTENT_TYPE, encode::MEDIA)], page.into_text()).into_response()
}
