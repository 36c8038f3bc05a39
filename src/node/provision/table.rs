//! CSV files: a header, then one subscriber with a key or a password, one agreement or one user of ACM clients a row.

use std::{fs::File, io, path::Path, sync::Arc};

use csv::StringRecord;
use serde_json::{Map, Value};
use zeroize::Zeroizing;

use super::{
    changes::{Changes, Origin},
    ue_files::Ue,
};
use crate::{api::acm_payload::Kind as AcmKind, node::management::Target};

/// What a file is about.
struct Kind {
    /// A column that no other kind has.
    mark: &'static str,
    /// Columns that must be there.
    required: &'static [&'static str],
    /// Columns that may be there.
    optional: &'static [&'static str],
    /// Adds what a row asks for.
    add: fn(&mut Changes, &Origin, &Row<'_>),
}

const KINDS: [Kind; 4] = [
    Kind {
        mark: "k",
        required: &["impi", "impu", "k"],
        optional: &["op", "opc", "amf", "seq", "mc_service_id", "class", "may_migrate", "token"],
        add: add_subscriber,
    },
    Kind {
        mark: "password",
        required: &["impi", "impu", "password"],
        optional: &["algorithm", "realm"],
        add: add_digest_subscriber,
    },
    Kind {
        mark: "partner",
        required: &["partner", "direction", "users", "valid_until"],
        optional: &["valid_from", "hide_identities"],
        add: add_agreement,
    },
    Kind {
        mark: "may_decide",
        required: &["mc_service_id", "token", "may_request", "may_decide"],
        optional: &[],
        add: add_acm_user,
    },
];

/// Reads a CSV file.
///
/// # Errors
///
/// Only if it cannot be read; what is wrong in it goes to `changes`.
pub(super) fn read(path: &Path, changes: &mut Changes) -> io::Result<()> {
    let file: Arc<str> = path.display().to_string().into();
    let mut reader = csv::ReaderBuilder::new()
        .trim(csv::Trim::All)
        .comment(Some(b'#'))
        .flexible(true)
        .from_reader(File::open(path)?);
    let header = match reader.headers() {
        Ok(header) => header.clone(),
        Err(error) => return not_read(error, &file, changes),
    };
    let origin = Origin { file: Arc::clone(&file), line: 1 };
    let Some(kind) = kind_of(&header, &origin, changes) else { return Ok(()) };
    let mut record = StringRecord::new();
    loop {
        match reader.read_record(&mut record) {
            Ok(false) => return Ok(()),
            Ok(true) => {
                let line = record.position().map_or(0, csv::Position::line);
                let origin = Origin { file: Arc::clone(&file), line };
                if record.len() == header.len() {
                    (kind.add)(changes, &origin, &Row { header: &header, record: &record });
                } else {
                    let (found, expected) = (record.len(), header.len());
                    let what = format!("the row has {found} columns, the header {expected}");
                    changes.findings.add(&origin, &what);
                }
            }
            Err(error) => not_read(error, &file, changes)?,
        }
    }
}

/// What is no text is a finding of its row; everything else ends the reading.
fn not_read(error: csv::Error, file: &Arc<str>, changes: &mut Changes) -> io::Result<()> {
    if !matches!(error.kind(), csv::ErrorKind::Utf8 { .. }) {
        return Err(error.into());
    }
    let line = error.position().map_or(1, csv::Position::line);
    changes.findings.add(&Origin { file: Arc::clone(file), line }, "the row is not UTF-8");
    Ok(())
}

fn kind_of(header: &StringRecord, origin: &Origin, changes: &mut Changes) -> Option<&'static Kind> {
    let has = |column: &str| header.iter().any(|name| name == column);
    let Some(kind) = KINDS.iter().find(|kind| has(kind.mark)) else {
        let what = "the header has no column k (subscribers), password (subscribers with one), partner (agreements) \
                    or may_decide (users of ACM clients)";
        changes.findings.add(origin, what);
        return None;
    };
    let mut fits = true;
    let mut find = |what: String| {
        changes.findings.add(origin, &what);
        fits = false;
    };
    for missing in kind.required.iter().filter(|column| !has(column)) {
        find(format!("the header has no column {missing}"));
    }
    for (place, name) in header.iter().enumerate() {
        if !kind.required.contains(&name) && !kind.optional.contains(&name) {
            let known = [kind.required, kind.optional].concat().join(", ");
            find(format!("column {} of the header is unknown; known are {known}", place + 1));
        } else if header.iter().take(place).any(|earlier| earlier == name) {
            find(format!("the header has column {name} twice"));
        }
    }
    fits.then_some(kind)
}

/// One row.
struct Row<'a> {
    header: &'a StringRecord,
    record: &'a StringRecord,
}

impl<'a> Row<'a> {
    /// What is in a column, if it is there and not empty.
    fn get(&self, column: &str) -> Option<&'a str> {
        let place = self.header.iter().position(|name| name == column)?;
        self.record.get(place).filter(|text| !text.is_empty())
    }

    /// A JSON object of those columns that are not empty.
    fn object(&self, columns: &[&str]) -> Map<String, Value> {
        let member = |column: &&str| Some(((*column).to_owned(), json(column, self.get(column)?)));
        columns.iter().filter_map(member).collect()
    }
}

/// The text of a column as JSON. What does not fit the column stays text, and is refused as such.
fn json(column: &str, text: &str) -> Value {
    match (column, text) {
        ("may_migrate" | "hide_identities", "true") => Value::Bool(true),
        ("may_migrate" | "hide_identities", "false") => Value::Bool(false),
        ("seq" | "valid_from" | "valid_until", _) => {
            text.parse().map_or_else(|_| Value::from(text), |number: u64| Value::from(number))
        }
        _ => Value::from(text),
    }
}

fn add_subscriber(changes: &mut Changes, origin: &Origin, row: &Row<'_>) {
    let impi = row.get("impi").unwrap_or_default();
    let impus: Vec<&str> = row.get("impu").unwrap_or_default().split_whitespace().collect();
    let mut body = row.object(&["k", "op", "opc", "amf", "seq"]);
    body.insert("impus".to_owned(), impus.clone().into());
    let target = Target::Subscriber(impi.to_owned());
    changes.add(origin, &target, &[Value::Object(body)], column_of_subscriber);

    let Some(id) = row.get("mc_service_id") else {
        for column in ["class", "may_migrate", "token"] {
            if row.get(column).is_some() {
                changes.findings.add(origin, &format!("{column} is given without mc_service_id"));
            }
        }
        return;
    };
    let mut body = row.object(&["class", "may_migrate", "token"]);
    body.insert("impi".to_owned(), impi.into());
    let impu = impus.first().copied().unwrap_or_default();
    body.insert("impu".to_owned(), impu.into());
    changes.add(origin, &Target::User(id.to_owned()), &[Value::Object(body)], column_of_subscriber);
    let secret = |column| Zeroizing::new(row.get(column).unwrap_or_default().to_owned());
    changes.ues.push(Ue {
        mc_service_id: id.to_owned(),
        token: secret("token"),
        impi: impi.to_owned(),
        impu: impu.to_owned(),
        k: secret("k"),
        operator: if row.get("opc").is_some() {
            ("opc", secret("opc"))
        } else {
            ("op", secret("op"))
        },
    });
}

fn column_of_subscriber(field: &str) -> &str {
    if field.starts_with("impus") { "impu" } else { field }
}

fn add_digest_subscriber(changes: &mut Changes, origin: &Origin, row: &Row<'_>) {
    let impus: Vec<&str> = row.get("impu").unwrap_or_default().split_whitespace().collect();
    let mut body = row.object(&["password", "algorithm", "realm"]);
    body.insert("impus".to_owned(), impus.into());
    let target = Target::DigestSubscriber(row.get("impi").unwrap_or_default().to_owned());
    changes.add(origin, &target, &[Value::Object(body)], column_of_subscriber);
}

fn add_agreement(changes: &mut Changes, origin: &Origin, row: &Row<'_>) {
    let text = |column| row.get(column).unwrap_or_default().to_owned();
    let target = Target::Agreement(text("partner"), text("direction"), text("users"));
    let body = row.object(&["valid_from", "valid_until", "hide_identities"]);
    changes.add(origin, &target, &[Value::Object(body)], |field| field);
}

fn add_acm_user(changes: &mut Changes, origin: &Origin, row: &Row<'_>) {
    let mut body = row.object(&["token"]);
    for column in ["may_request", "may_decide"] {
        let kinds: Vec<&str> = match row.get(column).unwrap_or_default() {
            "all" => AcmKind::ALL.map(AcmKind::as_str).to_vec(),
            some => some.split_whitespace().collect(),
        };
        body.insert(column.to_owned(), kinds.into());
    }
    let target = Target::AcmUser(row.get("mc_service_id").unwrap_or_default().to_owned());
    changes.add(origin, &target, &[Value::Object(body)], column_of_acm_user);
}

fn column_of_acm_user(field: &str) -> &str {
    field.split('[').next().unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    const K: &str = "465b5ce8b199b49faa5f0a2ee238a6bc";
    const TOKEN: &str = "c2VjcmV0LXRva2VuLW9mLWFsaWNl";

    fn read_text(name: &str, text: &str) -> Changes {
        let path = std::env::temp_dir().join(format!("{}-{name}", std::process::id()));
        std::fs::write(&path, text).unwrap();
        let mut changes = Changes::default();
        read(&path, &mut changes).unwrap();
        std::fs::remove_file(&path).unwrap();
        changes
    }

    fn bodies(changes: &Changes) -> Vec<(String, String)> {
        let body = |change: &super::super::changes::Change| {
            let body = String::from_utf8(change.body.to_vec()).unwrap();
            (change.target.path(), body)
        };
        changes.list.iter().map(body).collect()
    }

    #[test]
    fn a_row_with_a_password_becomes_a_subscriber_who_has_one() {
        let table =
            "impi,impu,password,algorithm\ng@b.example,sip:g@b.example,a long password,SHA-256\n";
        let changes = read_text("password.csv", table);
        assert_eq!(changes.findings.to_string(), "");
        let body =
            r#"{"algorithm":"SHA-256","impus":["sip:g@b.example"],"password":"a long password"}"#;
        let expected = ("/v1/digest-subscribers/g@b.example".to_owned(), body.to_owned());
        assert_eq!(bodies(&changes), [expected]);
        for (row, what) in [
            ("g@b.example,sip:g@b.example,short,", "password is not 8 to 256"),
            ("g@b.example,sip:g@b.example,a long password,SHA-1", "algorithm is wrong"),
        ] {
            let table = format!("impi,impu,password,algorithm\n{row}\n");
            let told = read_text("bad-password.csv", &table).findings.to_string();
            assert!(told.contains(what) && !told.contains("a long password"), "{told}");
        }
    }

    #[test]
    fn a_row_becomes_a_subscriber_and_a_user() {
        let changes = read_text(
            "good.csv",
            &format!(
                "\u{feff}impi, impu, k, opc, seq, mc_service_id, class, may_migrate, token\n\
                 # a comment\n\
                 alice@a.example, sip:alice@a.example tel:+33123, {K}, {K}, 32, sip:alice@a.example, police, false, {TOKEN}\n\
                 bob@a.example,sip:bob@a.example,{K},{K},,,,,\n"
            ),
        );
        assert_eq!(changes.findings.to_string(), "");
        assert_eq!(
            bodies(&changes),
            [
                (
                    "/v1/subscribers/alice@a.example".to_owned(),
                    format!(
                        r#"{{"impus":["sip:alice@a.example","tel:+33123"],"k":"{K}","opc":"{K}","seq":32}}"#
                    )
                ),
                (
                    "/v1/users/sip%3Aalice@a.example".to_owned(),
                    format!(
                        r#"{{"class":"police","impi":"alice@a.example","impu":"sip:alice@a.example","may_migrate":false,"token":"{TOKEN}"}}"#
                    )
                ),
                (
                    "/v1/subscribers/bob@a.example".to_owned(),
                    format!(r#"{{"impus":["sip:bob@a.example"],"k":"{K}","opc":"{K}"}}"#)
                ),
            ]
        );
    }

    #[test]
    fn an_agreement_may_be_written_with_dates() {
        let changes = read_text(
            "agreements.csv",
            "partner,direction,users,valid_until,hide_identities\n\
             sip:b.example,outbound,everybody,2031-01-01T00:00:00Z,true\n\
             sip:b.example,inbound,user:sip:bob@b.example,1924992000,\n",
        );
        assert_eq!(changes.findings.to_string(), "");
        assert_eq!(
            bodies(&changes),
            [
                (
                    "/v1/agreements/sip%3Ab.example/outbound/everybody".to_owned(),
                    r#"{"hide_identities":true,"valid_until":"2031-01-01T00:00:00Z"}"#.to_owned()
                ),
                (
                    "/v1/agreements/sip%3Ab.example/inbound/user%3Asip%3Abob@b.example".to_owned(),
                    r#"{"valid_until":1924992000}"#.to_owned()
                ),
            ]
        );
    }

    #[test]
    fn each_bad_row_is_told_with_line_column_and_reason_and_without_secrets() {
        let text = format!(
            "impi,impu,k,op,opc,mc_service_id,token\n\
             alice,sip:a@a.example,{K},{K},,,\n\
             a@a.example,a@a.example,{K},{K},,,\n\
             b@a.example,sip:b@a.example,465b5ce8b199,{K},,,\n\
             c@a.example,sip:c@a.example,{K},{K},{K},,\n\
             d@a.example,sip:d@a.example,{K},{K},,sip:d@a.example,\n\
             e@a.example,sip:e@a.example,{K},{K},,sip:e@a.example,short-token\n\
             f@a.example,sip:f@a.example,{K},{K},,,{TOKEN}\n\
             g@a.example,sip:g@a.example,{K},{K}\n\
             h@a.example,sip:h@a.example,{K},{K},,,\n\
             h@A.Example,sip:h@a.example,{K},{K},,,\n"
        );
        let changes = read_text("bad.csv", &text);
        let told = changes.findings.to_string();
        for (line, what) in [
            (2, "impi has no realm"),
            (3, "impu Impu has no scheme"),
            (4, "k is not 32 hexadecimal digits; write the subscriber key"),
            (5, "op is given together with opc"),
            (7, "token is shorter than 22 characters"),
            (8, "token is given without mc_service_id"),
            (9, "the row has 4 columns, the header 7"),
            (11, "is there twice, first in"),
        ] {
            let found = told.lines().find(|text| text.contains(&format!("bad.csv:{line}: ")));
            assert!(found.is_some_and(|text| text.contains(what)), "{line} {what}: {told}");
        }
        assert!(!told.contains("bad.csv:6: "), "a user need not have a static token: {told}");
        for secret in ["465b5ce8", "short-token", &TOKEN[..8]] {
            assert!(!told.contains(secret), "{told}");
        }
    }

    #[test]
    fn a_row_becomes_a_user_of_acm_clients() {
        let changes = read_text(
            "administrators.csv",
            &format!(
                "mc_service_id,token,may_request,may_decide\n\
                 sip:anna@a.example,{TOKEN},all,groups update\n\
                 sip:dave@a.example,{TOKEN},,\n"
            ),
        );
        assert_eq!(changes.findings.to_string(), "");
        let all = r#"["configuration","groups","update","add-users","remove-users","groups-withdrawn","please-send"]"#;
        let some = r#""may_decide":["groups","update"]"#;
        assert_eq!(
            bodies(&changes),
            [
                (
                    "/v1/acm/users/sip%3Aanna@a.example".to_owned(),
                    format!(r#"{{{some},"may_request":{all},"token":"{TOKEN}"}}"#)
                ),
                (
                    "/v1/acm/users/sip%3Adave@a.example".to_owned(),
                    format!(r#"{{"may_decide":[],"may_request":[],"token":"{TOKEN}"}}"#)
                ),
            ]
        );
    }

    #[test]
    fn a_bad_row_of_a_user_of_acm_clients_is_told_with_line_column_and_reason() {
        let changes = read_text(
            "wrong-administrators.csv",
            &format!(
                "mc_service_id,token,may_request,may_decide\n\
                 anna,{TOKEN},all,all\n\
                 sip:bob@a.example,short-token,all,all\n\
                 sip:carol@a.example,{TOKEN},groups upd,all\n\
                 sip:dave@a.example,{TOKEN},groups groups,all\n\
                 sip:erin@a.example,{TOKEN},all\n"
            ),
        );
        let told = changes.findings.to_string();
        for (line, what) in [
            (2, "mc_service_id has no scheme"),
            (3, "token is shorter than 22 characters"),
            (4, "may_request is wrong, expected one of `configuration`, `groups`"),
            (5, "may_request has a kind twice"),
            (6, "the row has 3 columns, the header 4"),
        ] {
            let place = format!("wrong-administrators.csv:{line}: ");
            let found = told.lines().find(|text| text.contains(&place));
            assert!(found.is_some_and(|text| text.contains(what)), "{line} {what}: {told}");
        }
        assert!(!told.contains("short-token"), "{told}");
    }

    #[test]
    fn a_wrong_header_is_told_before_any_row() {
        for (header, what) in [
            ("a,b", "no column k (subscribers)"),
            ("impi,k", "no column impu"),
            ("impi,impu,k,kk", "column 4 of the header is unknown; known are impi, impu, k, op"),
            ("impi,impu,k,k", "column k twice"),
            ("", "no column k (subscribers)"),
            ("mc_service_id,may_decide", "no column token"),
        ] {
            let changes = read_text("header.csv", &format!("{header}\nx,y,z,z\n"));
            let told = changes.findings.to_string();
            assert!(told.contains("header.csv:1: ") && told.contains(what), "{header}: {told}");
            assert!(changes.list.is_empty());
        }
    }

    #[test]
    fn of_many_findings_the_first_are_shown_and_the_rest_counted() {
        let text = format!("impi,impu,k\n{}", "x,y,z\n".repeat(100));
        // The first is wrong, the others are the same again.
        let told = read_text("many.csv", &text).findings.to_string();
        assert_eq!(told.lines().count(), 22, "{told}");
        assert!(told.ends_with("and 80 more"), "{told}");
    }
}
