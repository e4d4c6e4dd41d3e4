//! START_REPLICATION: where a stream starts, and what is asked of `pgoutput`.
//!
//! [The command](https://www.postgresql.org/docs/current/protocol-replication.html) and [the
//! plugin's options](https://www.postgresql.org/docs/current/protocol-logical-replication.html).
//! Which server knows which option is decided here, and nowhere else.

use crate::name::{PublicationName, SlotName};
use crate::session::{Intervals, Progress};

/// How changes are sent.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Format {
    /// Each type's binary output.
    Binary,
    /// Each type's text output.
    Text,
}

/// The options of a stream.
#[derive(Debug, Clone)]
pub struct StreamOptions {
    /// Whose tables are streamed.
    pub publications: Vec<PublicationName>,
    /// How values are sent.
    pub format: Format,
    /// Whether logical messages are sent.
    pub messages: bool,
    /// Whether changes that came from other nodes are left out (PostgreSQL 16 and newer).
    pub local_only: bool,
    /// Whether large transactions are sent while they run.
    pub streaming: Streaming,
    /// Whether transactions are sent when they are prepared (PostgreSQL 15 and newer). A slot that
    /// was streamed from with it stays so.
    pub two_phase: bool,
}

/// Whether the server sends large transactions before they commit.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Hash)]
pub enum Streaming {
    /// As [`On`](Self::On) where there is a place for what does not fit the memory, else as
    /// [`Off`](Self::Off).
    #[default]
    Auto,
    /// Each transaction is sent when it has committed; the server keeps it until then.
    Off,
    /// What exceeds the server's `logical_decoding_work_mem` is sent while it runs and held here
    /// until it commits.
    On,
    /// The same, and a rollback says where it happened (PostgreSQL 16 and newer; before, as
    /// [`On`](Self::On)). Nothing else is different.
    Parallel,
}

/// Where and with what a stream starts.
#[derive(Debug, Clone, Copy)]
pub(crate) struct StreamStart<'a> {
    pub(crate) slot: &'a SlotName,
    pub(crate) options: &'a StreamOptions,
    pub(crate) progress: Progress,
    pub(crate) intervals: Intervals,
}

/// The command that begins `start` on a server of this version.
pub(super) fn start_command(name: &str, start: StreamStart<'_>, major_version: u32) -> String {
    let StreamStart { slot, options, progress, .. } = start;
    // An identifier list inside a literal: both quotings apply.
    let list: Vec<String> = options
        .publications
        .iter()
        .map(|name| format!("\"{}\"", name.as_str().replace('"', "\"\"")))
        .collect();
    let list = list.join(",").replace('\'', "''");
    let two_phase = options.two_phase && knows_two_phase(major_version);
    let (version, streaming) = protocol(options.streaming, two_phase, major_version);
    let mut command = format!(
        "{name} SLOT \"{slot}\" LOGICAL {} (\"proto_version\" '{version}', \
         \"publication_names\" '{list}'",
        progress.flush
    );
    if let Some(streaming) = streaming {
        command.push_str(", \"streaming\" '");
        command.push_str(streaming);
        command.push('\'');
    }
    if two_phase {
        command.push_str(", \"two_phase\" 'true'");
    }
    if options.format == Format::Binary {
        command.push_str(", \"binary\" 'true'");
    }
    if options.messages {
        command.push_str(", \"messages\" 'true'");
    }
    if options.local_only && major_version >= 16 {
        command.push_str(", \"origin\" 'none'");
    }
    command.push(')');
    command
}

/// Whether `pgoutput` of this version sends transactions when they are prepared. That of 14 does
/// not, whatever its slot says.
pub(crate) fn knows_two_phase(major_version: u32) -> bool {
    major_version >= 15
}

/// The version of the plugin's protocol, and its option for streamed transactions. Each server gets
/// the newest version it knows, and the first where nothing of the others is asked for.
fn protocol(
    streaming: Streaming,
    two_phase: bool,
    major_version: u32,
) -> (u32, Option<&'static str>) {
    let newest = match major_version {
        ..15 => 2,
        15 => 3,
        _ => 4,
    };
    match streaming {
        Streaming::Off | Streaming::Auto if two_phase => (newest, None),
        Streaming::Off | Streaming::Auto => (1, None),
        Streaming::Parallel if newest >= 4 => (newest, Some("parallel")),
        Streaming::On | Streaming::Parallel => (newest, Some("on")),
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::lsn::Lsn;

    #[test]
    fn each_server_is_asked_for_what_it_knows() {
        use Streaming::{Off, On, Parallel};
        let cases = [
            ((Off, false, 18), (1, None)),
            ((Off, true, 15), (3, None)),
            ((On, false, 14), (2, Some("on"))),
            ((On, false, 15), (3, Some("on"))),
            ((On, true, 16), (4, Some("on"))),
            ((Parallel, false, 15), (3, Some("on"))),
            ((Parallel, true, 18), (4, Some("parallel"))),
        ];
        for ((streaming, two_phase, major), expected) in cases {
            let have = protocol(streaming, two_phase, major);
            assert_eq!(have, expected, "{streaming:?} {two_phase} {major}");
        }
        assert!(!knows_two_phase(14) && knows_two_phase(15));
    }

    #[test]
    fn publication_names_are_quoted_twice() {
        let options = StreamOptions {
            publications: vec![
                PublicationName::new("plain").unwrap(),
                PublicationName::new("it's \"odd\"").unwrap(),
            ],
            format: Format::Binary,
            messages: false,
            local_only: true,
            streaming: Streaming::Off,
            two_phase: false,
        };
        let at = Lsn::new(0x1_0000_0000);
        let slot = SlotName::new("s").unwrap();
        let second = Duration::from_secs(1);
        let start = StreamStart {
            slot: &slot,
            options: &options,
            progress: Progress { flush: at, apply: at },
            intervals: Intervals { status: second, silence: second },
        };
        assert_eq!(
            start_command("START_REPLICATION", start, 15),
            "START_REPLICATION SLOT \"s\" LOGICAL 1/0 (\"proto_version\" '1', \
             \"publication_names\" '\"plain\",\"it''s \"\"odd\"\"\"', \"binary\" 'true')"
        );
    }
}
