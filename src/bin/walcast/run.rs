//! `walcast run`: the pipeline of a config file, until told to stop.

use std::path::PathBuf;

/// Run the pipeline of a config file
///
/// SIGINT or SIGTERM drains it; a second one aborts, which is always safe.
///
/// Example:
///   WALCAST_PASSWORD=... walcast run walcast.toml
#[derive(Debug, clap::Args)]
#[command(verbatim_doc_comment)]
pub(crate) struct Args {
    /// The config file
    config: PathBuf,
}
