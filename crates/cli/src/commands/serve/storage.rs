//! Where an instance's log is, if not in its data directory.

use std::path::PathBuf;

use sealwright_server::service::Place;

use crate::error::CliError;
use crate::output::{BAD, Ui};

/// A log that several front ends share. Each has a data directory with the same keys.
#[derive(Debug, clap::Args)]
#[command(next_help_heading = "Shared log")]
pub(super) struct StorageArgs {
    /// URL of a PostgreSQL database for the log, for several front ends.
    #[arg(long, value_name = "URL", requires = "bucket", conflicts_with = "database_file")]
    database: Option<String>,
    /// File with that URL, since it may hold a password.
    #[arg(long, value_name = "FILE", requires = "bucket")]
    database_file: Option<PathBuf>,
    /// S3 bucket for tiles and checkpoint: s3://NAME or s3://NAME/PREFIX.
    #[arg(long, value_name = "URL")]
    bucket: Option<String>,
    /// URL of the S3 service, if it is not Amazon's.
    #[arg(long, value_name = "URL", requires = "bucket")]
    s3_endpoint: Option<String>,
    /// Allow database and bucket on other machines without TLS.
    #[arg(long, requires = "bucket")]
    insecure_plain_storage: bool,
}

impl StorageArgs {
    /// Where the log is; `None` for the data directory.
    pub(super) fn place(&self) -> Result<Option<Place>, CliError> {
        let Some(bucket) = &self.bucket else { return Ok(None) };
        let database = match (&self.database, &self.database_file) {
            (Some(url), _) => url.clone(),
            (None, Some(path)) => {
                let text = std::fs::read_to_string(path);
                let text = text.map_err(|error| {
                    CliError::input(format!("cannot read {}: {error}", path.display())).hint(
                        "it holds the URL of the database, postgres://USER:PASSWORD@HOST/NAME",
                    )
                })?;
                text.trim().to_owned()
            }
            (None, None) => {
                return Err(CliError::input("a bucket is given, and no database".to_owned())
                    .hint("give --database or --database-file as well"));
            }
        };
        Ok(Some(Place {
            database,
            bucket: bucket.clone(),
            endpoint: self.s3_endpoint.clone(),
            insecure_plain: self.insecure_plain_storage,
        }))
    }

    /// Where the log is, which has to be said.
    pub(super) fn required(&self) -> Result<Place, CliError> {
        let missing = || {
            CliError::input("it is not said where the log goes".to_owned())
                .hint("give --database (or --database-file) and --bucket")
        };
        self.place()?.ok_or_else(missing)
    }

    pub(super) fn say_what_is_insecure(&self, ui: &Ui) {
        if self.insecure_plain_storage {
            ui.note(&format!("{BAD}insecure:{BAD:#} database and bucket without TLS"));
        }
    }
}
