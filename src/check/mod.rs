//! Preflight: what would keep a stream from running, found before it runs.
//!
//! Each [`Finding`] says what is, what is needed and how to fix it. A server is asked over SQL and
//! by opening a replication connection; nothing is made or changed on it, and on this machine no
//! more than a file that is removed at once. A server that cannot be reached is an error, not a
//! finding.

mod host;
mod publication;
mod server;
mod slot;
mod target;

use std::borrow::Cow;

use crate::Result;
use crate::net::{ConnectConfig, SqlClient, sql_connect};
use crate::publication::PublicationTables;
use crate::stream::{Source, WireFormat};

pub use host::{check_file_target, check_state_dir};
pub use target::check_postgres_target;

/// One thing that was looked at.
#[derive(Debug, Clone, PartialEq, Eq, serde::Serialize)]
pub struct Finding {
    /// Where: a server, a sink, this machine.
    pub node: String,
    /// What was looked at: a setting, a right, a table.
    pub subject: Cow<'static, str>,
    /// What it means.
    pub severity: Severity,
    /// What is.
    pub have: String,
    /// What is needed, where that is not what is.
    pub want: Option<String>,
    /// How to get there.
    pub fix: Option<String>,
}

/// What a [`Finding`] means.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, serde::Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Severity {
    /// As it should be.
    Ok,
    /// It runs, and may come to grief.
    Warning,
    /// It does not run.
    Error,
}

/// Check that `source` could stream now.
///
/// # Errors
/// When the server cannot be reached or asked.
///
/// # Cancel safety
/// Dropping the future changes nothing.
pub async fn check_source(source: &Source) -> Result<Vec<Finding>> {
    let sql = sql_connect(&source.connect).await?;
    let mut findings = Findings::of(&sql);
    server::check(&sql, &mut findings, server::Needs::of(Some(&source.slot))).await?;
    server::check_walsender(&source.connect.at(sql.endpoint()), &mut findings).await;
    publication::check(
        &sql,
        &mut findings,
        publication::Wanted {
            names: &source.publications,
            create: &source.create_publication,
            format: source.format,
        },
    )
    .await?;
    slot::check(&sql, &mut findings, source).await?;
    Ok(findings.list)
}

/// Check that some stream could run from the server and database of `connect`: its settings, the
/// role's rights, and every publication and slot that is there.
///
/// # Errors
/// When the server cannot be reached or asked.
///
/// # Cancel safety
/// Dropping the future changes nothing.
pub async fn check_server(connect: &ConnectConfig) -> Result<Vec<Finding>> {
    let sql = sql_connect(connect).await?;
    let mut findings = Findings::of(&sql);
    server::check(&sql, &mut findings, server::Needs::of(None)).await?;
    server::check_walsender(&connect.at(sql.endpoint()), &mut findings).await;
    let names = publication::all(&sql).await?;
    if names.is_empty() {
        findings.warn(
            "publications",
            "none in this database",
            "one that covers the tables to stream",
            "CREATE PUBLICATION walcast FOR TABLE …, or let walcast make it (--create --tables)",
        );
    }
    let create = &PublicationTables::Never;
    let format = WireFormat::Auto;
    publication::check(&sql, &mut findings, publication::Wanted { names: &names, create, format })
        .await?;
    slot::check_all(&sql, &mut findings, connect.database()).await?;
    Ok(findings.list)
}

/// The findings of one node, as they are made.
struct Findings {
    node: String,
    list: Vec<Finding>,
}

impl Findings {
    fn new(node: impl Into<String>) -> Self {
        Self { node: node.into(), list: Vec::new() }
    }

    fn of(sql: &SqlClient) -> Self {
        Self::new(sql.endpoint().to_string())
    }

    fn ok(&mut self, subject: impl Into<Cow<'static, str>>, have: impl Into<String>) {
        self.list.push(Finding {
            node: self.node.clone(),
            subject: subject.into(),
            severity: Severity::Ok,
            have: have.into(),
            want: None,
            fix: None,
        });
    }

    fn warn(
        &mut self,
        subject: impl Into<Cow<'static, str>>,
        have: impl Into<String>,
        want: impl Into<String>,
        fix: impl Into<String>,
    ) {
        self.amiss(Severity::Warning, subject, have, want, fix);
    }

    fn error(
        &mut self,
        subject: impl Into<Cow<'static, str>>,
        have: impl Into<String>,
        want: impl Into<String>,
        fix: impl Into<String>,
    ) {
        self.amiss(Severity::Error, subject, have, want, fix);
    }

    fn amiss(
        &mut self,
        severity: Severity,
        subject: impl Into<Cow<'static, str>>,
        have: impl Into<String>,
        want: impl Into<String>,
        fix: impl Into<String>,
    ) {
        self.list.push(Finding {
            node: self.node.clone(),
            subject: subject.into(),
            severity,
            have: have.into(),
            want: Some(want.into()),
            fix: Some(fix.into()),
        });
    }
}
