//! The accept loop of an HTTP server.

use std::{io, net::SocketAddr, time::Duration};

use axum::{Router, extract::connect_info::Connected, serve::IncomingStream};
use tokio::{net::TcpListener, sync::watch};

/// How long a server waits for requests in progress when it is to stop.
const STOP_WAIT: Duration = Duration::from_secs(5);

/// The addresses of a connection; with each request as `ConnectInfo`.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(in crate::node) struct Ends {
    pub(in crate::node) local: Option<SocketAddr>,
    pub(in crate::node) remote: Option<SocketAddr>,
}

impl Connected<IncomingStream<'_, TcpListener>> for Ends {
    fn connect_info(stream: IncomingStream<'_, TcpListener>) -> Self {
        Self { local: stream.io().local_addr().ok(), remote: Some(*stream.remote_addr()) }
    }
}

/// Binds a listener for HTTP, to be given to [`serve`] inside a runtime.
pub(in crate::node) fn bind(address: SocketAddr) -> io::Result<std::net::TcpListener> {
    let listener = std::net::TcpListener::bind(address)?;
    listener.set_nonblocking(true)?;
    Ok(listener)
}

/// Serves `router` until `stop` is set.
pub(in crate::node) async fn serve(
    listener: std::net::TcpListener,
    router: Router,
    stop: watch::Receiver<bool>,
) -> io::Result<()> {
    let listener = TcpListener::from_std(listener)?;
    let mut stopped = stop.clone();
    let service = router.into_make_service_with_connect_info::<Ends>();
    let graceful = axum::serve(listener, service).with_graceful_shutdown(wait_for(stop));
    let too_long = async {
        // An error means that the system is gone, which is a stop too.
        let _ = stopped.wait_for(|stop| *stop).await;
        tokio::time::sleep(STOP_WAIT).await;
    };
    tokio::select! {
        served = graceful => served,
        () = too_long => Ok(()),
    }
}

async fn wait_for(mut stop: watch::Receiver<bool>) {
    let _ = stop.wait_for(|stop| *stop).await;
}
