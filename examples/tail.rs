//! Print changes as they are committed, and leave nothing behind.
//!
//! ```text
//! cargo run --example tail -- postgres://localhost/shop my_publication 10
//! ```
//! Ends after as many lines as the last argument says.

use std::io::Write;
use std::sync::Arc;

use futures::StreamExt;
use walcast::codec::value::TypeRegistry;
use walcast::codec::{Encoder, EventFormat};
use walcast::{ReplicationStream, Source};

#[tokio::main]
async fn main() -> Result<(), Box<dyn std::error::Error>> {
    let mut arguments = std::env::args().skip(1);
    let (Some(url), Some(publication)) = (arguments.next(), arguments.next()) else {
        return Err("give a URL and a publication".into());
    };
    let wanted: usize = arguments.next().map_or(Ok(usize::MAX), |text| text.parse())?;

    // A temporary slot goes with its connection: the server keeps no log for us.
    let slot = format!("tail_{}", std::process::id());
    let source = Source::new(&url, &slot, [publication])?.temporary_slot(true);
    let mut stream = ReplicationStream::connect(source).await?;
    let confirmer = stream.confirmer();
    eprintln!("streaming from {}", stream.handed_out());

    let mut encoder = Encoder::new(EventFormat::Json, Arc::new(TypeRegistry::builtin()));
    let (mut lines, mut seen) = (Vec::new(), 0);
    while seen < wanted {
        let Some(batch) = stream.next().await.transpose()? else { break };
        lines.clear();
        encoder.encode(&batch, &mut lines)?;
        std::io::stdout().write_all(&lines)?;
        seen += lines.iter().filter(|byte| **byte == b'\n').count();
        // It is on the terminal: that is as durable as it gets here.
        confirmer.vouch_durable(batch.end())?;
    }
    stream.finish().await;
    Ok(())
}
