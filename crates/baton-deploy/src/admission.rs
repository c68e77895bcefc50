//! Whether a person lets requests in: `pause` holds them, `maintenance` answers each with a page.
//! Stands in the database, so that a restart of the daemon and a deploy change nothing about it.

use std::time::Duration;

use baton_compose::AppName;
use serde::{Deserialize, Serialize};

use crate::core::Core;
use crate::error::DeployError;
use crate::router::{Feature, Page};

/// Largest page in bytes; it is held in memory and in the database.
pub const LARGEST_PAGE: usize = 1024 * 1024;

/// What new requests of an app meet.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub(crate) struct Admission {
    pub(crate) held: bool,
    pub(crate) page: Option<Page>,
}

/// `baton maintenance on`.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize, schemars::JsonSchema)]
pub struct Maintenance {
    /// HTML; None: Baton's own.
    pub page: Option<String>,
    /// What `Retry-After` says.
    pub retry_after: Option<Duration>,
}

impl Maintenance {
    pub(crate) fn page(&self, app: &AppName) -> Page {
        let body = match &self.page {
            Some(page) => page.as_str().into(),
            None => own_page(app).into(),
        };
        Page {
            status: 503,
            body,
            retry_after: self.retry_after,
        }
    }
}

fn own_page(app: &AppName) -> String {
    format!(
        "<!doctype html><html lang=\"en\"><meta charset=\"utf-8\"><meta name=\"viewport\" content=\"width=device-width\"><title>{app}: maintenance</title>\
         <style>body{{font:1rem/1.5 system-ui,sans-serif;max-width:36rem;margin:20vh auto;padding:0 1rem;color-scheme:light dark}}</style>\
         <h1>Back soon</h1><p>This site is being worked on. Please try again in a while.</p></html>\n"
    )
}

/// What a person has set.
pub(crate) async fn of(core: &Core, app: &AppName) -> Result<Admission, DeployError> {
    let maintenance = core.store.maintenance(app).await?;
    Ok(Admission {
        held: core.store.paused(app).await?,
        page: maintenance.map(|maintenance| maintenance.page(app)),
    })
}

/// `pause` and `resume`.
pub(crate) async fn hold(core: &Core, app: &AppName, held: bool) -> Result<(), DeployError> {
    core.known(app).await?;
    able(core, Feature::Hold, held)?;
    core.store.set_paused(app, held).await?;
    let kind = if held { "paused" } else { "resumed" };
    publish(core, app, kind).await
}

/// `maintenance on` and, with None, `off`.
pub(crate) async fn maintain(
    core: &Core,
    app: &AppName,
    maintenance: Option<Maintenance>,
) -> Result<(), DeployError> {
    core.known(app).await?;
    able(core, Feature::Page, maintenance.is_some())?;
    if let Some(page) = maintenance.as_ref().and_then(|wanted| wanted.page.as_ref())
        && page.len() > LARGEST_PAGE
    {
        return Err(DeployError::Usage(format!(
            "the page has {} bytes, at most {LARGEST_PAGE} are kept; put images and styles elsewhere",
            page.len()
        )));
    }
    let kind = match &maintenance {
        Some(_) => "maintenance_on",
        None => "maintenance_off",
    };
    core.store.set_maintenance(app, maintenance).await?;
    publish(core, app, kind).await
}

/// What was set while another router carried traffic can be taken back under any.
fn able(core: &Core, feature: Feature, wanted: bool) -> Result<(), DeployError> {
    match core.routes.router().lacks(feature) {
        Some(reason) if wanted => Err(DeployError::Usage(reason.to_owned())),
        _ => Ok(()),
    }
}

async fn publish(core: &Core, app: &AppName, kind: &str) -> Result<(), DeployError> {
    core.routes.admit(app, of(core, app).await?).await?;
    let text = format!("{app} {}", kind.replace('_', " "));
    core.event(Some(app), kind, text).await;
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_page_is_the_users_or_our_own() {
        let app: AppName = "shop".parse().expect("a name");
        let own = Maintenance::default().page(&app);
        assert_eq!((own.status, own.retry_after), (503, None));
        assert!(own.body.contains("Back soon"), "{}", own.body);
        let users = Maintenance {
            page: Some("<p>moving".to_owned()),
            retry_after: Some(Duration::from_secs(600)),
        };
        let page = users.page(&app);
        assert_eq!(&*page.body, "<p>moving");
        assert_eq!(page.retry_after, Some(Duration::from_secs(600)));
    }
}
