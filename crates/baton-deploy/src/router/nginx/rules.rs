//! What an `x-baton` asks for and nginx cannot do for Baton: refused by name, with where it belongs.

use baton_compose::policy::{Drain, Limits, StreamMode, Tls};
use baton_compose::{Policy, Role};

use crate::router::{Feature, ServiceRoute};

/// Each as `x-baton.KEY: why, and what to do`.
pub(super) fn misfits(route: &ServiceRoute) -> Vec<String> {
    let prefix = match route.role {
        Role::Live => "x-baton.",
        Role::Preview => "x-baton.preview.",
    };
    let mut all = access(&route.policy);
    if route.role == Role::Live {
        all.extend(traffic(&route.policy));
        all.extend(streams(&route.policy));
    }
    all.into_iter()
        .map(|(key, text)| {
            format!(
                "{} {}: {prefix}{key}: nginx carries the traffic (--router nginx) and {text}",
                route.app, route.service
            )
        })
        .collect()
}

type Misfit = (&'static str, &'static str);

fn when(asked: bool, key: &'static str, text: &'static str) -> Option<Misfit> {
    asked.then_some((key, text))
}

/// What would be open, were it left out without a word.
fn access(policy: &Policy) -> Vec<Misfit> {
    let all = [
        when(
            !policy.basic_auth.is_empty(),
            "basic_auth",
            "asks for passwords itself: write `auth_basic` into its server block, and take this out",
        ),
        when(
            !policy.allow.is_empty(),
            "allow",
            "lets clients in itself: write `allow` and `deny all` into its server block, and take this out",
        ),
    ];
    all.into_iter().flatten().collect()
}

fn traffic(policy: &Policy) -> Vec<Misfit> {
    let limits = &policy.limits;
    let usual = Limits::default();
    let all = [
        when(
            !matches!(policy.tls, Tls::Off | Tls::Unsaid),
            "tls",
            "has the certificates: take this out",
        ),
        when(
            !policy.redirect_hosts.is_empty(),
            "redirect_hosts",
            "answers those hosts: write `return 301` into a server block of theirs, and take this out",
        ),
        when(
            policy.error_page.is_some(),
            "error_page",
            "answers when an app cannot be reached: write `error_page` into its server block, and take this out",
        ),
        when(
            policy.strip_path,
            "strip_path",
            "rewrites paths: write `proxy_pass http://baton_…/;` with the slash, and take this out",
        ),
        when(
            limits.body != usual.body,
            "limits.body",
            "limits bodies: write `client_max_body_size`, and take this out",
        ),
        when(
            limits.header_bytes != usual.header_bytes,
            "limits.header_bytes",
            "limits heads: write `large_client_header_buffers`, and take this out",
        ),
        when(
            limits.idle != usual.idle,
            "limits.idle",
            "ends idle bodies: write `proxy_read_timeout`, and take this out",
        ),
        when(
            policy.sessions.is_some(),
            "sessions",
            "does not know which client has a session where: keep sessions outside the app (in Redis), or use the embedded router",
        ),
    ];
    all.into_iter().flatten().collect()
}

fn streams(policy: &Policy) -> Vec<Misfit> {
    let managed = |mode: StreamMode| mode != StreamMode::Drain;
    let usual = Drain::default();
    let by_default = matches!(
        policy.default_stream_mode,
        StreamMode::Union | StreamMode::Cut
    );
    let all = [
        when(
            by_default || policy.sse.iter().any(|rule| managed(rule.mode)),
            "sse",
            "hands no event stream over: say `mode: drain` (a stream stays with the old color until it ends, or drain.connections), or use the embedded router",
        ),
        when(
            policy.drain.websockets != usual.websockets
                || policy.drain.websocket_code != usual.websocket_code,
            "drain.websockets",
            "keeps WebSockets until they end or drain.connections is over: take this out, or use the embedded router",
        ),
    ];
    all.into_iter().flatten().collect()
}

pub(super) fn lacks(feature: Feature) -> &'static str {
    match feature {
        Feature::Canary => {
            "a canary needs figures of each color and clients that stay on theirs, and nginx carries the traffic (--router nginx): use `--strategy blue-green` or `rolling`, or the embedded router"
        }
        Feature::Hold => {
            "nginx carries the traffic (--router nginx) and cannot hold requests: neither `baton pause` nor a deploy that stops the old release first (`overlap`) works with it; say `overlap: required` and have memory for two, or use the embedded router"
        }
        Feature::Page => {
            "nginx carries the traffic (--router nginx): write `return 503` and `error_page` into its server block, or use the embedded router"
        }
    }
}
