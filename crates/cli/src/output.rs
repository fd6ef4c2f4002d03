//! Where words go: results on standard output, everything else on standard error.
//!
//! `anstream` drops colours when NO_COLOR is set or the stream is not a terminal.

use std::cell::RefCell;
use std::io::{self, BufRead as _, IsTerminal as _, Read as _, Write as _};
use std::path::Path;
use std::process::ExitCode;

use anstyle::{AnsiColor, Style};
use serde_json::{Value, json};

use crate::error::CliError;

/// Bold.
pub(crate) const STRONG: Style = Style::new().bold();
/// Good news.
pub(crate) const GOOD: Style = AnsiColor::Green.on_default().bold();
/// Bad news.
pub(crate) const BAD: Style = AnsiColor::Red.on_default().bold();
/// What can be skipped when reading.
pub(crate) const DIM: Style = Style::new().dimmed();

/// How to talk to whoever started the program.
pub(crate) struct Ui {
    json: bool,
    /// Why the result could not be printed.
    failure: RefCell<Option<io::Error>>,
}

impl Ui {
    pub(crate) fn new(json: bool) -> Self {
        Self { json, failure: RefCell::new(None) }
    }

    /// Whether the result is wanted as JSON.
    pub(crate) fn is_json(&self) -> bool {
        self.json
    }

    /// Prints the result: `value` with `--json`, else the lines of `text`.
    pub(crate) fn result(&self, value: &Value, text: &str) {
        if self.json {
            self.line(&serde_json::to_string_pretty(value).unwrap_or_default());
        } else {
            self.line(text.trim_end_matches('\n'));
        }
    }

    /// Says that a server is ready: with `--json` in one line, so that whoever started it can wait
    /// for that line.
    pub(crate) fn ready(&self, value: &Value, text: &str) {
        if self.json {
            self.line(&value.to_string());
        } else {
            self.line(text.trim_end_matches('\n'));
        }
    }

    /// One line of a story on standard output, as it happens.
    pub(crate) fn line(&self, text: &str) {
        let mut out = anstream::stdout();
        self.printed(writeln!(out, "{text}").and_then(|()| out.flush()));
    }

    /// Bytes for another program: PEM, completions.
    pub(crate) fn raw(&self, bytes: &[u8]) {
        let mut out = io::stdout();
        self.printed(out.write_all(bytes).and_then(|()| out.flush()));
    }

    /// The exit code, unless the result did not get out: a full disk must not look like success.
    ///
    /// A closed pipe is the reader's way to say that it has seen enough, and no failure.
    pub(crate) fn finish(&self, code: ExitCode) -> ExitCode {
        let Some(error) = self.failure.take() else { return code };
        CliError::environment(format!("cannot write to standard output: {error}"))
            .hint("free some space, or choose another place for the output")
            .report_to_stderr(self)
    }

    fn printed(&self, result: io::Result<()>) {
        if let Err(error) = result
            && error.kind() != io::ErrorKind::BrokenPipe
        {
            self.failure.borrow_mut().get_or_insert(error);
        }
    }

    /// A remark on standard error.
    #[expect(clippy::unused_self, reason = "all output goes through the Ui")]
    pub(crate) fn note(&self, text: &str) {
        let _ = writeln!(anstream::stderr(), "{text}");
    }

    /// Shows what is about to be done, and asks on a terminal whether it shall be, unless that is
    /// said already. Without a terminal nobody is asked.
    pub(crate) fn confirm(&self, shown: &str, question: &str, yes: bool) -> Result<(), CliError> {
        let asks = !yes && self.can_ask();
        if asks || !self.json {
            self.note(shown.trim_end());
        }
        if !asks {
            return Ok(());
        }
        let mut err = anstream::stderr();
        let _ = write!(err, "{question} [y/N] ").and_then(|()| err.flush());
        let mut answer = String::new();
        let read = io::stdin().lock().take(100).read_line(&mut answer);
        if read.is_ok() && matches!(answer.trim(), "y" | "Y" | "yes") {
            return Ok(());
        }
        Err(CliError::failed("not confirmed: nothing was signed")
            .hint("answer y, or give --yes to sign without being asked"))
    }

    /// Whether somebody can be asked something.
    #[expect(clippy::unused_self, reason = "all input goes through the Ui")]
    pub(crate) fn can_ask(&self) -> bool {
        std::io::stdin().is_terminal() && std::io::stderr().is_terminal()
    }
}

/// Lines of `label  value` with the values in one column.
pub(crate) fn fields(rows: &[(&str, String)]) -> String {
    let width = rows.iter().map(|(label, _)| label.len()).max().unwrap_or(0);
    rows.iter().map(|(label, value)| format!("{DIM}{label:width$}{DIM:#}  {value}\n")).collect()
}

/// A line broken at spaces into lines of at most `width` characters, where words allow it.
/// Continuations are set in, so that the next line is seen to begin; styles take no room.
pub(crate) fn wrap(line: &str, width: usize) -> Vec<String> {
    let mut lines = vec![String::new()];
    for word in line.split(' ') {
        let Some(last) = lines.last_mut() else { break };
        if last.is_empty() {
            last.push_str(word);
        } else if shown_width(last) + 1 + shown_width(word) <= width {
            last.push(' ');
            last.push_str(word);
        } else {
            lines.push(format!("  {word}"));
        }
    }
    lines
}

/// How many characters are seen: an escape sequence, up to its `m`, is not.
fn shown_width(text: &str) -> usize {
    let mut escaped = false;
    text.chars()
        .filter(|&c| {
            let is_shown = !escaped && c != '\u{1b}';
            escaped = if escaped { c != 'm' } else { c == '\u{1b}' };
            is_shown
        })
        .count()
}

/// A path for `--json`, whose strings are Unicode: undecodable bytes are replaced.
pub(crate) fn path(path: &Path) -> Value {
    json!(path.to_string_lossy())
}

/// Text of others in one line: a name with a newline or an escape sequence in it must not be able
/// to forge what a terminal shows.
pub(crate) fn plain(text: &str) -> String {
    text.chars()
        .map(|c| match c {
            c if is_hidden(c) => c.escape_default().to_string(),
            c => c.to_string(),
        })
        .collect()
}

/// Control characters, and those that turn the direction of text around.
fn is_hidden(c: char) -> bool {
    c.is_control()
        || matches!(c, '\u{200e}'..='\u{200f}' | '\u{2028}'..='\u{202e}' | '\u{2066}'..='\u{2069}')
}

/// Bytes for people: `1.5 MiB`.
pub(crate) fn size(bytes: u64) -> String {
    const UNITS: [&str; 5] = ["B", "KiB", "MiB", "GiB", "TiB"];
    let mut unit = 0;
    let mut scaled = bytes;
    while scaled >= 10 * 1024 && unit + 1 < UNITS.len() {
        scaled /= 1024;
        unit += 1;
    }
    if unit + 1 < UNITS.len() && scaled >= 1024 {
        // One decimal without floating point: tenths of the next unit.
        let tenths = scaled * 10 / 1024;
        return format!("{}.{} {}", tenths / 10, tenths % 10, UNITS[unit + 1]);
    }
    format!("{scaled} {}", UNITS[unit])
}

/// `1 file`, `2 files`.
pub(crate) fn count(number: usize, noun: &str) -> String {
    format!("{number} {noun}{}", if number == 1 { "" } else { "s" })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_cannot_forge_lines() {
        assert_eq!(plain("a\u{1b}[2J\nverified"), "a\\u{1b}[2J\\nverified");
        assert_eq!(plain("\u{202e}x \u{9b}31m"), "\\u{202e}x \\u{9b}31m");
        assert_eq!(plain("naïve 模型"), "naïve 模型");
    }

    #[test]
    fn long_lines_are_broken_at_spaces() {
        assert_eq!(wrap("aa bb cc", 5), ["aa bb", "  cc"]);
        assert_eq!(wrap("aaaaaaaa b", 5), ["aaaaaaaa", "  b"]);
        assert_eq!(wrap("", 5), [""]);
        assert_eq!(wrap("\u{1b}[2maa\u{1b}[0m bb cc", 5), ["\u{1b}[2maa\u{1b}[0m bb", "  cc"]);
    }

    #[test]
    fn sizes_read_well() {
        for (bytes, text) in [
            (0, "0 B"),
            (1023, "1023 B"),
            (1536, "1.5 KiB"),
            (10 * 1024, "10 KiB"),
            (1_234_567, "1.1 MiB"),
            (5 << 40, "5.0 TiB"),
        ] {
            assert_eq!(size(bytes), text);
        }
    }
}
