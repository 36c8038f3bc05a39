//! What a handler takes from a request: the JSON body, the segments of the path, the query. Each is
//! there, or is the problem to answer with.
//!
//! Problems never repeat a value of the request: it may be a key, a token or an identity.

use std::{convert::Infallible, time::Duration};

use axum::{
    body::Body as Stream,
    extract::{FromRequest, FromRequestParts, Path, Query as QueryOf, Request},
    http::{HeaderMap, StatusCode, header, request::Parts},
};
use http_body_util::{BodyExt, LengthLimitError, Limited};
use serde::de::DeserializeOwned;
use tokio::time::Instant;

use super::Problem;

/// How long a client may take to send a body.
const BODY_TIMEOUT: Duration = Duration::from_secs(10);

/// How much later than it should a wait may end before this system counts as too busy.
const LATENESS_MAX: Duration = Duration::from_secs(1);

/// When to ask a system that is too busy again, seconds.
const BUSY_RETRY_SECS: u32 = 5;

/// Longest name of an unknown field that a problem repeats, octets.
const REPEATED_NAME_OCTETS_MAX: usize = 24;

/// What arrives as a JSON body.
pub(in crate::node) trait JsonBody: DeserializeOwned {
    /// Longest body, octets.
    const OCTETS_MAX: usize;

    /// What to write in `field`, the last name of a path such as `impus[0]` without its index.
    fn help(field: &str) -> Option<&'static str>;
}

/// A JSON body, or what is wrong with it.
pub(in crate::node) struct Body<T>(pub(in crate::node) Result<T, Problem>);

impl<T: JsonBody, S: Sync> FromRequest<S> for Body<T> {
    type Rejection = Infallible;

    async fn from_request(request: Request, _: &S) -> Result<Self, Infallible> {
        let (parts, body) = request.into_parts();
        let limits = Limits { media_type: JSON, octets_max: T::OCTETS_MAX, timeout: BODY_TIMEOUT };
        Ok(Self(async { parse(&read(&parts.headers, body, limits).await?) }.await))
    }
}

/// The media type of JSON.
pub(in crate::node) const JSON: &str = "application/json";

/// What a body may be.
#[derive(Clone, Copy)]
pub(in crate::node) struct Limits {
    /// Its media type. A web page of another origin must not be able to send it without being asked first:
    /// it could use a browser on this host to reach the interface.
    pub(in crate::node) media_type: &'static str,
    /// Most octets.
    pub(in crate::node) octets_max: usize,
    /// How long it may take to arrive.
    pub(in crate::node) timeout: Duration,
}

/// Reads a body.
///
/// # Errors
///
/// 400, 408, 413 or 415; 503 if this system was too busy to read what may have come in time.
pub(in crate::node) async fn read(
    headers: &HeaderMap,
    body: Stream,
    Limits { media_type, octets_max, timeout }: Limits,
) -> Result<Vec<u8>, Problem> {
    if !is_of_type(headers, media_type) {
        let what = format!("the body is not declared as {media_type}");
        let fix = format!("send Content-Type: {media_type}");
        return Err(Problem::new(StatusCode::UNSUPPORTED_MEDIA_TYPE, "not-json", what, fix));
    }
    let declared = headers.get(header::CONTENT_LENGTH);
    let declared = declared.and_then(|length| length.to_str().ok()?.parse::<u64>().ok());
    if declared.is_some_and(|length| length > octets_max as u64) {
        return Err(too_long(octets_max));
    }
    let reading = Limited::new(body, octets_max).collect();
    let due = Instant::now() + timeout;
    match tokio::time::timeout_at(due, reading).await {
        Ok(Ok(body)) => Ok(body.to_bytes().into()),
        Ok(Err(error)) if error.is::<LengthLimitError>() => Err(too_long(octets_max)),
        Ok(Err(_)) => {
            let (what, fix) = ("the body is cut off or not framed right", "send all of it");
            Err(Problem::new(StatusCode::BAD_REQUEST, "invalid-request", what, fix))
        }
        Err(_) if due.elapsed() > LATENESS_MAX => Err(too_busy()),
        Err(_) => {
            let what = format!("the body did not arrive within {} s", timeout.as_secs());
            let fix = "send it without pauses; a large one may be sent in parts";
            Err(Problem::new(StatusCode::REQUEST_TIMEOUT, "request-timeout", what, fix))
        }
    }
}

/// What was not read in time may have come in time.
fn too_busy() -> Problem {
    let what = "this system was too busy to read the body in time";
    let problem = Problem::new(StatusCode::SERVICE_UNAVAILABLE, "busy", what, "send it again");
    problem.retry_after(BUSY_RETRY_SECS)
}

fn is_of_type(headers: &HeaderMap, media_type: &str) -> bool {
    let given = headers.get(header::CONTENT_TYPE).and_then(|value| value.to_str().ok());
    let kind = given.and_then(|value| value.split(';').next()).unwrap_or_default();
    kind.trim().eq_ignore_ascii_case(media_type)
}

fn too_long(octets_max: usize) -> Problem {
    let what = format!("the body is longer than {octets_max} octets");
    let fix =
        format!("send at most {octets_max} octets; a listed pool or many rows may be put in parts");
    Problem::new(StatusCode::PAYLOAD_TOO_LARGE, "too-long", what, fix)
}

/// Parses a whole body.
///
/// # Errors
///
/// 400 for what is no JSON, with line and column; 422 for a wrong field, with its path.
pub(in crate::node) fn parse<T: JsonBody>(octets: &[u8]) -> Result<T, Problem> {
    let mut deserializer = serde_json::Deserializer::from_slice(octets);
    let parsed = serde_path_to_error::deserialize(&mut deserializer).map_err(|error| {
        let path = error.path().to_string();
        let error = error.into_inner();
        if error.is_data() { wrong_field::<T>(&path, &error) } else { no_json(&error) }
    })?;
    deserializer.end().map_err(|error| no_json(&error))?;
    Ok(parsed)
}

/// Messages about syntax repeat nothing of the text.
fn no_json(error: &serde_json::Error) -> Problem {
    let what = format!("the body is not JSON: {error}");
    let fix = "correct it there; /openapi.json describes it";
    Problem::new(StatusCode::BAD_REQUEST, "invalid-request", what, fix)
}

fn wrong_field<T: JsonBody>(path: &str, error: &serde_json::Error) -> Problem {
    let WrongValue { field, what, fix } = WrongValue::told_by(path, error);
    let fix = fix.or_else(|| T::help(last_name(&field))).unwrap_or("see /openapi.json");
    let place = if field == "." { "the body" } else { &field };
    let what = format!("{place} {what} (line {}, column {})", error.line(), error.column());
    Problem::new(StatusCode::UNPROCESSABLE_ENTITY, "invalid-request", what, fix).in_field(field)
}

/// A value that does not fit its field.
pub(in crate::node) struct WrongValue {
    /// The path of the field; `.` is all.
    pub(in crate::node) field: String,
    /// What is wrong: continues a sentence that begins with the field.
    pub(in crate::node) what: String,
    /// What to do, where that is known.
    pub(in crate::node) fix: Option<&'static str>,
}

impl WrongValue {
    /// Takes out of `error`, found at `path`, what tells nothing of the value.
    pub(in crate::node) fn told_by(path: &str, error: &serde_json::Error) -> Self {
        let (line, column) = (error.line(), error.column());
        let said = error.to_string();
        let said = said.strip_suffix(&format!(" at line {line} column {column}")).unwrap_or(&said);
        // What is expected comes last, and is our own text: before it there may be a value of the request.
        let expected = said.rsplit_once(", expected ").map(|(_, expected)| expected);
        let (field, what, fix) = if let Some(rest) = said.strip_prefix("missing field `") {
            let missing = rest.trim_end_matches('`');
            let field = if path == "." { missing.to_owned() } else { format!("{path}.{missing}") };
            (field, "is missing".to_owned(), None)
        } else if said.starts_with("unknown field ") {
            let known = expected.map_or(String::new(), |known| format!(", expected {known}"));
            let fix = Some("remove it, or correct its name");
            let field = without_foreign_name(path);
            let is = if field == path { "is no known field" } else { "has an unknown field" };
            (field, format!("{is}{known}"), fix)
        } else if let Some(expected) = expected {
            (path.to_owned(), format!("is wrong, expected {expected}"), None)
        } else {
            // Written by the types themselves, which know what they may say.
            (path.to_owned(), said.to_owned(), None)
        };
        Self { field, what, fix }
    }
}

/// The path without an unknown last name that may be anything, such as a key in the wrong place.
fn without_foreign_name(path: &str) -> String {
    let (parent, name) = path.rsplit_once('.').unwrap_or(("", path));
    let plain = |octet: u8| octet.is_ascii_lowercase() || octet == b'_';
    if name.len() <= REPEATED_NAME_OCTETS_MAX && name.bytes().all(plain) {
        path.to_owned()
    } else if parent.is_empty() || !parent.is_ascii() {
        ".".to_owned()
    } else {
        parent.to_owned()
    }
}

/// The last name of a path, without index.
fn last_name(field: &str) -> &str {
    let last = field.rsplit('.').next().unwrap_or_default();
    last.split('[').next().unwrap_or_default()
}

/// A field that is well-formed but not right. `what` continues a sentence that begins with its name.
pub(in crate::node) fn invalid_field(
    field: &str,
    what: &str,
    fix: Option<&'static str>,
) -> Problem {
    let fix = fix.unwrap_or("correct this field");
    let what = format!("{field} {what}");
    Problem::new(StatusCode::UNPROCESSABLE_ENTITY, "invalid-request", what, fix).in_field(field)
}

/// The percent-decoded segments of the path, or what is wrong with them.
pub(in crate::node) struct Segments<T>(pub(in crate::node) Result<T, Problem>);

impl<T: DeserializeOwned + Send, S: Send + Sync> FromRequestParts<S> for Segments<T> {
    type Rejection = Infallible;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Self, Infallible> {
        let segments = Path::<T>::from_request_parts(parts, state).await;
        Ok(Self(segments.map(|Path(segments)| segments).map_err(|_| {
            let what = "a segment of the path is not UTF-8 after percent-decoding";
            let fix = "percent-encode UTF-8";
            Problem::new(StatusCode::BAD_REQUEST, "invalid-request", what, fix)
        })))
    }
}

/// The parameters of the query, or what is wrong with them.
pub(in crate::node) struct Query<T>(pub(in crate::node) Result<T, Problem>);

impl<T: DeserializeOwned, S: Send + Sync> FromRequestParts<S> for Query<T> {
    type Rejection = Infallible;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Self, Infallible> {
        let query = QueryOf::<T>::from_request_parts(parts, state).await;
        Ok(Self(query.map(|QueryOf(query)| query).map_err(|_| {
            let what = "the query has an unknown parameter, or one with a wrong value";
            let fix = "see /openapi.json for the parameters";
            Problem::new(StatusCode::BAD_REQUEST, "invalid-request", what, fix)
        })))
    }
}

#[cfg(test)]
mod tests {
    use std::{
        pin::Pin,
        task::{Context, Poll},
    };

    use super::*;

    #[derive(Debug, serde::Deserialize)]
    #[serde(deny_unknown_fields)]
    #[expect(dead_code, reason = "only parsed")]
    struct Sample {
        impus: Vec<crate::identity::Impu>,
        seq: u64,
        direction: Option<crate::api::migration_identity::Direction>,
    }

    impl JsonBody for Sample {
        const OCTETS_MAX: usize = 1_000;

        fn help(field: &str) -> Option<&'static str> {
            (field == "impus").then_some("write a list")
        }
    }

    /// A body that does not come.
    struct Never;

    impl hyper::body::Body for Never {
        type Data = bytes::Bytes;
        type Error = Infallible;

        fn poll_frame(
            self: Pin<&mut Self>,
            _: &mut Context<'_>,
        ) -> Poll<Option<Result<hyper::body::Frame<bytes::Bytes>, Infallible>>> {
            Poll::Pending
        }
    }

    #[tokio::test]
    async fn what_this_system_was_too_busy_to_read_is_not_blamed_on_the_client() {
        let timeout = Duration::from_millis(1);
        let reading = tokio::spawn(async move {
            let headers = HeaderMap::from_iter([(header::CONTENT_TYPE, JSON.parse().unwrap())]);
            let limits = Limits { media_type: JSON, octets_max: 10, timeout };
            read(&headers, Stream::new(Never), limits).await.unwrap_err()
        });
        tokio::task::yield_now().await;
        // Nothing else runs on this thread meanwhile.
        std::thread::sleep(2 * LATENESS_MAX);
        let problem = reading.await.unwrap();
        assert_eq!((problem.status, problem.retry_after), (503, BUSY_RETRY_SECS), "{problem:?}");
    }

    #[test]
    fn a_wrong_field_is_named_with_place_and_help() {
        for (body, field, detail) in [
            (r#"{"impus": ["alice"], "seq": 1}"#, "impus[0]", "impus[0] Impu has no scheme"),
            (r#"{"impus": []}"#, "seq", "seq is missing (line 1, column 13)"),
            ("{\"impus\": [],\n \"seq\": \"x\"}", "seq", "seq is wrong, expected u64 (line 2"),
            (r#"{"seqs": 1}"#, "seqs", "seqs is no known field, expected one of `impus`"),
            ("7", ".", "the body is wrong, expected struct Sample"),
        ] {
            let problem = parse::<Sample>(body.as_bytes()).unwrap_err();
            assert_eq!(problem.status, 422, "{body}");
            assert_eq!(problem.field.as_deref(), Some(field), "{body}");
            assert!(problem.detail.starts_with(detail), "{body}: {}", problem.detail);
        }
        assert_eq!(parse::<Sample>(br#"{"impus": 1}"#).unwrap_err().fix, "write a list");
    }

    #[test]
    fn no_value_of_the_request_is_repeated() {
        const SECRET: &str = "465b5ce8, expected b199b49faa5f0a2ee238a6bc";
        for body in [
            format!(r#"{{"impus": "{SECRET}"}}"#),
            format!(r#"{{"impus": ["{SECRET}"]}}"#),
            format!(r#"{{"impus": [], "seq": "{SECRET}"}}"#),
            format!(r#"{{"impus": [], "seq": 1, "direction": "{SECRET}"}}"#),
            format!(r#"{{"{SECRET}": 1}}"#),
            format!(r#"{{"a.{SECRET}": 1}}"#),
            format!(r#""{SECRET}""#),
            format!(r#"{{"impus": [] {SECRET}"#),
        ] {
            let problem = parse::<Sample>(body.as_bytes()).unwrap_err();
            let shown = serde_json::to_string(&problem).unwrap();
            assert!(!shown.contains("465b") && !shown.contains("a6bc"), "{shown}");
        }
    }

    #[test]
    fn what_is_no_json_is_told_where() {
        for (body, place) in [
            ("", "line 1 column 0"),
            ("{\n\"impus\": [,", "line 2 column 11"),
            (r#"{"impus": [], "seq": 1} x"#, "line 1 column 25"),
        ] {
            let problem = parse::<Sample>(body.as_bytes()).unwrap_err();
            assert_eq!(problem.status, 400);
            assert!(problem.detail.ends_with(place), "{}", problem.detail);
        }
    }
}
