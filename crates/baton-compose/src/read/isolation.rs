//! Do the colors have messages of their own? Seen from what the files say of both (Streams.md §3).

use std::collections::{BTreeMap, BTreeSet};

use crate::color::{Color, Role};
use crate::error::{Collector, Problem};
use crate::messages::{Reader, preview_reads, preview_takes};
use crate::policy::{PerColor, Policy, Redis, RedisStream, StreamMode};
use crate::project::{Notice, Project};
use crate::rendering::Rendering;

/// What the variables of one service are in blue and in green.
type Environments = [BTreeMap<String, String>; 2];

/// Where each stream is one color's own, an event comes from one color only: `union` is the mode of
/// streams that no rule names. Where it is not, the plan says so. A preview that would take live
/// messages is a mistake of the files.
pub(super) fn settle(mut project: Project, problems: &mut Collector) -> Project {
    let mut notices = previews(&project, problems);
    for service in &mut project.services {
        let environments = Color::BOTH
            .map(|color| environment(&project.renderings, (color, Role::Live), &service.name));
        if let Some(redis) = &service.policy.redis {
            let path = format!("services.{}.x-baton.redis", service.name);
            notices.extend(shared(redis, &path, &environments));
            notices.extend(unread(&service.policy, redis, &path));
            let own = |stream: &RedisStream| differs(&stream.key, &environments) == Some(true);
            if redis.streams.iter().all(own) {
                service.policy.default_stream_mode = StreamMode::Union;
            }
        }
    }
    project.notices.extend(notices);
    project
}

fn environment(
    renderings: &[(Color, Role, Rendering)],
    of: (Color, Role),
    service: &str,
) -> BTreeMap<String, String> {
    renderings
        .iter()
        .find(|(color, role, _)| (*color, *role) == of)
        .map(|(_, _, rendering)| rendering.environment(service))
        .unwrap_or_default()
}

/// Each preview beside each live color, of all services: a live worker may read what a preview of
/// the API does. Of either color: today's preview is in tomorrow's live one.
fn previews(project: &Project, problems: &mut Collector) -> Vec<Notice> {
    let readers = |role: Role| {
        let services = project.started(role);
        services.flat_map(move |service| {
            let redis = service.policy.redis_in(role);
            let colors = Color::BOTH.map(|color| {
                let environment = environment(&project.renderings, (color, role), &service.name);
                (&service.name, redis, color, environment)
            });
            colors
                .into_iter()
                .filter_map(|(name, redis, color, environment)| {
                    Some((name, redis?, color, environment))
                })
        })
    };
    let mut notices: Vec<Notice> = Vec::new();
    let mut refused = BTreeSet::new();
    let live: Vec<_> = readers(Role::Live).collect();
    for (name, redis, color, environment) in readers(Role::Preview) {
        let preview = Reader {
            redis,
            color,
            environment: &environment,
        };
        let key = format!("services.{name}.x-baton.preview");
        for (_, redis, color, environment) in &live {
            let live = Reader {
                redis,
                color: *color,
                environment,
            };
            // One is enough to be mended, whatever the colors are called in it.
            if let (Some(reason), false) = (preview_takes(live, preview), refused.contains(name)) {
                problems.push(Problem::new(&key, reason));
                refused.insert(name.clone());
            }
            for text in preview_reads(live, preview) {
                let notice = Notice {
                    key: key.clone(),
                    text,
                };
                if !notices.contains(&notice) {
                    notices.push(notice);
                }
            }
        }
    }
    notices
}

/// None where the files do not tell (the image may).
fn differs(name: &PerColor, environments: &Environments) -> Option<bool> {
    let [blue, green] = environments;
    match name {
        PerColor::Written { blue, green } => Some(blue != green),
        PerColor::Env(variable) => match (blue.get(variable), green.get(variable)) {
            (Some(blue), Some(green)) => Some(blue != green),
            _ => None,
        },
    }
}

fn shown(name: &PerColor) -> String {
    match name {
        PerColor::Written { blue, .. } => blue.clone(),
        PerColor::Env(variable) => format!("what {variable} holds"),
    }
}

fn shared(redis: &Redis, path: &str, environments: &Environments) -> Vec<Notice> {
    let mut notices = Vec::new();
    for (index, stream) in redis.streams.iter().enumerate() {
        let key = shown(&stream.key);
        let text = match (
            differs(&stream.key, environments),
            differs(&stream.group, environments),
        ) {
            (Some(false), Some(false)) => format!(
                "stream and group are the same for both colors ({key}): while both run, each message goes to one of them, which may not be the one that waits for it; put ${{BATON_COLOR}} into the key"
            ),
            (Some(false), _) => format!(
                "the stream is the same for both colors ({key}): while both run, both handle each message; put ${{BATON_COLOR}} into the key"
            ),
            (None, _) => format!(
                "the file does not say {key}: it is read from the container, and nobody knows before whether the colors are kept apart"
            ),
            (Some(true), _) => continue,
        };
        notices.push(Notice {
            key: format!("{path}.streams[{index}]"),
            text,
        });
    }
    notices
}

/// NOACK hides what is being worked on.
fn unread(policy: &Policy, redis: &Redis, path: &str) -> Option<Notice> {
    let noack = redis.streams.iter().any(|stream| stream.noack);
    (noack && policy.drain.until.is_none()).then(|| Notice {
        key: format!("{path}.streams"),
        text: "with noack Redis does not know what a consumer still works on: set `drain.until`, so that the app can say when it has nothing left".to_owned(),
    })
}
