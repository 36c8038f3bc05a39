//! JSON lines files: one object a line, as the management interface takes them of many.

use std::{io, path::Path, sync::Arc};

use serde_json::{Map, Value};

use super::{
    changes::{Changes, Origin},
    sections::{FILE_OCTETS_MAX, read_text},
};
use crate::node::management::Target;

/// What makes a target of a name.
type Named = fn(String) -> Target;

/// What a line may be about: the member that names it, the member with all else, and what that makes.
const KINDS: [(&str, &str, Named); 4] = [
    ("impi", "subscriber", Target::Subscriber),
    ("impi", "digest_subscriber", Target::DigestSubscriber),
    ("mc_service_id", "user", Target::User),
    ("mc_service_id", "acm_user", Target::AcmUser),
];

/// Reads a JSON lines file.
///
/// # Errors
///
/// Only if it cannot be read; what is wrong in it goes to `changes`.
pub(super) fn read(path: &Path, changes: &mut Changes) -> io::Result<()> {
    let file: Arc<str> = path.display().to_string().into();
    let text = read_text(path, FILE_OCTETS_MAX)?;
    for (line, text) in (1..).zip(text.trim_start_matches('\u{feff}').lines()) {
        if text.trim().is_empty() {
            continue;
        }
        let origin = Origin { file: Arc::clone(&file), line };
        match row(text) {
            Ok((target, body)) => changes.add(&origin, &target, &[body], |field| field),
            Err(what) => changes.findings.add(&origin, &what),
        }
    }
    Ok(())
}

/// What a line is about, or what is wrong with it. No value of it is repeated: it may be a key.
fn row(text: &str) -> Result<(Target, Value), String> {
    let mut members: Map<String, Value> = serde_json::from_str(text).map_err(|error| {
        if error.is_data() {
            return "is no JSON object; see `migcore provision load --help`".to_owned();
        }
        format!("is no JSON, at column {}; write one object a line", error.column())
    })?;
    let Some((name, rest, target)) = KINDS.into_iter().find(|it| members.contains_key(it.1)) else {
        return Err("has no member subscriber, digest_subscriber, user or acm_user".to_owned());
    };
    let id = members.remove(name).ok_or_else(|| format!("{name} is missing beside {rest}"))?;
    let Value::String(id) = id else { return Err(format!("{name} is no text")) };
    let body = members.remove(rest).unwrap_or_default();
    if members.is_empty() {
        Ok((target(id), body))
    } else {
        Err(format!("has more than {name} and {rest}"))
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    const TOKEN: &str = "c2VjcmV0LXRva2VuLW9mLWFubmE";

    fn read_lines(name: &str, lines: &[String]) -> Changes {
        let path = std::env::temp_dir().join(format!("{}-{name}", std::process::id()));
        std::fs::write(&path, lines.join("\n")).unwrap();
        let mut changes = Changes::default();
        read(&path, &mut changes).unwrap();
        std::fs::remove_file(&path).unwrap();
        changes
    }

    #[test]
    fn a_line_becomes_what_its_member_says() {
        let (id, k) = ("sip:a@a.example", "465b5ce8b199b49faa5f0a2ee238a6bc");
        let subscriber = json!({ "impus": [id], "k": k, "op": k });
        let user = json!({ "impi": "a@a.example", "impu": id, "token": TOKEN });
        let acm_user = json!({ "token": TOKEN, "may_decide": ["groups"] });
        let guest = json!({ "impus": [id], "password": "password-of-guest" });
        let changes = read_lines(
            "good.jsonl",
            &[
                json!({ "impi": "a@a.example", "subscriber": subscriber }).to_string(),
                String::new(),
                json!({ "impi": "g@a.example", "digest_subscriber": guest }).to_string(),
                json!({ "mc_service_id": id, "user": user }).to_string(),
                json!({ "mc_service_id": id, "acm_user": acm_user }).to_string(),
            ],
        );
        assert_eq!(changes.findings.to_string(), "");
        let paths: Vec<String> = changes.list.iter().map(|it| it.target.path()).collect();
        assert_eq!(
            paths,
            [
                "/v1/subscribers/a@a.example",
                "/v1/digest-subscribers/g@a.example",
                "/v1/users/sip%3Aa@a.example",
                "/v1/acm/users/sip%3Aa@a.example"
            ]
        );
    }

    #[test]
    fn each_bad_line_is_told_with_its_number_and_reason_and_without_secrets() {
        let with = |id: &str, more: Value| {
            let mut body = json!({ "token": TOKEN });
            body.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
            json!({ "mc_service_id": id, "acm_user": body }).to_string()
        };
        let lines = [
            "{\"mc_service_id\": \"sip:a@a.example\",".to_owned(),
            "[7]".to_owned(),
            json!({ "token": TOKEN }).to_string(),
            json!({ "acm_user": { "token": TOKEN } }).to_string(),
            with("sip:b@a.example", json!({ "may_request": ["all"] })),
            with("sip:c@a.example", json!({ "rights": [] })),
            with("c", json!({})),
            with("sip:d@a.example", json!({})),
            with("sip:d@A.example", json!({})),
            json!({ "mc_service_id": 7, "acm_user": {} }).to_string(),
            json!({ "mc_service_id": "sip:e@a.example", "acm_user": {} }).to_string(),
        ];
        let told = read_lines("bad.jsonl", &lines).findings.to_string();
        for (line, what) in [
            (1, "is no JSON, at column"),
            (2, "is no JSON object"),
            (3, "has no member subscriber, digest_subscriber, user or acm_user"),
            (4, "mc_service_id is missing beside acm_user"),
            (5, "may_request[0] is wrong, expected one of `configuration`"),
            (6, "rights is no known field"),
            (7, "mc_service_id has no scheme"),
            (9, "is there twice, first in"),
            (10, "mc_service_id is no text"),
            (11, "token is missing"),
        ] {
            let found = told.lines().find(|text| text.contains(&format!("bad.jsonl:{line}: ")));
            assert!(found.is_some_and(|text| text.contains(what)), "{line} {what}: {told}");
        }
        assert!(!told.contains("bad.jsonl:8: ") && !told.contains(&TOKEN[..8]), "{told}");
    }
}
