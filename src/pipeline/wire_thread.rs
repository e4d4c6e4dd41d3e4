//! A thread for the replication connection alone.

use std::thread::JoinHandle;

use tokio::runtime::{Builder, Handle};
use tokio::sync::oneshot;

/// Runs what is spawned on its [`handle`](Self::handle) until it is dropped.
#[derive(Debug)]
pub(super) struct WireThread {
    handle: Handle,
    stop: Option<oneshot::Sender<()>>,
    thread: Option<JoinHandle<()>>,
}

impl WireThread {
    pub(super) fn start() -> std::io::Result<Self> {
        let runtime = Builder::new_current_thread().enable_all().build()?;
        let handle = runtime.handle().clone();
        let (stop, stopped) = oneshot::channel::<()>();
        let thread =
            std::thread::Builder::new().name("walcast-wire".to_owned()).spawn(move || {
                // Ends with a word or with the sender: either way nobody needs the thread any more.
                let _ = runtime.block_on(stopped);
                // A name that is still being looked up must not hold up the end.
                runtime.shutdown_background();
            })?;
        Ok(Self { handle, stop: Some(stop), thread: Some(thread) })
    }

    pub(super) fn handle(&self) -> Handle {
        self.handle.clone()
    }
}

impl Drop for WireThread {
    fn drop(&mut self) {
        drop(self.stop.take());
        if let Some(thread) = self.thread.take() {
            // Its tasks are futures that are dropped at their next await: it ends at once.
            let _ = thread.join();
        }
    }
}
