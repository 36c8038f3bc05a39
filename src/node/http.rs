//! What the HTTP servers have in common: how they serve, what they take from a request, and how they
//! say no.

mod bearer;
mod body;
mod problem;
mod refusals;
mod routes;
mod serve;
mod watched;

pub(super) use bearer::{BearerScheme, bearer_token, challenge, not_to_be_kept};
pub(super) use body::{
    Body, JSON, JsonBody, Limits, Query, Segments, WrongValue, invalid_field, parse, read,
};
pub(super) use problem::{
    PROBLEM_JSON, PROBLEM_TYPES, Problem, ProblemName, RowProblem, method_not_allowed, not_found,
};
pub(super) use refusals::{Responses, refusals};
pub(super) use routes::{Operation, router};
pub(super) use serve::{Ends, Server, Streams, bind, octets_of, serve};
pub(super) use watched::REQUEST_TIMEOUT;
