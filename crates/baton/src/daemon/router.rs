//! What carries traffic: Baton's own proxy, or an nginx that is already there.

use std::sync::Arc;

use baton_deploy::router::{Embedded, Nginx, Router};
use baton_proxy::Proxy;

use super::settings::RouterChoice;
use crate::error::CliError;

/// The one that was chosen.
#[derive(Debug)]
pub(super) enum Carrier {
    Embedded(Arc<Embedded>),
    Nginx(Arc<Nginx>),
}

impl Carrier {
    pub(super) fn start(choice: &RouterChoice, proxy: &Arc<Proxy>) -> Result<Carrier, CliError> {
        match choice {
            RouterChoice::Embedded => Ok(Carrier::Embedded(Arc::new(Embedded::new(Arc::clone(
                proxy,
            ))))),
            RouterChoice::Nginx(settings) => {
                let nginx = Nginx::start(settings.clone())
                    .map_err(|error| CliError::Usage(format!("--nginx-include {error}")))?;
                tracing::info!(include = %nginx.include().display(), "nginx carries the traffic");
                Ok(Carrier::Nginx(nginx))
            }
        }
    }

    /// Baton's own proxy, if that is what carries traffic.
    pub(super) fn embedded(&self) -> Option<&Arc<Embedded>> {
        match self {
            Carrier::Embedded(embedded) => Some(embedded),
            Carrier::Nginx(_) => None,
        }
    }

    pub(super) fn router(&self) -> Arc<dyn Router> {
        match self {
            Carrier::Embedded(embedded) => Arc::clone(embedded) as _,
            Carrier::Nginx(nginx) => Arc::clone(nginx) as _,
        }
    }

    /// Certificates are read again; a file that cannot be used leaves the old one in place.
    pub(super) async fn reload(&self) {
        match self {
            Carrier::Embedded(embedded) => match embedded.reload_certificates().await {
                Ok(()) => tracing::info!("certificates were read again"),
                Err(error) => tracing::error!(%error, "certificates stay as they were"),
            },
            Carrier::Nginx(_) => {
                tracing::info!("nginx has the certificates; nothing is read again")
            }
        }
    }
}
