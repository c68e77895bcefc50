//! SIGHUP: certificates and settings are read again.

use baton_proxy::Proxy;

use super::Source;
use super::router::Carrier;
use super::settings::Settings;

/// What can change in a daemon that runs does: certificates, `trusted-proxy`, `log`. What cannot is said
/// by name. A file that cannot be used leaves all as it was.
pub(super) async fn all(
    source: &Source,
    settings: &mut Settings,
    proxy: &Proxy,
    carrier: &Carrier,
) {
    carrier.reload().await;
    let new = match source.resolve() {
        Ok(new) => new,
        Err(error) => return tracing::error!(%error, "settings stay as they were"),
    };
    for name in unchangeable(settings, &new) {
        tracing::warn!("{name} has changed, which needs {}", needs(name));
    }
    if new.log != settings.log {
        super::log::change(new.log.as_deref());
    }
    proxy.set_trusted_proxies(new.trusted_proxies.clone());
    settings.trusted_proxies = new.trusted_proxies;
    settings.log = new.log;
    tracing::info!("settings were read again");
}

/// Names of what is different and stays as it is.
fn unchangeable(now: &Settings, new: &Settings) -> Vec<&'static str> {
    // A port that was given in place of 0 is no change.
    let moved = |now: &[std::net::SocketAddr], new: &[std::net::SocketAddr]| {
        now.len() != new.len()
            || now
                .iter()
                .zip(new)
                .any(|(now, new)| now != new && !(new.port() == 0 && now.ip() == new.ip()))
    };
    let all = [
        ("http", moved(&now.http, &new.http)),
        ("https", moved(&now.https, &new.https)),
        ("workers", now.workers != new.workers),
        ("data", now.data != new.data),
        ("socket", now.socket != new.socket),
        ("router", now.router != new.router),
        ("metrics", now.metrics != new.metrics),
        ("access-log", now.access_log != new.access_log),
        ("dashboard", now.dashboard != new.dashboard),
        ("acme", now.acme != new.acme),
    ];
    let changed = all.into_iter().filter(|(_, changed)| *changed);
    changed.map(|(name, _)| name).collect()
}

fn needs(name: &str) -> &'static str {
    match name {
        "data" | "socket" => "a restart of the daemon",
        _ => "`baton upgrade`, which also takes the same binary",
    }
}
