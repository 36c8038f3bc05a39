//! An HTTP client for requests whose connection matters: it knows both addresses before a request leaves.

use std::{
    fmt, io,
    net::SocketAddr,
    pin::pin,
    str::FromStr,
    sync::{Arc, OnceLock},
    time::Duration,
};

use bytes::Bytes;
use http_body_util::{BodyExt, Full, LengthLimitError, Limited};
use hyper::{
    Request, StatusCode, Uri,
    client::conn::http1,
    header::{self, HeaderMap, HeaderValue},
};
use hyper_util::rt::TokioIo;
use rustls::pki_types::ServerName;
use tokio::net::TcpStream;

use super::tls::{self, Stream, Trust, reason_of};
use crate::token::BearerToken;

/// Longest body of an answer, octets: 16 addresses and the longest document, escaped.
pub const ANSWER_OCTETS_MAX: usize = 256 * 1_024;

/// How long connecting may take.
const CONNECT_TIME_MAX: Duration = Duration::from_secs(5);

/// How long an answer may take: a server gives up after 10 s.
const ANSWER_TIME_MAX: Duration = Duration::from_secs(12);

/// Where an HTTP server is: `https://host:port` or `http://host:port`, with the path that its own paths are below.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Endpoint {
    is_https: bool,
    host: String,
    port: u16,
    /// Without a slash at its end; empty for the root.
    path: String,
}

/// Takes a text that names an endpoint, for an argument that is kept as a text.
///
/// # Errors
///
/// [`InvalidEndpoint`].
pub fn url(text: &str) -> Result<String, InvalidEndpoint> {
    text.parse::<Endpoint>().map(|_| text.to_owned())
}

/// Why a text is no endpoint.
#[derive(Clone, Copy, Debug, Eq, PartialEq, thiserror::Error)]
pub enum InvalidEndpoint {
    /// It is no URL with a host.
    #[error("is no URL with scheme and host")]
    NoUrl,
    /// Its scheme is neither.
    #[error("is neither https nor http")]
    NotHttp,
    /// It has a query, or credentials.
    #[error("holds more than scheme, host, port and path")]
    TooMuch,
}

/// Why there is no answer.
#[derive(Debug, thiserror::Error)]
pub enum HttpError {
    /// No connection.
    #[error("cannot be reached: {0}")]
    Unreachable(io::Error),
    /// No connection or no answer in time.
    #[error("did not answer in time")]
    TooLate,
    /// One of the sides refuses the other's certificate, or does TLS otherwise.
    #[error("cannot be spoken with over TLS: {0}")]
    Tls(String),
    /// The connection ended, or what came is not HTTP.
    #[error("broke the connection off: {0}")]
    Broken(hyper::Error),
    /// An answer longer than [`ANSWER_OCTETS_MAX`].
    #[error("sent more than {ANSWER_OCTETS_MAX} octets")]
    TooLong,
    /// The request cannot be written, such as with a path that is none.
    #[error("cannot be asked: {0}")]
    Malformed(hyper::http::Error),
}

/// One connection, for one request at a time.
pub struct Connection {
    sender: http1::SendRequest<Full<Bytes>>,
    endpoint: Endpoint,
    /// What TLS has to say about the end of the connection, once it has ended.
    ended: Arc<OnceLock<Option<String>>>,
    /// Our address.
    pub local: SocketAddr,
    /// The server's.
    pub remote: SocketAddr,
}

/// An answer.
pub struct Answer {
    /// The status.
    pub status: StatusCode,
    /// The media type without its parameters, in lower case.
    pub media_type: String,
    /// `Retry-After`, seconds.
    pub retry_after: Option<u32>,
    /// The body.
    pub body: Bytes,
}

impl HttpError {
    /// Whether it is certain that nothing was sent: the server had closed the connection before.
    pub(super) fn is_unsent(&self) -> bool {
        matches!(self, Self::Broken(error) if error.is_canceled())
    }
}

impl Connection {
    /// Connects to the server at `endpoint`; over TLS to one that `trust` believes.
    ///
    /// # Errors
    ///
    /// [`HttpError::Unreachable`], [`HttpError::TooLate`] or [`HttpError::Tls`].
    pub async fn open(endpoint: &Endpoint, trust: &Trust) -> Result<Self, HttpError> {
        let connecting = TcpStream::connect((endpoint.host(), endpoint.port));
        let connected = tokio::time::timeout(CONNECT_TIME_MAX, connecting).await;
        let stream = connected.map_err(|_| HttpError::TooLate)?.map_err(HttpError::Unreachable)?;
        stream.set_nodelay(true).map_err(HttpError::Unreachable)?;
        let local = stream.local_addr().map_err(HttpError::Unreachable)?;
        let remote = stream.peer_addr().map_err(HttpError::Unreachable)?;
        let stream = if endpoint.is_https {
            let name = endpoint.server_name()?;
            let shaken = tls::connect(trust.config(), name, stream).await;
            shaken.map_err(|error| HttpError::Tls(tls::reason(&error)))?.stream
        } else {
            Stream::Plain(stream)
        };
        let io = TokioIo::new(stream);
        let (sender, driver) = http1::handshake(io).await.map_err(HttpError::Broken)?;
        let ended = Arc::<OnceLock<_>>::default();
        let end = Arc::clone(&ended);
        // It ends when the sender is dropped. Its error is the request's error too, but for one that comes before.
        tokio::spawn(async move {
            let mut driver = pin!(driver);
            let outcome = driver.as_mut().await;
            let _ = end.set(outcome.err().and_then(|error| reason_of(&error)));
        });
        Ok(Self { sender, endpoint: endpoint.clone(), ended, local, remote })
    }

    /// Whether another request may be sent.
    pub(super) fn is_ready(&self) -> bool {
        self.sender.is_ready()
    }

    /// Posts the JSON text `body` to `path` below the endpoint, presenting `token` if there is one, and waits for
    /// the answer.
    ///
    /// # Errors
    ///
    /// [`HttpError`]; the connection is of no more use then.
    pub async fn post(
        &mut self,
        path: &str,
        token: Option<&BearerToken>,
        body: Bytes,
    ) -> Result<Answer, HttpError> {
        self.post_within(ANSWER_TIME_MAX, path, token, body).await
    }

    /// The same, waiting as long as `timeout`.
    ///
    /// # Errors
    ///
    /// [`HttpError`]; the connection is of no more use then.
    pub(super) async fn post_within(
        &mut self,
        timeout: Duration,
        path: &str,
        token: Option<&BearerToken>,
        body: Bytes,
    ) -> Result<Answer, HttpError> {
        let mut request = Request::post(format!("{}{path}", self.endpoint.path));
        if let Some(token) = token {
            let mut credentials = HeaderValue::try_from(format!("Bearer {}", token.expose()))
                .map_err(|error| HttpError::Malformed(error.into()))?;
            credentials.set_sensitive(true);
            request = request.header(header::AUTHORIZATION, credentials);
        }
        let request = request
            .header(header::HOST, self.endpoint.authority())
            .header(header::CONTENT_TYPE, "application/json")
            .header(header::ACCEPT, "application/json, application/problem+json")
            .body(Full::new(body))
            .map_err(HttpError::Malformed)?;
        let exchange = async {
            let sent = self.sender.send_request(request).await;
            let answer = sent.map_err(|error| broken(error, &self.ended))?;
            let (parts, body) = answer.into_parts();
            let collected = Limited::new(body, ANSWER_OCTETS_MAX).collect().await;
            let body = collected.map_err(broken_or_too_long)?.to_bytes();
            Ok(Answer {
                status: parts.status,
                media_type: media_type(&parts.headers),
                retry_after: retry_after(&parts.headers),
                body,
            })
        };
        tokio::time::timeout(timeout, exchange).await.map_err(|_| HttpError::TooLate)?
    }
}

impl Endpoint {
    /// Whether it is asked over TLS.
    pub const fn is_https(&self) -> bool {
        self.is_https
    }

    /// The host as the resolver wants it: an IPv6 address without its brackets.
    fn host(&self) -> &str {
        self.host.trim_start_matches('[').trim_end_matches(']')
    }

    /// Whom a certificate is to be for.
    fn server_name(&self) -> Result<ServerName<'static>, HttpError> {
        let name = ServerName::try_from(self.host().to_owned());
        name.map_err(|_| {
            HttpError::Tls(format!("{} is no name that a certificate may have", self.host))
        })
    }

    fn authority(&self) -> String {
        format!("{}:{}", self.host, self.port)
    }
}

impl fmt::Display for Endpoint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let scheme = if self.is_https { "https" } else { "http" };
        write!(f, "{scheme}://{}:{}{}", self.host, self.port, self.path)
    }
}

impl FromStr for Endpoint {
    type Err = InvalidEndpoint;

    fn from_str(url: &str) -> Result<Self, InvalidEndpoint> {
        let uri: Uri = url.parse().map_err(|_| InvalidEndpoint::NoUrl)?;
        let authority = uri.authority().ok_or(InvalidEndpoint::NoUrl)?;
        let is_https = match uri.scheme_str() {
            Some("http") => false,
            Some("https") => true,
            Some(_) => return Err(InvalidEndpoint::NotHttp),
            None => return Err(InvalidEndpoint::NoUrl),
        };
        if uri.query().is_some() || authority.as_str().contains('@') {
            return Err(InvalidEndpoint::TooMuch);
        }
        Ok(Self {
            is_https,
            host: authority.host().to_owned(),
            port: authority.port_u16().unwrap_or(if is_https { 443 } else { 80 }),
            path: uri.path().trim_end_matches('/').to_owned(),
        })
    }
}

/// Over TLS 1.3 a server refuses a certificate when the client may have sent a request already.
fn broken(error: hyper::Error, ended: &OnceLock<Option<String>>) -> HttpError {
    let reason = reason_of(&error).or_else(|| ended.get().cloned().flatten());
    reason.map_or(HttpError::Broken(error), HttpError::Tls)
}

fn broken_or_too_long(error: Box<dyn std::error::Error + Send + Sync>) -> HttpError {
    match error.downcast::<LengthLimitError>() {
        Ok(_) => HttpError::TooLong,
        Err(error) => match error.downcast::<hyper::Error>() {
            Ok(error) => HttpError::Broken(*error),
            Err(error) => HttpError::Unreachable(io::Error::other(error)),
        },
    }
}

/// The media type of a content, without its parameters.
fn media_type(headers: &HeaderMap) -> String {
    let given = headers.get(header::CONTENT_TYPE).and_then(|value| value.to_str().ok());
    let media_type = given.and_then(|value| value.split(';').next()).unwrap_or_default();
    media_type.trim().to_ascii_lowercase()
}

/// `Retry-After` as seconds; a date is left out.
fn retry_after(headers: &HeaderMap) -> Option<u32> {
    headers.get(header::RETRY_AFTER)?.to_str().ok()?.trim().parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_endpoint_is_http_or_https_with_host_port_and_path() {
        for (given, shown) in [
            ("http://127.0.0.1:8082", "http://127.0.0.1:8082"),
            ("http://cms.a.example/", "http://cms.a.example:80"),
            ("https://cms.a.example/", "https://cms.a.example:443"),
            ("http://[::1]:8082/a/b/", "http://[::1]:8082/a/b"),
        ] {
            let endpoint: Endpoint = given.parse().unwrap();
            assert_eq!(endpoint.to_string(), shown);
        }
        let v6: Endpoint = "http://[::1]:8082".parse().unwrap();
        assert_eq!((v6.host(), v6.authority().as_str()), ("::1", "[::1]:8082"));
        for (given, error) in [
            ("127.0.0.1:8082", InvalidEndpoint::NoUrl),
            ("/path", InvalidEndpoint::NoUrl),
            ("http://", InvalidEndpoint::NoUrl),
            ("sip://cms.a.example", InvalidEndpoint::NotHttp),
            ("http://alice:secret@cms.a.example", InvalidEndpoint::TooMuch),
            ("http://cms.a.example/?a=b", InvalidEndpoint::TooMuch),
        ] {
            assert_eq!(given.parse::<Endpoint>(), Err(error), "{given}");
        }
    }
}
