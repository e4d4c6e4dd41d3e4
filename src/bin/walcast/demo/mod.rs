//! `walcast demo`: everything at once, on a throwaway primary.

/// Watch changes flow from a throwaway primary to three sinks
///
/// The pipeline is killed and resumed midway; at the end source and targets are compared.
///
/// Example:
///   walcast demo --seconds 20
#[derive(Debug, clap::Args)]
#[command(verbatim_doc_comment)]
pub(crate) struct Args {
    /// How long the workload runs
    #[arg(long, default_value_t = 20, value_name = "N")]
    #[arg(value_parser = clap::value_parser!(u64).range(5..=3600))]
    seconds: u64,
    /// The primary's TCP port; a free one when absent
    #[arg(long, value_name = "P")]
    port: Option<u16>,
}
