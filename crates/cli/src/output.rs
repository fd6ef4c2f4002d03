//! Where words go: results on standard output, everything else on standard error.
//!
//! `anstream` drops colours when NO_COLOR is set or the stream is not a terminal.

use std::io::{IsTerminal as _, Write as _};

use anstyle::{AnsiColor, Style};
use serde_json::Value;

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
}

impl Ui {
    pub(crate) fn new(json: bool) -> Self {
        Self { json }
    }

    /// Whether the result is wanted as JSON.
    pub(crate) fn is_json(&self) -> bool {
        self.json
    }

    /// Prints the result: `value` with `--json`, else the lines of `text`.
    ///
    /// A closed pipe is the reader's way to say that it has seen enough, so errors are dropped.
    pub(crate) fn result(&self, value: &Value, text: &str) {
        let mut out = anstream::stdout();
        let _ = if self.json {
            writeln!(out, "{}", serde_json::to_string_pretty(value).unwrap_or_default())
        } else {
            writeln!(out, "{}", text.trim_end_matches('\n'))
        };
    }

    /// Says that a server is ready: with `--json` in one line, so that whoever started it can wait
    /// for that line.
    pub(crate) fn ready(&self, value: &Value, text: &str) {
        let mut out = anstream::stdout();
        let _ = if self.json {
            writeln!(out, "{value}")
        } else {
            writeln!(out, "{}", text.trim_end_matches('\n'))
        };
        let _ = out.flush();
    }

    /// One line of a story on standard output, as it happens.
    #[expect(clippy::unused_self, reason = "all output goes through the Ui")]
    pub(crate) fn line(&self, text: &str) {
        let _ = writeln!(anstream::stdout(), "{text}");
    }

    /// Bytes for another program: PEM, completions.
    #[expect(clippy::unused_self, reason = "all output goes through the Ui")]
    pub(crate) fn raw(&self, bytes: &[u8]) {
        let _ = std::io::stdout().write_all(bytes);
    }

    /// A remark on standard error.
    #[expect(clippy::unused_self, reason = "all output goes through the Ui")]
    pub(crate) fn note(&self, text: &str) {
        let _ = writeln!(anstream::stderr(), "{text}");
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
