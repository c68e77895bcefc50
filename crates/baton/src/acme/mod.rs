//! Certificates for `tls: auto`, by ACME (RFC 8555).
//!
//! | module | does |
//! | --- | --- |
//! | [`settings`] | whom to ask, in whose name |
//! | `client` | HTTPS to the authority |
//! | `account` | the account there, made at the first certificate |
//! | `order` | one certificate: challenge, validation, chain and key |
//! | `store` | what is kept in the data folder |
//! | `timing` | when to renew, and when to try again |
//! | `host` | what is known of one host |
//! | `keeper` | does what is due, as long as the daemon runs |
//!
//! The authority validates a host by asking this machine for it: the proxy answers both kinds of question
//! itself, whatever app has the host (`baton_proxy::Challenges`).

mod account;
mod client;
mod host;
mod keeper;
mod order;
pub mod settings;
mod store;
mod timing;

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::SystemTime;

use baton_compose::AppName;
use baton_deploy::certificates::{CertificateStatus, Certificates, Uncertified};
use baton_deploy::router::Embedded;
use baton_proxy::{Certificate, Proxy};
use futures_util::future;
use tokio::sync::{Notify, Semaphore};

use self::account::Authority;
use self::host::Host;
use self::order::Failure;
use self::settings::AcmeSettings;
use self::store::Store;
use crate::error::CliError;

/// Certificates that are asked for at once.
const AT_ONCE: usize = 4;

/// Gets certificates, keeps them and renews them; hands them to the router.
#[derive(Debug)]
pub struct Acme {
    authority: Authority,
    store: Store,
    proxy: Arc<Proxy>,
    router: Arc<Embedded>,
    hosts: Mutex<BTreeMap<String, Host>>,
    turns: Semaphore,
    /// Something has changed that says when the next thing is due.
    changed: Notify,
}

impl Acme {
    /// Reads what is kept and serves it. `settings` come from `baton serve`.
    ///
    /// # Errors
    /// The folder of the certificates or the authority's root cannot be used.
    pub fn open(
        settings: AcmeSettings,
        data: &std::path::Path,
        proxy: &Arc<Proxy>,
        router: &Arc<Embedded>,
    ) -> Result<Arc<Acme>, CliError> {
        let store = Store::open(data, &settings.directory)?;
        let hosts = store.certificates()?;
        let hosts = hosts
            .into_iter()
            .map(|(host, certificate)| (host, Host::with(certificate)));
        let acme = Arc::new(Acme {
            authority: Authority::new(settings)?,
            store,
            proxy: Arc::clone(proxy),
            router: Arc::clone(router),
            hosts: Mutex::new(hosts.collect()),
            turns: Semaphore::new(AT_ONCE),
            changed: Notify::new(),
        });
        acme.serve();
        Ok(acme)
    }

    /// Renews what is kept, and gets what published hosts lack. Runs until it is dropped.
    pub async fn keep(self: Arc<Self>) {
        keeper::run(self).await;
    }

    fn hosts(&self) -> MutexGuard<'_, BTreeMap<String, Host>> {
        self.hosts.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Hands what is valid now to the router.
    fn serve(&self) {
        let now = SystemTime::now();
        let valid: BTreeMap<String, Arc<Certificate>> = self
            .hosts()
            .iter()
            .filter_map(|(name, host)| Some((name.clone(), host.valid(now)?)))
            .collect();
        self.router.set_issued(valid);
    }

    /// Gets a certificate for the host, unless somebody else has got one meanwhile that is not due.
    /// `by_itself`: nobody waits for it, so it also waits for its time after a failure.
    async fn get(&self, name: &str, by_itself: bool) -> Result<(), String> {
        let busy = Arc::clone(&self.hosts().entry(name.to_owned()).or_default().busy);
        let _busy = busy.lock().await;
        let kinds = {
            let hosts = self.hosts();
            let (host, now) = (hosts.get(name), SystemTime::now());
            let early = |host: &Host| host.due().is_some_and(|due| due > now);
            if host.is_some_and(|host| !host.lacks(now) || (by_itself && early(host))) {
                return Ok(());
            }
            order::kinds(&self.proxy, host.and_then(|host| host.works))
        };
        let Ok(_turn) = self.turns.acquire().await else {
            return Err("the daemon stops".to_owned());
        };
        let got = order::certificate(&self.authority, &self.store, &self.proxy, name, &kinds);
        let result = self.settle(name, got.await);
        self.changed.notify_one();
        result
    }

    /// For who waits for it. None: there is one.
    async fn attempt(&self, host: &str) -> Option<Uncertified> {
        let failed = self.get(host, false).await.err();
        failed.map(|reason| Uncertified {
            host: host.to_owned(),
            reason,
        })
    }

    /// Keeps a certificate that was got, or the reason why not.
    fn settle(&self, name: &str, got: Result<order::Issued, Failure>) -> Result<(), String> {
        let got = got.and_then(|issued| {
            let certificate = Certificate::from_pem(issued.pem.as_bytes()).map_err(|reason| {
                Failure::authority(format!("the certificate cannot be used: {reason}"))
            })?;
            Ok((issued, certificate))
        });
        match got {
            Ok((issued, certificate)) => {
                // One that cannot be kept serves all the same, until the daemon is started again.
                if let Err(error) = self.store.keep(name, &issued.pem) {
                    tracing::error!(host = name, "{error}");
                }
                let until = timing::text(certificate.expires());
                tracing::info!(host = name, until, "a certificate was issued");
                if let Some(host) = self.hosts().get_mut(name) {
                    host.issued(certificate, issued.kind);
                }
                self.serve();
                Ok(())
            }
            Err(failure) => {
                let mut hosts = self.hosts();
                let host = hosts.entry(name.to_owned()).or_default();
                host.failed(&failure, SystemTime::now());
                let again = host.due().map(timing::text).unwrap_or_default();
                tracing::warn!(host = name, again, "no certificate: {}", failure.reason);
                Err(failure.reason)
            }
        }
    }
}

#[async_trait::async_trait]
impl Certificates for Acme {
    fn missing(&self, hosts: &[String]) -> Vec<String> {
        let (known, now) = (self.hosts(), SystemTime::now());
        let has = |host: &String| known.get(host).is_some_and(|h| h.valid(now).is_some());
        hosts.iter().filter(|host| !has(host)).cloned().collect()
    }

    async fn obtain(&self, app: &AppName, hosts: &[String]) -> Vec<Uncertified> {
        for name in hosts {
            let mut known = self.hosts();
            let host = known.entry(name.clone()).or_default();
            host.apps.insert(app.clone());
        }
        let each: Vec<_> = hosts.iter().map(|host| self.attempt(host)).collect();
        future::join_all(each).await.into_iter().flatten().collect()
    }

    fn status(&self, app: &AppName) -> Vec<CertificateStatus> {
        let hosts = self.hosts();
        let own = hosts.iter().filter(|(_, host)| host.apps.contains(app));
        own.map(|(name, host)| host.status(name)).collect()
    }
}
