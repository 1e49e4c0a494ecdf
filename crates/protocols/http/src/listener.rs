//! From a socket to the frame: accepting, TLS, HTTP/1.1 and HTTP/2, timeouts, ending in good order.

use axum::body::Body;
use http::Request;
use hyper::body::Incoming;
use hyper::server::conn::{http1, http2};
use hyper::service::service_fn;
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use hyper_util::server::graceful::GracefulConnection;
use keyreeve_engine::PeerCertificate;
use std::convert::Infallible;
use std::io;
use std::net::SocketAddr;
use std::pin::{Pin, pin};
use std::sync::Arc;
use std::time::Duration;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::{TcpListener, TcpSocket, TcpStream};
use tokio::sync::Semaphore;
use tokio::time::{Instant, interval, interval_at, sleep, timeout};
use tokio_rustls::TlsAcceptor;
use tokio_rustls::server::TlsStream;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use crate::activity::{Activity, Answering, Busy};
use crate::counters::Counters;
use crate::frame::Frame;
use crate::inbound::Peer;
use crate::register::SUMMARY;
use crate::tls::{Loaded, Standing, Tls};
use crate::words::{Speaker, Words};

/// Connections the operating system keeps waiting (count).
const BACKLOG: u32 = 1024;
/// Pause after the operating system refused to hand out a connection, for instance for want of file descriptors.
const ACCEPT_PAUSE: Duration = Duration::from_millis(50);
/// A connection that ends and on which nothing happened for so long is closed.
const STILL: Duration = Duration::from_millis(200);
/// An HTTP/2 head may be so many times as large as allowed and is still answered with problem details; beyond that the
/// protocol's own bare 431 is all there is.
const HEAD_MARGIN: usize = 4;
/// Header fields that hyper reads over HTTP/1.1 without being told (count).
const FIELDS_READ: usize = 100;
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
        let summaries = tokio::spawn(summarise(Arc::clone(&self.frame), stop.clone()));
        let places = Arc::new(Semaphore::new(self.frame.limits().connections.min(Semaphore::MAX_PERMITS)));
        let accepting = async {
            loop {
                // The semaphore is never closed.
                let Ok(place) = Arc::clone(&places).acquire_owned().await else { return };
                let (socket, address) = match self.socket.accept().await {
                    Ok(accepted) => accepted,
                    Err(error) => {
                        tracing::warn!(%error, "no connection could be accepted");
                        sleep(ACCEPT_PAUSE).await;
                        continue;
                    }
                };
                let Some(seat) = self.frame.sources().seat(address.ip()) else {
                    Counters::add(&self.frame.counters().turned_away);
                    tracing::debug!(source = %address, "a connection was closed: its source has too many");
                    continue;
                };
                let (tls, frame, stop) = (self.tls.clone(), Arc::clone(&self.frame), stop.clone());
                let (room, outdated) = (Arc::clone(&seat.room), CancellationToken::new());
                let connection = Connection { tls, frame, address, room, stop, outdated };
                connections.spawn(async move {
                    connection.run(socket).await;
                    drop(seat);
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
        if let Err(error) = summaries.await {
            tracing::error!(%error, "refused requests that were counted did not go on record");
        }
        self.frame.summarise().await;
    }
}

/// Puts refusals that were only counted on record, now and then.
async fn summarise(frame: Arc<Frame>, stop: CancellationToken) {
    let mut times = interval_at(Instant::now() + SUMMARY, SUMMARY);
    loop {
        tokio::select! {
            () = stop.cancelled() => return,
            _ = times.tick() => frame.summarise().await,
        }
    }
}

/// One connection.
struct Connection {
    tls: Option<Arc<Tls>>,
    frame: Arc<Frame>,
    address: SocketAddr,
    /// Room for bodies of its source.
    room: Arc<Semaphore>,
    stop: CancellationToken,
    /// Tells when its certificate has to be looked at anew.
    outdated: CancellationToken,
}

impl Connection {
    async fn run(self, socket: TcpStream) {
        let frame = Arc::clone(&self.frame);
        Counters::add(&frame.counters().connections);
        self.speak(socket).await;
        Counters::add(&frame.counters().connections_ended);
    }

    async fn speak(mut self, socket: TcpStream) {
        // Answers are written whole; waiting for more would only delay them.
        if let Err(error) = socket.set_nodelay(true) {
            tracing::debug!(%error, "TCP_NODELAY was refused");
        }
        let Some(tls) = self.tls.clone() else {
            let peer = self.peer(None, None);
            return self.http1(socket, peer).await;
        };
        let loaded = tls.current();
        let Some(stream) = self.handshake(&loaded, socket).await else { return };
        let (_, session) = stream.get_ref();
        let certificate = match loaded.peer(session.peer_certificates()) {
            Ok(found) => found.map(Arc::new),
            Err(why) => {
                tracing::warn!(source = %self.address, why, "a verified client certificate is of no use");
                return;
            }
        };
        let standing = certificate.as_ref().map(|_| {
            self.outdated = loaded.replaced.clone();
            let chain = session.peer_certificates().unwrap_or_default().iter();
            let chain = chain.map(|one| one.clone().into_owned()).collect();
            Standing { tls: Arc::clone(&tls), chain, replaced: loaded.replaced.clone() }
        });
        let peer = self.peer(certificate, standing);
        if session.alpn_protocol() == Some(b"h2") {
            self.http2(stream, peer).await
        } else {
            self.http1(stream, peer).await
        }
    }

    fn peer(&self, certificate: Option<Arc<PeerCertificate>>, standing: Option<Standing>) -> Arc<Peer> {
        Arc::new(Peer { address: self.address, certificate, room: Arc::clone(&self.room), standing })
    }

    async fn handshake(&self, tls: &Loaded, socket: TcpStream) -> Option<TlsStream<TcpStream>> {
        let counters = self.frame.counters();
        let accepting =
            timeout(self.frame.limits().handshake_time, TlsAcceptor::from(Arc::clone(&tls.config)).accept(socket));
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

    async fn http1<I: AsyncRead + AsyncWrite + Unpin + Send + 'static>(self, io: I, peer: Arc<Peer>) {
        let limits = self.frame.limits();
        let mut builder = http1::Builder::new();
        builder.timer(TokioTimer::new()).header_read_timeout(limits.head_time).max_header_size(limits.head);
        if limits.head_fields > FIELDS_READ {
            // Any number given here makes hyper allocate for each head; below its own number the frame counts.
            builder.max_headers(limits.head_fields);
        }
        let (activity, service) = self.service(&peer);
        let frame = Arc::clone(&self.frame);
        let speaker: Speaker = Arc::new(move |bare| {
            let (frame, peer) = (Arc::clone(&frame), Arc::clone(&peer));
            Box::pin(async move { frame.unreadable(&peer, bare).await })
        });
        let io = Words::new(io, Arc::clone(&activity), Some(speaker));
        self.drive(builder.serve_connection(TokioIo::new(io), service_fn(service)), &activity).await;
    }

    async fn http2<I: AsyncRead + AsyncWrite + Unpin + Send + 'static>(self, io: I, peer: Arc<Peer>) {
        let limits = self.frame.limits();
        let mut builder = http2::Builder::new(TokioExecutor::new());
        builder
            .timer(TokioTimer::new())
            .max_concurrent_streams(limits.streams)
            .max_header_list_size(u32::try_from(limits.head * HEAD_MARGIN).unwrap_or(u32::MAX))
            .initial_stream_window_size(WINDOWS.0)
            .initial_connection_window_size(WINDOWS.1)
            .keep_alive_interval(limits.idle_time / 2)
            .keep_alive_timeout(limits.handshake_time);
        let (activity, service) = self.service(&peer);
        let io = Words::new(io, Arc::clone(&activity), None);
        self.drive(builder.serve_connection(TokioIo::new(io), service_fn(service)), &activity).await;
    }

    fn service(
        &self,
        peer: &Arc<Peer>,
    ) -> (Arc<Activity>, impl Fn(Request<Incoming>) -> futures::future::BoxFuture<'static, Answer> + Clone + use<>)
    {
        let activity = Arc::new(Activity::new());
        let parts = (Arc::clone(&self.frame), Arc::clone(peer), Arc::clone(&activity));
        let service = move |request: Request<Incoming>| -> futures::future::BoxFuture<'static, Answer> {
            let (frame, peer, activity) = parts.clone();
            Box::pin(async move {
                let busy = Busy::new(&activity);
                let answer = frame.call(&peer, request.map(Body::new)).await;
                Ok(answer.map(|body| Answering::new(body, busy)))
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
        let mut check = interval(limits.idle_time / 2);
        let mut age = pin!(sleep(limits.connection_time));
        loop {
            tokio::select! {
                biased;
                result = connection.as_mut() => return self.ended(result),
                () = self.stop.cancelled() => break,
                () = self.outdated.cancelled() => break,
                () = &mut age => break,
                _ = check.tick() => if activity.idle() >= limits.idle_time { break },
            }
        }
        connection.as_mut().graceful_shutdown();
        self.wind_up(connection, activity).await;
    }

    /// Lets requests under way end: within the time that any request may take, or within the grace time once the
    /// listener ends. Whoever has none and does not take the hint that the connection ends (RFC 9113 section 6.8) is
    /// not waited for.
    async fn wind_up<C>(&self, mut connection: Pin<&mut C>, activity: &Activity)
    where
        C: GracefulConnection,
        C::Error: std::fmt::Display,
    {
        let limits = self.frame.limits();
        let mut end = pin!(sleep(limits.grace_time.max(limits.request_time)));
        let mut look = interval_at(Instant::now() + STILL, STILL);
        let mut stopping = false;
        loop {
            tokio::select! {
                biased;
                result = connection.as_mut() => return self.ended(result),
                () = self.stop.cancelled(), if !stopping => {
                    stopping = true;
                    let sooner = end.deadline().min(Instant::now() + limits.grace_time);
                    end.as_mut().reset(sooner);
                }
                () = &mut end => {
                    tracing::warn!(source = %self.address, "a connection was cut: its requests did not end in time");
                    return;
                }
                _ = look.tick() => if activity.is_still() {
                    tracing::debug!(source = %self.address, "an idle connection was closed");
                    return;
                }
            }
        }
    }

    fn ended<E: std::fmt::Display>(&self, result: Result<(), E>) {
        if let Err(error) = result {
            tracing::debug!(source = %self.address, %error, "the connection ended with an error");
        }
    }
}

type Answer = Result<http::Response<Answering>, Infallible>;
