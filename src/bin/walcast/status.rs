//! `walcast status`: how far everything is, and how far behind.

use crate::target::Target;

/// Show lag and health
///
/// With a config file the running pipeline is asked; when none runs, its state files and the
/// server's views.
///
/// Example:
///   walcast status walcast.toml --watch
///   walcast status postgres://walcast@localhost/shop --json
#[derive(Debug, clap::Args)]
#[command(verbatim_doc_comment)]
pub(crate) struct Args {
    /// A config file, or a server's URL
    target: Target,
    /// Print JSON
    #[arg(long)]
    json: bool,
    /// Show it again every second
    #[arg(long)]
    watch: bool,
}
