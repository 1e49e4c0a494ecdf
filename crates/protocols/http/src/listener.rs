//! From a socket to the frame: accepting, TLS, HTTP/1.1 and HTTP/2, timeouts, ending in good order.

use axum::body::Body;
use http::Request;
use hyper::body::Incoming;
use hyper::server::conn::{http1, http2};
use hyper::service::service_fn;
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use hyper_util::server::graceful::GracefulConnection;
use std::convert::Infallible;
use std::io;
use std::net::SocketAddr;
use std::pin::pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, AtomicU64, Ordering};
use std::time::Duration;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::{TcpListener, TcpSocket, TcpStream};
use tokio::sync::Semaphore;
use tokio::time::{Instant, timeout};
use tokio_rustls::TlsAcceptor;
use tokio_rustls::server::TlsStream;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use crate::counters::Counters;
use crate::frame::Frame;
use crate::inbound::Peer;
use crate::tls::{Tls, peer_certificate};

/// Connections the operating system keeps waiting (count).
const BACKLOG: u32 = 1024;
/// Pause after the operating system refused to hand out a connection, for instance for want of file descriptors.
const ACCEPT_PAUSE: Duration = Duration::from_millis(50);
/// What one HTTP/2 stream may send ahead, in bytes, and one connection.
const WINDOWS: (u32, u32) = (1 << 20, 4 << 20);

/// Takes an address.
///
/// # Errors
/// Those of the operating system.
pub fn bind(address: SocketAddr) -> io::Result<TcpListener> {
    let socket = if address.is_ipv4() { TcpSocket::new_v4()? } else { TcpSocket::new_v6()? };
    socket.set_reuseaddr(true)?;
    socket.bind(address)?;
    socket.listen(BACKLOG)
}

/// One listening socket and what it serves.
pub struct Listener {
    /// The socket.
    pub socket: TcpListener,
    /// Plain HTTP when absent.
    pub tls: Option<Arc<Tls>>,
    /// What is served.
    pub frame: Arc<Frame>,
}

impl Listener {
    /// Serves until `stop`, then lets requests under way end within the grace time.
    pub async fn serve(self, stop: CancellationToken) {
        let connections = TaskTracker::new();
        let places = Arc::new(Semaphore::new(self.frame.limits().connections.min(Semaphore::MAX_PERMITS)));
        let accepting = async {
            loop {
                // The semaphore is never closed.
                let Ok(place) = Arc::clone(&places).acquire_owned().await else { return };
                let (socket, address) = match self.socket.accept().await {
                    Ok(accepted) => accepted,
                    Err(error) => {
                        tracing::warn!(%error, "no connection could be accepted");
                        tokio::time::sleep(ACCEPT_PAUSE).await;
                        continue;
                    }
                };
                let connection =
                    Connection { tls: self.tls.clone(), frame: Arc::clone(&self.frame), address, stop: stop.clone() };
                connections.spawn(async move {
                    connection.run(socket).await;
                    drop(place);
                });
            }
        };
        tokio::select! {
            () = stop.cancelled() => {}
            () = accepting => {}
        }
        drop(self.socket);
        connections.close();
        connections.wait().await;
    }
}

/// One connection.
struct Connection {
    tls: Option<Arc<Tls>>,
    frame: Arc<Frame>,
    address: SocketAddr,
    stop: CancellationToken,
}

impl Connection {
    async fn run(self, socket: TcpStream) {
        let frame = Arc::clone(&self.frame);
        Counters::add(&frame.counters().connections);
        self.speak(socket).await;
        Counters::add(&frame.counters().connections_ended);
    }

    async fn speak(self, socket: TcpStream) {
        // Answers are written whole; waiting for more would only delay them.
        if let Err(error) = socket.set_nodelay(true) {
            tracing::debug!(%error, "TCP_NODELAY was refused");
        }
        let Some(tls) = &self.tls else {
            let peer = Peer { address: self.address, certificate: None };
            return self.http1(socket, peer).await;
        };
        let Some(stream) = self.handshake(tls, socket).await else { return };
        let (_, session) = stream.get_ref();
        let certificate = match session.peer_certificates().and_then(<[_]>::first) {
            None => None,
            Some(der) => match peer_certificate(der) {
                Some(found) => Some(Arc::new(found)),
                None => {
                    tracing::warn!(source = %self.address, "a verified client certificate cannot be read");
                    return;
                }
            },
        };
        let peer = Peer { address: self.address, certificate };
        if session.alpn_protocol() == Some(b"h2") {
            self.http2(stream, peer).await
        } else {
            self.http1(stream, peer).await
        }
    }

    async fn handshake(&self, tls: &Tls, socket: TcpStream) -> Option<TlsStream<TcpStream>> {
        let counters = self.frame.counters();
        let accepting = timeout(self.frame.limits().handshake_time, TlsAcceptor::from(tls.current()).accept(socket));
        let result = tokio::select! {
            result = accepting => result,
            () = self.stop.cancelled() => return None,
        };
        match result {
            Ok(Ok(stream)) => {
                Counters::add(&counters.handshakes);
                Some(stream)
            }
            Ok(Err(error)) => {
                Counters::add(&counters.handshakes_failed);
                tracing::debug!(source = %self.address, %error, "the TLS handshake failed");
                None
            }
            Err(_) => {
                Counters::add(&counters.handshakes_failed);
                tracing::debug!(source = %self.address, "the TLS handshake took too long");
                None
            }
        }
    }

    async fn http1<I: AsyncRead + AsyncWrite + Unpin + Send + 'static>(self, io: I, peer: Peer) {
        let limits = self.frame.limits();
        let mut builder = http1::Builder::new();
        builder
            .timer(TokioTimer::new())
            .header_read_timeout(limits.head_time)
            .max_headers(limits.head_fields)
            .max_header_size(limits.head);
        let (activity, service) = self.service(peer);
        self.drive(builder.serve_connection(TokioIo::new(io), service_fn(service)), &activity).await;
    }

    async fn http2<I: AsyncRead + AsyncWrite + Unpin + Send + 'static>(self, io: I, peer: Peer) {
        let limits = self.frame.limits();
        let mut builder = http2::Builder::new(TokioExecutor::new());
        builder
            .timer(TokioTimer::new())
            .max_concurrent_streams(limits.streams)
            .max_header_list_size(u32::try_from(limits.head).unwrap_or(u32::MAX))
            .initial_stream_window_size(WINDOWS.0)
            .initial_connection_window_size(WINDOWS.1)
            .keep_alive_interval(limits.idle_time / 2)
            .keep_alive_timeout(limits.handshake_time);
        let (activity, service) = self.service(peer);
        self.drive(builder.serve_connection(TokioIo::new(io), service_fn(service)), &activity).await;
    }

    fn service(
        &self,
        peer: Peer,
    ) -> (Arc<Activity>, impl Fn(Request<Incoming>) -> futures::future::BoxFuture<'static, Answer> + Clone + use<>)
    {
        let activity = Arc::new(Activity::new());
        let parts = (Arc::clone(&self.frame), Arc::new(peer), Arc::clone(&activity));
        let service = move |request: Request<Incoming>| -> futures::future::BoxFuture<'static, Answer> {
            let (frame, peer, activity) = parts.clone();
            Box::pin(async move {
                let _busy = Busy::new(&activity);
                Ok(frame.call(&peer, request.map(Body::new)).await)
            })
        };
        (activity, service)
    }

    async fn drive<C>(&self, connection: C, activity: &Activity)
    where
        C: GracefulConnection,
        C::Error: std::fmt::Display,
    {
        let limits = self.frame.limits();
        let mut connection = pin!(connection);
        let mut check = tokio::time::interval(limits.idle_time / 2);
        loop {
            tokio::select! {
                biased;
                result = connection.as_mut() => return self.ended(result),
                () = self.stop.cancelled() => break,
                _ = check.tick() => if activity.idle() >= limits.idle_time { break },
            }
        }
        connection.as_mut().graceful_shutdown();
        match timeout(limits.grace_time, connection).await {
            Ok(result) => self.ended(result),
            Err(_) => tracing::warn!(source = %self.address, "a connection was cut: its requests did not end in time"),
        }
    }

    fn ended<E: std::fmt::Display>(&self, result: Result<(), E>) {
        if let Err(error) = result {
            tracing::debug!(source = %self.address, %error, "the connection ended with an error");
        }
    }
}

type Answer = Result<http::Response<Body>, Infallible>;

/// What a connection does, to find out when it is idle.
struct Activity {
    started: Instant,
    busy: AtomicU32,
    last_ms: AtomicU64,
}

impl Activity {
    fn new() -> Self {
        Self { started: Instant::now(), busy: AtomicU32::new(0), last_ms: AtomicU64::new(0) }
    }

    fn elapsed_ms(&self) -> u64 {
        u64::try_from(self.started.elapsed().as_millis()).unwrap_or(u64::MAX)
    }

    /// How long nothing has happened.
    fn idle(&self) -> Duration {
        if self.busy.load(Ordering::Acquire) > 0 {
            return Duration::ZERO;
        }
        Duration::from_millis(self.elapsed_ms().saturating_sub(self.last_ms.load(Ordering::Acquire)))
    }
}

/// Marks a connection as busy while it lives.
struct Busy<'a>(&'a Activity);

impl<'a> Busy<'a> {
    fn new(activity: &'a Activity) -> Self {
        activity.busy.fetch_add(1, Ordering::AcqRel);
        Self(activity)
    }
}

impl Drop for Busy<'_> {
    fn drop(&mut self) {
        self.0.last_ms.store(self.0.elapsed_ms(), Ordering::Release);
        self.0.busy.fetch_sub(1, Ordering::AcqRel);
    }
}
