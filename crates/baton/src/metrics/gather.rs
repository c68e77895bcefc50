//! Reads every counter once and writes the page. Nothing here is on the way of a request.

use baton_deploy::control::Place;
use baton_deploy::router::{SideTraffic, Traffic};
use baton_proxy::Latency;

use super::encode::{Buckets, Page};
use super::table;
use super::{Extra, deploys::Deploys};

/// By the place in an array of answers.
const CLASSES: [&str; 5] = ["1xx", "2xx", "3xx", "4xx", "5xx"];
/// For Baton's own answers.
const NO_COLOR: &str = "none";

/// All that is exposed.
pub fn page(traffic: &Traffic, places: &[Place], deploys: &Deploys, extra: &Extra) -> Page {
    let mut page = Page::default();
    requests(&mut page, traffic);
    sides(&mut page, traffic);
    services(&mut page, traffic);
    of_deploys(&mut page, places, deploys);
    of_baton(&mut page, extra);
    page
}

fn requests(page: &mut Page, traffic: &Traffic) {
    let mut family = page.family(&table::REQUESTS);
    for side in &traffic.sides {
        for (code, count) in CLASSES.into_iter().zip(side.answers) {
            family.sample(&[&side.app, side.role.as_str(), &side.color, code], count);
        }
    }
    for service in &traffic.services {
        for (code, count) in CLASSES.into_iter().zip(service.own_answers) {
            family.sample(
                &[&service.app, service.role.as_str(), NO_COLOR, code],
                count,
            );
        }
    }
    let mut family = page.family(&table::UNROUTED);
    for (code, count) in CLASSES.into_iter().zip(traffic.unrouted) {
        family.sample(&[code], count);
    }
    let mut family = page.family(&table::LATENCY);
    for side in &traffic.sides {
        let labels = [side.app.as_str(), side.role.as_str(), side.color.as_str()];
        family.histogram(&labels, &buckets(&side.latency));
    }
}

fn buckets(latency: &Latency) -> Buckets {
    Buckets {
        below: latency.below().collect(),
        count: latency.count(),
        sum: latency.sum(),
    }
}

fn sides(page: &mut Page, traffic: &Traffic) {
    type Figure = fn(&SideTraffic) -> u64;
    let figures: [(&'static table::Metric, Figure); 9] = [
        (&table::IN_FLIGHT, |side| side.in_flight),
        (&table::BYTES, |side| side.body_bytes),
        (&table::BROKEN, |side| side.broken),
        (&table::REFUSED, |side| side.refused),
        (&table::EVENT_STREAMS, |side| side.event_streams),
        (&table::EVENTS, |side| side.events),
        (&table::STREAMS_CUT, |side| side.streams_cut),
        (&table::WEBSOCKETS, |side| side.websockets),
        (&table::SESSIONS_ENDED, |side| side.sessions_ended),
    ];
    for (metric, figure) in figures {
        let mut family = page.family(metric);
        for side in &traffic.sides {
            let labels = [side.app.as_str(), side.role.as_str(), side.color.as_str()];
            family.sample(&labels, figure(side));
        }
    }
}

fn services(page: &mut Page, traffic: &Traffic) {
    type Figure = fn(&baton_deploy::router::ServiceTraffic) -> u64;
    let figures: [(&'static table::Metric, Figure); 6] = [
        (&table::FAILED, |service| service.failed),
        (&table::HELD, |service| service.held),
        (&table::HOLDING, |service| service.holding),
        (&table::MANAGED_STREAMS, |service| service.streams),
        (&table::HANDED_OVER, |service| service.handed_over),
        (&table::RECONNECTED, |service| service.reconnected),
    ];
    for (metric, figure) in figures {
        let mut family = page.family(metric);
        for service in &traffic.services {
            let labels = [service.app.as_str(), service.role.as_str()];
            family.sample(&labels, figure(service));
        }
    }
}

fn of_deploys(page: &mut Page, places: &[Place], deploys: &Deploys) {
    let mut family = page.family(&table::DEPLOYS);
    for ended in deploys.ended() {
        family.sample(&[&ended.app, ended.kind, ended.outcome], ended.count);
    }
    let mut family = page.family(&table::DEPLOY_DURATION);
    for (app, outcome, buckets) in deploys.took() {
        family.histogram(&[&app, outcome], &buckets);
    }
    let mut family = page.family(&table::RELEASE);
    for place in places {
        let release = place.release.to_string();
        let labels = [
            place.app.as_str(),
            place.color.as_str(),
            place.role.as_str(),
            &release,
            &place.image,
        ];
        family.sample(&labels, 1);
    }
    let mut family = page.family(&table::WEIGHT);
    for place in places {
        let labels = [place.app.as_str(), place.color.as_str()];
        family.sample(&labels, u64::from(place.weight.percent()));
    }
}

fn of_baton(page: &mut Page, extra: &Extra) {
    page.family(&table::LOG_LINES).sample(&[], extra.log_lines);
    page.family(&table::LOG_DROPPED)
        .sample(&[], extra.log_dropped);
    let mut family = page.family(&table::NOTICES);
    for (to, outcome, count) in &extra.notices {
        family.sample(&[to, outcome], *count);
    }
    page.family(&table::START).sample(&[], extra.started_at);
    page.family(&table::BUILD)
        .sample(&[env!("CARGO_PKG_VERSION")], 1);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_metric_of_the_table_is_exposed_and_nothing_else() {
        let page = page(
            &Traffic::default(),
            &[],
            &Deploys::default(),
            &Extra::default(),
        );
        let mut written = page.written.clone();
        let mut names: Vec<_> = table::TABLE.iter().map(|metric| metric.name).collect();
        written.sort_unstable();
        names.sort_unstable();
        assert_eq!(written, names);
    }

    #[test]
    fn names_say_what_they_are() {
        for metric in table::TABLE {
            let counter = metric.kind == table::Kind::Counter;
            assert!(metric.name.starts_with("baton_"), "{metric:?}");
            assert_eq!(metric.name.ends_with("_total"), counter, "{metric:?}");
            assert!(metric.name.contains(metric.unit), "{metric:?}");
            assert!(!metric.help.ends_with('.'), "{metric:?}");
        }
    }
}
