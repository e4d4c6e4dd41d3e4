//! The `walcast` program: parsing, printing and exit codes, no logic.
//!
//! Events and results go to stdout, logs and errors to stderr. Each command is one file with its
//! options and its `run`; what it does is a call into the library.

mod check;
mod completions;
mod config;
mod demo;
mod exit;
mod grid;
mod human;
mod logs;
mod paint;
mod record;
mod replay;
mod run;
mod runtime;
mod slot;
mod status;
mod tail;
mod target;
mod watch;

use std::process::ExitCode;

use clap::{Parser, Subcommand};

use exit::Exit;

/// PostgreSQL logical replication to many sinks.
#[derive(Debug, Parser)]
#[command(name = "walcast", version, max_term_width = 100, after_help = exit::LEGEND)]
#[command(propagate_version = true, subcommand_required = true, arg_required_else_help = true)]
struct Program {
    #[command(flatten)]
    logs: logs::LogArgs,
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    Demo(demo::Args),
    #[command(hide = true)]
    DemoPipeline(demo::pipeline::Args),
    Tail(tail::Args),
    Run(run::Args),
    Check(check::Args),
    Status(status::Args),
    Slot(slot::Args),
    Record(record::Args),
    Replay(replay::Args),
    Config(config::Args),
    Completions(completions::Args),
}

fn main() -> ExitCode {
    let program = Program::parse();
    logs::start(&program.logs);
    let done = match program.command {
        Command::Demo(args) => demo::run(args),
        Command::DemoPipeline(args) => demo::pipeline::run(args),
        Command::Tail(args) => tail::run(args),
        Command::Run(args) => run::run(args),
        Command::Check(args) => check::run(args),
        Command::Status(args) => status::run(args),
        Command::Slot(args) => slot::run(args),
        Command::Record(args) => record::run(args),
        Command::Replay(args) => replay::run(args),
        Command::Config(args) => config::run(&args),
        Command::Completions(args) => completions::run(&args),
    };
    exit::report(done).into()
}

/// What a command ends with.
type Outcome = Result<Exit, walcast::Error>;

#[cfg(test)]
mod tests {
    use clap::CommandFactory;

    use super::*;

    #[test]
    fn every_command_shows_an_example() {
        let program = Program::command();
        program.clone().debug_assert();
        for command in program.get_subcommands() {
            assert_example(command);
            command.get_subcommands().for_each(assert_example);
        }
    }

    fn assert_example(command: &clap::Command) {
        let help = command.clone().render_long_help().to_string();
        assert!(help.contains("Example:\n  "), "{}: {help}", command.get_name());
    }
}
