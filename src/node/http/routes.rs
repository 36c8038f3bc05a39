//! From the operations of an interface to what serves them.

use std::sync::Arc;

use axum::{Router, routing::MethodRouter};

use super::problem::{method_not_allowed, not_found};
use crate::node::perform::Shared;

/// A path, one of its methods, and what serves it.
pub(in crate::node) type Operation = (&'static str, &'static str, MethodRouter<Arc<Shared>>);

/// Serves these operations; what else is asked gets a problem document.
pub(in crate::node) fn router(
    operations: impl IntoIterator<Item = Operation>,
    shared: Arc<Shared>,
) -> Router {
    let routes = operations.into_iter();
    routes
        .fold(Router::new(), |router, (path, _, handler)| router.route(path, handler))
        .fallback(not_found)
        .method_not_allowed_fallback(method_not_allowed)
        .with_state(shared)
}
