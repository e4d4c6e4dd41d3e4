//! `walcast config schema`: the config file's JSON Schema.

use std::io::Write;

use crate::exit::{Exit, output_error};

/// About the config file
///
/// Example:
///   walcast config schema > walcast.schema.json
#[derive(Debug, clap::Args)]
#[command(verbatim_doc_comment)]
pub(crate) struct Args {
    #[command(subcommand)]
    about: About,
}

#[derive(Debug, clap::Subcommand)]
enum About {
    /// Print the JSON Schema of the config, for editors that check while one types
    ///
    /// Example:
    ///   walcast config schema > walcast.schema.json
    #[command(verbatim_doc_comment)]
    Schema,
}

pub(crate) fn run(args: &Args) -> crate::Outcome {
    match args.about {
        About::Schema => {
            let schema = walcast::config::json_schema();
            writeln!(std::io::stdout(), "{schema:#}").map_err(output_error)?;
            Ok(Exit::Done)
        }
    }
}
