//! Read two transactions, confirm one, and find the other again.
//!
//! ```text
//! cargo run --example resume -- postgres://localhost/shop my_publication
//! ```
//! Waits for two transactions on the publication's tables.

use futures::StreamExt;
use walcast::event::Event;
use walcast::{Lsn, ReplicationStream, Source};

struct Commit {
    lsn: Lsn,
    end: Lsn,
}

/// Reads until `count` transactions have come.
async fn commits(stream: &mut ReplicationStream, count: usize) -> walcast::Result<Vec<Commit>> {
    let mut commits = Vec::new();
    while commits.len() < count {
        // The stream ends with an error, so this is never `None` before one.
        let Some(batch) = stream.next().await.transpose()? else { break };
        commits.extend(batch.events().filter_map(|event| match event {
            Event::Commit(of) => of.end_lsn().map(|end| Commit { lsn: of.commit_lsn(), end }),
            _ => None,
        }));
    }
    Ok(commits)
}

#[tokio::main]
async fn main() -> Result<(), Box<dyn std::error::Error>> {
    let mut arguments = std::env::args().skip(1);
    let (Some(url), Some(publication)) = (arguments.next(), arguments.next()) else {
        return Err("give a URL and a publication".into());
    };
    let source = Source::new(&url, "resume", [publication])?.create_slot(true);

    let mut stream = ReplicationStream::connect(source.clone()).await?;
    let read = commits(&mut stream, 2).await?;
    // Imagine that only the first one reached the disk before the power went.
    stream.confirmer().vouch_durable(read[0].end)?;
    println!("{} confirmed, {} read only", read[0].lsn, read[1].lsn);
    stream.finish().await;

    let mut stream = ReplicationStream::connect(source).await?;
    let again = commits(&mut stream, 1).await?;
    assert_eq!(again[0].lsn, read[1].lsn);
    println!("{} came again: nothing was lost", again[0].lsn);
    stream.confirmer().vouch_durable(again[0].end)?;
    stream.finish().await;
    Ok(())
}
