//! What requests to an interface may be refused with, as its description has it.

use std::collections::BTreeMap;

use utoipa::{
    PartialSchema,
    openapi::{
        ContentBuilder, RefOr, Response, ResponseBuilder,
        header::HeaderBuilder,
        schema::{Object, Type},
    },
};

use super::PROBLEM_JSON;

/// Responses of an operation, by status.
pub(in crate::node) type Responses = BTreeMap<String, RefOr<Response>>;

/// What every interface may say: how a request is taken in is the same for all.
const OF_ALL: [(u16, &str); 7] = [
    (400, "The request is malformed."),
    (408, "The body did not arrive in time."),
    (413, "The body is too long."),
    (415, "The body is not JSON."),
    (422, "A field is wrong."),
    (503, "`busy`, `unavailable`: the system cannot do it now."),
    (504, "`no-answer`: there was none in time."),
];

/// Describes refusals as problems of the schema `P`: those that every interface has, and `own` beside them or in their
/// place.
pub(in crate::node) fn refusals<P: PartialSchema>(own: &[(u16, &str)]) -> Responses {
    let all = OF_ALL.iter().chain(own);
    all.map(|(status, what)| (status.to_string(), described::<P>(*status, what).into())).collect()
}

fn described<P: PartialSchema>(status: u16, what: &str) -> Response {
    let content = ContentBuilder::new().schema(Some(P::schema())).build();
    let response = ResponseBuilder::new().description(what).content(PROBLEM_JSON, content);
    let response = match status {
        401 => response
            .header("WWW-Authenticate", header(Type::String, "The Bearer challenge (RFC 6750).")),
        503 | 504 => {
            response.header("Retry-After", header(Type::Integer, "When to ask again, seconds."))
        }
        _ => response,
    };
    response.build()
}

fn header(kind: Type, what: &str) -> utoipa::openapi::Header {
    HeaderBuilder::new().schema(Some(Object::with_type(kind))).description(Some(what)).build()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::node::http::Problem;

    #[test]
    fn an_interface_has_its_own_refusals_beside_those_of_all() {
        let responses = refusals::<Problem>(&[(401, "no token"), (503, "exhausted")]);
        let json = serde_json::to_value(&responses).unwrap();
        assert_eq!(json["503"]["description"], "exhausted");
        assert_eq!(json["400"]["description"], "The request is malformed.");
        assert_eq!(responses.len(), OF_ALL.len() + 1);
        for (status, header) in [("401", "WWW-Authenticate"), ("503", "Retry-After")] {
            assert!(json[status]["headers"][header].is_object(), "{status}");
        }
        let schema = &json["422"]["content"][PROBLEM_JSON]["schema"];
        assert!(schema["properties"]["fix"].is_object(), "{schema}");
    }
}
