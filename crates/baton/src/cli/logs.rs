//! `baton logs`.

use baton_compose::Color;
use baton_engine::LogLine;
use clap::Args;
use http::Method;
use serde_json::json;

use super::Global;
use super::app::{AppArgs, path};
use crate::client::with_query;
use crate::error::CliError;
use crate::show::lists;
use crate::wire::LogsQuery;

/// Shows what the instances of a color write.
#[derive(Debug, Args)]
pub struct Logs {
    #[command(flatten)]
    app: AppArgs,
    /// Then show new lines as they come, until Ctrl-C
    #[arg(long, short)]
    follow: bool,
    /// Of this color [default: the live one]
    #[arg(long, value_name = "blue|green")]
    color: Option<Color>,
    /// How many lines of the past
    #[arg(long, short = 'n', value_name = "N", default_value_t = 100)]
    tail: usize,
}

impl Logs {
    pub(super) async fn run(&self, global: &Global) -> Result<(), CliError> {
        let (client, out) = (global.client(), global.out());
        let app = self.app.resolve(&client).await?;
        let query = LogsQuery {
            color: self.color,
            tail: self.tail,
            follow: self.follow,
        };
        let path = with_query(&path(&app, "logs"), &query);
        let mut lines = client.lines(Method::GET, &path, &()).await?;
        while let Some(line) = lines.next().await? {
            out.raw(&line)?;
            if let Ok(line) = serde_json::from_str::<LogLine>(&line) {
                out.text(&lists::log_line(&line, out.paint))?;
            }
        }
        out.result(&json!({}))
    }
}
