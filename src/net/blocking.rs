//! Work that may wait for a disk, off the executor's threads.

/// Run `work` where it may block. Never returns when the runtime is shutting down.
pub(super) async fn blocking<T: Send + 'static>(work: impl FnOnce() -> T + Send + 'static) -> T {
    match tokio::task::spawn_blocking(work).await {
        Ok(done) => done,
        Err(gone) => match gone.try_into_panic() {
            Ok(panic) => std::panic::resume_unwind(panic),
            // Nobody will poll this again.
            Err(_) => std::future::pending().await,
        },
    }
}
