//! One slot, three sinks: a file, a channel of this process, and a count.
//!
//! ```text
//! cargo run --example fan_out -- postgres://localhost/shop my_publication 1000
//! ```
//! Ends after as many events as the last argument says.

use walcast::codec::EventFormat;
use walcast::sinks::channel::ChannelSink;
use walcast::sinks::file::FileSink;
use walcast::sinks::null::NullSink;
use walcast::{Pipeline, Shutdown, Source};

#[tokio::main]
async fn main() -> Result<(), Box<dyn std::error::Error>> {
    let mut arguments = std::env::args().skip(1);
    let (Some(url), Some(publication)) = (arguments.next(), arguments.next()) else {
        return Err("give a URL and a publication".into());
    };
    let wanted: u64 = arguments.next().map_or(Ok(1000), |text| text.parse())?;

    let source = Source::new(&url, "fan_out", [publication])?.create_slot(true);
    let file = FileSink::new("fan_out.jsonl").with_format(EventFormat::Json);
    let (channel, mut receiver) = ChannelSink::new(16);
    let count = NullSink::new();
    let counts = count.counts();
    let pipeline = Pipeline::new(source, "fan_out-state")
        .sink("file", file)?
        .sink("here", channel)?
        .sink("count", count)?;
    let monitor = pipeline.monitor();

    let (trigger, shutdown) = Shutdown::new();
    let running = tokio::spawn(pipeline.run(shutdown));
    let mut seen = 0;
    while seen < wanted {
        let Some(delivery) = receiver.recv().await else { break };
        seen += delivery.batch.events().count() as u64;
        // Nothing is proven for this sink, and so for the slot, until this is said.
        delivery.ack.done();
    }
    if let Some(status) = monitor.status().await {
        for sink in &status.replicas {
            let lag = sink.lag_seconds.unwrap_or_default();
            println!("{}: {} events, {lag:.3} s behind", sink.name, sink.events);
        }
    }
    trigger.drain();
    running.await??;
    println!("{seen} events here, {} changes counted", counts.changes());
    Ok(())
}
