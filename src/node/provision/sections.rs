//! TOML files: pools, and what UEs are told of systems.

use std::{collections::BTreeMap, fs, io, path::Path, sync::Arc};

use serde::Deserialize;
use serde_json::Value;
use toml::{Spanned, Table};

use super::changes::{Changes, Origin};
use crate::{node::management::Target, ue_configuration::DOCUMENT_OCTETS_MAX};

/// Longest file, octets.
pub(super) const FILE_OCTETS_MAX: u64 = 256 << 20;

/// Pairs of a listed pool in one request.
const PAIRS_MAX: usize = 10_000;

/// A file: pools by name, configurations by MC system ID.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Document {
    #[serde(default)]
    pools: BTreeMap<String, Spanned<Table>>,
    #[serde(default, rename = "system-configurations")]
    system_configurations: BTreeMap<String, Spanned<Table>>,
}

/// Reads a TOML file.
///
/// # Errors
///
/// Only if it cannot be read; what is wrong in it goes to `changes`.
pub(super) fn read(path: &Path, changes: &mut Changes) -> io::Result<()> {
    let file: Arc<str> = path.display().to_string().into();
    let text = read_text(path, FILE_OCTETS_MAX)?;
    let origin = |offset| {
        let before = text.bytes().take(offset).filter(|octet| *octet == b'\n').count();
        Origin { file: Arc::clone(&file), line: before as u64 + 1 }
    };
    let document: Document = match toml::from_str(&text) {
        Ok(document) => document,
        Err(error) => {
            let origin = origin(error.span().map_or(0, |span| span.start));
            // What is expected comes last, and is our own text: before it there may be a key.
            let what = error.message();
            let what = what.rsplit_once(", expected ").map_or(what, |(_, expected)| expected);
            let what = format!("is not as it must be: {what}; see `migcore provision load --help`");
            changes.findings.add(&origin, &what);
            return Ok(());
        }
    };
    for (name, section) in document.pools {
        let origin = origin(section.span().start);
        let bodies = parts_of_pool(json(section.into_inner()));
        changes.add(&origin, &Target::Pool(name), &bodies, |field| field);
    }
    for (id, section) in document.system_configurations {
        let origin = origin(section.span().start);
        match with_document(path, json(section.into_inner())) {
            Ok(body) => {
                let target = Target::SystemConfiguration(id);
                changes.add(&origin, &target, &[body], column_of_configuration);
            }
            Err(what) => changes.findings.add(&origin, &what),
        }
    }
    Ok(())
}

fn json(table: Table) -> Value {
    // A table of TOML has nothing that JSON lacks but dates, which no field takes.
    serde_json::to_value(table).unwrap_or_default()
}

/// Divides a long listed pool: it may be put in parts.
fn parts_of_pool(mut pool: Value) -> Vec<Value> {
    let identities = pool.pointer_mut("/listed/identities").and_then(Value::as_array_mut);
    let Some(identities) = identities.filter(|list| list.len() > PAIRS_MAX) else {
        return vec![pool];
    };
    let identities = std::mem::take(identities);
    let part = |identities: &[Value]| {
        let mut part = pool.clone();
        if let Some(list) = part.pointer_mut("/listed/identities") {
            *list = identities.into();
        }
        part
    };
    identities.chunks(PAIRS_MAX).map(part).collect()
}

/// Puts the document in that the section names.
fn with_document(path: &Path, mut body: Value) -> Result<Value, String> {
    let Some(members) = body.as_object_mut() else { return Ok(body) };
    let Some(name) = members.remove("document_file") else { return Ok(body) };
    let Some(name) = name.as_str() else { return Err("document_file is no text".to_owned()) };
    if members.contains_key("document") {
        return Err("document_file is given together with document".to_owned());
    }
    let file = path.parent().unwrap_or(Path::new(".")).join(name);
    let document = read_text(&file, DOCUMENT_OCTETS_MAX as u64);
    let document = document.map_err(|error| format!("cannot read {}: {error}", file.display()))?;
    members.insert("document".to_owned(), document.into());
    Ok(body)
}

/// Reads a file, unless it is too long.
pub(super) fn read_text(path: &Path, octets_max: u64) -> io::Result<String> {
    if fs::metadata(path)?.len() > octets_max {
        return Err(io::Error::other(format!("it is longer than {octets_max} octets")));
    }
    fs::read_to_string(path)
}

fn column_of_configuration(field: &str) -> &str {
    if field == "document" { "document_file" } else { field }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read_text(name: &str, text: &str) -> Changes {
        let path = std::env::temp_dir().join(format!("{}-{name}", std::process::id()));
        fs::write(&path, text).unwrap();
        let mut changes = Changes::default();
        read(&path, &mut changes).unwrap();
        fs::remove_file(&path).unwrap();
        changes
    }

    #[test]
    fn a_long_listed_pool_is_put_in_parts() {
        let pair = |n| format!("{{ impi = \"g{n}@b.example\", impu = \"sip:g{n}@b.example\" }}");
        let pairs: Vec<String> = (0..25_000).map(pair).collect();
        let text = format!(
            "[pools.guests]\ndirection = \"inbound\"\n[pools.guests.listed]\nquarantine_seconds = 604800\n\
             identities = [{}]\n",
            pairs.join(", ")
        );
        let changes = read_text("pool.toml", &text);
        assert_eq!(changes.findings.to_string(), "");
        let mut count = 0;
        for change in &changes.list {
            let body: Value = serde_json::from_slice(&change.body).unwrap();
            count += body.pointer("/listed/identities").unwrap().as_array().unwrap().len();
        }
        assert_eq!((changes.list.len(), count), (3, 25_000));
    }

    #[test]
    fn a_wrong_section_is_told_with_its_line_and_without_secrets() {
        for (text, line, what) in [
            ("[pools\n", 1, "is not as it must be"),
            ("\n[pool.x]\n", 2, "is not as it must be"),
            ("[pools]\nx = \"465b5ce8\"\n", 2, "a map"),
            ("[pools.x]\ndirection = \"sideways\"\n", 1, "direction is wrong"),
            (
                "[pools.x]\ndirection = \"inbound\"\n[pools.x.generated]\nimpi_template = \"a\"\n\
                 impu_template = \"b\"\nkey = \"465b5ce8\"\n",
                1,
                "key is not 64 hexadecimal digits",
            ),
            (
                "[system-configurations.\"sip:b.example\"]\nrevision = 1\ndocument_file = \"/nonexistent\"\n",
                1,
                "cannot read /nonexistent",
            ),
            (
                "[system-configurations.\"sip:b.example\"]\nrevision = 1\nsip_core = []\ndocument = \"x\"\n",
                1,
                "document",
            ),
        ] {
            let told = read_text("wrong.toml", text).findings.to_string();
            assert!(
                told.contains(&format!("wrong.toml:{line}: ")) && told.contains(what),
                "{told}"
            );
            assert!(!told.contains("465b5ce8"), "{told}");
        }
    }
}
