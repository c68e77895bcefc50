//! `baton events`.

use baton_deploy::control::Event;
use clap::Args;
use http::Method;
use serde_json::json;

use super::Global;
use crate::client::with_query;
use crate::error::CliError;
use crate::show::lists;
use crate::wire::EventsQuery;

/// Shows what happened, oldest first: deploys, switches, exits, restarts.
#[derive(Debug, Args)]
pub struct Events {
    /// Only of this app
    #[arg(long, short = 'p', value_name = "NAME")]
    app: Option<String>,
    /// Then show new ones as they come, until Ctrl-C
    #[arg(long, short)]
    follow: bool,
    /// How many of the past
    #[arg(long, short = 'n', value_name = "N", default_value_t = 50)]
    tail: usize,
}

impl Events {
    pub(super) async fn run(&self, global: &Global) -> Result<(), CliError> {
        let (client, out) = (global.client(), global.out());
        let query = EventsQuery {
            app: self.app.clone(),
            tail: self.tail,
            follow: self.follow,
        };
        let path = with_query("/v1/events", &query);
        let mut lines = client.lines(Method::GET, &path, &()).await?;
        while let Some(line) = lines.next().await? {
            out.raw(&line)?;
            if let Ok(event) = serde_json::from_str::<Event>(&line) {
                out.text(&lists::event(&event, out.paint))?;
            }
        }
        out.result(&json!({}))
    }
}
