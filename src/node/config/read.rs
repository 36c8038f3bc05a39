//! Reads a TOML document so that every mistake is found, with its line and what to write instead.
//!
//! A derived deserializer stops at the first mistake and cannot say how to mend it; this one goes
//! on, and knows the keys it was asked for when it meets one it was not.

use std::{cell::RefCell, fmt, ops::Range, time::Duration};

use toml::{
    Spanned,
    de::{DeTable, DeValue},
};

/// How different an unknown key may be from a known one to be taken for it: Jaro-Winkler, 0 to 1.
const SIMILARITY_MIN: f64 = 0.75;

/// Something wrong in a configuration, and how to mend it.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Problem {
    /// The line, from 1.
    pub line: usize,
    /// The key, with its sections: `sip.listen`.
    pub key: String,
    /// What is wrong.
    pub what: String,
    /// What to do.
    pub fix: String,
}

impl fmt::Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { line, key, what, fix } = self;
        if key.is_empty() {
            write!(f, "line {line}: {what}; {fix}")
        } else {
            write!(f, "line {line}: {key} {what}; {fix}")
        }
    }
}

/// What a reader of one value has against it.
#[derive(Debug)]
pub(in crate::node) struct Wrong {
    pub(in crate::node) what: String,
    pub(in crate::node) fix: String,
}

impl Wrong {
    pub(in crate::node) fn new(what: impl Into<String>, fix: impl Into<String>) -> Self {
        Self { what: what.into(), fix: fix.into() }
    }
}

/// The text, and what was found wrong in it so far.
pub(in crate::node) struct Document<'a> {
    text: &'a str,
    problems: RefCell<Vec<Problem>>,
}

impl<'a> Document<'a> {
    pub(in crate::node) const fn new(text: &'a str) -> Self {
        Self { text, problems: RefCell::new(Vec::new()) }
    }

    /// The problems found, by line.
    pub(in crate::node) fn into_problems(self) -> Vec<Problem> {
        let mut problems = self.problems.into_inner();
        problems.sort_by_key(|problem| problem.line);
        problems
    }

    pub(in crate::node) fn report(&self, line: usize, key: impl Into<String>, wrong: Wrong) {
        let Wrong { what, fix } = wrong;
        self.problems.borrow_mut().push(Problem { line, key: key.into(), what, fix });
    }

    /// The line that `offset` is in, from 1.
    pub(in crate::node) fn line_at(&self, offset: usize) -> usize {
        let before = self.text.bytes().take(offset);
        1 + before.filter(|octet| *octet == b'\n').count()
    }

    fn line_of(&self, span: &Range<usize>) -> usize {
        self.line_at(span.start)
    }
}

/// One table of the document, and the keys that were asked of it.
pub(in crate::node) struct Section<'a> {
    document: &'a Document<'a>,
    path: String,
    line: usize,
    table: Option<&'a DeTable<'a>>,
    known: Vec<&'static str>,
}

impl<'a> Section<'a> {
    /// The whole document.
    pub(in crate::node) const fn root(document: &'a Document<'a>, table: &'a DeTable<'a>) -> Self {
        Self { document, path: String::new(), line: 1, table: Some(table), known: Vec::new() }
    }

    /// Whether the document has this section at all.
    pub(in crate::node) const fn is_present(&self) -> bool {
        self.table.is_some()
    }

    /// Whether the section has this key.
    pub(in crate::node) fn has(&self, key: &str) -> bool {
        self.find(key).is_some()
    }

    /// Reports that this section as a whole is wrong.
    pub(in crate::node) fn report(&self, key: &str, wrong: Wrong) {
        let line =
            self.find(key).map_or(self.line, |(name, _)| self.document.line_of(&name.span()));
        self.document.report(line, self.key(key), wrong);
    }

    /// Reads a key that may be left out.
    pub(in crate::node) fn optional<T>(
        &mut self,
        key: &'static str,
        read: impl FnOnce(&DeValue<'_>) -> Result<T, Wrong>,
    ) -> Option<T> {
        self.known.push(key);
        let (_, value) = self.find(key)?;
        match read(value.get_ref()) {
            Ok(value) => Some(value),
            Err(wrong) => {
                let line = self.document.line_of(&value.span());
                self.document.report(line, self.key(key), wrong);
                None
            }
        }
    }

    /// Reads a key that must be there; `example` says what to write.
    pub(in crate::node) fn required<T>(
        &mut self,
        key: &'static str,
        example: &str,
        read: impl FnOnce(&DeValue<'_>) -> Result<T, Wrong>,
    ) -> Option<T> {
        if self.find(key).is_none() {
            let wrong = Wrong::new("is missing", format!("write {key} = {example}"));
            self.document.report(self.line, self.key(key), wrong);
        }
        self.optional(key, read)
    }

    /// Reads a table under `key`; one that is absent reads as empty.
    pub(in crate::node) fn section(&mut self, key: &'static str) -> Self {
        self.known.push(key);
        self.part(key)
    }

    /// The table under `key`, for somebody who has more to say about what is in it.
    pub(in crate::node) fn part(&self, key: &str) -> Self {
        let found = self.find(key);
        let line = found.map_or(self.line, |(name, _)| self.document.line_of(&name.span()));
        let table = found.and_then(|(_, value)| {
            let table = value.get_ref().as_table();
            if table.is_none() {
                let wrong = Wrong::new("is not a section", format!("write [{key}] and its keys"));
                self.document.report(line, self.key(key), wrong);
            }
            table
        });
        Self { document: self.document, path: self.key(key), line, table, known: Vec::new() }
    }

    /// Reads the array of tables under `key`.
    pub(in crate::node) fn sections(&mut self, key: &'static str) -> Vec<Self> {
        self.known.push(key);
        let Some((name, value)) = self.find(key) else { return Vec::new() };
        let path = self.key(key);
        let not_tables = || Wrong::new("is not a list of sections", format!("write [[{path}]]"));
        let Some(array) = value.get_ref().as_array() else {
            self.document.report(self.document.line_of(&name.span()), &*path, not_tables());
            return Vec::new();
        };
        let mut sections = Vec::new();
        for element in array {
            let line = self.document.line_of(&element.span());
            match element.get_ref().as_table() {
                Some(table) => sections.push(Self {
                    document: self.document,
                    path: path.clone(),
                    line,
                    table: Some(table),
                    known: Vec::new(),
                }),
                None => self.document.report(line, &*path, not_tables()),
            }
        }
        sections
    }

    /// Reports every key that nobody asked for.
    pub(in crate::node) fn finish(self) {
        for (name, _) in self.table.into_iter().flatten() {
            let key: &str = name.get_ref();
            if self.known.contains(&key) {
                continue;
            }
            let line = self.document.line_of(&name.span());
            let fix = match nearest(key, &self.known) {
                Some(near) => format!("did you mean {near}?"),
                None => format!("remove it; known here: {}", self.known.join(", ")),
            };
            self.document.report(line, self.key(key), Wrong::new("is not a known key", fix));
        }
    }

    fn find(
        &self,
        key: &str,
    ) -> Option<(&'a Spanned<std::borrow::Cow<'a, str>>, &'a Spanned<DeValue<'a>>)> {
        self.table?.iter().find(|(name, _)| name.get_ref() == key)
    }

    fn key(&self, key: &str) -> String {
        if self.path.is_empty() { key.to_owned() } else { format!("{}.{key}", self.path) }
    }
}

/// The known key that `key` was probably meant to be.
pub(in crate::node) fn nearest<'k>(key: &str, known: &[&'k str]) -> Option<&'k str> {
    let similarity = |candidate: &str| {
        strsim::jaro_winkler(&key.to_ascii_lowercase(), &candidate.to_ascii_lowercase())
    };
    let best = known.iter().max_by(|a, b| similarity(a).total_cmp(&similarity(b)))?;
    (similarity(best) >= SIMILARITY_MIN).then_some(best)
}

/// Reads a string.
pub(in crate::node) fn text(value: &DeValue<'_>) -> Result<String, Wrong> {
    value.as_str().map(str::to_owned).ok_or_else(|| {
        Wrong::new(format!("is a {}, not a string", value.type_str()), "put it in quotes")
    })
}

/// Reads a string that `parse` makes sense of.
pub(in crate::node) fn parsed<T, E: fmt::Display>(
    value: &DeValue<'_>,
    parse: impl FnOnce(&str) -> Result<T, E>,
    example: &str,
) -> Result<T, Wrong> {
    let given = text(value)?;
    parse(&given).map_err(|error| {
        Wrong::new(format!("= {given:?}: {error}"), format!("write for example {example:?}"))
    })
}

/// Reads a string that `parse` makes sense of and that no error may show.
pub(in crate::node) fn secret<T, E: fmt::Display>(
    value: &DeValue<'_>,
    parse: impl FnOnce(&str) -> Result<T, E>,
    fix: &str,
) -> Result<T, Wrong> {
    let given = zeroize::Zeroizing::new(text(value)?);
    parse(&given).map_err(|error| Wrong::new(error.to_string(), fix))
}

/// Reads one of a few words.
pub(in crate::node) fn word<T: Copy>(value: &DeValue<'_>, words: &[(&str, T)]) -> Result<T, Wrong> {
    let given = text(value)?;
    if let Some((_, meant)) = words.iter().find(|(word, _)| *word == given) {
        return Ok(*meant);
    }
    let known: Vec<&str> = words.iter().map(|(word, _)| *word).collect();
    let fix = match nearest(&given, &known) {
        Some(near) => format!("did you mean {near:?}?"),
        None => format!("write one of {}", known.join(", ")),
    };
    Err(Wrong::new(format!("= {given:?} is unknown"), fix))
}

/// Reads a list, or one value in place of a list of one.
pub(in crate::node) fn list<T>(
    value: &DeValue<'_>,
    read: impl Fn(&DeValue<'_>) -> Result<T, Wrong>,
) -> Result<Vec<T>, Wrong> {
    match value.as_array() {
        Some(array) => array.iter().map(|element| read(element.get_ref())).collect(),
        None => read(value).map(|one| vec![one]),
    }
}

/// Reads `true` or `false`.
pub(in crate::node) fn flag(value: &DeValue<'_>) -> Result<bool, Wrong> {
    value.as_bool().ok_or_else(|| {
        Wrong::new(format!("is a {}", value.type_str()), "write true or false, without quotes")
    })
}

/// Reads a whole number within `range`.
pub(in crate::node) fn number<T>(
    value: &DeValue<'_>,
    range: std::ops::RangeInclusive<T>,
) -> Result<T, Wrong>
where
    T: TryFrom<u64> + PartialOrd + fmt::Display,
{
    let fix = || format!("write a whole number from {} to {}", range.start(), range.end());
    let Some(integer) = value.as_integer() else {
        return Err(Wrong::new(format!("is a {}, not a number", value.type_str()), fix()));
    };
    u64::from_str_radix(integer.as_str(), integer.radix())
        .ok()
        .and_then(|number| T::try_from(number).ok())
        .filter(|number| range.contains(number))
        .ok_or_else(|| Wrong::new(format!("= {integer} is out of range"), fix()))
}

/// Reads a length of time such as `"500ms"`, `"4s"`, `"10min"`, `"2h"` or `"30d"`, within `range`.
pub(in crate::node) fn duration(
    value: &DeValue<'_>,
    range: std::ops::RangeInclusive<Duration>,
) -> Result<Duration, Wrong> {
    let within = format!("from {:?} to {:?}", range.start(), range.end());
    let fix = || format!("write a number and ms, s, min, h or d, such as \"4s\"; {within}");
    let Some(given) = value.as_str() else {
        return Err(Wrong::new(format!("is a {}, not a duration", value.type_str()), fix()));
    };
    let digits = given.bytes().take_while(u8::is_ascii_digit).count();
    let (number, unit) = given.split_at(digits);
    let unit = match unit.trim() {
        "ms" => 1,
        "s" => 1_000,
        "min" => 60_000,
        "h" => 3_600_000,
        "d" => 86_400_000,
        _ => 0,
    };
    let millis = number.parse::<u64>().ok().filter(|_| unit > 0);
    millis
        .and_then(|number| number.checked_mul(unit))
        .map(Duration::from_millis)
        .filter(|duration| range.contains(duration))
        .ok_or_else(|| Wrong::new(format!("= {given:?} is no such duration"), fix()))
}
