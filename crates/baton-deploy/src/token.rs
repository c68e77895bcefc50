//! Tokens of the API on TCP: 256 random bits, shown once. Only a SHA-256 is kept: nothing slower is
//! needed for what nobody can guess, and comparing hashes tells nothing about a token.

use std::fmt;
use std::str::FromStr;

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use ring::digest::{SHA256, digest};
use ring::rand::{SecureRandom, SystemRandom};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use time::OffsetDateTime;

use crate::core::Core;
use crate::error::DeployError;

/// So that a scanner of secrets finds a token that was committed somewhere.
const PREFIX: &str = "baton_";
/// Random bytes of a token.
const BYTES: usize = 32;
const LONGEST_NAME: usize = 64;

/// What a token allows; each one allows what is before it, too.
#[derive(
    Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, JsonSchema,
)]
#[serde(rename_all = "lowercase")]
pub enum Scope {
    /// Looking.
    Read,
    /// Everything that changes what an app serves.
    Deploy,
    /// Removing apps, and tokens themselves.
    Admin,
}

impl Scope {
    pub const ALL: [Scope; 3] = [Scope::Read, Scope::Deploy, Scope::Admin];

    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Scope::Read => "read",
            Scope::Deploy => "deploy",
            Scope::Admin => "admin",
        }
    }
}

impl fmt::Display for Scope {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

impl FromStr for Scope {
    type Err = String;

    fn from_str(text: &str) -> Result<Scope, String> {
        let found = Scope::ALL.into_iter().find(|scope| scope.as_str() == text);
        found.ok_or_else(|| format!("expected read, deploy or admin, found {text:?}"))
    }
}

/// A token that is wanted.
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
pub struct NewToken {
    pub scope: Scope,
    /// For lists and receipts; None: after its scope and number.
    #[serde(default)]
    pub name: Option<String>,
    /// None: never.
    #[serde(default, with = "time::serde::rfc3339::option")]
    #[schemars(with = "Option<String>")]
    pub expires_at: Option<OffsetDateTime>,
}

/// What is known of a token. The token itself is not.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct TokenInfo {
    pub id: i64,
    pub name: String,
    pub scope: Scope,
    #[serde(with = "time::serde::rfc3339")]
    #[schemars(with = "String")]
    pub created_at: OffsetDateTime,
    #[serde(with = "time::serde::rfc3339::option")]
    #[schemars(with = "Option<String>")]
    pub expires_at: Option<OffsetDateTime>,
    /// To the minute.
    #[serde(with = "time::serde::rfc3339::option")]
    #[schemars(with = "Option<String>")]
    pub last_used_at: Option<OffsetDateTime>,
}

impl TokenInfo {
    #[must_use]
    pub fn has_expired(&self) -> bool {
        self.expires_at
            .is_some_and(|at| at <= OffsetDateTime::now_utc())
    }
}

/// Makes one; the text is returned here and never again.
pub(crate) async fn create(
    core: &Core,
    wanted: NewToken,
    by: Option<&str>,
) -> Result<(String, TokenInfo), DeployError> {
    if let Some(name) = &wanted.name {
        check_name(name)?;
    }
    if wanted
        .expires_at
        .is_some_and(|at| at <= OffsetDateTime::now_utc())
    {
        return Err(DeployError::Usage(
            "a token that has expired already is of no use; say a time to come".to_owned(),
        ));
    }
    let mut bytes = [0; BYTES];
    SystemRandom::new()
        .fill(&mut bytes)
        .map_err(|_| DeployError::Other("the kernel gives no random numbers".to_owned()))?;
    let text = format!("{PREFIX}{}", URL_SAFE_NO_PAD.encode(bytes));
    let info = core.store.add_token(hash(&text), wanted).await?;
    let said = format!(
        "token {:?} for {} was made{}",
        info.name,
        info.scope,
        of(by)
    );
    core.event(None, "token_created", said).await;
    Ok((text, info))
}

/// The one that `text` is; None when there is none, or it has expired.
pub(crate) async fn verify(core: &Core, text: &str) -> Result<Option<TokenInfo>, DeployError> {
    // Everything else is not worth a look into the database.
    if !text.starts_with(PREFIX) || text.len() > 128 {
        return Ok(None);
    }
    let found = core.store.use_token(hash(text)).await?;
    Ok(found.filter(|info| !info.has_expired()))
}

/// Takes one away, by its name or number.
pub(crate) async fn revoke(
    core: &Core,
    which: &str,
    by: Option<&str>,
) -> Result<TokenInfo, DeployError> {
    let Some(info) = core.store.remove_token(which).await? else {
        return Err(DeployError::Usage(format!(
            "there is no token {which:?}; `baton token list` shows what there is"
        )));
    };
    let said = format!("token {:?} was revoked{}", info.name, of(by));
    core.event(None, "token_revoked", said).await;
    Ok(info)
}

fn of(by: Option<&str>) -> String {
    by.map(|by| format!(" by {by}")).unwrap_or_default()
}

fn check_name(name: &str) -> Result<(), DeployError> {
    let plain = |c: char| c.is_alphanumeric() || " ._@-".contains(c);
    if name.trim().is_empty() || name.chars().count() > LONGEST_NAME || !name.chars().all(plain) {
        return Err(DeployError::Usage(format!(
            "{name:?} cannot name a token: use letters, digits, spaces and . _ @ -, at most {LONGEST_NAME}"
        )));
    }
    Ok(())
}

fn hash(text: &str) -> String {
    let hash = digest(&SHA256, text.as_bytes());
    hash.as_ref()
        .iter()
        .map(|byte| format!("{byte:02x}"))
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn scopes_are_ordered() {
        assert!(Scope::Read < Scope::Deploy && Scope::Deploy < Scope::Admin);
        assert_eq!("deploy".parse(), Ok(Scope::Deploy));
        assert!("root".parse::<Scope>().is_err());
    }

    #[test]
    fn what_is_kept_is_a_sha_256() {
        // FIPS 180-2, appendix B.1.
        assert_eq!(
            hash("abc"),
            "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad"
        );
    }

    #[test]
    fn a_name_is_one_line_of_plain_words() {
        assert!(check_name("CI of the shop").is_ok());
        for wrong in ["", "  ", "a\nb", "<b>", &"x".repeat(65)] {
            assert!(check_name(wrong).is_err(), "{wrong:?}");
        }
    }
}
