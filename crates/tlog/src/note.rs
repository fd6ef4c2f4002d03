//! Signed notes: a text, a blank line, signature lines (C2SP signed-note).
//!
//! Parsing trusts nothing: it says which signatures a note carries, not whether they hold.
//! [`crate::checkpoint::verify_checkpoint`] and [`crate::cosignature`] do that.

use std::fmt;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;

/// The longest note accepted, in bytes.
pub const MAX_NOTE_LEN: usize = 1 << 20;

/// The most signatures accepted on one note.
pub const MAX_SIGNATURES: usize = 64;

/// A parsed note. Writing it gives back the bytes it was parsed from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SignedNote {
    text: String,
    signatures: Vec<NoteSignature>,
}

/// One signature line: `— <name> base64(key id || signature)`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NoteSignature {
    name: String,
    key_id: [u8; 4],
    signature: Vec<u8>,
}

/// Why bytes are not a signed note.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum NoteError {
    /// Longer than [`MAX_NOTE_LEN`].
    #[error("the note has {len} bytes; at most {MAX_NOTE_LEN} are accepted")]
    TooLong {
        /// Its length in bytes.
        len: usize,
    },
    /// Not UTF-8.
    #[error("the note is not UTF-8")]
    NotUtf8,
    /// A character below U+0020 other than the newline.
    #[error("the note has a control character at byte {at}")]
    ControlCharacter {
        /// Its offset in bytes.
        at: usize,
    },
    /// The text is empty or does not end its last line.
    #[error("the text of the note must end with a newline")]
    UnfinishedText,
    /// No blank line separates a text from at least one signature line.
    #[error("the note has no signature lines after a blank line")]
    NoSignatures,
    /// More signatures than [`MAX_SIGNATURES`].
    #[error("the note has more than {MAX_SIGNATURES} signatures")]
    TooManySignatures,
    /// A line after the blank line is not a signature line, or not in its one right spelling.
    #[error("signature line {line} is malformed")]
    MalformedSignature {
        /// Number of the line among the signature lines, from 1.
        line: usize,
    },
}

impl SignedNote {
    /// Puts signatures, at least one, under a text, which must end with a newline.
    pub fn new(text: String, signatures: Vec<NoteSignature>) -> Result<Self, NoteError> {
        check_text(&text)?;
        if signatures.is_empty() {
            return Err(NoteError::NoSignatures);
        }
        if signatures.len() > MAX_SIGNATURES {
            return Err(NoteError::TooManySignatures);
        }
        let note = Self { text, signatures };
        check_len(note.to_string().len())?;
        Ok(note)
    }

    /// Parses a note; the size limit comes before everything else.
    pub fn parse(bytes: &[u8]) -> Result<Self, NoteError> {
        check_len(bytes.len())?;
        let note = std::str::from_utf8(bytes).map_err(|_| NoteError::NotUtf8)?;
        // The last blank line, since the text may have blank lines of its own. The first newline
        // of the pair still belongs to the text.
        let (text, lines) = note
            .rfind("\n\n")
            .and_then(|at| Some((note.get(..=at)?, note.get(at + 2..)?)))
            .ok_or(NoteError::NoSignatures)?;
        check_text(text)?;
        Ok(Self { text: text.to_owned(), signatures: parse_signatures(lines)? })
    }

    /// The signed text, with its final newline. These are the bytes signatures are made over.
    pub fn text(&self) -> &str {
        &self.text
    }

    /// All signatures, known and unknown, in their order on the note.
    pub fn signatures(&self) -> &[NoteSignature] {
        &self.signatures
    }

    /// The signatures that claim to be of the key with this name and id.
    pub fn signatures_by<'a>(
        &'a self,
        name: &'a str,
        key_id: [u8; 4],
    ) -> impl Iterator<Item = &'a NoteSignature> {
        self.signatures.iter().filter(move |s| s.name == name && s.key_id == key_id)
    }
}

impl fmt::Display for SignedNote {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "{}", self.text)?;
        self.signatures.iter().try_for_each(|signature| writeln!(f, "{signature}"))
    }
}

impl NoteSignature {
    /// A signature line; `None` if the name is not a key name or the signature is empty.
    pub fn new(name: &str, key_id: [u8; 4], signature: Vec<u8>) -> Option<Self> {
        (is_key_name(name) && !signature.is_empty()).then(|| Self {
            name: name.to_owned(),
            key_id,
            signature,
        })
    }

    /// Name of the key.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// The first four bytes of the key's hash: a hint which key it is, not a proof.
    pub fn key_id(&self) -> [u8; 4] {
        self.key_id
    }

    /// The signature bytes, whose form depends on the kind of key.
    pub fn signature(&self) -> &[u8] {
        &self.signature
    }

    fn parse(line: &str) -> Option<Self> {
        let (name, blob) = line.strip_prefix("— ")?.split_once(' ')?;
        let blob_bytes = STANDARD.decode(blob).ok()?;
        let (key_id, signature) = blob_bytes.split_first_chunk::<4>()?;
        let parsed = Self::new(name, *key_id, signature.to_vec())?;
        (parsed.to_string() == line).then_some(parsed)
    }
}

impl fmt::Display for NoteSignature {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let blob = [self.key_id.as_slice(), &self.signature].concat();
        write!(f, "— {} {}", self.name, STANDARD.encode(blob))
    }
}

/// Whether a text can name a key: not empty, no white space, no `+`, no control character.
pub fn is_key_name(name: &str) -> bool {
    !name.is_empty() && !name.chars().any(|c| c == '+' || c.is_whitespace() || c.is_control())
}

fn check_len(len: usize) -> Result<(), NoteError> {
    if len > MAX_NOTE_LEN { Err(NoteError::TooLong { len }) } else { Ok(()) }
}

fn check_text(text: &str) -> Result<(), NoteError> {
    if let Some(at) = text.bytes().position(|b| b < 0x20 && b != b'\n') {
        return Err(NoteError::ControlCharacter { at });
    }
    if text.ends_with('\n') { Ok(()) } else { Err(NoteError::UnfinishedText) }
}

fn parse_signatures(lines: &str) -> Result<Vec<NoteSignature>, NoteError> {
    if lines.is_empty() {
        return Err(NoteError::NoSignatures);
    }
    let mut signatures = Vec::new();
    for (number, line) in lines.split_inclusive('\n').enumerate() {
        if number == MAX_SIGNATURES {
            return Err(NoteError::TooManySignatures);
        }
        let signature = line.strip_suffix('\n').and_then(NoteSignature::parse);
        signatures.push(signature.ok_or(NoteError::MalformedSignature { line: number + 1 })?);
    }
    Ok(signatures)
}

#[cfg(test)]
mod tests {
    use super::*;

    const LINE: &str = "— a.example AAAAAAE=\n";

    fn refused(note: &str) -> NoteError {
        SignedNote::parse(note.as_bytes()).unwrap_err()
    }

    #[test]
    fn the_last_blank_line_ends_the_text() {
        for text in ["a\n", "a\n\nb\n", "a\n\n\n", "\n", "— a.example AAAAAAE=\n"] {
            let bytes = format!("{text}\n{LINE}{LINE}");
            let note = SignedNote::parse(bytes.as_bytes()).unwrap();
            assert_eq!(note.text(), text);
            assert_eq!(note.signatures().len(), 2);
            assert_eq!(note.to_string(), bytes);
        }
    }

    #[test]
    fn malformed_notes_are_refused() {
        for note in ["", "\n", "a", "a\n", "a\n\n", "\n\n", "a\n\n\n"] {
            assert_eq!(refused(note), NoteError::NoSignatures, "{note:?}");
        }
        assert_eq!(refused(&format!("a\tb\n\n{LINE}")), NoteError::ControlCharacter { at: 1 });
        assert_eq!(refused(&format!("a\r\n\n{LINE}")), NoteError::ControlCharacter { at: 1 });
        assert_eq!(SignedNote::parse(b"\xff\n\n").unwrap_err(), NoteError::NotUtf8);
        let malformed = NoteError::MalformedSignature { line: 2 };
        for line in [
            "— a.example AAAAAAE=",
            "- a.example AAAAAAE=\n",
            "—  AAAAAAE=\n",
            "— a.example\n",
            "— a.example AAAAAA==\n",
            "— a.example AAAAAAE\n",
            "— a.example AAAAAAF=\n",
            "— a+b AAAAAAE=\n",
            "— a\u{a0}b AAAAAAE=\n",
            "— a.example  AAAAAAE=\n",
            "— a.example AAAAAAE= \n",
            "— a.example AAAAAAE=\r\n",
            "x\n",
        ] {
            assert_eq!(refused(&format!("a\n\n{LINE}{line}")), malformed, "{line:?}");
        }
    }

    #[test]
    fn limits_hold() {
        let with = |n: usize| format!("a\n\n{}", LINE.repeat(n));
        assert!(SignedNote::parse(with(MAX_SIGNATURES).as_bytes()).is_ok());
        assert_eq!(refused(&with(MAX_SIGNATURES + 1)), NoteError::TooManySignatures);
        let text = |len: usize| format!("{}\n\n{LINE}", "a".repeat(len - 2 - LINE.len()));
        assert!(SignedNote::parse(text(MAX_NOTE_LEN).as_bytes()).is_ok());
        assert_eq!(refused(&text(MAX_NOTE_LEN + 1)), NoteError::TooLong { len: MAX_NOTE_LEN + 1 });
    }
}
