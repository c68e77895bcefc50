//! One connection to the app's Redis, made when it is needed and made again after it broke. Nothing
//! here waits longer than [`LIMIT`].

use std::collections::HashMap;
use std::fmt;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use ::redis::aio::MultiplexedConnection;
use ::redis::io::AsyncDNSResolver;
use ::redis::{
    AsyncConnectionConfig, Client, Cmd, ConnectionAddr, ErrorKind, FromRedisValue, Pipeline,
};
use futures_util::future::BoxFuture;
use tokio::sync::Mutex;
use tokio::time::timeout;

use super::error::{RedisError, explain};
use super::server::Server;
use super::url::Url;

/// Longest wait for a connection, and for one answer.
pub const LIMIT: Duration = Duration::from_secs(2);

/// A cluster may send a question on this often (a slot that moves).
const REDIRECTS: usize = 5;

/// Finds the address of a host: a Compose service through the engine, anything else by DNS
/// ([`by_dns`]). Asked anew for each connection, since a restarted container may get another address.
/// The error says why there is none.
pub type Resolve =
    Arc<dyn Fn(String, u16) -> BoxFuture<'static, Result<SocketAddr, String>> + Send + Sync>;

/// Asks the machine's resolver.
#[must_use]
pub fn by_dns() -> Resolve {
    Arc::new(|host, port| {
        Box::pin(async move {
            let mut found = tokio::net::lookup_host((host.as_str(), port))
                .await
                .map_err(|error| format!("{host} cannot be resolved: {error}"))?;
            found.next().ok_or_else(|| format!("{host} has no address"))
        })
    })
}

/// The app's Redis. Cheap to make: the first question connects.
pub struct Redis {
    url: Url,
    resolve: Resolve,
    open: Mutex<Open>,
}

#[derive(Default)]
struct Open {
    main: Option<MultiplexedConnection>,
    /// Cluster nodes by `host:port`.
    nodes: HashMap<(String, u16), MultiplexedConnection>,
    /// Where a cluster said that a key is.
    keys: HashMap<String, (String, u16)>,
    server: Option<Server>,
}

impl fmt::Debug for Redis {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Redis({})", self.url)
    }
}

impl Redis {
    #[must_use]
    pub fn new(url: Url, resolve: Resolve) -> Redis {
        Redis {
            url,
            resolve,
            open: Mutex::default(),
        }
    }

    #[must_use]
    pub fn url(&self) -> &Url {
        &self.url
    }

    /// Is it there, does it let us in, and what is it? For preflight.
    ///
    /// # Errors
    /// Why it cannot be used.
    pub async fn check(&self) -> Result<Server, RedisError> {
        let mut ping = ::redis::cmd("PING");
        let _: String = self.ask("", ping.take()).await?;
        self.server().await
    }

    /// What the server is; asked once a connection.
    pub(super) async fn server(&self) -> Result<Server, RedisError> {
        if let Some(server) = self.open.lock().await.server.clone() {
            return Ok(server);
        }
        // An ACL may forbid either: Baton then does what every version understands.
        let info: String = self.or_default(::redis::cmd("INFO")).await?;
        let mut command = ::redis::cmd("COMMAND");
        command.arg("INFO").arg("xautoclaim");
        let known: ::redis::Value = self.or_default(command).await?;
        let known = match known {
            ::redis::Value::Array(list) if list.len() == 1 => {
                Some(!matches!(list[0], ::redis::Value::Nil))
            }
            _ => None,
        };
        let server = Server::of(&info, known);
        self.open.lock().await.server = Some(server.clone());
        Ok(server)
    }

    async fn or_default<T: FromRedisValue + Default>(&self, cmd: Cmd) -> Result<T, RedisError> {
        match self.ask("", cmd).await {
            Err(RedisError::Away { at, reason }) => Err(RedisError::Away { at, reason }),
            other => Ok(other.unwrap_or_default()),
        }
    }

    /// Asks one question about `key` (empty: about the server).
    pub(super) async fn ask<T: FromRedisValue>(
        &self,
        key: &str,
        cmd: Cmd,
    ) -> Result<T, RedisError> {
        self.ask_raw(key, &cmd)
            .await
            .map_err(|error| explain(&self.url.to_string(), &name(&cmd), key, &error))
    }

    /// As [`Redis::ask`], with the client's own error, for who looks at its code.
    pub(super) async fn ask_raw<T: FromRedisValue>(
        &self,
        key: &str,
        cmd: &Cmd,
    ) -> Result<T, ::redis::RedisError> {
        let mut asking = None;
        for _ in 0..REDIRECTS {
            let node = match asking.clone() {
                Some(node) => Some(node),
                None => self.open.lock().await.keys.get(key).cloned(),
            };
            let answer = self
                .once::<T>(node.as_ref(), cmd, asking.take().is_some())
                .await;
            let Err(error) = &answer else { return answer };
            match (error.redirect_node(), error.code()) {
                (Some((host, port)), Some("ASK")) => asking = Some((host.to_owned(), port)),
                (Some((host, port)), _) => {
                    let mut open = self.open.lock().await;
                    open.keys.insert(key.to_owned(), (host.to_owned(), port));
                }
                (None, _) => {
                    self.forget_broken(error).await;
                    return answer;
                }
            }
        }
        Err((ErrorKind::Io, "the cluster sends on and on").into())
    }

    /// Asks many questions about `key` at once, answered in their order, each for itself. A cluster
    /// must have been asked about `key` before.
    pub(super) async fn ask_all<T: FromRedisValue>(
        &self,
        key: &str,
        mut questions: Pipeline,
    ) -> Result<Vec<Result<T, ::redis::RedisError>>, RedisError> {
        let node = self.open.lock().await.keys.get(key).cloned();
        let work = async {
            let mut connection = self.connection(node.as_ref()).await?;
            let questions = questions.ignore_errors();
            questions.query_async(&mut connection).await
        };
        let answers = match timeout(LIMIT * 2, work).await {
            Ok(answers) => answers,
            Err(_) => Err(late()),
        };
        if let Err(error) = &answers {
            self.forget_broken(error).await;
        }
        answers.map_err(|error| explain(&self.url.to_string(), "a batch", key, &error))
    }

    /// The next question connects anew, and may find another server.
    async fn forget_broken(&self, error: &::redis::RedisError) {
        if error.is_io_error() || error.is_timeout() || error.is_unrecoverable_error() {
            *self.open.lock().await = Open::default();
        }
    }

    async fn once<T: FromRedisValue>(
        &self,
        node: Option<&(String, u16)>,
        cmd: &Cmd,
        asking: bool,
    ) -> Result<T, ::redis::RedisError> {
        let work = async {
            let mut connection = self.connection(node).await?;
            if asking {
                let _: ::redis::Value = ::redis::cmd("ASKING").query_async(&mut connection).await?;
            }
            cmd.query_async(&mut connection).await
        };
        // The client has limits of its own; this one also covers name resolution and log-in.
        match timeout(LIMIT * 2, work).await {
            Ok(answer) => answer,
            Err(_) => Err(late()),
        }
    }

    async fn connection(
        &self,
        node: Option<&(String, u16)>,
    ) -> Result<MultiplexedConnection, ::redis::RedisError> {
        let mut open = self.open.lock().await;
        let known = match node {
            None => open.main.as_ref(),
            Some(node) => open.nodes.get(node),
        };
        if let Some(connection) = known {
            return Ok(connection.clone());
        }
        let mut info = self.url.info.clone();
        if let Some((host, port)) = node {
            info = info.set_addr(ConnectionAddr::Tcp(self.node_host(host), *port));
        }
        let config = AsyncConnectionConfig::new()
            .set_connection_timeout(Some(LIMIT))
            .set_response_timeout(Some(LIMIT))
            .set_dns_resolver(Resolver(self.resolve.clone()));
        let connecting = Client::open(info)?;
        let connecting = connecting.get_multiplexed_async_connection_with_config(&config);
        let connection = timeout(LIMIT, connecting).await.map_err(|_| late())??;
        match node {
            None => open.main = Some(connection.clone()),
            Some(node) => {
                open.nodes.insert(node.clone(), connection.clone());
            }
        }
        Ok(connection)
    }

    /// A node that does not know its own address sends an empty host: the one that was asked.
    fn node_host(&self, host: &str) -> String {
        match self.url.host() {
            Some((own, _)) if host.is_empty() => own.to_owned(),
            _ => host.to_owned(),
        }
    }
}

fn late() -> ::redis::RedisError {
    let text = format!("no answer within {} s", LIMIT.as_secs());
    std::io::Error::new(std::io::ErrorKind::TimedOut, text).into()
}

/// The name of a command, for messages; its arguments may be the app's data.
fn name(cmd: &Cmd) -> String {
    match cmd.args_iter().next() {
        Some(::redis::Arg::Simple(name)) => String::from_utf8_lossy(name).into_owned(),
        _ => String::new(),
    }
}

struct Resolver(Resolve);

impl AsyncDNSResolver for Resolver {
    fn resolve<'a, 'b: 'a>(
        &'a self,
        host: &'b str,
        port: u16,
    ) -> ::redis::RedisFuture<'a, Box<dyn Iterator<Item = SocketAddr> + Send + 'a>> {
        let found = (self.0)(host.to_owned(), port);
        Box::pin(async move {
            let address = found.await.map_err(std::io::Error::other)?;
            Ok(Box::new(std::iter::once(address)) as Box<dyn Iterator<Item = SocketAddr> + Send>)
        })
    }
}
