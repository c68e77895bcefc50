//! Receipts.

use baton_compose::AppName;
use rusqlite::params;

use super::{Store, from_json, to_json};
use crate::error::DeployError;
use crate::receipt::Receipt;

impl Store {
    /// Writes it, or replaces what is known so far of the same deploy.
    pub(crate) async fn put_receipt(&self, receipt: &Receipt) -> Result<(), DeployError> {
        let (deploy, app) = (receipt.deploy, receipt.app.clone());
        let record = to_json("write receipt", receipt)?;
        self.call("write receipt", move |connection| {
            connection
                .execute(
                    "INSERT OR REPLACE INTO receipts (deploy, app, record) VALUES (?1, ?2, ?3)",
                    params![deploy, app, record],
                )
                .map(drop)
        })
        .await
    }

    /// Newest first.
    pub(crate) async fn receipts(
        &self,
        app: &AppName,
        limit: usize,
    ) -> Result<Vec<Receipt>, DeployError> {
        let app = app.to_string();
        let records = self
            .call("list receipts", move |connection| {
                connection
                    .prepare_cached(
                        "SELECT record FROM receipts WHERE app = ?1 ORDER BY deploy DESC LIMIT ?2",
                    )?
                    .query_map(params![app, limit.cast_signed()], |row| {
                        row.get::<_, String>(0)
                    })?
                    .collect::<rusqlite::Result<Vec<_>>>()
            })
            .await?;
        records
            .iter()
            .map(|record| from_json("list receipts", record))
            .collect()
    }
}
