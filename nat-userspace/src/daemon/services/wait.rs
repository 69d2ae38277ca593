//! Waiting for what may not be there.

use std::future::{Future, pending};

/// The future's output, or nothing ever.
pub(crate) async fn maybe<F: Future>(future: Option<F>) -> F::Output {
    match future {
        Some(future) => future.await,
        None => pending().await,
    }
}
