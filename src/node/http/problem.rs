//! How the HTTP servers say no: problem details (RFC 9457).

use axum::{
    http::{HeaderValue, Method, StatusCode, header},
    response::{IntoResponse, Response},
};
use utoipa::ToSchema;

/// The media type of a problem.
pub(in crate::node) const PROBLEM_JSON: &str = "application/problem+json";

/// What the type of a problem begins with.
pub(in crate::node) const PROBLEM_TYPES: &str = "urn:migcore:problem:";

/// When to ask again after a 503 or 504, unless the problem says otherwise, seconds.
const RETRY_AFTER_SECS: u32 = 1;

/// Why a request was refused (RFC 9457), as `application/problem+json`.
#[derive(Clone, Debug, Eq, PartialEq, serde::Serialize, ToSchema)]
pub(in crate::node) struct Problem {
    /// The kind of problem.
    #[serde(rename = "type", serialize_with = "serialize_kind")]
    #[schema(value_type = String, example = "urn:migcore:problem:invalid-request")]
    pub kind: &'static str,
    /// The HTTP status.
    pub status: u16,
    /// The status in words.
    pub title: &'static str,
    /// What is wrong with this request.
    pub detail: String,
    /// The part of the request that is wrong, such as `impus[0]`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub field: Option<Box<str>>,
    /// What to do.
    pub fix: String,
    /// Of a request about many: which are refused.
    #[serde(skip_serializing_if = "<[RowProblem]>::is_empty")]
    pub rows: Box<[RowProblem]>,
    /// When to ask again after a 503 or 504, seconds.
    #[serde(skip)]
    pub retry_after: u32,
}

/// One that is refused of the many that a request is about.
#[derive(Clone, Debug, Eq, PartialEq, serde::Deserialize, serde::Serialize, ToSchema)]
pub(in crate::node) struct RowProblem {
    /// Which one: its line in the body, from 1.
    pub row: usize,
    /// What is wrong with it.
    pub detail: String,
    /// What to do.
    pub fix: String,
    /// Whether a request about this one alone would be performed.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub alone: bool,
}

/// The name of the problem that a response tells of; an extension of the response, for the ladder.
#[derive(Clone, Copy, Debug)]
pub(in crate::node) struct ProblemName(pub(in crate::node) &'static str);

impl Problem {
    /// A problem with a request as a whole. `name` ends its type: `urn:migcore:problem:<name>`.
    pub(in crate::node) fn new(
        status: StatusCode,
        name: &'static str,
        detail: impl Into<String>,
        fix: impl Into<String>,
    ) -> Self {
        Self {
            kind: name,
            status: status.as_u16(),
            title: status.canonical_reason().unwrap_or_default(),
            detail: detail.into(),
            field: None,
            fix: fix.into(),
            rows: Box::default(),
            retry_after: RETRY_AFTER_SECS,
        }
    }

    /// What ends its type, if it is the fault of who asked (4xx).
    pub(in crate::node) fn fault_of_who_asked(&self) -> Option<&'static str> {
        (400..500).contains(&self.status).then_some(self.kind)
    }

    /// Says when to ask again.
    pub(in crate::node) fn retry_after(self, seconds: u32) -> Self {
        Self { retry_after: seconds, ..self }
    }

    /// Names those that are refused of many.
    pub(in crate::node) fn with_rows(self, rows: Vec<RowProblem>) -> Self {
        Self { rows: rows.into(), ..self }
    }

    /// The response, with more members.
    pub(in crate::node) fn with_members(&self, members: impl serde::Serialize) -> Response {
        #[derive(serde::Serialize)]
        struct Both<'a, M> {
            #[serde(flatten)]
            problem: &'a Problem,
            #[serde(flatten)]
            members: M,
        }

        self.respond(Both { problem: self, members })
    }

    fn respond(&self, body: impl serde::Serialize) -> Response {
        let status = StatusCode::from_u16(self.status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
        let mut response = (status, axum::Json(body)).into_response();
        response.extensions_mut().insert(ProblemName(self.kind));
        let headers = response.headers_mut();
        headers.insert(header::CONTENT_TYPE, HeaderValue::from_static(PROBLEM_JSON));
        if status == StatusCode::SERVICE_UNAVAILABLE || status == StatusCode::GATEWAY_TIMEOUT {
            headers.insert(header::RETRY_AFTER, self.retry_after.into());
        }
        response
    }

    /// Names the part of the request that is wrong.
    pub(in crate::node) fn in_field(self, field: impl Into<String>) -> Self {
        Self { field: Some(field.into().into()), ..self }
    }
}

fn serialize_kind<S: serde::Serializer>(name: &str, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.collect_str(&format_args!("{PROBLEM_TYPES}{name}"))
}

impl IntoResponse for Problem {
    fn into_response(self) -> Response {
        self.respond(&self)
    }
}

/// The answer to a path that is not served.
pub(in crate::node) async fn not_found() -> Problem {
    let fix = "see /openapi.json for the paths";
    Problem::new(StatusCode::NOT_FOUND, "unknown-path", "no such path", fix)
}

/// The answer to a method that a path does not have; the router adds the Allow header.
pub(in crate::node) async fn method_not_allowed(method: Method) -> Response {
    if method == Method::OPTIONS {
        return StatusCode::NO_CONTENT.into_response();
    }
    let (what, fix) =
        ("this path does not have that method", "use one that the Allow header names");
    Problem::new(StatusCode::METHOD_NOT_ALLOWED, "method-not-allowed", what, fix).into_response()
}
