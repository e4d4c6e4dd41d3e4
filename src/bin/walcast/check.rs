//! `walcast check`: what would keep a pipeline from running, before it runs.

use crate::target::Target;

/// Check that a server and a config are fit to run
///
/// Each finding says what is, what is needed and how to fix it. Exit code 7 when one is an error.
///
/// Example:
///   walcast check walcast.toml
///   walcast check postgres://walcast@localhost/shop
#[derive(Debug, clap::Args)]
#[command(verbatim_doc_comment)]
pub(crate) struct Args {
    /// A config file, or a server's URL
    target: Target,
}
