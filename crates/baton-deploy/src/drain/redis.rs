//! The app's Redis as one color of it knows it: URL, keys and groups of the final environment of its
//! containers (Streams.md §3).

use std::collections::BTreeMap;
use std::sync::Arc;

use baton_compose::{Color, Role};
use baton_engine::Engine;

use crate::core::{Core, ask};
use crate::redis::{
    Before, IN_HAND, Messages, Redis, RedisError, Resolve, by_dns, isolation, needs_until,
    preview_takes,
};
use crate::release::Release;

/// One service of one color, with a connection that is made when it is used.
#[derive(Debug, Clone)]
pub(crate) struct OfService {
    pub(crate) service: String,
    pub(crate) messages: Messages,
    pub(crate) redis: Arc<Redis>,
}

/// Every service of `release` that has `redis`, as `color` of it reads it.
pub(crate) async fn of(
    core: &Core,
    release: &Release,
    color: Color,
    role: Role,
) -> Result<Vec<OfService>, RedisError> {
    let mut all = Vec::new();
    let runs = release.services_as(role);
    for service in &release.project.services {
        let Some(rule) = service
            .policy
            .redis_in(role)
            .filter(|_| runs.contains(&service.name))
        else {
            continue;
        };
        let environment = environment(core, release, (color, role), &service.name).await;
        let messages = Messages::of(rule, color, &environment)?;
        let redis = Redis::new(messages.url.clone(), resolve(core, release));
        all.push(OfService {
            service: service.name.clone(),
            redis: Arc::new(redis),
            messages,
        });
    }
    Ok(all)
}

/// As the engine has it where an instance is there, else as the files say it.
async fn environment(
    core: &Core,
    release: &Release,
    (color, role): (Color, Role),
    service: &str,
) -> BTreeMap<String, String> {
    let instances = core.instances(release, color).await.unwrap_or_default();
    let own = instances.iter().find(|i| i.service == service);
    if let (Some(instance), Ok(engine)) = (own, core.engine(release.engine()))
        && let Ok(Some(found)) = ask("inspect", engine.environment(&instance.id)).await
    {
        return found;
    }
    let rendering = release.rendering(color, role);
    rendering
        .map(|rendering| rendering.environment(service))
        .unwrap_or_default()
}

/// A service of the compose file by the engine, anything else by DNS.
fn resolve(core: &Core, release: &Release) -> Resolve {
    let engine: Option<Arc<dyn Engine>> = core.engine(release.engine()).ok();
    let app = release.app.clone();
    let dns = by_dns();
    Arc::new(move |host, port| {
        let (engine, app, dns) = (engine.clone(), app.clone(), Arc::clone(&dns));
        Box::pin(async move {
            if let Some(engine) = engine
                && let Ok(Some(found)) = ask("resolve", engine.resolve(&app, &host, port)).await
            {
                return Ok(found);
            }
            dns(host, port).await
        })
    })
}

/// What is seen of the app's Redis before a deploy changes anything.
#[derive(Debug, Default)]
pub(crate) struct Seen {
    pub(crate) notes: Vec<String>,
    pub(crate) refusals: Vec<String>,
    /// What is pending on the live color, by service: that is history, and stays where it is.
    pub(crate) before: BTreeMap<String, Before>,
}

/// Looks at the live color's streams, and at how the next one is kept apart from it. Without a live
/// color there is nothing to lose, and Redis may not run yet.
pub(crate) async fn look(
    core: &Core,
    live: Option<(Color, &Release)>,
    next: (Color, &Release),
    role: Role,
) -> Seen {
    let mut seen = Seen::default();
    let Some((color, release)) = live else {
        return seen;
    };
    let mine = of(core, release, color, Role::Live)
        .await
        .unwrap_or_else(|error| {
            seen.refusals.push(error.to_string());
            Vec::new()
        });
    // What the file does not say its image may: the step *start* looks again.
    let theirs = of(core, next.1, next.0, role).await.unwrap_or_default();
    for one in mine.iter().chain(&theirs) {
        match one.redis.check().await {
            Ok(server) => {
                let text = format!("{}: {server} at {}", one.service, one.messages.url);
                if !seen.notes.contains(&text) {
                    seen.notes.push(text);
                }
            }
            Err(error) => {
                let text = format!("{}: {error}", one.service);
                if !seen.refusals.contains(&text) {
                    seen.refusals.push(text);
                }
            }
        }
    }
    for one in &theirs {
        let until = next.1.service(&one.service);
        let until = until.and_then(|service| service.policy.drain.until.as_ref());
        seen.notes.extend(needs_until(&one.messages.streams, until));
        if let Some(mine) = mine.iter().find(|mine| mine.service == one.service) {
            seen.notes
                .extend(isolation(&mine.messages.streams, &one.messages.streams));
        }
    }
    if !seen.refusals.is_empty() {
        return seen;
    }
    for one in mine {
        match Before::take(&one.redis, &one.messages.streams, IN_HAND).await {
            Ok(before) => {
                seen.notes.extend(before.describe());
                seen.before.insert(one.service, before);
            }
            Err(error) => seen.refusals.push(format!("{}: {error}", one.service)),
        }
    }
    seen
}

/// Makes the groups of a color that is about to start, where its file asks for that. Returns what a
/// person should know.
pub(crate) async fn create_groups(
    core: &Core,
    release: &Release,
    color: Color,
    role: Role,
) -> Result<Vec<String>, RedisError> {
    let mut notes = Vec::new();
    for one in of(core, release, color, role).await? {
        if one.messages.create {
            notes.extend(one.redis.create_groups(&one.messages.streams).await?);
        }
    }
    Ok(notes)
}

/// A preview that reads with the keys and groups of what is live would take its messages away
/// (Streams.md §3).
///
/// # Errors
/// What they share.
pub(crate) async fn apart_from_live(
    core: &Core,
    app: &baton_compose::AppName,
    preview: &[OfService],
) -> Result<(), String> {
    let live = core
        .live_release(app)
        .await
        .map_err(|error| error.to_string())?;
    let Some((color, release)) = live else {
        return Ok(());
    };
    // What cannot be known of the live color now was known when it started.
    let live = of(core, &release, color, Role::Live)
        .await
        .unwrap_or_default();
    for one in preview {
        let url = one.messages.url.to_string();
        let same_server = live
            .iter()
            .filter(|mine| mine.messages.url.to_string() == url);
        for mine in same_server {
            if let Some(reason) = preview_takes(&mine.messages.streams, &one.messages.streams) {
                return Err(format!("{}: {reason}", one.service));
            }
        }
    }
    Ok(())
}
