//! The accept loop of an HTTP server: HTTP/1.1, bounded in connections, in octets and in time.
//!
//! What is no HTTP gets a bare 400 and too long a head a bare 431, both from the HTTP library, and the
//! connection ends. A connection that is slow or silent for too long ends without a word.

use std::{
    convert::Infallible,
    future::poll_fn,
    io,
    net::SocketAddr,
    pin::{Pin, pin},
    sync::Arc,
    task::Poll,
    time::Duration,
};

use axum::{
    Router,
    body::{Body, HttpBody},
    http::{HeaderValue, StatusCode, header},
    response::Response,
};
use hyper::{body::Incoming, server::conn::http1, service::Service};
use hyper_util::{rt::TokioIo, service::TowerToHyperService};
use tokio::{
    net::{TcpListener, TcpStream},
    task::JoinSet,
    time::Instant,
};

use super::watched::{Activity, Late, Watched};
use crate::node::{
    config::Part,
    metrics::Listener,
    perform::Shared,
    tls::{self, Bound, Clients, Stream, linger},
    worker::stopped,
};

/// Connections open on one listener; a further one is closed at once.
const CONNECTIONS_MAX: usize = 4_096;

/// Longest head of a request, octets: the request line and the header fields, a token among them.
const HEAD_OCTETS_MAX: usize = 16_384;

/// Header fields of one request.
const HEADER_FIELDS_MAX: usize = 64;

/// How long a server waits for requests in progress when it is to stop.
const STOP_WAIT: Duration = Duration::from_secs(5);

/// How long it waits when no connection can be accepted: out of descriptors, most likely.
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);

/// The addresses of a connection; with each request as an extension.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(in crate::node) struct Ends {
    pub(in crate::node) local: SocketAddr,
    pub(in crate::node) remote: SocketAddr,
}

/// That a response goes on until one side ends it, and says something now and then; an extension of the response.
#[derive(Clone, Copy, Debug)]
pub(in crate::node) struct Streams;

/// How long the content of a response is, octets. Zero if it has no length yet.
pub(in crate::node) fn octets_of(response: &Response) -> usize {
    let length = response.body().size_hint().exact().unwrap_or_default();
    usize::try_from(length).unwrap_or(usize::MAX)
}

/// Binds a listener for HTTP, to be given to [`serve`] inside a runtime.
pub(in crate::node) fn bind(address: SocketAddr) -> io::Result<std::net::TcpListener> {
    let listener = std::net::TcpListener::bind(address)?;
    listener.set_nonblocking(true)?;
    Ok(listener)
}

/// An HTTP server: what metrics call it, which section is about it, and whom it serves.
#[derive(Clone, Copy, Debug)]
pub(in crate::node) struct Server {
    pub(in crate::node) name: &'static str,
    pub(in crate::node) part: Part,
    pub(in crate::node) clients: Clients,
}

/// Serves `router` until the system stops.
pub(in crate::node) async fn serve(
    shared: Arc<Shared>,
    server: Server,
    listener: std::net::TcpListener,
    router: Router,
) -> io::Result<()> {
    let listener = TcpListener::from_std(listener)?;
    let mut open = JoinSet::new();
    loop {
        let accepted = tokio::select! {
            accepted = listener.accept() => accepted,
            Some(_) = open.join_next() => continue,
            () = stopped(shared.stop.subscribe()) => break,
        };
        match accepted {
            Ok((stream, remote)) if open.len() < CONNECTIONS_MAX => {
                open.spawn(converse(Arc::clone(&shared), server, (stream, remote), router.clone()));
            }
            Ok(_) => shared.metrics.drop_one("http_connections_full"),
            Err(_) => {
                shared.metrics.drop_one("http_accept_error");
                tokio::time::sleep(ACCEPT_PAUSE).await;
            }
        }
    }
    drop(listener);
    let ended = async { while open.join_next().await.is_some() {} };
    // Whoever is not done by then is cut off.
    let _ = tokio::time::timeout(STOP_WAIT, ended).await;
    Ok(())
}

/// Serves one connection.
async fn converse(
    shared: Arc<Shared>,
    server: Server,
    (stream, remote): (TcpStream, SocketAddr),
    router: Router,
) {
    let listener = Listener { listener: server.name };
    let gauge = shared.metrics.http_connections.get_or_create_owned(&listener);
    gauge.inc();
    // Without it answers wait for the peer's acknowledgments; it is no condition for working.
    let _ = stream.set_nodelay(true);
    let ends = stream.local_addr().ok().map(|local| Ends { local, remote });
    let shaken = tls::accept(shared.tls_of(server.part, server.clients), stream);
    let shaken = tokio::select! {
        shaken = shaken => Some(shaken),
        () = stopped(shared.stop.subscribe()) => None,
    };
    match shaken {
        Some(Ok(shaken)) => {
            let activity = Arc::new(Activity::new(Instant::now()));
            let router = TowerToHyperService::new(router);
            let service = Answering { router, activity, ends, bound: shaken.bound };
            converse_over(&shared, shaken.stream, service).await;
        }
        Some(Err(reason)) => shared.report_handshake(server.name, remote, &reason),
        None => {}
    }
    gauge.dec();
}

async fn converse_over(shared: &Shared, stream: Stream, service: Answering) {
    match converse_until_ended(shared, stream, service).await {
        Ended::Left(stream) if !*shared.stop.borrow() => linger(stream).await,
        Ended::Left(_) | Ended::Late(Late::Silent) => {}
        Ended::Late(Late::SlowHead) => shared.metrics.drop_one("http_slow_request"),
    }
}

/// How a connection ended.
enum Ended {
    /// One of the sides closes it; what was to be said has been said.
    Left(Stream),
    /// The client took too long.
    Late(Late),
}

async fn converse_until_ended(shared: &Shared, stream: Stream, service: Answering) -> Ended {
    let activity = Arc::clone(&service.activity);
    let io = TokioIo::new(Watched::new(stream, Arc::clone(&activity)));
    let mut connection = http1::Builder::new()
        // A client that has sent all it has to say still gets its answer.
        .half_close(true)
        // The library's own would end idle connections too.
        .header_read_timeout(None)
        .max_header_size(HEAD_OCTETS_MAX)
        .max_headers(HEADER_FIELDS_MAX)
        .max_buf_size(4 * HEAD_OCTETS_MAX)
        .serve_connection(io, service);
    let mut stop = pin!(stopped(shared.stop.subscribe()));
    let mut stopping = false;
    let mut alarm = pin!(tokio::time::sleep_until(activity.deadline()));
    let late = poll_fn(|context| {
        if !stopping && stop.as_mut().poll(context).is_ready() {
            stopping = true;
            Pin::new(&mut connection).graceful_shutdown();
        }
        // An error is the client's, and if it can be told it has been told.
        if connection.poll_without_shutdown(context).is_ready() {
            return Poll::Ready(None);
        }
        // Each octet and each answer may have moved the deadline.
        alarm.as_mut().reset(activity.deadline());
        alarm.as_mut().poll(context).map(|()| Some(activity.late()))
    })
    .await;
    match late {
        Some(late) => Ended::Late(late),
        None => Ended::Left(connection.into_parts().io.into_inner().into_stream()),
    }
}

/// The router as the library calls it, telling [`Activity`] what it is about.
struct Answering {
    router: TowerToHyperService<Router>,
    activity: Arc<Activity>,
    ends: Option<Ends>,
    /// Who shows a certificate; with each request as an extension.
    bound: Option<Bound>,
}

impl Service<hyper::Request<Incoming>> for Answering {
    type Response = Response;
    type Error = Infallible;
    type Future = Pin<Box<dyn Future<Output = Result<Response, Infallible>> + Send>>;

    fn call(&self, request: hyper::Request<Incoming>) -> Self::Future {
        let mut request = request.map(Body::new);
        if let Some(ends) = self.ends {
            request.extensions_mut().insert(ends);
        }
        if let Some(bound) = &self.bound {
            request.extensions_mut().insert(bound.clone());
        }
        let activity = Arc::clone(&self.activity);
        activity.request_began(Instant::now());
        let answer = self.router.call(request);
        Box::pin(async move {
            let Ok(mut answer) = answer.await;
            // The rest of such a body is not read. A client that sends more on this connection would get no answer.
            if matches!(
                answer.status(),
                StatusCode::REQUEST_TIMEOUT | StatusCode::PAYLOAD_TOO_LARGE
            ) {
                answer.headers_mut().insert(header::CONNECTION, HeaderValue::from_static("close"));
            }
            if answer.extensions().get::<Streams>().is_some() {
                activity.streams(Instant::now());
            } else {
                activity.answered(Instant::now());
            }
            Ok(answer)
        })
    }
}
