//! `baton token`.

use std::time::Duration;

use baton_deploy::token::{NewToken, Scope, TokenInfo};
use clap::{Args, Subcommand};
use http::Method;
use time::OffsetDateTime;

use super::Global;
use super::follow::duration;
use crate::client::{Client, escape};
use crate::error::CliError;
use crate::show::{Out, lists};
use crate::wire::{CreatedToken, Tokens};

/// Tokens for the page and the API over TCP. On the server itself, whoever may open the control socket
/// needs none.
#[derive(Debug, Args)]
pub struct Token {
    #[command(subcommand)]
    what: What,
}

#[derive(Debug, Subcommand)]
enum What {
    /// Make a token, and print it: it is kept nowhere and cannot be shown again
    Create(Create),
    /// What tokens there are, without the tokens themselves
    List,
    /// Take a token away; what is streamed with it ends at once
    Revoke {
        /// Its name, or its number
        #[arg(value_name = "TOKEN")]
        which: String,
    },
}

#[derive(Debug, Args)]
struct Create {
    /// What it allows: read (look), deploy (and change what an app serves), admin (and remove apps, and make tokens)
    #[arg(long, value_name = "read|deploy|admin")]
    scope: Scope,
    /// What it is for; receipts name it [default: its scope and number]
    #[arg(long, value_name = "NAME")]
    name: Option<String>,
    /// It ends after this long, such as 12h or 90d [default: never]
    #[arg(long, value_name = "DURATION", value_parser = days)]
    expires: Option<Duration>,
}

/// `90d`, which is no duration of Compose, or one that is.
fn days(text: &str) -> Result<Duration, String> {
    let days = text.strip_suffix('d').and_then(|days| days.parse().ok());
    match days {
        Some(days @ 1..=36_500) => Ok(Duration::from_secs(days * 24 * 60 * 60)),
        _ => duration(text),
    }
}

impl Token {
    pub(super) async fn run(self, global: &Global) -> Result<(), CliError> {
        let (client, out) = (global.client(), global.out());
        match self.what {
            What::Create(create) => create.run(&client, out).await,
            What::List => {
                let tokens: Tokens = client.get("/v1/tokens").await?;
                out.text(&lists::tokens(&tokens.tokens, out.paint))?;
                out.result(&tokens)
            }
            What::Revoke { which } => {
                let path = format!("/v1/tokens/{}", escape(&which));
                let info: TokenInfo = client.call(Method::DELETE, &path, &()).await?;
                out.text(&format!("token {:?} is revoked", info.name))?;
                out.result(&info)
            }
        }
    }
}

impl Create {
    async fn run(self, client: &Client, out: Out) -> Result<(), CliError> {
        let wanted = NewToken {
            scope: self.scope,
            name: self.name,
            expires_at: self.expires.map(|left| OffsetDateTime::now_utc() + left),
        };
        let created: CreatedToken = client.call(Method::POST, "/v1/tokens", &wanted).await?;
        // The token alone on standard output: `BATON_TOKEN=$(baton token create …)` takes it.
        out.text(&created.token)?;
        if !out.is_json() {
            eprintln!(
                "token {:?} for {}: keep it now, it cannot be shown again",
                created.info.name, created.info.scope
            );
        }
        out.result(&created)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_expiry_may_be_days() {
        assert_eq!(days("90d"), Ok(Duration::from_secs(90 * 86_400)));
        assert_eq!(days("12h"), Ok(Duration::from_secs(12 * 3_600)));
        assert!(days("d").is_err() && days("0d").is_err());
    }
}
