//! The table of `baton status`.

use baton_compose::Color;
use baton_deploy::certificates::CertificateStatus;
use baton_deploy::slots::SlotRole;
use baton_deploy::status::{AppStatus, ColorStatus, Status};
use time::macros::format_description;
use time::{OffsetDateTime, UtcOffset};

use super::Paint;
use super::table::Table;
use super::units::bytes;

/// One line a color that holds something; below it what is special about the app.
#[must_use]
pub fn render(status: &Status, paint: Paint) -> String {
    if status.apps.is_empty() {
        return "no app yet: run `baton deploy` in a folder with a compose file that has x-baton"
            .to_owned();
    }
    let mut table = Table::new(&[
        "APP", "COLOR", "ROLE", "RELEASE", "HEALTHY", "REQUESTS", "STREAMS", "MEMORY", "IMAGE",
    ]);
    for app in &status.apps {
        rows(&mut table, app, paint);
    }
    let mut text = table.render();
    for app in &status.apps {
        for remark in remarks(app, paint) {
            text.push('\n');
            text.push_str(&remark);
        }
    }
    text
}

fn rows(table: &mut Table, app: &AppStatus, paint: Paint) {
    let colors = [
        (Color::Blue, &app.colors.blue),
        (Color::Green, &app.colors.green),
    ];
    let mut shown = colors
        .iter()
        .filter(|(_, status)| status.role != SlotRole::Empty)
        .peekable();
    if shown.peek().is_none() {
        table.row(vec![paint.bold(&app.name), "-".into(), "empty".into()]);
        return;
    }
    for (place, (color, status)) in shown.enumerate() {
        // The name stands once, so that the eye finds where an app begins.
        let name = if place == 0 {
            paint.bold(&app.name)
        } else {
            String::new()
        };
        table.row(row(name, *color, status, paint));
    }
}

fn row(name: String, color: Color, status: &ColorStatus, paint: Paint) -> Vec<String> {
    let instances = &status.instances;
    let healthy = instances.iter().filter(|one| one.healthy).count();
    let all = instances.len();
    let health = format!("{healthy}/{all}");
    let health = if healthy < all || (all == 0 && status.role == SlotRole::Live) {
        paint.red(&health)
    } else {
        health
    };
    let requests: u64 = instances.iter().map(|one| one.requests_in_flight).sum();
    let streams: u64 = instances.iter().map(|one| one.sse + one.websockets).sum();
    let memory: u64 = instances.iter().map(|one| one.memory_bytes).sum();
    vec![
        name,
        paint.slot(color),
        role(status.role, paint),
        status.release.map_or("-".into(), |id| id.to_string()),
        health,
        requests.to_string(),
        streams.to_string(),
        if memory == 0 {
            "-".into()
        } else {
            bytes(memory)
        },
        status
            .image
            .clone()
            .filter(|image| !image.is_empty())
            .unwrap_or("-".into()),
    ]
}

fn role(role: SlotRole, paint: Paint) -> String {
    match role {
        SlotRole::Live => paint.green("live"),
        SlotRole::Preview => "preview".into(),
        SlotRole::Candidate => paint.yellow("candidate"),
        SlotRole::Warm => "warm".into(),
        SlotRole::Draining => paint.yellow("draining"),
        SlotRole::Empty => paint.dim("empty"),
    }
}

fn remarks(app: &AppStatus, paint: Paint) -> Vec<String> {
    let mut remarks = Vec::new();
    if !app.hosts.is_empty() {
        remarks.push(format!("{}: serves {}", app.name, app.hosts.join(", ")));
    }
    if let Some(deploy) = &app.deploy {
        remarks.push(format!(
            "{}: deploy {} is at {} ({} %)",
            app.name, deploy.id, deploy.step, deploy.percent
        ));
    }
    if app.paused {
        remarks.push(format!(
            "{}: {}, requests are held; `baton resume` lets them go on",
            app.name,
            paint.yellow("paused")
        ));
    }
    if app.maintenance {
        remarks.push(format!(
            "{}: {}, every request is answered with a page; `baton maintenance off` ends it",
            app.name,
            paint.yellow("maintenance")
        ));
    }
    for (color, status) in [("blue", &app.colors.blue), ("green", &app.colors.green)] {
        let sessions: u64 = status.instances.iter().map(|one| one.sessions).sum();
        if status.role == SlotRole::Draining && sessions > 0 {
            remarks.push(format!(
                "{}: {sessions} sessions are in use on {color}, which stays until they are idle",
                app.name
            ));
        }
    }
    remarks.extend(
        app.certificates
            .iter()
            .map(|one| certificate(app, one, paint)),
    );
    for warning in &app.warnings {
        remarks.push(format!(
            "{}: {} {warning}",
            app.name,
            paint.yellow("warning:")
        ));
    }
    remarks
}

/// Until when, or why there is none.
fn certificate(app: &AppStatus, one: &CertificateStatus, paint: Paint) -> String {
    let held = match one.not_after {
        Some(until) => format!("certificate for {} until {}", one.host, when(until)),
        None => format!("{} for {}", paint.red("no certificate"), one.host),
    };
    let next = one.next_renewal.map(when);
    match (&one.error, next) {
        (Some(error), Some(next)) => format!(
            "{}: {held}; {} {error}; tried again at {next}",
            app.name,
            paint.yellow("warning:")
        ),
        (Some(error), None) => {
            format!("{}: {held}; {} {error}", app.name, paint.yellow("warning:"))
        }
        (None, Some(next)) => format!("{}: {held}, renewed at {next}", app.name),
        (None, None) => format!("{}: {held}", app.name),
    }
}

/// `2026-12-01 10:00 UTC`.
fn when(at: OffsetDateTime) -> String {
    let at = at.to_offset(UtcOffset::UTC);
    let format = format_description!("[year]-[month]-[day] [hour]:[minute] UTC");
    at.format(format).unwrap_or_else(|_| at.to_string())
}

#[cfg(test)]
mod tests {
    use baton_deploy::plan::{StepName, Strategy};
    use baton_deploy::release::ReleaseId;
    use baton_deploy::slots::Weight;
    use baton_deploy::status::{Colors, InstanceStatus, RunningDeploy};

    use super::*;

    fn instance(healthy: bool) -> InstanceStatus {
        InstanceStatus {
            id: "0123456789ab".into(),
            service: "api".into(),
            address: Some("172.18.0.3:8080".into()),
            healthy,
            requests_in_flight: 12,
            sse: 5,
            websockets: 3,
            sessions: 0,
            memory_bytes: 206 << 20,
            restarts: 0,
        }
    }

    fn color(role: SlotRole, release: Option<u64>, instances: Vec<InstanceStatus>) -> ColorStatus {
        ColorStatus {
            release: release.map(ReleaseId),
            image: release.map(|id| format!("shop/api:1.{id}")),
            role,
            weight: if role == SlotRole::Live {
                Weight::ALL
            } else {
                Weight::NONE
            },
            streams: baton_deploy::router::StreamFigures::default(),
            instances,
        }
    }

    fn app(name: &str, blue: ColorStatus, green: ColorStatus) -> AppStatus {
        AppStatus {
            name: name.into(),
            strategy: Strategy::BlueGreen,
            live: Some(Color::Blue),
            deploy: None,
            colors: Colors { blue, green },
            hosts: vec!["api.example.com".into()],
            certificates: vec![],
            paused: false,
            maintenance: false,
            warnings: vec![],
        }
    }

    #[test]
    fn colors_that_hold_something_are_listed() {
        let mut shop = app(
            "shop",
            color(
                SlotRole::Live,
                Some(6),
                vec![instance(true), instance(true)],
            ),
            color(SlotRole::Candidate, Some(7), vec![instance(false)]),
        );
        shop.deploy = Some(RunningDeploy {
            id: 12,
            step: StepName::AwaitHealthy,
            percent: 40,
        });
        let mut mail = app(
            "mail",
            color(SlotRole::Live, Some(1), vec![instance(true)]),
            color(SlotRole::Empty, None, vec![]),
        );
        mail.paused = true;
        mail.hosts = vec![];
        let at = time::macros::datetime!(2026-12-01 10:00 UTC);
        mail.certificates = vec![
            CertificateStatus {
                host: "mail.example.com".into(),
                not_after: Some(at),
                next_renewal: Some(at - time::Duration::days(30)),
                error: None,
            },
            CertificateStatus {
                host: "www.example.com".into(),
                not_after: None,
                next_renewal: Some(at),
                error: Some("HTTP-01: connection refused".into()),
            },
        ];
        mail.warnings = vec!["instance mail 1 was restarted 3 times".into()];
        let status = Status {
            apps: vec![shop, mail],
        };
        insta::assert_snapshot!(render(&status, Paint::NONE), @"
        APP   COLOR  ROLE       RELEASE  HEALTHY  REQUESTS  STREAMS  MEMORY   IMAGE
        shop  blue   live       r6       2/2      24        16       412 MiB  shop/api:1.6
              green  candidate  r7       0/1      12        8        206 MiB  shop/api:1.7
        mail  blue   live       r1       1/1      12        8        206 MiB  shop/api:1.1
        shop: serves api.example.com
        shop: deploy 12 is at await_healthy (40 %)
        mail: paused, requests are held; `baton resume` lets them go on
        mail: certificate for mail.example.com until 2026-12-01 10:00 UTC, renewed at 2026-11-01 10:00 UTC
        mail: no certificate for www.example.com; warning: HTTP-01: connection refused; tried again at 2026-12-01 10:00 UTC
        mail: warning: instance mail 1 was restarted 3 times
        ");
    }

    #[test]
    fn an_empty_machine_says_what_to_do() {
        let text = render(&Status { apps: vec![] }, Paint::NONE);
        assert!(text.contains("baton deploy"), "{text}");
    }
}
