//! Receipts.

use baton_compose::AppName;
use rusqlite::params;

use super::{Store, to_json};
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
        self.records(
            "list receipts",
            "SELECT record FROM receipts WHERE app = ?1 ORDER BY deploy DESC LIMIT ?2",
            (app.to_string(), limit.cast_signed()),
        )
        .await
    }
}
