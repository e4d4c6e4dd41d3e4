//! Read a little, forget on purpose, and go on where it was confirmed.
//!
//! ```text
//! cargo run --example resume -- postgres://localhost/shop my_publication
//! ```
//! Needs a publication with at least two transactions to come.

use futures::StreamExt;
use walcast::event::{Batch, Event};
use walcast::{Lsn, ReplicationStream, Source};

/// The next transaction's commit LSN and where it ends.
async fn next_commit(stream: &mut ReplicationStream) -> Result<(Lsn, Lsn), walcast::Error> {
    while let Some(batch) = stream.next().await.transpose()? {
        if let Some(commit) = first_commit(&batch) {
            return Ok(commit);
        }
    }
    unreachable!("a stream ends with an error, or when it is dropped");
}

fn first_commit(batch: &Batch) -> Option<(Lsn, Lsn)> {
    batch.events().find_map(|event| match event {
        Event::Commit(commit) => commit.end_lsn().map(|end| (commit.commit_lsn(), end)),
        _ => None,
    })
}

#[tokio::main]
async fn main() -> Result<(), Box<dyn std::error::Error>> {
    let mut arguments = std::env::args().skip(1);
    let (Some(url), Some(publication)) = (arguments.next(), arguments.next()) else {
        return Err("give a URL and a publication".into());
    };
    // Small batches, so that each transaction comes alone.
    let source = Source::new(&url, "resume", [publication])?.create_slot(true).batch_bytes(1);

    let mut stream = ReplicationStream::connect(source.clone()).await?;
    let (first, end) = next_commit(&mut stream).await?;
    println!("first   {first}: confirmed");
    stream.confirmer().vouch_durable(end)?;
    let (second, _) = next_commit(&mut stream).await?;
    println!("second  {second}: read, but not confirmed");
    stream.finish().await;

    let mut stream = ReplicationStream::connect(source).await?;
    let (again, end) = next_commit(&mut stream).await?;
    println!("again   {again}: nothing was lost");
    assert_eq!(again, second);
    stream.confirmer().vouch_durable(end)?;
    stream.finish().await;
    Ok(())
}
