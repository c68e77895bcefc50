//! SIGTERM: what is in flight ends, and instances go on.

use std::sync::Arc;
use std::time::Duration;

use baton_deploy::router::Embedded;
use baton_proxy::Proxy;

use super::signals::Signals;

/// How long requests in flight may take to end, before they are cut. Nothing is accepted meanwhile, so
/// this is also the longest that a restart keeps new clients out.
const GRACE: Duration = Duration::from_secs(10);

/// Accepts nothing more. Requests end, event streams are told to come back at the end of an event, and
/// WebSockets too (Streams.md §1.1, §2); a second signal, or the end of [`GRACE`], cuts what is left.
pub async fn now(proxy: &Proxy, router: Option<&Arc<Embedded>>, signals: &mut Signals) {
    if let Some(router) = router {
        router.end_all_websockets(GRACE / 10);
    }
    tokio::select! {
        () = proxy.shutdown(GRACE) => tracing::info!("stopped"),
        () = super::stopped(signals) => tracing::warn!("stopped at once, as asked a second time"),
    }
}
