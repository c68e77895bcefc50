//! Binds per worker, accepts, TLS handshake, ALPN → a connection.

use std::io;
use std::net::{SocketAddr, TcpListener as StdListener};
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use socket2::{Domain, Protocol, SockRef, Socket, Type};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::{JoinSet, spawn_local};
use tokio::time::{sleep, timeout};
use tokio_rustls::TlsAcceptor;

use crate::clients::Admission;
use crate::connection;
use crate::error::ProxyError;
use crate::io::{ClientStream, Peer};
use crate::settings::{InheritedListener, ListenerProtocol, Settings};
use crate::tls::{ALPN_ACME, ALPN_H2};
use crate::worker::WorkerContext;

/// Connections that the kernel may hold for one socket while its worker is busy; it caps this at
/// `net.core.somaxconn`.
const BACKLOG: i32 = 4_096;

/// How long accepting pauses when the process is out of files or memory: connections that end free
/// some meanwhile.
const EXHAUSTED_PAUSE: Duration = Duration::from_millis(100);

/// Every socket, and the addresses they got.
pub(crate) struct Listeners {
    pub(crate) http: Vec<SocketAddr>,
    pub(crate) https: Vec<SocketAddr>,
    /// One list for each worker.
    pub(crate) per_worker: Vec<Vec<BoundSocket>>,
    /// Each socket once more, to be handed over.
    pub(crate) offered: Vec<InheritedListener>,
}

pub(crate) struct BoundSocket {
    socket: StdListener,
    protocol: ListenerProtocol,
}

/// One listening socket of one worker.
pub(crate) struct Listener {
    socket: StdListener,
    tls: Option<Tls>,
}

/// What a TLS listener does beside accepting.
struct Tls {
    acceptor: TlsAcceptor,
    on_443: bool,
}

impl Listener {
    pub(crate) fn new(bound: BoundSocket, config: &Arc<rustls::ServerConfig>) -> Listener {
        let port = bound.socket.local_addr().map(|address| address.port());
        Listener {
            socket: bound.socket,
            tls: match bound.protocol {
                ListenerProtocol::Http => None,
                ListenerProtocol::Https => Some(Tls {
                    acceptor: TlsAcceptor::from(Arc::clone(config)),
                    on_443: matches!(port, Ok(443)),
                }),
            },
        }
    }
}

/// Binds what `settings` asks for: a socket of its own for each worker, so that the kernel spreads
/// the connections (`SO_REUSEPORT`), or the sockets that were handed over.
pub(crate) fn bind(settings: &Settings, workers: usize) -> Result<Listeners, ProxyError> {
    let mut listeners = Listeners {
        http: Vec::new(),
        https: Vec::new(),
        per_worker: (0..workers).map(|_| Vec::new()).collect(),
        offered: settings.inherited.clone(),
    };
    let inherited = adopt(&settings.inherited, &mut listeners)?;
    for (protocol, addresses) in [
        (ListenerProtocol::Http, &settings.http),
        (ListenerProtocol::Https, &settings.https),
    ] {
        for &address in addresses {
            if !inherited.contains(&address) {
                let bound = bind_address(address, protocol, &mut listeners)?;
                listeners.addresses(protocol).push(bound);
            }
        }
    }
    Ok(listeners)
}

impl Listeners {
    fn addresses(&mut self, protocol: ListenerProtocol) -> &mut Vec<SocketAddr> {
        match protocol {
            ListenerProtocol::Http => &mut self.http,
            ListenerProtocol::Https => &mut self.https,
        }
    }
}

/// Spreads inherited sockets over the workers. Each is accepted from, whatever the number of workers:
/// the kernel goes on giving connections to all of them (Engines.md §4). A worker without one shares
/// another's.
fn adopt(
    inherited: &[InheritedListener],
    listeners: &mut Listeners,
) -> Result<Vec<SocketAddr>, ProxyError> {
    let refuse = |source| ProxyError::Inherit { source };
    let mut groups: Vec<(SocketAddr, ListenerProtocol, Vec<StdListener>)> = Vec::new();
    for listener in inherited {
        let socket = StdListener::from(listener.socket.try_clone().map_err(refuse)?);
        socket.set_nonblocking(true).map_err(refuse)?;
        SockRef::from(&socket)
            .set_tcp_nodelay(true)
            .map_err(refuse)?;
        let address = socket.local_addr().map_err(refuse)?;
        match groups.iter_mut().find(|(a, ..)| *a == address) {
            Some((_, _, sockets)) => sockets.push(socket),
            None => groups.push((address, listener.protocol, vec![socket])),
        }
    }
    let workers = listeners.per_worker.len();
    let mut addresses = Vec::new();
    for (address, protocol, sockets) in groups {
        addresses.push(address);
        listeners.addresses(protocol).push(address);
        for worker in sockets.len()..workers {
            let socket = sockets[worker % sockets.len()]
                .try_clone()
                .map_err(refuse)?;
            listeners.per_worker[worker].push(BoundSocket { socket, protocol });
        }
        for (number, socket) in sockets.into_iter().enumerate() {
            listeners.per_worker[number % workers].push(BoundSocket { socket, protocol });
        }
    }
    Ok(addresses)
}

/// Binds one address once for each worker; returns it with its port. Of port 0 the first takes any
/// free port and the others follow it.
fn bind_address(
    asked: SocketAddr,
    protocol: ListenerProtocol,
    listeners: &mut Listeners,
) -> Result<SocketAddr, ProxyError> {
    let refuse = |source| ProxyError::listen(asked, source);
    if asked.port() != 0 {
        // With SO_REUSEPORT alone a second proxy of the same user would silently take a share of the
        // connections instead of hearing that the port is taken.
        bound_socket(asked, false).map_err(refuse)?;
    }
    let mut address = asked;
    for sockets in &mut listeners.per_worker {
        let socket = bound_socket(address, true).map_err(refuse)?;
        socket.listen(BACKLOG).map_err(refuse)?;
        let socket = StdListener::from(socket);
        address = socket.local_addr().map_err(refuse)?;
        listeners.offered.push(InheritedListener {
            protocol,
            socket: Arc::new(socket.try_clone().map_err(refuse)?.into()),
        });
        sockets.push(BoundSocket { socket, protocol });
    }
    Ok(address)
}

fn bound_socket(address: SocketAddr, share: bool) -> io::Result<Socket> {
    let socket = Socket::new(
        Domain::for_address(address),
        Type::STREAM,
        Some(Protocol::TCP),
    )?;
    if address.is_ipv6() {
        // `[::]` takes IPv4 too, whatever net.ipv6.bindv6only says.
        socket.set_only_v6(false)?;
    }
    // A restart must not wait for connections in TIME_WAIT.
    socket.set_reuse_address(true)?;
    socket.set_reuse_port(share)?;
    // Accepted sockets inherit it: one syscall less for each connection.
    socket.set_tcp_nodelay(true)?;
    socket.set_nonblocking(true)?;
    socket.bind(&address.into())?;
    Ok(socket)
}

/// Accepts from all of a worker's sockets until the shutdown begins.
pub(crate) async fn accept_all(listeners: Vec<Listener>, context: &Rc<WorkerContext>) {
    let mut loops = JoinSet::new();
    for listener in listeners {
        loops.spawn_local(accept(listener, Rc::clone(context)));
    }
    while loops.join_next().await.is_some() {}
    // A worker whose loops all failed still has connections to serve.
    context.shutdown().leaving().await;
}

async fn accept(listener: Listener, context: Rc<WorkerContext>) {
    let socket = match TcpListener::from_std(listener.socket) {
        Ok(socket) => socket,
        Err(error) => {
            tracing::error!(%error, "a listener cannot be polled; its worker accepts nothing from it");
            return;
        }
    };
    let ended = context.shutdown().leaving();
    tokio::pin!(ended);
    tokio::select! {
        () = context.shared().open.raised() => {}
        () = &mut ended => return leave(socket, listener.tls.as_ref(), &context),
    }
    loop {
        let accepted = tokio::select! {
            accepted = socket.accept() => accepted,
            () = &mut ended => break,
        };
        match accepted {
            Ok((stream, peer)) => open(stream, peer, listener.tls.as_ref(), &context),
            Err(error) if is_exhausted(&error) => {
                tracing::warn!(%error, "cannot accept connections; raise the limit of open files (ulimit -n)");
                tokio::select! {
                    () = sleep(EXHAUSTED_PAUSE) => {}
                    () = &mut ended => break,
                }
            }
            // The connection was gone before it was accepted (ECONNABORTED and kin).
            Err(error) => tracing::debug!(%error, "a connection was lost before it was accepted"),
        }
    }
    leave(socket, listener.tls.as_ref(), &context);
}

/// The socket goes out of epoll before it is closed. What is queued in it is for the process that has it
/// as well; where there is none, it is taken along.
fn leave(socket: TcpListener, tls: Option<&Tls>, context: &Rc<WorkerContext>) {
    if context.shutdown().has_begun() {
        accept_queued(socket, tls, context);
    }
}

/// What the kernel has completed but nobody has accepted would be reset with the socket.
fn accept_queued(socket: TcpListener, tls: Option<&Tls>, context: &Rc<WorkerContext>) {
    let Ok(socket) = socket.into_std() else {
        return;
    };
    while let Ok((stream, peer)) = socket.accept() {
        let stream = stream
            .set_nonblocking(true)
            .and_then(|()| TcpStream::from_std(stream));
        if let Ok(stream) = stream {
            open(stream, peer, tls, context);
        }
    }
}

fn is_exhausted(error: &io::Error) -> bool {
    use rustix::io::Errno;
    let exhausted = [Errno::MFILE, Errno::NFILE, Errno::NOBUFS, Errno::NOMEM];
    error
        .raw_os_error()
        .is_some_and(|raw| exhausted.iter().any(|errno| errno.raw_os_error() == raw))
}

/// Gives a new connection a task of its own, if its client may have one more.
fn open(stream: TcpStream, address: SocketAddr, tls: Option<&Tls>, context: &Rc<WorkerContext>) {
    let ip = address.ip().to_canonical();
    let trusted_proxies = context.shared().trusted_proxies();
    let peer = Peer {
        address,
        secure: tls.is_some(),
        on_443: tls.is_some_and(|tls| tls.on_443),
        trusted: trusted_proxies.have(ip),
        trusted_proxies,
    };
    let (permit, refused) = if peer.trusted {
        (None, false)
    } else {
        match context.shared().clients.admit(ip) {
            Admission::Admitted(permit) => (Some(permit), false),
            Admission::Refused(permit) => (Some(permit), true),
            Admission::Dropped => return,
        }
    };
    let counted = (context.connection(), permit);
    let context = Rc::clone(context);
    // Two kinds of task rather than one: a task is as large as its largest branch, and plain streams
    // should not pay for TLS.
    match tls {
        None if refused => drop(spawn_local(async move {
            connection::refuse_http1(ClientStream::Plain(stream)).await;
            drop(counted);
        })),
        None => drop(spawn_local(async move {
            connection::serve_plain(context, peer, stream).await;
            drop(counted);
        })),
        Some(tls) => {
            let tls = tls.acceptor.clone();
            drop(spawn_local(async move {
                handshake(context, peer, stream, tls, refused).await;
                drop(counted);
            }));
        }
    }
}

/// TLS, then the protocol that ALPN settled; HTTP/1.1 where the client offered none.
async fn handshake(
    context: Rc<WorkerContext>,
    peer: Peer,
    stream: TcpStream,
    tls: TlsAcceptor,
    refused: bool,
) {
    let limit = context.settings().limits.tls_handshake_timeout;
    let stream = match timeout(limit, Box::pin(tls.accept(stream))).await {
        Ok(Ok(stream)) => stream,
        Ok(Err(error)) => {
            tracing::debug!(client = %peer.address, %error, "TLS handshake failed");
            return;
        }
        Err(_) => {
            tracing::debug!(client = %peer.address, "TLS handshake took too long");
            return;
        }
    };
    let (_, session) = stream.get_ref();
    if session.alpn_protocol() == Some(ALPN_ACME) {
        // The handshake was the answer (RFC 8737 §3); nothing is ever asked over it.
        return;
    }
    let h2 = session.alpn_protocol() == Some(ALPN_H2);
    let server_name = session.server_name().map(Into::into);
    let stream = ClientStream::Tls(Box::new(stream));
    match (refused, h2) {
        (true, true) => connection::refuse_h2(stream).await,
        (true, false) => connection::refuse_http1(stream).await,
        (false, true) => Box::pin(connection::h2::serve(context, peer, server_name, stream)).await,
        (false, false) => connection::h1::serve(context, peer, stream).await,
    }
}
