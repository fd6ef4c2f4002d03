use std::path::{Path, PathBuf};
use std::process::ExitCode;

use clap::CommandFactory as _;

use crate::args::Cli;
use crate::error::CliError;
use crate::files::{self, Access};
use crate::output::{self, Ui};

/// Write man pages, one for each command, into a directory.
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// Directory, such as `/usr/local/share/man/man1`.
    #[arg(value_name = "DIR")]
    directory: PathBuf,
}

pub(crate) fn run(args: &Args, ui: &Ui) -> Result<ExitCode, CliError> {
    let mut command = Cli::command();
    command.build();
    let count = write_pages(&command, "", &args.directory)?;
    let value =
        serde_json::json!({"ok": true, "pages": count, "directory": output::path(&args.directory)});
    ui.result(&value, &format!("{count} pages in {}", args.directory.display()));
    Ok(ExitCode::SUCCESS)
}

fn write_pages(command: &clap::Command, parent: &str, directory: &Path) -> Result<usize, CliError> {
    let name = match parent {
        "" => command.get_name().to_owned(),
        parent => format!("{parent}-{}", command.get_name()),
    };
    let mut page = Vec::new();
    clap_mangen::Man::new(command.clone()).title(name.to_uppercase()).render(&mut page).map_err(
        |error| {
            CliError::environment(format!("cannot render {name}: {error}"))
                .hint("this is a fault of the program; please report it")
        },
    )?;
    files::write(&directory.join(format!("{name}.1")), &page, Access::Public)?;
    let mut count = 1;
    for child in command.get_subcommands().filter(|child| child.get_name() != "help") {
        count += write_pages(child, &name, directory)?;
    }
    Ok(count)
}
