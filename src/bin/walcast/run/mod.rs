//! `walcast run`: the pipeline of a config file, until told to stop.

mod journal;

use std::path::{Path, PathBuf};

use walcast::config::{Config, SinkConfig, SinkKind};
use walcast::{Error, ErrorKind, Shutdown};

use self::journal::Journal;
use crate::exit::Exit;
use crate::runtime::block_on;

/// Run the pipeline of a config file
///
/// SIGINT or SIGTERM drains it: what sinks were given is proven and confirmed, then it ends with
/// exit code 0. A second one aborts, which is always safe: the next run goes on from what was
/// confirmed.
///
/// Example:
///   WALCAST_PASSWORD=... walcast run walcast.toml
#[derive(Debug, clap::Args)]
#[command(verbatim_doc_comment)]
pub(crate) struct Args {
    /// The config file
    config: PathBuf,
}

pub(crate) fn run(args: Args) -> crate::Outcome {
    block_on(async move {
        let shutdown =
            Shutdown::on_signals().map_err(|error| Error::permanent(ErrorKind::Io, error))?;
        let config = Config::load(&args.config)?;
        let pipeline = config.build()?;
        announce(&args.config, &config);
        let journal = Journal::begin(pipeline.monitor(), shutdown.clone());
        let ended = pipeline.run(shutdown).await;
        journal.end(&ended);
        ended.map(|()| Exit::Done)
    })
}

/// Say what runs: from where, through which slot, into what.
fn announce(path: &Path, config: &Config) {
    let source = config.stream_source();
    let publications: Vec<_> = source.publications().iter().map(|name| name.as_str()).collect();
    tracing::info!(
        version = env!("CARGO_PKG_VERSION"),
        config = %path.display(),
        source = %source.connect_config().display_target(),
        slot = %source.slot(),
        publication = publications.join(","),
        state = %config.pipeline.state.display(),
        memory = %config.pipeline.memory,
        "walcast starts"
    );
    for sink in &config.sinks {
        let SinkConfig { name, required, .. } = sink;
        match &sink.kind {
            SinkKind::File(file) => {
                tracing::info!(sink = %name, required, file = %file.path.display(), "feeds");
            }
            SinkKind::Postgres(postgres) => {
                let target = postgres.connect.display_target();
                tracing::info!(sink = %name, required, target, "applies to");
            }
            _ => tracing::info!(sink = %name, required, "feeds standard output"),
        }
    }
}
