//! `walcast status`: how far everything is, and how far behind.
//!
//! A running pipeline is asked through its control socket; one that does not run is judged by what
//! it saved and by the server's views; a server alone by its slots.

mod ladder;
mod view;

use std::time::Duration;

use walcast::Error;

use self::view::{Asked, View};
use crate::exit::{Exit, output_error};
use crate::paint::Paint;
use crate::runtime::{Stop, block_on, write_out};
use crate::target::Target;
use crate::watch::Screen;

/// How long a view stays on the screen.
const WATCH_EVERY: Duration = Duration::from_secs(1);

/// Show lag and health
///
/// With a config file the running pipeline is asked; when none runs, its state files and the
/// server's views. With a URL every slot of the server is shown. Exit code 0 when all is healthy,
/// 8 when it is not: the pipeline does not run or cannot save, the server does not answer, the slot
/// is missing or lost, a required sink fails. With a URL: a slot is lost or about to be.
///
/// Example:
///   walcast status walcast.toml --watch
///   walcast status postgres://walcast@localhost/shop --json
#[derive(Debug, clap::Args)]
#[command(verbatim_doc_comment)]
pub(crate) struct Args {
    /// A config file, or a server's URL
    target: Target,
    /// Print JSON, with --watch one object a line
    #[arg(long)]
    json: bool,
    /// Show it again every second, until interrupted
    #[arg(long)]
    watch: bool,
}

pub(crate) fn run(args: Args) -> crate::Outcome {
    block_on(async move {
        let asked = Asked::new(&args.target)?;
        if args.watch {
            return watch(asked, args.json).await;
        }
        let view = asked.look().await?;
        let text = if args.json { format!("{:#}\n", view.json()) } else { drawn(&view) };
        write_out(text.into_bytes()).await?;
        Ok(exit(&view))
    })
}

async fn watch(asked: Asked, json: bool) -> crate::Outcome {
    let mut stop = Stop::listen()?;
    let mut screen = Screen::stdout();
    let mut last = Exit::Done;
    loop {
        let Some(view) = stop.before(asked.look()).await else { return Ok(last) };
        match view {
            Ok(view) => {
                last = exit(&view);
                if json {
                    write_out(format!("{}\n", view.json()).into_bytes()).await?;
                } else {
                    screen.draw(&drawn(&view)).map_err(output_error)?;
                }
            }
            Err(error) if error.is_transient() => {
                last = Exit::Unhealthy;
                screen.draw(&format!("{error}\n")).map_err(output_error)?;
            }
            Err(error) => return Err(error),
        }
        if stop.before(tokio::time::sleep(WATCH_EVERY)).await.is_none() {
            return Ok(last);
        }
    }
}

fn drawn(view: &View) -> String {
    view.table(Paint::stdout())
}

fn exit(view: &View) -> Exit {
    if view.is_healthy() { Exit::Done } else { Exit::Unhealthy }
}

/// An error that has nothing to do with how things stand.
type Look = Result<View, Error>;
