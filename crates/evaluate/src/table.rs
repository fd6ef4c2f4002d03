//! The predictions table: strict CSV in, columns out.

use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet};

use csv::{ByteRecord, ErrorKind, Reader, ReaderBuilder};

use crate::metrics::Confusion;

/// Largest predictions table that is read, in bytes.
pub const MAX_TABLE_BYTES: usize = 256 << 20;

/// Most rows that are read: bounds the memory that the ids take to well under a GiB.
pub const MAX_ROWS: usize = 5_000_000;

const ID: &str = "id";
const LABEL: &str = "label";
const SCORE: &str = "score";
const PREDICTION: &str = "prediction";

/// Columns that have a meaning of their own and therefore cannot hold groups.
pub(crate) const RESERVED: [&str; 4] = [ID, LABEL, SCORE, PREDICTION];

/// Why a predictions table was refused. Lines are counted from 1, the header's.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum TableError {
    /// The table is larger than [`MAX_TABLE_BYTES`].
    #[error("the predictions table has {bytes} bytes, more than {MAX_TABLE_BYTES}")]
    TooLarge {
        /// Size of the table.
        bytes: usize,
    },
    /// The table has more than [`MAX_ROWS`] rows.
    #[error("line {line}: the predictions table has more than {MAX_ROWS} rows")]
    TooManyRows {
        /// Line of the first row too many.
        line: u64,
    },
    /// There is a header but no row, or not even a header.
    #[error("the predictions table has no rows")]
    Empty,
    /// A column that is always needed, or that a gate names, is absent.
    #[error("line 1: the predictions table has no column {column:?}")]
    MissingColumn {
        /// Name of the absent column.
        column: String,
    },
    /// Two columns have one name, so that one of them would be ignored.
    #[error("line 1: the predictions table has the column {column:?} twice")]
    DuplicateColumn {
        /// The name.
        column: String,
    },
    /// A row has more or fewer fields than the header.
    #[error("line {line}: {found} fields, but the header has {expected}")]
    Ragged {
        /// Line at which the row starts.
        line: u64,
        /// Fields of the header.
        expected: u64,
        /// Fields of the row.
        found: u64,
    },
    /// Not UTF-8.
    #[error("line {line}: not UTF-8")]
    NotUtf8 {
        /// Line at which the row starts.
        line: u64,
    },
    /// A field does not hold what its column must hold.
    #[error("line {line}: {column} is {found:?}, expected {expected}")]
    BadField {
        /// Line at which the row starts.
        line: u64,
        /// Column of the field.
        column: String,
        /// The field, cut to its first 64 characters.
        found: String,
        /// What the column holds, in words.
        expected: &'static str,
    },
    /// Two rows have one id: an applicant would count twice.
    #[error("line {line}: the id {id:?} was already used")]
    DuplicateId {
        /// Line at which the second row starts.
        line: u64,
        /// The id, cut to its first 64 characters.
        id: String,
    },
    /// The CSV reader failed in another way; does not happen for bytes in memory.
    #[error("the predictions table is not CSV: {message}")]
    Csv {
        /// What the reader says.
        message: String,
    },
}

/// A predictions table that was read in full: one entry per row in every column.
#[derive(Debug, Clone, PartialEq)]
pub struct Table {
    labels: Vec<bool>,
    predictions: Vec<bool>,
    scores: Option<Vec<f64>>,
    groups: BTreeMap<String, Groups>,
}

/// A column that divides the rows into named groups.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Groups {
    names: Vec<String>,
    /// For each row, its group's place in `names`.
    of_row: Vec<usize>,
}

impl Table {
    /// Reads a CSV table (RFC 4180, comma, header first) with the columns `id` (not empty, unique),
    /// `label` and `prediction` (`0` or `1`), perhaps `score` (a decimal number from 0 to 1), and
    /// every column in `group_columns` (not empty). Other columns are not looked at; there are no
    /// row weights.
    ///
    /// # Errors
    /// Any [`TableError`]; nothing is repaired, skipped or guessed.
    pub fn parse(bytes: &[u8], group_columns: &BTreeSet<&str>) -> Result<Self, TableError> {
        if bytes.len() > MAX_TABLE_BYTES {
            return Err(TableError::TooLarge { bytes: bytes.len() });
        }
        let mut reader = ReaderBuilder::new().has_headers(true).from_reader(bytes);
        let columns = Columns::find(&mut reader, group_columns)?;
        let mut table = Table {
            labels: Vec::new(),
            predictions: Vec::new(),
            scores: columns.score.map(|_| Vec::new()),
            groups: BTreeMap::new(),
        };
        let mut groups: Vec<_> = columns
            .groups
            .iter()
            .map(|(name, at)| (*name, *at, GroupsBuilder::default()))
            .collect();
        let mut ids = HashSet::new();
        let mut record = ByteRecord::new();
        while reader.read_byte_record(&mut record).map_err(csv_error)? {
            let row = Row { record: &record };
            if table.labels.len() >= MAX_ROWS {
                return Err(TableError::TooManyRows { line: row.line() });
            }
            let id = row.name(ID, columns.id)?;
            if !ids.insert(Box::<str>::from(id)) {
                return Err(TableError::DuplicateId { line: row.line(), id: shortened(id) });
            }
            table.labels.push(row.bit(LABEL, columns.label)?);
            table.predictions.push(row.bit(PREDICTION, columns.prediction)?);
            if let (Some(scores), Some(at)) = (&mut table.scores, columns.score) {
                scores.push(row.unit_number(SCORE, at)?);
            }
            for (name, at, builder) in &mut groups {
                builder.push(row.name(name, *at)?);
            }
        }
        if table.labels.is_empty() {
            return Err(TableError::Empty);
        }
        table.groups = groups.into_iter().map(|(n, _, b)| (n.to_owned(), b.groups)).collect();
        Ok(table)
    }

    /// Number of rows, at least 1.
    #[expect(clippy::len_without_is_empty, reason = "an empty table is refused by parse")]
    pub fn len(&self) -> usize {
        self.labels.len()
    }

    /// Label of each row.
    pub fn labels(&self) -> &[bool] {
        &self.labels
    }

    /// Score of each row, from 0 to 1, if the table has scores.
    pub fn scores(&self) -> Option<&[f64]> {
        self.scores.as_deref()
    }

    /// Label against prediction, over all rows.
    pub fn confusion(&self) -> Confusion {
        let mut all = Confusion::default();
        self.outcomes().for_each(|(label, prediction)| all.add(label, prediction));
        all
    }

    /// Label against prediction within each group of a column, by group name; `None` if the column
    /// was not among the `group_columns` of [`Table::parse`].
    pub fn confusion_by_group(&self, column: &str) -> Option<BTreeMap<&str, Confusion>> {
        let groups = self.groups.get(column)?;
        let mut cells = vec![Confusion::default(); groups.names.len()];
        for (group, (label, prediction)) in groups.of_row.iter().zip(self.outcomes()) {
            if let Some(cell) = cells.get_mut(*group) {
                cell.add(label, prediction);
            }
        }
        Some(groups.names.iter().map(String::as_str).zip(cells).collect())
    }

    fn outcomes(&self) -> impl Iterator<Item = (bool, bool)> {
        self.labels.iter().copied().zip(self.predictions.iter().copied())
    }
}

/// Where in a record each column is.
struct Columns<'a> {
    id: usize,
    label: usize,
    prediction: usize,
    score: Option<usize>,
    groups: Vec<(&'a str, usize)>,
}

impl<'a> Columns<'a> {
    fn find(
        reader: &mut Reader<&[u8]>,
        group_columns: &BTreeSet<&'a str>,
    ) -> Result<Self, TableError> {
        let header = reader.byte_headers().map_err(csv_error)?;
        if header.is_empty() {
            return Err(TableError::Empty);
        }
        let mut places = HashMap::new();
        for (at, name) in header.iter().enumerate() {
            let name = str::from_utf8(name).map_err(|_| TableError::NotUtf8 { line: 1 })?;
            if places.insert(name, at).is_some() {
                return Err(TableError::DuplicateColumn { column: shortened(name) });
            }
        }
        let place = |column: &str| {
            let missing = || TableError::MissingColumn { column: column.to_owned() };
            places.get(column).copied().ok_or_else(missing)
        };
        Ok(Self {
            id: place(ID)?,
            label: place(LABEL)?,
            prediction: place(PREDICTION)?,
            score: places.get(SCORE).copied(),
            groups: group_columns
                .iter()
                .map(|column| Ok((*column, place(column)?)))
                .collect::<Result<_, TableError>>()?,
        })
    }
}

/// One record, with the checks that its fields must pass.
struct Row<'a> {
    record: &'a ByteRecord,
}

impl<'a> Row<'a> {
    fn line(&self) -> u64 {
        self.record.position().map_or(0, csv::Position::line)
    }

    fn text(&self, at: usize) -> Result<&'a str, TableError> {
        // The reader has made sure that every record is as long as the header.
        str::from_utf8(self.record.get(at).unwrap_or_default())
            .map_err(|_| TableError::NotUtf8 { line: self.line() })
    }

    /// An id or group name. White space at its ends would split one group in two unseen, and a line
    /// break within it is nearly always a quote left open, which has swallowed the rows below.
    fn name(&self, column: &str, at: usize) -> Result<&'a str, TableError> {
        let text = self.text(at)?;
        if text.is_empty() || text.trim() != text || text.contains(char::is_control) {
            return Err(self.bad(column, text, "a word"));
        }
        Ok(text)
    }

    fn bit(&self, column: &str, at: usize) -> Result<bool, TableError> {
        match self.text(at)? {
            "0" => Ok(false),
            "1" => Ok(true),
            other => Err(self.bad(column, other, "0 or 1")),
        }
    }

    fn unit_number(&self, column: &str, at: usize) -> Result<f64, TableError> {
        let text = self.text(at)?;
        match text.parse::<f64>() {
            // NaN is in no range. Adding zero turns -0 into 0, so that the two are one score.
            Ok(number) if (0.0..=1.0).contains(&number) => Ok(number + 0.0),
            _ => Err(self.bad(column, text, "a number from 0 to 1")),
        }
    }

    fn bad(&self, column: &str, found: &str, expected: &'static str) -> TableError {
        TableError::BadField {
            line: self.line(),
            column: column.to_owned(),
            found: shortened(found),
            expected,
        }
    }
}

#[derive(Default)]
struct GroupsBuilder {
    groups: Groups,
    places: HashMap<String, usize>,
}

impl GroupsBuilder {
    fn push(&mut self, name: &str) {
        let place = self.places.get(name).copied().unwrap_or_else(|| {
            let place = self.groups.names.len();
            self.groups.names.push(name.to_owned());
            self.places.insert(name.to_owned(), place);
            place
        });
        self.groups.of_row.push(place);
    }
}

fn csv_error(error: csv::Error) -> TableError {
    let line = error.position().map_or(0, csv::Position::line);
    match error.into_kind() {
        ErrorKind::UnequalLengths { expected_len, len, .. } => {
            TableError::Ragged { line, expected: expected_len, found: len }
        }
        ErrorKind::Utf8 { .. } => TableError::NotUtf8 { line },
        other => TableError::Csv { message: format!("{other:?}") },
    }
}

fn shortened(text: &str) -> String {
    text.chars().take(64).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    const HEADER: &str = "id,label,score,prediction,sex\n";

    fn parse(text: &str) -> Result<Table, TableError> {
        Table::parse(text.as_bytes(), &BTreeSet::from(["sex"]))
    }

    fn refused(rows: &str) -> TableError {
        parse(&format!("{HEADER}a,1,0.9,1,female\n{rows}")).unwrap_err()
    }

    #[test]
    fn reads_columns_in_any_order_and_ignores_others() {
        let table = parse("note,prediction,sex,id,label\n-,1,female,7,0\n-,0,male,8,0\n").unwrap();
        assert_eq!(table.len(), 2);
        assert_eq!(table.scores(), None);
        let by_sex = table.confusion_by_group("sex").unwrap();
        assert_eq!(by_sex["female"].selected().hits, 1);
        assert_eq!(by_sex["male"].selected().hits, 0);
        assert_eq!(table.confusion_by_group("race"), None);
    }

    #[test]
    fn quotes_a_byte_order_mark_and_carriage_returns_are_csv() {
        let table = parse("\u{feff}id,label,prediction,sex\r\n\"1\",1,0,\"a, b\"\r\n").unwrap();
        assert!(table.confusion_by_group("sex").unwrap().contains_key("a, b"));
    }

    #[test]
    fn refuses_a_table_without_rows() {
        for text in ["", "\n", HEADER] {
            assert_eq!(parse(text), Err(TableError::Empty), "{text:?}");
        }
    }

    #[test]
    fn refuses_absent_and_repeated_columns() {
        for column in ["id", "label", "prediction", "sex"] {
            let header = HEADER.replace(column, "other");
            assert_eq!(parse(&header), Err(TableError::MissingColumn { column: column.into() }));
        }
        let twice = parse("id,label,prediction,sex,sex\n");
        assert_eq!(twice, Err(TableError::DuplicateColumn { column: "sex".into() }));
    }

    #[test]
    fn refuses_ragged_rows_with_their_line() {
        assert_eq!(refused("b,1,0.5,1\n"), TableError::Ragged { line: 3, expected: 5, found: 4 });
        assert_eq!(
            refused("b,1,0.5,1,male,x\n"),
            TableError::Ragged { line: 3, expected: 5, found: 6 }
        );
    }

    #[test]
    fn refuses_a_second_row_of_one_id() {
        assert_eq!(
            refused("b,1,0.5,1,male\na,0,0.5,0,male\n"),
            TableError::DuplicateId { line: 4, id: "a".into() }
        );
    }

    #[test]
    fn refuses_fields_that_are_not_what_the_column_holds() {
        for (row, column) in [
            (",1,0.5,1,male", "id"),
            ("b,2,0.5,1,male", "label"),
            ("b,,0.5,1,male", "label"),
            ("b,1.0,0.5,1,male", "label"),
            ("b, 1,0.5,1,male", "label"),
            ("b,1,0.5,true,male", "prediction"),
            ("b,1,NaN,1,male", "score"),
            ("b,1,inf,1,male", "score"),
            ("b,1,1.0000001,1,male", "score"),
            ("b,1,-0.1,1,male", "score"),
            ("b,1,,1,male", "score"),
            ("b,1,\"0,5\",1,male", "score"),
            ("b,1,0.5,1,", "sex"),
            ("b,1,0.5,1,male ", "sex"),
        ] {
            match refused(&format!("{row}\n")) {
                TableError::BadField { line: 3, column: found, .. } => assert_eq!(found, column),
                other => panic!("{row}: {other:?}"),
            }
        }
    }

    #[test]
    fn an_open_quote_does_not_swallow_the_rows_below() {
        let error = refused("b,1,0.5,1,\"male\nc,0,0.5,1,male\n");
        assert!(matches!(error, TableError::BadField { line: 3, .. }), "{error:?}");
    }

    #[test]
    fn refuses_what_is_not_utf8() {
        let mut bytes = HEADER.as_bytes().to_vec();
        bytes.extend(b"a,1,0.9,1,\xff\n");
        let error = Table::parse(&bytes, &BTreeSet::from(["sex"])).unwrap_err();
        assert_eq!(error, TableError::NotUtf8 { line: 2 });
    }

    #[test]
    fn refuses_a_table_that_is_too_large() {
        let bytes = vec![0; MAX_TABLE_BYTES + 1];
        let error = Table::parse(&bytes, &BTreeSet::new()).unwrap_err();
        assert_eq!(error, TableError::TooLarge { bytes: MAX_TABLE_BYTES + 1 });
    }
}
