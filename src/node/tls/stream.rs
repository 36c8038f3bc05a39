//! A connection with or without TLS.

use std::{
    io,
    pin::Pin,
    sync::Arc,
    task::{Context, Poll, Waker},
    time::Duration,
};

use rustls::{ClientConfig, ServerConfig, pki_types::ServerName};
use tokio::{
    io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt, ReadBuf},
    net::TcpStream,
};
use tokio_rustls::{TlsAcceptor, TlsConnector, TlsStream};

use super::{Bound, reason};

/// How long a client may take for the handshake.
const HANDSHAKE_TIME_MAX: Duration = Duration::from_secs(10);

/// How long a connection is read, and what comes is thrown away, after the last answer. If it were closed
/// with octets unread, the client would be told of a reset before it has read the answer.
const LINGER: Duration = Duration::from_secs(2);

/// A TCP connection, with or without TLS.
#[derive(Debug)]
pub(in crate::node) enum Stream {
    /// Without.
    Plain(TcpStream),
    /// With.
    Tls(Box<TlsStream<TcpStream>>),
}

/// A connection whose handshake is over.
#[derive(Debug)]
pub(in crate::node) struct Handshake {
    pub(in crate::node) stream: Stream,
    /// Who shows a certificate that is bound to a system.
    pub(in crate::node) bound: Option<Bound>,
}

/// Takes a client's connection on: without a configuration as it is.
///
/// # Errors
///
/// Why the client is refused, or refuses; it has been told.
pub(in crate::node) async fn accept(
    config: Option<Arc<ServerConfig>>,
    stream: TcpStream,
) -> Result<Handshake, String> {
    let Some(config) = config else {
        return Ok(Handshake { stream: Stream::Plain(stream), bound: None });
    };
    let accepting = TlsAcceptor::from(config).accept(stream).into_fallible();
    match tokio::time::timeout(HANDSHAKE_TIME_MAX, accepting).await {
        Ok(Ok(stream)) => {
            let bound = Bound::by(stream.get_ref().1.peer_certificates());
            Ok(Handshake { stream: Stream::Tls(Box::new(stream.into())), bound })
        }
        Ok(Err((error, stream))) => {
            linger(stream).await;
            Err(reason(&error))
        }
        Err(_) => Err("it was too slow with the handshake".to_owned()),
    }
}

/// Connects over TLS to a server that may be called `name`.
///
/// # Errors
///
/// Why the server is refused, or refuses. Over TLS 1.3 a server may refuse later still, when it is read from.
pub(in crate::node) async fn connect(
    config: Arc<ClientConfig>,
    name: ServerName<'static>,
    stream: TcpStream,
) -> io::Result<Handshake> {
    let connecting = TlsConnector::from(config).connect(name, stream);
    let connected = tokio::time::timeout(HANDSHAKE_TIME_MAX, connecting).await;
    let stream = connected.map_err(|_| io::Error::from(io::ErrorKind::TimedOut))??;
    let bound = Bound::by(stream.get_ref().1.peer_certificates());
    Ok(Handshake { stream: Stream::Tls(Box::new(stream.into())), bound })
}

/// Says that no more is coming, and reads until the other side has heard it.
pub(in crate::node) async fn linger(mut stream: impl AsyncRead + AsyncWrite + Unpin) {
    let mut thrown_away = [0; 4_096];
    let reading = async {
        stream.shutdown().await?;
        while stream.read(&mut thrown_away).await? > 0 {}
        io::Result::Ok(())
    };
    // However it ends, the connection is over.
    let _ = tokio::time::timeout(LINGER, reading).await;
}

impl Stream {
    /// The socket below.
    pub(in crate::node) fn socket(&self) -> &TcpStream {
        match self {
            Self::Plain(stream) => stream,
            Self::Tls(stream) => stream.get_ref().0,
        }
    }

    /// Whether it keeps some of what is written until it is flushed.
    pub(in crate::node) const fn is_tls(&self) -> bool {
        matches!(self, Self::Tls(_))
    }

    /// Writes as much as is taken at once.
    pub(in crate::node) fn try_write(&mut self, octets: &[u8]) -> io::Result<usize> {
        match self {
            Self::Plain(stream) => stream.try_write(octets),
            Self::Tls(stream) => {
                // Whoever waits for room polls again, and is woken by that.
                let mut context = Context::from_waker(Waker::noop());
                match Pin::new(stream).poll_write(&mut context, octets) {
                    Poll::Ready(written) => written,
                    Poll::Pending => Err(io::ErrorKind::WouldBlock.into()),
                }
            }
        }
    }
}

impl AsyncRead for Stream {
    fn poll_read(
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        match self.get_mut() {
            Self::Plain(stream) => Pin::new(stream).poll_read(context, buffer),
            Self::Tls(stream) => Pin::new(stream).poll_read(context, buffer),
        }
    }
}

impl AsyncWrite for Stream {
    fn poll_write(
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
        octets: &[u8],
    ) -> Poll<io::Result<usize>> {
        match self.get_mut() {
            Self::Plain(stream) => Pin::new(stream).poll_write(context, octets),
            Self::Tls(stream) => Pin::new(stream).poll_write(context, octets),
        }
    }

    fn poll_flush(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        match self.get_mut() {
            Self::Plain(stream) => Pin::new(stream).poll_flush(context),
            Self::Tls(stream) => Pin::new(stream).poll_flush(context),
        }
    }

    fn poll_shutdown(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        match self.get_mut() {
            Self::Plain(stream) => Pin::new(stream).poll_shutdown(context),
            Self::Tls(stream) => Pin::new(stream).poll_shutdown(context),
        }
    }

    fn poll_write_vectored(
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
        parts: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        match self.get_mut() {
            Self::Plain(stream) => Pin::new(stream).poll_write_vectored(context, parts),
            Self::Tls(stream) => Pin::new(stream).poll_write_vectored(context, parts),
        }
    }

    fn is_write_vectored(&self) -> bool {
        match self {
            Self::Plain(stream) => stream.is_write_vectored(),
            Self::Tls(stream) => stream.is_write_vectored(),
        }
    }
}
