//! `baton observe`.

use baton_deploy::observe::{Observed, Verdict};
use clap::Args;
use http::Method;

use super::Global;
use super::app::{AppArgs, path};
use crate::client::with_query;
use crate::error::CliError;
use crate::wire::ObserveQuery;

/// Watches a stream path during one deploy and says which `sse` mode fits it.
///
/// Start it, let events come, and deploy from another terminal. Baton reads the path from both colors
/// with clients of its own; your clients notice nothing.
#[derive(Debug, Args)]
pub struct Observe {
    /// Path (with its query) that answers with text/event-stream
    #[arg(value_name = "PATH")]
    path: String,
    #[command(flatten)]
    app: AppArgs,
}

impl Observe {
    pub(super) async fn run(&self, global: &Global) -> Result<(), CliError> {
        let (client, out) = (global.client(), global.out());
        let app = self.app.resolve(&client).await?;
        let query = ObserveQuery {
            path: self.path.clone(),
        };
        let path = with_query(&path(&app, "observe"), &query);
        let mut lines = client.lines(Method::GET, &path, &()).await?;
        while let Some(line) = lines.next().await? {
            match serde_json::from_str::<Observed>(&line) {
                Ok(Observed::Note { text }) => {
                    out.raw(&line)?;
                    out.text(&text)?;
                }
                Ok(Observed::Verdict(verdict)) => {
                    out.text(&render(&verdict))?;
                    return out.result(&verdict);
                }
                Err(error) => return Err(CliError::Other(error.to_string())),
            }
        }
        Err(CliError::Other(
            "the daemon went away before there was a verdict".to_owned(),
        ))
    }
}

fn render(verdict: &Verdict) -> String {
    let mut lines = vec![format!("{}: {}", verdict.path, verdict.mode.as_str())];
    lines.extend(verdict.reasons.iter().map(|reason| format!("  - {reason}")));
    lines.push("in x-baton of the service:".to_owned());
    lines.push(format!("  {}", verdict.x_baton));
    lines.join("\n")
}

#[cfg(test)]
mod tests {
    use baton_compose::policy::StreamMode;

    use super::*;

    #[test]
    fn a_verdict_ends_with_what_to_paste() {
        let verdict = Verdict {
            path: "/sse".to_owned(),
            mode: StreamMode::Union,
            reasons: vec!["each is emitted by one color only".to_owned()],
            x_baton: "sse: [ { path: \"/sse\", mode: union } ]".to_owned(),
        };
        insta::assert_snapshot!(render(&verdict), @r#"
        /sse: union
          - each is emitted by one color only
        in x-baton of the service:
          sse: [ { path: "/sse", mode: union } ]
        "#);
    }
}
