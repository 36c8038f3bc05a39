//! How the ACM server says no: problem details with the result code, what it is about, and of what is decided already
//! the outcome.

use axum::{
    http::StatusCode,
    response::{IntoResponse, Response},
};
use serde::Serialize;
use utoipa::ToSchema;

use crate::{
    api::{
        acm_client::{NO_RESPONSE_YET, NO_SUCH_LOG_ON, NO_SUCH_TRANSACTION},
        acm_interconnection::{self as interconnection, ElementNames, Refusal, ResultCode},
    },
    identity::McSystemId,
    node::{http::Problem, perform::Shared},
    outbox::Note,
};

/// When to ask again while the server is busy, seconds.
const BUSY_RETRY_SECS: u32 = 5;

/// Why a request was refused (RFC 9457), as `application/problem+json`.
#[derive(ToSchema)]
#[expect(dead_code, reason = "describes what `refused` and `decided_before` make")]
pub(super) struct AcmProblem {
    /// The kind of problem; of a refusal it ends with the result code.
    #[schema(rename = "type", example = "urn:migcore:problem:not-authorised")]
    kind: String,
    /// The HTTP status.
    status: u16,
    /// The status in words.
    title: String,
    /// What is wrong with this request.
    detail: String,
    /// The part of the request that is wrong.
    field: Option<String>,
    /// What to do.
    fix: String,
    /// Of a refusal: the result code.
    code: Option<ResultCode>,
    /// Of a refusal: the elements or identities that are wrong, the first ones.
    elements: Option<Vec<String>>,
    /// Of what is decided already: the outcome; absent while it is being put in force.
    outcome: Option<interconnection::Response>,
}

/// What a problem of an ACM server has besides.
#[derive(Serialize)]
struct More<'a> {
    #[serde(skip_serializing_if = "Option::is_none")]
    code: Option<ResultCode>,
    #[serde(skip_serializing_if = "Option::is_none")]
    elements: Option<&'a ElementNames>,
    #[serde(skip_serializing_if = "Option::is_none")]
    outcome: Option<&'a interconnection::Response>,
}

impl Shared {
    /// Notes that a request of a partner or of a client was refused before the role saw it.
    pub(super) fn note_refused(&self, partner: Option<&McSystemId>, problem: &Problem) {
        if let Some(why) = problem.fault_of_who_asked() {
            self.report_note(&Note::RequestRefused { partner: partner.cloned(), why });
        }
    }

    /// Notes that an ACM client was refused.
    pub(super) fn note_refused_client(&self, why: &'static str) {
        self.report_note(&Note::RequestRefused { partner: None, why });
    }
}

/// The response that a refusal of the role is.
pub(super) fn refused(refusal: &Refusal) -> Response {
    if refusal.text == NO_RESPONSE_YET {
        return no_response_yet();
    }
    let Refusal { code, text, elements } = refusal;
    let (status, fix) = status_and_fix(*code, text);
    let problem = Problem::new(status, code.as_str(), text.clone(), fix);
    problem.retry_after(BUSY_RETRY_SECS).with_members(More {
        code: Some(*code),
        elements: (!elements.is_empty()).then_some(elements),
        outcome: None,
    })
}

/// The response to a decision that comes after another one.
pub(super) fn decided_before(outcome: Option<&interconnection::Response>) -> Response {
    let (what, fix) = match outcome {
        Some(_) => ("it is decided already", "see outcome: it stays"),
        None => ("it is decided already, and is being put in force", "ask for the item later"),
    };
    let problem = Problem::new(StatusCode::CONFLICT, "already-decided", what, fix);
    problem.with_members(More {
        code: outcome.map(|outcome| outcome.result),
        elements: None,
        outcome,
    })
}

/// The response to an acknowledgement that comes too early: nothing in the request is wrong.
fn no_response_yet() -> Response {
    let fix = "follow the transaction, and acknowledge when its state is responded";
    let problem = Problem::new(StatusCode::CONFLICT, "no-response-yet", NO_RESPONSE_YET, fix);
    problem.into_response()
}

fn status_and_fix(code: ResultCode, text: &str) -> (StatusCode, &'static str) {
    match code {
        ResultCode::InvalidData if text == NO_SUCH_TRANSACTION => {
            (StatusCode::NOT_FOUND, "list what is pending; it may be over, or for another user")
        }
        ResultCode::InvalidData if text == NO_SUCH_LOG_ON => {
            (StatusCode::NOT_FOUND, "log on again")
        }
        ResultCode::InvalidData | ResultCode::NotGroupHome => {
            (StatusCode::BAD_REQUEST, "correct what elements names")
        }
        ResultCode::NotAuthorised | ResultCode::RejectedByPolicy => {
            (StatusCode::FORBIDDEN, "have the right given to this user, or ask one who has it")
        }
        ResultCode::UnknownPartner | ResultCode::UnknownTargetUser | ResultCode::UnknownGroup => {
            (StatusCode::NOT_FOUND, "correct the name")
        }
        ResultCode::NoInterconnection => {
            (StatusCode::CONFLICT, "have the systems interconnected first")
        }
        ResultCode::StaleRevision => (StatusCode::CONFLICT, "send a higher revision"),
        ResultCode::Conflict => (StatusCode::CONFLICT, "draw another transaction ID"),
        ResultCode::Busy | ResultCode::Internal => {
            (StatusCode::SERVICE_UNAVAILABLE, "ask again later")
        }
        ResultCode::Ok
        | ResultCode::OkPartial
        | ResultCode::Received
        | ResultCode::Declined
        | ResultCode::RejectedByUser
        | ResultCode::Expired
        | ResultCode::Cancelled => (StatusCode::CONFLICT, "see how the transaction stands"),
    }
}
