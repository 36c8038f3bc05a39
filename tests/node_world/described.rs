//! Holds real answers against an interface description.

use reqwest::{Response, header::HeaderMap};
use serde_json::{Value, json};

/// Checks that a response is one that the description of its operation has.
pub async fn check_described(
    description: &Value,
    operation: &Value,
    response: Response,
    what: &str,
) {
    let status = response.status().as_u16();
    let headers = response.headers().clone();
    let body = response.text().await.unwrap();
    check_answer(description, operation, (status, &headers, &body), what);
}

/// Checks that status, headers, media type and text of an answer are those of the description of its operation.
pub fn check_answer(
    description: &Value,
    operation: &Value,
    (status, headers, body): (u16, &HeaderMap, &str),
    what: &str,
) {
    let status = status.to_string();
    let described = operation["responses"].get(&status);
    let described = described.unwrap_or_else(|| panic!("{what}: {status} is not described"));
    // Those that are described are there, and of those that a client goes by no other.
    for (name, _) in described["headers"].as_object().into_iter().flatten() {
        assert!(headers.contains_key(name), "{what}: {status} has no {name}");
    }
    for name in ["WWW-Authenticate", "Retry-After"] {
        let is_described = described["headers"].get(name).is_some();
        assert_eq!(headers.contains_key(name), is_described, "{what}: {name} of {status}");
    }
    let kind = headers.get("content-type").map(|kind| kind.to_str().unwrap());
    match described.get("content") {
        None if status == "204" => assert!(body.is_empty(), "{what}: {body}"),
        None => {}
        Some(content) => {
            let schema = &content[kind.unwrap()]["schema"];
            assert!(schema.is_object(), "{what}: {kind:?} is not described");
            // What is no JSON is described as text.
            let value = serde_json::from_str(body).unwrap_or_else(|_| json!(body));
            check_schema(description, schema, &value, what);
        }
    }
}

/// Checks that a value is as a schema says.
pub fn check_schema(description: &Value, schema: &Value, value: &Value, what: &str) {
    if let Some(reference) = schema.get("$ref").and_then(Value::as_str) {
        let found = description.pointer(reference.trim_start_matches('#'));
        return check_schema(description, found.unwrap(), value, what);
    }
    if let Some(choices) = schema["oneOf"].as_array() {
        let (nulls, named): (Vec<&Value>, Vec<&Value>) =
            choices.iter().partition(|choice| choice["type"] == json!("null"));
        if value.is_null() && !nulls.is_empty() {
            return;
        }
        // Of several the one that has this word, or the only member of this object.
        let chosen = match named[..] {
            [one] => Some(one),
            _ => named.into_iter().find(|choice| is_choice(choice, value)),
        };
        let chosen = chosen.unwrap_or_else(|| panic!("{what}: {value} is none of {choices:?}"));
        return check_schema(description, chosen, value, what);
    }
    let kinds = schema["type"].as_array().cloned();
    let kinds = kinds.unwrap_or_else(|| vec![schema["type"].clone()]);
    let kind = match value {
        Value::Null => "null",
        Value::Bool(_) => "boolean",
        Value::Number(_) => "integer",
        Value::String(_) => "string",
        Value::Array(_) => "array",
        Value::Object(_) => "object",
    };
    assert!(kinds.contains(&json!(kind)), "{what}: {value} is no {kinds:?}");
    if let Some(words) = schema["enum"].as_array() {
        assert!(words.contains(value), "{what}: {value} is none of {words:?}");
    }
    for required in schema["required"].as_array().into_iter().flatten() {
        assert!(value.get(required.as_str().unwrap()).is_some(), "{what}: no {required}");
    }
    // An object without described members may have any.
    let members = value.as_object().filter(|_| schema.get("properties").is_some());
    for (name, member) in members.into_iter().flatten() {
        let member_schema = schema["properties"].get(name);
        let member_schema =
            member_schema.unwrap_or_else(|| panic!("{what}: {name} is not described"));
        check_schema(description, member_schema, member, what);
    }
    for item in value.as_array().into_iter().flatten() {
        check_schema(description, &schema["items"], item, what);
    }
}

/// Whether a value is of this variant of an enumeration.
fn is_choice(choice: &Value, value: &Value) -> bool {
    match value.as_object().and_then(|members| members.keys().next()) {
        Some(name) => choice["properties"].get(name).is_some(),
        None => choice["enum"].as_array().is_some_and(|words| words.contains(value)),
    }
}
