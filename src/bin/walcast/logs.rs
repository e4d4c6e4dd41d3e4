//! Logs: to stderr, so that stdout stays for events and results.

use std::io::IsTerminal;

use tracing_subscriber::EnvFilter;
use tracing_subscriber::filter::ParseError;

/// The options of every command.
#[derive(Debug, clap::Args)]
pub(crate) struct LogArgs {
    /// How much to log: error, warn, info, debug, trace, or directives such as `walcast=debug`
    #[arg(long, global = true, value_name = "LEVEL", default_value = "info", env = "WALCAST_LOG")]
    #[arg(value_parser = parse_filter)]
    log_level: Filter,
}

/// Directives that have been checked.
#[derive(Debug, Clone)]
struct Filter(String);

fn parse_filter(text: &str) -> Result<Filter, ParseError> {
    EnvFilter::builder().parse(text).map(|_| Filter(text.to_owned()))
}

/// Log to stderr from here on.
pub(crate) fn start(args: &LogArgs) {
    tracing_subscriber::fmt()
        .with_env_filter(EnvFilter::new(&args.log_level.0))
        .with_writer(std::io::stderr)
        .with_ansi(std::io::stderr().is_terminal())
        .init();
}
