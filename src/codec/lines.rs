//! The way through a batch that every format takes: event after event, lines appended, nothing
//! left behind when one cannot be written.

use crate::codec::error::{EncodeError, EncodeFault};
use crate::event::{Batch, EarlyKind, Event};
use crate::lineage::Lineage;
use crate::lsn::Position;

/// One format: what lines an event becomes.
pub(super) trait EventLines {
    /// Whether it has a form for what has not committed, and for the Commit of that.
    const TAKES_UNCOMMITTED: bool = false;

    /// The next events are those of `batch`.
    fn take_up(&mut self, batch: &Batch);

    /// Append the lines of the batch's next event, each with its line break.
    fn write(
        &mut self,
        out: &mut Vec<u8>,
        lineage: &Lineage,
        event: Event<'_>,
    ) -> Result<(), EncodeError>;

    /// No more of the batch comes.
    fn lay_down(&mut self);
}

/// Append the lines of `batch` to `out`. Tells up to where `out` holds whole transactions, `None`
/// when the batch completes none. `after_each` sees how long `out` is after each event.
///
/// # Errors
/// When a value cannot be written; `out` is then as it was.
pub(super) fn encode<L: EventLines>(
    lines: &mut L,
    batch: &Batch,
    out: &mut Vec<u8>,
    after_each: impl FnMut(usize),
) -> Result<Option<usize>, EncodeError> {
    if let Some(error) = uncommitted(batch).filter(|_| !L::TAKES_UNCOMMITTED) {
        return Err(error);
    }
    let start = out.len();
    lines.take_up(batch);
    let result = encode_events(lines, batch, out, after_each);
    lines.lay_down();
    if result.is_err() {
        out.truncate(start);
    }
    result
}

/// That a format which knows only what is committed cannot write `batch`.
fn uncommitted(batch: &Batch) -> Option<EncodeError> {
    let change = batch.events().find_map(|event| match event {
        Event::Early(change) => Some(change),
        _ => None,
    })?;
    let position = Position::Logged { commit_lsn: change.lsn(), index: change.ordinal() };
    let table = match change.kind() {
        EarlyKind::Row(row) => row.relation().to_string(),
        EarlyKind::Truncate(truncate) => truncate.relation().to_string(),
        EarlyKind::Message(message) => format!("message {}", message.prefix()),
    };
    Some(EncodeError { position, table, column: String::new(), fault: EncodeFault::Uncommitted })
}

fn encode_events<L: EventLines>(
    lines: &mut L,
    batch: &Batch,
    out: &mut Vec<u8>,
    mut after_each: impl FnMut(usize),
) -> Result<Option<usize>, EncodeError> {
    let lineage = batch.lineage();
    let mut complete = None;
    for event in batch.events() {
        lines.write(out, lineage, event)?;
        let completes = match event {
            Event::Commit(_) | Event::Early(_) | Event::Abort(_) => true,
            Event::Message(message) => !message.is_transactional(),
            _ => false,
        };
        if completes {
            complete = Some(out.len());
        }
        after_each(out.len());
    }
    Ok(complete)
}
