//! What the HTTP servers have in common: how they serve, what they take from a request, and how they
//! say no.

mod body;
mod problem;
mod serve;
mod watched;

#[cfg(test)]
pub(super) use body::parse;
pub(super) use body::{Body, JsonBody, Query, Segments, invalid_field};
pub(super) use problem::{Problem, method_not_allowed, not_found};
pub(super) use serve::{bind, serve};
