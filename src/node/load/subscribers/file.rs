//! Subscribers from files: tables as `migcore provision load` takes them, and injection files of SIPp.

use std::{
    fs::File,
    io::{self, BufRead, BufReader},
    path::{Path, PathBuf},
};

use zeroize::Zeroizing;

use super::{New, Operator, Subscribers};
use crate::{
    identity::{IdentityError, Impi, Impu, McServiceId},
    secret::Secret,
    token::{BearerToken, InvalidToken},
};

/// Longest line of a file, octets.
const LINE_OCTETS_MAX: u64 = 65_536;

/// Why a file gives no subscribers.
#[derive(Debug, thiserror::Error)]
pub enum SubscribersError {
    /// It cannot be read.
    #[error("cannot read {}: {error}", path.display())]
    Read {
        /// The file.
        path: PathBuf,
        /// Why not.
        error: io::Error,
    },
    /// A line is wrong.
    #[error("{}:{line}: {problem}", path.display())]
    Line {
        /// The file.
        path: PathBuf,
        /// The line, from 1 on.
        line: u64,
        /// What is wrong, and what to write.
        problem: LineProblem,
    },
    /// It has none.
    #[error("{} has no subscribers", .0.display())]
    Empty(PathBuf),
    /// The domain makes no identities.
    #[error("--domain: an identity of it {0}; write a domain name such as a.example")]
    Domain(IdentityError),
    /// More than `SUBSCRIBERS_MAX`.
    #[error("more than {} subscribers; use several processes", super::SUBSCRIBERS_MAX)]
    TooMany,
    /// Not all of one domain.
    #[error("the subscribers are of several domains; what is asked for needs one")]
    SeveralDomains,
    /// More than `DOMAINS_MAX`.
    #[error("more than {} domains; use several files", super::DOMAINS_MAX)]
    TooManyDomains,
}

/// What is wrong with a line. It tells no key.
#[derive(Debug, thiserror::Error)]
pub enum LineProblem {
    /// A column is missing in the header.
    #[error(
        "no column {0}; the header is impi,impu,k,opc or impi,impu,k,op, more columns may follow"
    )]
    NoColumn(&'static str),
    /// A row has another number of columns than the header.
    #[error("the row has not as many columns as the header")]
    Columns,
    /// A row gives both or none of OP and OPc.
    #[error("give one of op and opc")]
    Operator,
    /// No identity.
    #[error("{0} {1}; write {2}")]
    Identity(&'static str, IdentityError, &'static str),
    /// No key.
    #[error("{0} is no key; write 32 hexadecimal digits")]
    Key(&'static str),
    /// No token.
    #[error("token {0}")]
    Token(InvalidToken),
    /// No keyword in an injection file.
    #[error(
        "no [authentication username=.. aka_K=0x.. aka_OP=0x..] among the fields; \
         `migcore provision sipp-csv` writes such a file"
    )]
    NoKeyword,
    /// A parameter of the keyword is missing.
    #[error("the keyword has no {0}")]
    NoParameter(&'static str),
    /// Not UTF-8.
    #[error("it is no text")]
    NoText,
    /// Too long.
    #[error("the line is longer than {LINE_OCTETS_MAX} octets")]
    TooLong,
}

pub(super) fn read(path: &Path) -> Result<Subscribers, SubscribersError> {
    let failed = |error| SubscribersError::Read { path: path.to_owned(), error };
    let mut lines = Lines::new(BufReader::new(File::open(path).map_err(failed)?));
    let mut subscribers = Subscribers::empty();
    let mut kind = None;
    loop {
        let wrong = |line, problem| SubscribersError::Line { path: path.to_owned(), line, problem };
        let line = match lines.next_line().map_err(failed)? {
            Some(Ok(line)) => line,
            Some(Err(problem)) => return Err(wrong(lines.number, problem)),
            None => break,
        };
        let line = line.trim();
        if line.is_empty() || line.starts_with('#') {
            continue;
        }
        let outcome = match &kind {
            None => Kind::of(line).map(|known| kind = Some(known)),
            Some(Kind::Table(columns)) => add_row(&mut subscribers, columns, line),
            Some(Kind::Sipp) => add_injection(&mut subscribers, line),
        };
        outcome.map_err(|problem| match problem {
            Problem::Line(problem) => wrong(lines.number, problem),
            Problem::All(error) => error,
        })?;
    }
    if subscribers.len() == 0 {
        return Err(SubscribersError::Empty(path.to_owned()));
    }
    Ok(subscribers.finish())
}

/// What is wrong: with one line, or with all of them together.
enum Problem {
    Line(LineProblem),
    All(SubscribersError),
}

impl From<LineProblem> for Problem {
    fn from(problem: LineProblem) -> Self {
        Self::Line(problem)
    }
}

impl From<SubscribersError> for Problem {
    fn from(error: SubscribersError) -> Self {
        Self::All(error)
    }
}

/// The lines of a file. They hold keys.
struct Lines<R> {
    reader: R,
    buffer: Zeroizing<Vec<u8>>,
    number: u64,
}

impl<R: BufRead> Lines<R> {
    fn new(reader: R) -> Self {
        Self { reader, buffer: Zeroizing::new(Vec::new()), number: 0 }
    }

    fn next_line(&mut self) -> io::Result<Option<Result<&str, LineProblem>>> {
        use io::Read;

        self.buffer.clear();
        self.number += 1;
        let mut bounded = (&mut self.reader).take(LINE_OCTETS_MAX);
        let length = bounded.read_until(b'\n', &mut self.buffer)?;
        if length == 0 {
            return Ok(None);
        }
        if length as u64 == LINE_OCTETS_MAX && !self.buffer.ends_with(b"\n") {
            return Ok(Some(Err(LineProblem::TooLong)));
        }
        // Of the first line, a mark that spreadsheets write.
        let text = self.buffer.strip_prefix(b"\xef\xbb\xbf").unwrap_or(&self.buffer);
        Ok(Some(std::str::from_utf8(text).map_err(|_| LineProblem::NoText)))
    }
}

/// What a file is.
enum Kind {
    Table(Columns),
    Sipp,
}

/// Which column is where.
struct Columns {
    count: usize,
    impi: usize,
    impu: usize,
    k: usize,
    op: Option<usize>,
    opc: Option<usize>,
    mc_service_id: Option<usize>,
    token: Option<usize>,
}

impl Kind {
    /// By the first line.
    fn of(line: &str) -> Result<Self, Problem> {
        let word = line.split([',', ' ', ';']).next().unwrap_or_default();
        if ["SEQUENTIAL", "RANDOM", "USER"].contains(&word) {
            return Ok(Self::Sipp);
        }
        let names: Vec<&str> = line.split(',').map(|name| unquoted(name.trim())).collect();
        let position = |wanted: &str| names.iter().position(|name| *name == wanted);
        let needed = |wanted| position(wanted).ok_or(LineProblem::NoColumn(wanted));
        let (op, opc) = (position("op"), position("opc"));
        if op.is_none() && opc.is_none() {
            return Err(LineProblem::NoColumn("opc").into());
        }
        Ok(Self::Table(Columns {
            count: names.len(),
            impi: needed("impi")?,
            impu: needed("impu")?,
            k: needed("k")?,
            op,
            opc,
            mc_service_id: position("mc_service_id"),
            token: position("token"),
        }))
    }
}

fn add_row(to: &mut Subscribers, columns: &Columns, line: &str) -> Result<(), Problem> {
    // No value that is read may hold a comma or a quote.
    if line.split(',').count() != columns.count {
        return Err(LineProblem::Columns.into());
    }
    let cell = |at: usize| unquoted(line.split(',').nth(at).unwrap_or_default().trim());
    let impi = impi(cell(columns.impi))?;
    // Several have spaces between; the first is the default one.
    let first = cell(columns.impu).split(' ').next().unwrap_or_default();
    let impu = impu(first)?;
    let k = hexadecimal("k", cell(columns.k))?;
    let given = |at: Option<usize>| at.map(cell).filter(|text| !text.is_empty());
    let operator = match (given(columns.op), given(columns.opc)) {
        (Some(op), None) => Operator::Op(hexadecimal("op", op)?),
        (None, Some(opc)) => Operator::Opc(hexadecimal("opc", opc)?),
        _ => return Err(LineProblem::Operator.into()),
    };
    let user = match (given(columns.mc_service_id), given(columns.token)) {
        (Some(id), Some(token)) => Some(user(id, token)?),
        _ => None,
    };
    Ok(to.add(New { impi: &impi, impu: &impu, domain: impi.realm(), k, operator, user })?)
}

/// Inbound private identity; user part of the public identity; domain; keyword. Only the keyword must be there.
fn add_injection(to: &mut Subscribers, line: &str) -> Result<(), Problem> {
    let keyword = line.split(';').map(str::trim).find(|field| field.starts_with("[authentication"));
    let keyword = keyword.ok_or(LineProblem::NoKeyword)?;
    let inner = keyword.trim_start_matches("[authentication").trim_end_matches(']');
    let parameter = |name: &'static str| {
        let values = inner.split_ascii_whitespace().filter_map(|text| text.split_once('='));
        let mut values = values.filter(|(key, _)| *key == name).map(|(_, value)| value);
        values.next().ok_or(LineProblem::NoParameter(name))
    };
    let impi = impi(parameter("username")?)?;
    let mut plain = line.split(';').map(str::trim).filter(|field| !field.starts_with('['));
    let (user, domain) = (plain.nth(1).unwrap_or_else(|| impi.user()), plain.next());
    let domain = domain.filter(|domain| !domain.is_empty()).unwrap_or_else(|| impi.realm());
    let impu = impu(&format!("sip:{user}@{domain}"))?;
    let k = sipp_key("aka_K", parameter("aka_K")?)?;
    let operator = Operator::Op(sipp_key("aka_OP", parameter("aka_OP")?)?);
    let domain = impu.host();
    Ok(to.add(New { impi: &impi, impu: &impu, domain, k, operator, user: None })?)
}

fn impi(text: &str) -> Result<Impi, LineProblem> {
    Impi::parse(text)
        .map_err(|error| LineProblem::Identity("impi", error, "such as alice@a.example"))
}

fn impu(text: &str) -> Result<Impu, LineProblem> {
    Impu::parse(text)
        .map_err(|error| LineProblem::Identity("impu", error, "such as sip:alice@a.example"))
}

fn user(id: &str, token: &str) -> Result<(McServiceId, BearerToken), LineProblem> {
    let named = McServiceId::parse(id).map_err(|error| {
        LineProblem::Identity("mc_service_id", error, "such as sip:officer-alice@a.example")
    })?;
    Ok((named, BearerToken::parse(token).map_err(LineProblem::Token)?))
}

fn hexadecimal(name: &'static str, text: &str) -> Result<Secret<16>, LineProblem> {
    Secret::from_hex(text).ok_or(LineProblem::Key(name))
}

/// A key as SIPp takes it: hexadecimal digits after `0x`, else 16 characters.
fn sipp_key(name: &'static str, text: &str) -> Result<Secret<16>, LineProblem> {
    if let Some(digits) = text.strip_prefix("0x") {
        return hexadecimal(name, digits);
    }
    let octets = <[u8; 16]>::try_from(text.as_bytes());
    octets.map(Secret::new).map_err(|_| LineProblem::Key(name))
}

fn unquoted(text: &str) -> &str {
    text.strip_prefix('"').and_then(|text| text.strip_suffix('"')).unwrap_or(text)
}

#[cfg(test)]
mod tests {
    use super::{super::NameBuffers, *};
    use crate::aka::opc_from_op;

    const K: &str = "465b5ce8b199b49faa5f0a2ee238a6bc";
    const OP: &str = "cdc202d5123e20f62b6d676ac72cb318";
    const OPC: &str = "cd63cb71954a9f4e48a5994e37a02baf";

    fn read_text(name: &str, text: &str) -> Result<Subscribers, SubscribersError> {
        let path = std::env::temp_dir().join(format!("{}-load-{name}", std::process::id()));
        std::fs::write(&path, text).unwrap();
        let outcome = read(&path);
        std::fs::remove_file(&path).unwrap();
        outcome
    }

    fn named(subscribers: &Subscribers, number: u32) -> (String, String, String) {
        let mut names = NameBuffers::default();
        let domain = subscribers.name(number, &mut names).to_owned();
        (names.impi, names.impu, domain)
    }

    #[test]
    fn a_table_has_the_columns_that_provisioning_takes_in_any_order() {
        let text = format!(
            "\u{feff}k, op, impu, impi, opc, token\n\n# all of it\n\
             {K},,sip:alice@a.example tel:+33,alice@A.example,{OPC},x\r\n\
             \"{K}\",{OP},sip:bob@other.example,bob@b.example,,\n"
        );
        let subscribers = read_text("table.csv", &text).unwrap();
        assert_eq!(subscribers.len(), 2);
        let owned = |texts: [&str; 3]| texts.map(str::to_owned).into();
        assert_eq!(
            named(&subscribers, 0),
            owned(["alice@a.example", "sip:alice@a.example", "a.example"])
        );
        assert_eq!(
            named(&subscribers, 1),
            owned(["bob@b.example", "sip:bob@other.example", "b.example"])
        );
        for number in 0..2 {
            assert_eq!(subscribers.keys(number).unwrap().opc, Secret::from_hex(OPC).unwrap());
        }
    }

    #[test]
    fn an_injection_file_of_sipp_has_the_keys_in_its_keyword() {
        let text = format!(
            "SEQUENTIAL,PRINTF=3\n\
             mig-1@b.example;mig-2;b.example;[authentication username=mig-1@b.example aka_K=0x{K} aka_OP=0x{OP} aka_AMF=0x8000]\n\
             [authentication username=carol@c.example aka_K=0123456789abcdef aka_OP=0x{OP}]\n"
        );
        let subscribers = read_text("sipp.csv", &text).unwrap();
        let owned = |texts: [&str; 3]| texts.map(str::to_owned).into();
        assert_eq!(
            named(&subscribers, 0),
            owned(["mig-1@b.example", "sip:mig-2@b.example", "b.example"])
        );
        assert_eq!(
            named(&subscribers, 1),
            owned(["carol@c.example", "sip:carol@c.example", "c.example"])
        );
        assert_eq!(subscribers.keys(0).unwrap().opc, Secret::from_hex(OPC).unwrap());
        let (k, op) = (Secret::new(*b"0123456789abcdef"), Secret::from_hex(OP).unwrap());
        assert_eq!(subscribers.keys(1).unwrap().opc, opc_from_op(&k, &op));
        assert_eq!(*subscribers.op(1).unwrap(), op);
    }

    #[test]
    fn what_is_wrong_is_told_with_its_line_and_without_keys() {
        for (text, told) in [
            (format!("impi,k,opc\nx,{K},{OPC}\n"), ":1: no column impu"),
            ("impi,impu,k\n".to_owned(), ":1: no column opc"),
            ("impi,impu,k,opc\n".to_owned(), "has no subscribers"),
            (format!("impi,impu,k,opc\na,sip:a@b,{K},{OPC}\n"), ":2: impi has no realm"),
            (format!("impi,impu,k,opc\na@b,sip:a@b,{K}f,{OPC}\n"), ":2: k is no key"),
            (format!("impi,impu,k,opc\na@b,sip:a@b,{K}\n"), ":2: the row has not as many columns"),
            (format!("impi,impu,k,op,opc\na@b,sip:a@b,{K},{OP},{OPC}\n"), ":2: give one of"),
            ("SEQUENTIAL\na;b\n".to_owned(), ":2: no [authentication"),
            (
                format!("SEQUENTIAL\n[authentication username=a@b aka_K=0x{K}]\n"),
                ":2: the keyword has no aka_OP",
            ),
        ] {
            let said = read_text("bad.csv", &text).err().unwrap().to_string();
            assert!(said.contains(told), "{said}");
            assert!(!said.contains("465b5c"), "{said}");
        }
    }
}
