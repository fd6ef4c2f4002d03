//! An explanation: for people in sections of 80 columns, for programs as JSON.

use std::fmt::Write as _;

use serde_json::{Map, Value, json};

use super::place::Problems;
use crate::output::{BAD, DIM, STRONG, plain};

/// Columns of a line, unless one word is longer.
const WIDTH: usize = 80;
/// Characters of one value that are shown; `--json` has them all.
const MAX_SHOWN: usize = 400;
/// Items of one list that are shown.
const MAX_LINES: usize = 16;

/// What one document says.
#[derive(Debug)]
pub(super) struct Report {
    kind: &'static str,
    title: String,
    sections: Vec<Section>,
    pub(super) problems: Vec<String>,
}

/// Something of which a document has one, or several.
#[derive(Debug)]
pub(super) struct Section {
    name: &'static str,
    title: String,
    is_item: bool,
    rows: Vec<Row>,
}

#[derive(Debug)]
struct Row {
    key: &'static str,
    label: &'static str,
    lines: Vec<String>,
    value: Value,
}

impl Report {
    pub(super) fn new(
        kind: &'static str,
        title: impl Into<String>,
        sections: Vec<Section>,
    ) -> Self {
        Self { kind, title: title.into(), sections, problems: Vec::new() }
    }

    /// Of something that cannot be explained at all.
    pub(super) fn unreadable(title: &str, problem: &str) -> Self {
        let problems = vec![problem.to_owned()];
        Self { kind: "unknown", title: title.to_owned(), sections: Vec::new(), problems }
    }

    pub(super) fn with(self, problems: Problems) -> Self {
        Self { problems: problems.into_list(), ..self }
    }

    pub(super) fn title(&self) -> String {
        shown(&self.title)
    }

    pub(super) fn to_text(&self) -> String {
        let mut text: String = self.sections.iter().map(Section::to_text).collect();
        if !self.problems.is_empty() {
            // Writing to a String cannot fail.
            let _ = writeln!(text, "\n{BAD}Problems{BAD:#}");
            for line in self.problems.iter().flat_map(|problem| wrap(&shown(problem), WIDTH - 2)) {
                let _ = writeln!(text, "  {line}");
            }
        }
        text
    }

    /// Puts the explanation into an object: members of the same name as the sections, and lists of
    /// those that a document has several of.
    pub(super) fn add_to(&self, value: &mut Value) {
        value["kind"] = json!(self.kind);
        for section in &self.sections {
            let object = section.to_value();
            match value.get_mut(section.name).and_then(Value::as_array_mut) {
                Some(list) => list.push(object),
                None if section.is_item => value[section.name] = json!([object]),
                None => value[section.name] = object,
            }
        }
        value["problems"] = json!(self.problems);
    }
}

impl Section {
    /// One of which there is one.
    pub(super) fn new(name: &'static str, title: impl Into<String>) -> Self {
        Self { name, title: title.into(), is_item: false, rows: Vec::new() }
    }

    /// The `at`th (from 0) of `count` of a kind.
    pub(super) fn item(name: &'static str, title: &str, at: usize, count: usize) -> Self {
        let title = match count {
            1 => title.to_owned(),
            _ => format!("{title} {} of {count}", at + 1),
        };
        Self { name, title, is_item: true, rows: Vec::new() }
    }

    /// The same text for people and programs.
    pub(super) fn text(&mut self, key: &'static str, label: &'static str, text: impl Into<String>) {
        let text = text.into();
        self.lines(key, label, vec![text.clone()], json!(text));
    }

    /// A text that may be missing.
    pub(super) fn maybe(&mut self, key: &'static str, label: &'static str, text: Option<&str>) {
        if let Some(text) = text {
            self.text(key, label, text);
        }
    }

    /// One text for people, and a value for programs.
    pub(super) fn row(
        &mut self,
        key: &'static str,
        label: &'static str,
        text: impl Into<String>,
        value: Value,
    ) {
        self.lines(key, label, vec![text.into()], value);
    }

    /// For programs only.
    pub(super) fn hidden(&mut self, key: &'static str, value: Value) {
        self.lines(key, "", Vec::new(), value);
    }

    /// Several lines for people; none at all if there are none.
    pub(super) fn lines(
        &mut self,
        key: &'static str,
        label: &'static str,
        lines: Vec<String>,
        value: Value,
    ) {
        self.rows.push(Row { key, label, lines, value });
    }

    fn to_text(&self) -> String {
        let mut text = format!("\n{STRONG}{}{STRONG:#}\n", shown(&self.title));
        let shown_rows = || self.rows.iter().filter(|row| !row.lines.is_empty());
        let width = shown_rows().map(|row| row.label.len()).max().unwrap_or(0);
        for row in shown_rows() {
            let mut label = row.label;
            for line in row.shown_lines(WIDTH.saturating_sub(width + 4)) {
                // Writing to a String cannot fail.
                let _ = writeln!(text, "  {DIM}{label:width$}{DIM:#}  {line}");
                label = "";
            }
        }
        text
    }

    fn to_value(&self) -> Value {
        let members = self.rows.iter().map(|row| (row.key.to_owned(), row.value.clone()));
        Value::Object(members.collect::<Map<_, _>>())
    }
}

impl Row {
    fn shown_lines(&self, width: usize) -> Vec<String> {
        let mut lines: Vec<String> =
            self.lines.iter().take(MAX_LINES).flat_map(|line| wrap(&shown(line), width)).collect();
        if let Some(more) = self.lines.len().checked_sub(MAX_LINES).filter(|more| *more > 0) {
            lines.push(format!("… and {more} more"));
        }
        lines
    }
}

/// Without anything that a terminal would obey, and not endless.
fn shown(text: &str) -> String {
    let cut: String = text.chars().take(MAX_SHOWN).collect();
    let more = text.chars().count() - cut.chars().count();
    match more {
        0 => plain(&cut),
        more => format!("{}… ({more} more characters)", plain(&cut)),
    }
}

/// Lines of at most `width` characters, broken at spaces; a longer word is never broken, so that it can
/// be copied.
fn wrap(text: &str, width: usize) -> Vec<String> {
    let length = |text: &str| text.chars().count();
    let mut lines: Vec<String> = Vec::new();
    for word in text.split(' ') {
        match lines.last_mut() {
            // What has to be longer than a line can stand beside what says what it is.
            Some(line) if length(line) + 1 + length(word) <= width || length(word) > width => {
                line.push(' ');
                line.push_str(word);
            }
            _ => lines.push(word.to_owned()),
        }
    }
    lines
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn long_lines_are_broken_at_spaces() {
        assert_eq!(wrap("one two three", 7), ["one two", "three"]);
        assert_eq!(wrap("a verylongword b", 4), ["a verylongword", "b"]);
        assert_eq!(wrap("", 4), [""]);
    }

    #[test]
    fn nothing_is_endless_and_nothing_is_obeyed() {
        let mut section = Section::new("x", "X");
        section.text("a", "a", "y".repeat(10_000) + "\u{1b}[2J");
        section.text("b", "b", "\u{1b}[2J\nforged");
        section.lines("c", "c", vec!["z".to_owned(); 100], Value::Null);
        let text = section.to_text();
        assert!(text.len() < 2000, "{text}");
        assert!(text.contains("(9604 more characters)") && text.contains("… and 84 more"));
        assert!(text.contains("\\u{1b}[2J\\nforged") && !text.contains("\n  forged"), "{text}");
    }
}
