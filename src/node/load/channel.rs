//! A connection with or without TLS, which blocks only while it is opened.

use std::{
    io::{self, ErrorKind, Read, Write},
    net::{SocketAddr, TcpStream},
    time::Duration,
};

use rustls::{ClientConnection, StreamOwned, pki_types::ServerName};

use crate::node::tls::{Trust, reason_of};

/// Whom to believe over TLS, what the server is called, and what is shown to it.
#[derive(Clone, Debug)]
pub(super) struct Secured {
    pub(super) trust: Trust,
    pub(super) name: ServerName<'static>,
}

/// A connection.
pub(super) enum Channel {
    Plain(TcpStream),
    Tls(Box<StreamOwned<ClientConnection, TcpStream>>),
}

impl Channel {
    /// Connects within `time`, and as long does the handshake, if one is to be.
    pub(super) fn open(
        target: SocketAddr,
        tls: Option<&Secured>,
        time: Duration,
    ) -> io::Result<Self> {
        let stream = TcpStream::connect_timeout(&target, time)?;
        stream.set_nodelay(true)?;
        let channel = match tls {
            None => Self::Plain(stream),
            Some(secured) => Self::Tls(Box::new(secured.begin(stream, time)?)),
        };
        channel.socket().set_nonblocking(true)?;
        Ok(channel)
    }

    pub(super) const fn socket(&self) -> &TcpStream {
        match self {
            Self::Plain(stream) => stream,
            Self::Tls(stream) => &stream.sock,
        }
    }

    /// Whether TLS keeps something that the socket did not take.
    pub(super) fn wants_write(&self) -> bool {
        matches!(self, Self::Tls(stream) if stream.conn.wants_write())
    }

    pub(super) fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        match self {
            Self::Plain(stream) => stream.read(buffer),
            Self::Tls(stream) => stream.read(buffer).map_err(told),
        }
    }

    pub(super) fn write(&mut self, octets: &[u8]) -> io::Result<usize> {
        match self {
            Self::Plain(stream) => stream.write(octets),
            Self::Tls(stream) => stream.write(octets).map_err(told),
        }
    }
}

impl Secured {
    /// Does the handshake, waiting for it.
    fn begin(
        &self,
        mut stream: TcpStream,
        time: Duration,
    ) -> io::Result<StreamOwned<ClientConnection, TcpStream>> {
        let connection = ClientConnection::new(self.trust.config(), self.name.clone());
        let mut connection = connection.map_err(|error| told(io::Error::other(error)))?;
        stream.set_read_timeout(Some(time))?;
        while connection.is_handshaking() {
            connection.complete_io(&mut stream).map_err(told)?;
        }
        Ok(StreamOwned::new(connection, stream))
    }
}

/// What went wrong with TLS in the words of this product: over TLS 1.3 a client learns after the handshake that its
/// certificate is refused.
fn told(error: io::Error) -> io::Error {
    reason_of(&error).map_or(error, io::Error::other)
}

/// Whether it is only not possible now.
pub(super) fn is_later(error: &io::Error) -> bool {
    matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::Interrupted)
}
