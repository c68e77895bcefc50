//! The account at the authority: made at the first certificate, kept from then on.

use instant_acme::{Account, AccountCredentials, NewAccount};
use tokio::sync::Mutex;

use super::client::Https;
use super::order::Failure;
use super::settings::AcmeSettings;
use super::store::Store;
use crate::error::CliError;

/// Who certifies, and whom we are to it.
pub(super) struct Authority {
    settings: AcmeSettings,
    https: Https,
    account: Mutex<Option<Account>>,
}

impl std::fmt::Debug for Authority {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let directory = &self.settings.directory;
        f.debug_tuple("Authority").field(directory).finish()
    }
}

impl Authority {
    pub(super) fn new(settings: AcmeSettings) -> Result<Authority, CliError> {
        Ok(Authority {
            https: Https::new(settings.ca.as_deref())?,
            settings,
            account: Mutex::default(),
        })
    }

    /// The account that is kept, else a new one.
    pub(super) async fn account(&self, store: &Store) -> Result<Account, Failure> {
        let mut account = self.account.lock().await;
        if let Some(account) = &*account {
            return Ok(account.clone());
        }
        let kept = store.account().and_then(|json| {
            let parsed = serde_json::from_slice::<AccountCredentials>(&json);
            let warn = |error: serde_json::Error| {
                tracing::warn!("the account that is kept cannot be read: {error}")
            };
            parsed.map_err(warn).ok()
        });
        let builder = Account::builder_with_http(Box::new(self.https.clone()));
        let found = match kept {
            Some(credentials) => builder.from_credentials(credentials).await,
            None => {
                let contact = format!("mailto:{}", self.settings.email);
                let new = NewAccount {
                    contact: &[&contact],
                    terms_of_service_agreed: true,
                    only_return_existing: false,
                };
                let directory = self.settings.directory.clone();
                match builder.create(&new, directory, None).await {
                    Ok((made, credentials)) => {
                        keep(store, &credentials);
                        Ok(made)
                    }
                    Err(error) => Err(error),
                }
            }
        };
        let found = found.map_err(|error| Failure::of(&error))?;
        Ok(account.insert(found).clone())
    }

    /// The authority does not know it (any more): the next one is new.
    pub(super) async fn forget(&self, store: &Store) {
        *self.account.lock().await = None;
        if let Err(error) = store.forget_account() {
            tracing::warn!("the account cannot be forgotten: {error}");
        }
    }
}

/// An account that cannot be kept is as good, until the daemon is started again.
fn keep(store: &Store, credentials: &AccountCredentials) {
    let kept = serde_json::to_vec(credentials)
        .map_err(std::io::Error::from)
        .and_then(|json| store.keep_account(&json));
    if let Err(error) = kept {
        tracing::error!("the account cannot be kept: {error}");
    }
}
