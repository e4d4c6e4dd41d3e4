//! What a stream is made from.

use std::path::PathBuf;
use std::time::Duration;

use super::spill::SpillSettings;
use crate::name::{PublicationName, SlotName};
use crate::net::{ConnectConfig, Format, Streaming};
use crate::publication::PublicationTables;
use crate::{Error, ErrorKind, Result};

/// Where changes come from: a server, a slot, publications, and how they are read.
///
/// ```
/// use walcast::Source;
/// let source = Source::new("postgres://app@db1/shop", "walcast", ["orders"])?.create_slot(true);
/// # Ok::<(), walcast::Error>(())
/// ```
#[derive(Debug, Clone)]
pub struct Source {
    pub(crate) connect: ConnectConfig,
    pub(crate) slot: SlotName,
    pub(crate) publications: Vec<PublicationName>,
    pub(crate) create_slot: bool,
    pub(crate) temporary: bool,
    pub(crate) failover: bool,
    pub(crate) create_publication: PublicationTables,
    pub(crate) format: WireFormat,
    pub(crate) messages: Vec<String>,
    pub(crate) local_only: bool,
    pub(crate) status_interval: Duration,
    pub(crate) silence_timeout: Duration,
    pub(crate) slot_wait: Duration,
    pub(crate) batch_bytes: usize,
    pub(crate) catch_up: bool,
    pub(crate) streaming: Streaming,
    pub(crate) spill: Option<SpillSettings>,
    pub(crate) two_phase: bool,
    pub(crate) prepared: Option<PathBuf>,
    pub(crate) tapped: bool,
    pub(crate) streamed_delivery: StreamedDelivery,
}

/// When the changes of a streamed transaction are handed out.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum StreamedDelivery {
    /// When it has committed, as if it had not been streamed.
    #[default]
    Held,
    /// As they come, before anyone knows whether it commits: as [`Event::Early`], with the ids of
    /// transaction and subtransaction, and [`Event::Abort`] for what is void. At its commit comes
    /// the [`Event::Commit`] alone. In a pipeline it is for the sinks that
    /// [declare it](crate::sink::Sink::takes_uncommitted); all others get it as with `Held`.
    ///
    /// Nothing of it moves the slot: after the stream has connected again, an open transaction is
    /// void, which an [`Event::Abort`] says, and comes again from its first change. After a restart
    /// it comes again without that event. What is held for the others is held all the same; once it
    /// cannot be, streaming is off and everything comes when it has committed. The catalogue does
    /// not know a table or type that the transaction itself has made: its rows are as the server
    /// described them.
    ///
    /// [`Event::Early`]: crate::event::Event::Early
    /// [`Event::Abort`]: crate::event::Event::Abort
    /// [`Event::Commit`]: crate::event::Event::Commit
    Early,
}

/// How values are sent.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum WireFormat {
    /// Binary where every published type has a binary decoder here, else text.
    #[default]
    Auto,
    /// Binary; a type without binary output ends the stream.
    Binary,
    /// Text.
    Text,
}

impl Source {
    /// The changes of `publications` from `slot` of the database at `url`.
    ///
    /// # Errors
    /// [`ErrorKind::Config`] when the URL or a name cannot be.
    pub fn new<P: Into<String>>(
        url: &str,
        slot: &str,
        publications: impl IntoIterator<Item = P>,
    ) -> Result<Self> {
        let connect: ConnectConfig = url.parse()?;
        let config = |error| Error::permanent(ErrorKind::Config, error);
        let slot = SlotName::new(slot).map_err(config)?;
        let names = publications.into_iter().map(|name| PublicationName::new(name));
        let names = names.collect::<Result<Vec<_>, _>>().map_err(config)?;
        Ok(Self::with(connect, slot, names))
    }

    /// The same from parts that were parsed before.
    pub fn with(
        connect: ConnectConfig,
        slot: SlotName,
        publications: Vec<PublicationName>,
    ) -> Self {
        Self {
            connect,
            slot,
            publications,
            create_slot: false,
            temporary: false,
            failover: false,
            create_publication: PublicationTables::Never,
            format: WireFormat::Auto,
            messages: Vec::new(),
            local_only: false,
            status_interval: Duration::from_secs(10),
            silence_timeout: Duration::from_secs(60),
            slot_wait: Duration::from_secs(10),
            batch_bytes: 256 * 1024,
            catch_up: true,
            streaming: Streaming::Auto,
            spill: None,
            two_phase: false,
            prepared: None,
            tapped: false,
            streamed_delivery: StreamedDelivery::Held,
        }
    }

    /// Make the slot when it does not exist. Off by default.
    pub fn create_slot(mut self, create: bool) -> Self {
        self.create_slot = create;
        self
    }

    /// Use a temporary slot, made by each connection and gone with it: when the connection breaks,
    /// the stream ends with [`ErrorKind::Gap`].
    pub fn temporary_slot(mut self, temporary: bool) -> Self {
        self.temporary = temporary;
        self.create_slot |= temporary;
        self
    }

    /// Have the slot copied to standbys when it is made (PostgreSQL 17 and newer).
    pub fn failover_slot(mut self, failover: bool) -> Self {
        self.failover = failover;
        self
    }

    /// Make missing publications with these tables. [`PublicationTables::Never`] by default.
    pub fn create_publication(mut self, tables: PublicationTables) -> Self {
        self.create_publication = tables;
        self
    }

    /// How values are sent. [`WireFormat::Auto`] by default.
    pub fn format(mut self, format: WireFormat) -> Self {
        self.format = format;
        self
    }

    /// Ask for logical messages whose prefix is one of these; `*` means all. None by default.
    pub fn messages(mut self, prefixes: Vec<String>) -> Self {
        self.messages = prefixes;
        self
    }

    /// Leave out what came to the server from another node. Off by default.
    pub fn local_only(mut self, local_only: bool) -> Self {
        self.local_only = local_only;
        self
    }

    /// The longest time between two status updates; a third of the server's `wal_sender_timeout`
    /// where that is shorter. 10 s by default.
    pub fn status_interval(mut self, interval: Duration) -> Self {
        self.status_interval = interval;
        self
    }

    /// How long the server may be silent before the connection is given up. 60 s by default.
    ///
    /// One without `wal_sender_timeout` that decodes for longer what it does not publish may not
    /// even answer, and begins anew with each connection: until events come, each that was given up
    /// makes this twice as long for the next, an hour at most.
    pub fn silence_timeout(mut self, timeout: Duration) -> Self {
        self.silence_timeout = timeout;
        self
    }

    /// How long to wait at the start for a slot that another process holds. 10 s by default.
    pub fn slot_wait(mut self, wait: Duration) -> Self {
        self.slot_wait = wait;
        self
    }

    /// Close a batch at this many bytes. 256 KiB by default.
    pub fn batch_bytes(mut self, bytes: usize) -> Self {
        self.batch_bytes = bytes.max(1);
        self
    }

    /// Whether a backlog may be read in gulps over links without distance. On by default.
    pub fn catch_up(mut self, catch_up: bool) -> Self {
        self.catch_up = catch_up;
        self
    }

    /// Whether the server sends large transactions while they run. [`Streaming::Auto`] by default.
    ///
    /// Nothing that is handed out depends on it: a streamed transaction is held until it commits.
    /// When more is held than may be, the stream connects again with [`Streaming::Off`] and stays
    /// so for the rest of its life: the server then keeps what has not committed.
    pub fn streaming(mut self, streaming: Streaming) -> Self {
        self.streaming = streaming;
        self
    }

    /// When streamed transactions are handed out. [`StreamedDelivery::Held`] by default.
    ///
    /// With [`StreamedDelivery::Early`], [`Streaming::Auto`] is [`Streaming::On`], and
    /// [`Streaming::Off`] is refused at the start.
    pub fn streamed_delivery(mut self, delivery: StreamedDelivery) -> Self {
        self.streamed_delivery = delivery;
        self
    }

    /// Put streamed transactions that do not fit the memory into `directory`, up to `bytes` in all.
    ///
    /// The directory is made when it is missing and is for this stream alone: what a process before
    /// left there is removed at the start. Without one, streamed transactions may take a quarter of
    /// the memory. A pipeline has one in its state directory.
    pub fn spill(mut self, directory: impl Into<PathBuf>, bytes: u64) -> Self {
        self.spill = Some(SpillSettings { directory: directory.into(), bytes_max: bytes });
        self
    }

    /// Whether the server sends a transaction when it is prepared rather than when it commits
    /// (PostgreSQL 15 and newer; on 14 nothing is different). Off by default.
    ///
    /// Nothing that is handed out depends on it, nor when: changes of a prepared transaction are
    /// kept in the [directory for them](Self::prepared) until it commits. What it saves is the
    /// sending at COMMIT PREPARED. A slot that was streamed from with it stays so.
    pub fn two_phase(mut self, two_phase: bool) -> Self {
        self.two_phase = two_phase;
        self
    }

    /// Keep prepared transactions in `directory`, which has to be as durable as the slot: the
    /// server sends them once.
    ///
    /// The directory is made when it is missing and is for this slot alone. A pipeline has one in
    /// its state directory.
    pub fn prepared(mut self, directory: impl Into<PathBuf>) -> Self {
        self.prepared = Some(directory.into());
        self
    }

    /// Keep the frames for whoever records them.
    pub(crate) fn tapped(mut self) -> Self {
        self.tapped = true;
        self
    }

    /// The slot's name.
    pub fn slot(&self) -> &SlotName {
        &self.slot
    }

    /// The publications' names.
    pub fn publications(&self) -> &[PublicationName] {
        &self.publications
    }

    /// How the server is reached.
    pub fn connect_config(&self) -> &ConnectConfig {
        &self.connect
    }

    /// Whether large transactions are streamed, as far as the settings decide it.
    pub(crate) fn first_streaming(&self) -> Streaming {
        match self.streaming {
            Streaming::Auto
                if self.spill.is_some() || self.streamed_delivery == StreamedDelivery::Early =>
            {
                Streaming::On
            }
            Streaming::Auto => Streaming::Off,
            streaming => streaming,
        }
    }

    pub(crate) fn first_format(&self, all_types_decode: bool) -> Format {
        match self.format {
            WireFormat::Binary => Format::Binary,
            WireFormat::Auto if all_types_decode => Format::Binary,
            WireFormat::Auto | WireFormat::Text => Format::Text,
        }
    }
}
