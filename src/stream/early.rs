//! What of open transactions was handed out, and what becomes of it when the connection breaks.

use std::sync::Arc;

use super::source::StreamedDelivery;
use crate::event::{Batch, Broken, Given};
use crate::lineage::Lineage;
use crate::session::HandedOut;

/// Who leaves out at its commit what was given early.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum EarlyConsumer {
    /// The stream, for the one who reads it.
    Stream,
    /// Each lane for itself: all of it is handed out.
    Lanes,
}

/// See the [module](self).
#[derive(Debug)]
pub(super) struct EarlyShown {
    delivery: StreamedDelivery,
    consumer: EarlyConsumer,
    given: Given,
    lineage: Option<Arc<Lineage>>,
    /// Transactions that broke off with the connection.
    void: Vec<u32>,
}

impl EarlyShown {
    pub(super) fn new(delivery: StreamedDelivery, consumer: EarlyConsumer) -> Self {
        Self { delivery, consumer, given: Given::default(), lineage: None, void: Vec::new() }
    }

    /// `batch` is handed out; what of it the consumer is to have.
    pub(super) fn hand_out(&mut self, batch: Batch) -> Batch {
        if self.delivery == StreamedDelivery::Held {
            return batch;
        }
        if batch.is_early() {
            self.lineage.get_or_insert_with(|| Arc::new(batch.lineage().clone()));
        }
        match (self.consumer, batch.is_early()) {
            (EarlyConsumer::Stream, true) => self.given.admit(&batch),
            (EarlyConsumer::Stream, false) => self.given.show(batch),
            (EarlyConsumer::Lanes, true) => {
                self.given.note(&batch);
                batch
            }
            (EarlyConsumer::Lanes, false) => {
                self.given.show(batch.clone());
                batch
            }
        }
    }

    /// The connection is over: what was given and has not ended comes again, whichever way. So does
    /// the part of a committed transaction that was not given because of that.
    pub(super) fn broke(&mut self, handed: &mut HandedOut) {
        let Broken { void, hid_part } = self.given.broke();
        if hid_part {
            handed.partial = None;
        }
        self.void.extend(void);
    }

    /// What says so, once.
    pub(super) fn take_void(&mut self, handed: &HandedOut) -> Option<Batch> {
        let lineage = self.lineage.clone().filter(|_| !self.void.is_empty())?;
        Some(Batch::aborts(lineage, handed.end, self.void.drain(..)))
    }
}
