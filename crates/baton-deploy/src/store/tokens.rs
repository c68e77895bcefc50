//! Tokens of the API. A token itself is never here.

use rusqlite::{Row, params};
use time::{Duration, OffsetDateTime};

use super::{Store, failed, now, read_stamp, stamp};
use crate::error::DeployError;
use crate::token::{NewToken, TokenInfo};

const COLUMNS: &str = "id, name, scope, created_at, expires_at, last_used_at";

/// How exact `last_used_at` is: a write to the disk for every request would be too dear.
const USED: Duration = Duration::minutes(1);

impl Store {
    /// Writes a new one down; its name is taken from its scope and number where it has none.
    pub(crate) async fn add_token(
        &self,
        hash: String,
        token: NewToken,
    ) -> Result<TokenInfo, DeployError> {
        let text = "SELECT 1 FROM tokens WHERE name = ?1";
        if let Some(name) = token.name.clone() {
            let wanted = name.clone();
            let taken = self
                .call("look for a token", move |connection| {
                    connection.prepare_cached(text)?.exists([wanted])
                })
                .await?;
            if taken {
                return Err(DeployError::Usage(format!(
                    "there is a token {name:?} already; revoke it first (`baton token revoke`), or take another name"
                )));
            }
        }
        let scope = token.scope.as_str();
        let id = self
            .call("write token", move |connection| {
                let transaction = connection.transaction()?;
                let next: i64 = transaction.query_row(
                    "SELECT COALESCE((SELECT seq FROM sqlite_sequence WHERE name = 'tokens'), 0) + 1",
                    [],
                    |row| row.get(0),
                )?;
                let name = token.name.unwrap_or_else(|| format!("{scope}-{next}"));
                transaction.execute(
                    "INSERT INTO tokens (hash, name, scope, created_at, expires_at) VALUES (?1, ?2, ?3, ?4, ?5)",
                    params![hash, name, scope, now(), token.expires_at.map(stamp)],
                )?;
                let id = transaction.last_insert_rowid();
                transaction.commit()?;
                Ok(id)
            })
            .await?;
        let mut added = self.tokens().await?;
        added.retain(|info| info.id == id);
        added
            .pop()
            .ok_or_else(|| failed("write token", "it is gone again"))
    }

    /// All of them, expired ones too, oldest first.
    pub(crate) async fn tokens(&self) -> Result<Vec<TokenInfo>, DeployError> {
        let statement = format!("SELECT {COLUMNS} FROM tokens ORDER BY id");
        let rows = self
            .call("list tokens", move |connection| {
                connection
                    .prepare_cached(&statement)?
                    .query_map([], read)?
                    .collect::<rusqlite::Result<Vec<_>>>()
            })
            .await?;
        Ok(rows.into_iter().flatten().collect())
    }

    /// The one of this hash, whether it has expired or not; notes that it was used.
    pub(crate) async fn use_token(&self, hash: String) -> Result<Option<TokenInfo>, DeployError> {
        let statement = format!("SELECT {COLUMNS} FROM tokens WHERE hash = ?1");
        let found = self
            .call("look for a token", move |connection| {
                let found = connection
                    .prepare_cached(&statement)?
                    .query_map([&hash], read)?
                    .next()
                    .transpose()?
                    .flatten();
                let at = OffsetDateTime::now_utc();
                if let Some(info) = &found
                    && info.last_used_at.is_none_or(|last| at - last > USED)
                {
                    connection.execute(
                        "UPDATE tokens SET last_used_at = ?1 WHERE id = ?2",
                        params![stamp(at), info.id],
                    )?;
                }
                Ok(found)
            })
            .await?;
        Ok(found)
    }

    /// Takes one away, by its name or number; None: there is none.
    pub(crate) async fn remove_token(&self, which: &str) -> Result<Option<TokenInfo>, DeployError> {
        let tokens = self.tokens().await?;
        let named = tokens.iter().find(|info| info.name == which);
        let numbered = || tokens.iter().find(|info| info.id.to_string() == which);
        let Some(found) = named.or_else(numbered).cloned() else {
            return Ok(None);
        };
        let id = found.id;
        self.call("remove token", move |connection| {
            connection.execute("DELETE FROM tokens WHERE id = ?1", [id])
        })
        .await?;
        Ok(Some(found))
    }
}

/// None for a scope that a newer Baton wrote: it allows nothing here.
fn read(row: &Row<'_>) -> rusqlite::Result<Option<TokenInfo>> {
    let Ok(scope) = row.get::<_, String>(2)?.parse() else {
        return Ok(None);
    };
    let at = |text: Option<String>| text.as_deref().map(read_stamp);
    Ok(Some(TokenInfo {
        id: row.get(0)?,
        name: row.get(1)?,
        scope,
        created_at: read_stamp(&row.get::<_, String>(3)?),
        expires_at: at(row.get(4)?),
        last_used_at: at(row.get(5)?),
    }))
}
