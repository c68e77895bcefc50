//! What the app's containers know: their environment, and other containers by name.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::sync::Arc;

use baton_compose::AppName;
use bollard::models::ContainerInspectResponse;

use crate::docker::{Inner, containers, inspect, labels};
use crate::{EngineError, InstanceId};

/// See [`crate::Engine::environment`].
pub(super) async fn environment(
    inner: &Arc<Inner>,
    id: &InstanceId,
) -> Result<Option<BTreeMap<String, String>>, EngineError> {
    let Some(container) = inner.container(id).await? else {
        return Ok(None);
    };
    let variables = container.config.and_then(|config| config.env);
    let pairs = variables.unwrap_or_default().into_iter().map(|line| {
        let (name, value) = line.split_once('=').unwrap_or((&line, ""));
        (name.to_owned(), value.to_owned())
    });
    Ok(Some(pairs.collect()))
}

/// See [`crate::Engine::resolve`].
pub(super) async fn resolve(
    inner: &Arc<Inner>,
    app: &AppName,
    name: &str,
    port: u16,
) -> Result<Option<SocketAddr>, EngineError> {
    let client = inner.client().await?;
    let plain = containers::plain(&client.docker, app, None).await?;
    let found = plain.iter().find(|container| is_called(container, name));
    let address = found.and_then(|container| inspect::address(container, port, client.routable));
    Ok(address.map(|address| SocketAddr::new(address.ip, address.port)))
}

/// Service name, container name, hostname, or an alias on one of its networks: what Docker's own
/// resolver answers to.
fn is_called(container: &ContainerInspectResponse, name: &str) -> bool {
    let service = inspect::labels_of(container)
        .get(labels::COMPOSE_SERVICE)
        .is_some_and(|service| service == name);
    let own = container
        .name
        .as_ref()
        .is_some_and(|own| own.trim_start_matches('/') == name);
    let networks = container.network_settings.as_ref();
    let aliases = networks
        .and_then(|settings| settings.networks.as_ref())
        .into_iter()
        .flat_map(|networks| networks.values())
        .filter_map(|endpoint| endpoint.aliases.as_ref());
    service || own || aliases.flatten().any(|alias| alias == name)
}
