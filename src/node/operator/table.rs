//! Rows of text in columns, as they come.

use std::fmt::Write as _;

use serde_json::Value;

/// A table that grows page by page: what is printed stays, so a later page may need wider columns.
#[derive(Debug)]
pub(in crate::node) struct Table {
    widths: Vec<usize>,
    header: Option<Vec<String>>,
}

impl Table {
    pub(in crate::node) fn new(columns: &[&str]) -> Self {
        let header = columns.iter().map(|name| (*name).to_owned()).collect();
        Self { widths: vec![0; columns.len()], header: Some(header) }
    }

    /// The text of `rows`, before the first ones the header.
    pub(in crate::node) fn lines(&mut self, rows: Vec<Vec<String>>) -> String {
        let rows: Vec<_> = self.header.take().into_iter().chain(rows).collect();
        for row in &rows {
            for (width, cell) in self.widths.iter_mut().zip(row) {
                *width = (*width).max(cell.chars().count());
            }
        }
        let mut text = String::new();
        for row in rows {
            let mut line = String::new();
            for (width, cell) in self.widths.iter().zip(row) {
                let _ = write!(line, "{cell:width$}  ");
            }
            text.push_str(line.trim_end());
            text.push('\n');
        }
        text
    }
}

/// A JSON value in a cell.
pub(super) fn text_of(value: &Value) -> String {
    match value {
        Value::Null => "-".to_owned(),
        Value::Bool(true) => "yes".to_owned(),
        Value::Bool(false) => "no".to_owned(),
        Value::String(text) => text.clone(),
        Value::Number(_) | Value::Array(_) | Value::Object(_) => value.to_string(),
    }
}

/// The text without what would steer a terminal: some of it was written by UEs.
pub(in crate::node) fn printable(text: &str) -> String {
    let keep = |letter: char| if letter.is_control() && letter != '\n' { '?' } else { letter };
    text.chars().map(keep).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn row(cells: [&str; 2]) -> Vec<String> {
        cells.map(str::to_owned).to_vec()
    }

    #[test]
    fn columns_are_as_wide_as_what_is_in_them() {
        let mut table = Table::new(&["NAME", "N"]);
        assert_eq!(table.lines(vec![row(["alice", "1"])]), "NAME   N\nalice  1\n");
        assert_eq!(table.lines(vec![row(["bob", "2"])]), "bob    2\n", "no second header");
        assert_eq!(table.lines(vec![row(["caroline", "3"])]), "caroline  3\n");
    }

    #[test]
    fn nothing_steers_the_terminal() {
        assert_eq!(printable("sip:\u{1b}[2J\u{9b}x\r\n"), "sip:?[2J?x?\n");
    }
}
