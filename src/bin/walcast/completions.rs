//! `walcast completions`: what a shell needs to complete our commands.

use std::io::Write;

use clap::CommandFactory;
use clap_complete::Shell;

use crate::exit::{Exit, output_error};

/// Print completions for a shell
///
/// Example:
///   walcast completions bash > ~/.local/share/bash-completion/completions/walcast
#[derive(Debug, clap::Args)]
#[command(verbatim_doc_comment)]
pub(crate) struct Args {
    /// The shell
    shell: Shell,
}

pub(crate) fn run(args: &Args) -> crate::Outcome {
    let mut script = Vec::new();
    clap_complete::generate(args.shell, &mut crate::Program::command(), "walcast", &mut script);
    std::io::stdout().write_all(&script).map_err(output_error)?;
    Ok(Exit::Done)
}
