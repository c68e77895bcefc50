//! HTTP/2 with prior knowledge towards an instance: hyper's client, one shared connection per worker.
//!
//! Interim answers (1xx) of the instance are passed over by hyper 1.12, which has no callback for them
//! over HTTP/2. An HTTP/1.1 client that waits for a 100 gets it from `exchange::bridge` instead.

use std::future::Future;
use std::io;
use std::pin::Pin;

use bytes::Bytes;
use hyper::body::Body;
use hyper::body::Incoming;
use hyper::client::conn::http2;
use hyper_util::rt::TokioIo;
use tokio::net::TcpStream;

/// Whatever went wrong with a body.
pub(crate) type BodyError = Box<dyn std::error::Error + Send + Sync>;

/// A request's body on its way to an instance.
pub(crate) type RequestBody = Pin<Box<dyn Body<Data = Bytes, Error = BodyError>>>;

/// Spawns on the worker's own thread.
#[derive(Debug, Clone, Copy)]
pub(crate) struct LocalExecutor;

impl<F> hyper::rt::Executor<F> for LocalExecutor
where
    F: Future + 'static,
    F::Output: 'static,
{
    fn execute(&self, future: F) {
        tokio::task::spawn_local(future);
    }
}

/// A connection that many requests share.
#[derive(Debug, Clone)]
pub(crate) struct Sender(http2::SendRequest<RequestBody>);

/// Why there is no answer.
pub(crate) enum NotSent {
    /// Nothing of it has left: it may go out on another connection.
    Unsent(Box<http::Request<RequestBody>>),
    Broken(hyper::Error),
}

impl Sender {
    pub(crate) fn is_closed(&self) -> bool {
        self.0.is_closed()
    }

    /// Sends a request; the future ends with the answer's head.
    pub(crate) async fn send(
        &mut self,
        request: http::Request<RequestBody>,
    ) -> Result<http::Response<Incoming>, NotSent> {
        self.0
            .try_send_request(request)
            .await
            .map_err(|mut failed| match failed.take_message() {
                Some(request) => NotSent::Unsent(Box::new(request)),
                None => NotSent::Broken(failed.into_error()),
            })
    }
}

/// Opens HTTP/2 on a fresh connection.
pub(crate) async fn handshake(stream: TcpStream) -> io::Result<Sender> {
    let (sender, connection) = http2::Builder::new(LocalExecutor)
        .adaptive_window(true)
        .handshake(TokioIo::new(stream))
        .await
        .map_err(io::Error::other)?;
    tokio::task::spawn_local(async move {
        if let Err(error) = connection.await {
            tracing::debug!(%error, "an h2c connection ended");
        }
    });
    Ok(Sender(sender))
}
