//! `walcast check`: what would keep a pipeline from running, before it runs.

use std::io::Write;

use walcast::check::{
    Finding, Severity, check_file_target, check_postgres_target, check_server, check_source,
    check_state_dir,
};
use walcast::config::{Config, SinkKind};
use walcast::net::ConnectConfig;

use crate::exit::{Exit, output_error};
use crate::paint::{Ink, Paint, clean};
use crate::runtime::block_on;
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
    /// Print JSON
    #[arg(long)]
    json: bool,
}

pub(crate) fn run(args: Args) -> crate::Outcome {
    block_on(async move {
        let mut findings = Vec::new();
        let checked = match &args.target {
            Target::Server(url) => {
                let connect: ConnectConfig = url.expose().parse()?;
                check_server(&connect).await
            }
            Target::Config(path) => {
                let config = Config::load(path)?;
                findings.extend(check_host(&config));
                let source = config.stream_source();
                let checked = check_source(&source).await;
                for sink in &config.sinks {
                    if let SinkKind::Postgres(target) = &sink.kind {
                        let name = sink.name.as_str();
                        let found = check_postgres_target(name, &target.connect, &source).await;
                        findings.extend(found);
                    }
                }
                checked
            }
        };
        // What was found before the server could not be asked is worth showing too.
        let failure = checked.map(|found| findings.extend(found)).err();
        let text = match (args.json, &failure) {
            (true, _) => as_json(&findings),
            (false, None) => as_text(&findings, Paint::stdout()) + &verdict(&findings),
            (false, Some(_)) => as_text(&findings, Paint::stdout()),
        };
        std::io::stdout().write_all(text.as_bytes()).map_err(output_error)?;
        match failure {
            Some(error) => Err(error),
            None if count(&findings, Severity::Error) > 0 => Ok(Exit::Unfit),
            None => Ok(Exit::Done),
        }
    })
}

fn check_host(config: &Config) -> Vec<Finding> {
    let mut findings = check_state_dir(&config.pipeline.state);
    for sink in &config.sinks {
        if let SinkKind::File(file) = &sink.kind {
            findings.extend(check_file_target(sink.name.as_str(), &file.path));
        }
    }
    findings
}

fn count(findings: &[Finding], severity: Severity) -> usize {
    findings.iter().filter(|finding| finding.severity == severity).count()
}

fn as_json(findings: &[Finding]) -> String {
    let all = serde_json::json!({
        "errors": count(findings, Severity::Error),
        "warnings": count(findings, Severity::Warning),
        "findings": findings,
    });
    format!("{all:#}\n")
}

fn as_text(findings: &[Finding], paint: Paint) -> String {
    let mut text = String::new();
    let width = findings.iter().map(|finding| finding.subject.chars().count().min(30)).max();
    let width = width.unwrap_or(0);
    let mut node = None;
    for finding in findings {
        if node != Some(&finding.node) {
            text.push_str(&format!("{}\n", paint.ink(Ink::Bold, clean(&finding.node))));
            node = Some(&finding.node);
        }
        let mark = match finding.severity {
            Severity::Ok => paint.ink(Ink::Green, "ok     "),
            Severity::Warning => paint.ink(Ink::Yellow, "warning"),
            Severity::Error => paint.ink(Ink::Red, "error  "),
        };
        let (subject, have) = (clean(&finding.subject), clean(&finding.have));
        text.push_str(&format!("  {mark}  {subject:width$}  {have}\n"));
        for (label, line) in [("needed", &finding.want), ("fix", &finding.fix)] {
            if let Some(line) = line {
                let label = paint.ink(Ink::Dim, label);
                text.push_str(&format!("             {label}: {}\n", clean(line)));
            }
        }
    }
    text
}

fn verdict(findings: &[Finding]) -> String {
    let warnings = counted(count(findings, Severity::Warning), "warning");
    match count(findings, Severity::Error) {
        0 => format!("fit to run; {warnings}\n"),
        errors => format!("not fit to run: {}, {warnings}\n", counted(errors, "error")),
    }
}

fn counted(count: usize, what: &str) -> String {
    if count == 1 { format!("1 {what}") } else { format!("{count} {what}s") }
}
