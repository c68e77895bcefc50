//! What a router counts, as one value that crosses the link between two daemons.

use std::collections::{BTreeMap, BTreeSet};

use baton_compose::AppName;
use baton_engine::InstanceId;
use futures_util::FutureExt;
use serde::{Deserialize, Serialize};

use crate::router::{Figures, InstanceFigures, Router};

/// Everything that is counted, at one moment. What it says of an instance that is published no more can
/// only fall from there.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Report {
    pub apps: BTreeMap<AppName, AppReport>,
    pub instances: BTreeMap<InstanceId, InstanceReport>,
}

#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct AppReport {
    pub figures: Figures,
    /// Streams that still miss a half.
    pub unattached: u64,
    pub session_cookie: Option<String>,
}

#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct InstanceReport {
    pub figures: InstanceFigures,
    pub sessions: u64,
    /// What [`Router::drained`] waits for has come.
    pub drained: bool,
    /// The same of [`Router::requests_drained`].
    pub requests_drained: bool,
    /// The same of [`Router::streams_ended`].
    pub streams_ended: bool,
}

impl Report {
    /// What `router` says of these.
    pub(crate) fn of(
        router: &dyn Router,
        apps: BTreeSet<AppName>,
        ids: BTreeSet<InstanceId>,
    ) -> Report {
        let app = |app: AppName| {
            let report = AppReport {
                figures: router.figures(&app),
                unattached: router.unattached(&app),
                session_cookie: router.session_cookie(&app),
            };
            (app, report)
        };
        let instance = |id: InstanceId| {
            let report = InstanceReport {
                figures: router.instance(&id).unwrap_or_default(),
                sessions: router.sessions(&id),
                drained: router.drained(&id).now_or_never().is_some(),
                requests_drained: router.requests_drained(&id).now_or_never().is_some(),
                streams_ended: router.streams_ended(&id).now_or_never().is_some(),
            };
            (id, report)
        };
        Report {
            apps: apps.into_iter().map(app).collect(),
            instances: ids.into_iter().map(instance).collect(),
        }
    }

    /// What stays of it when its process has gone: sums, and nothing that is open.
    #[must_use]
    pub(crate) fn past(mut self) -> Report {
        for app in self.apps.values_mut() {
            app.unattached = 0;
        }
        for instance in self.instances.values_mut() {
            *instance = InstanceReport {
                figures: InstanceFigures {
                    in_flight: 0,
                    draining: 0,
                    sse: 0,
                    websockets: 0,
                    halves: 0,
                    ..instance.figures
                },
                sessions: 0,
                drained: true,
                requests_drained: true,
                streams_ended: true,
            };
        }
        self
    }

    pub(crate) fn figures(&self, app: &AppName) -> Figures {
        self.apps
            .get(app)
            .map(|app| app.figures)
            .unwrap_or_default()
    }

    pub(crate) fn unattached(&self, app: &AppName) -> u64 {
        self.apps.get(app).map_or(0, |app| app.unattached)
    }

    pub(crate) fn instance(&self, id: &InstanceId) -> Option<&InstanceReport> {
        self.instances.get(id)
    }

    /// Whether an instance that this router may never have seen has come so far.
    pub(crate) fn is(&self, id: &InstanceId, far: impl Fn(&InstanceReport) -> bool) -> bool {
        self.instance(id).is_none_or(far)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::router::StreamFigures;

    #[test]
    fn a_process_that_has_gone_leaves_its_sums() {
        let id = InstanceId("shop-blue/api/1/7".to_owned());
        let mut report = Report::default();
        report.instances.insert(
            id.clone(),
            InstanceReport {
                figures: InstanceFigures {
                    requests: 7,
                    in_flight: 2,
                    halves: 1,
                    streams: StreamFigures {
                        events: 9,
                        ..StreamFigures::default()
                    },
                    ..InstanceFigures::default()
                },
                ..InstanceReport::default()
            },
        );
        assert!(!report.is(&id, |one| one.drained));
        let past = report.past();
        let figures = past.instance(&id).unwrap().figures;
        assert_eq!((figures.requests, figures.streams.events), (7, 9));
        assert_eq!((figures.in_flight, figures.halves), (0, 0));
        assert!(past.is(&id, |one| one.drained && one.streams_ended));
        let text = serde_json::to_string(&past).unwrap();
        assert_eq!(serde_json::from_str::<Report>(&text).unwrap(), past);
    }
}
