//! Waiting for something, with an end to the patience.

use std::time::{Duration, Instant};

/// How long anything that must happen may take; only a failing case waits that long.
pub(crate) const PATIENCE: Duration = Duration::from_secs(30);

/// How often a condition is looked at.
const LOOK: Duration = Duration::from_millis(10);

/// Waits until a condition holds.
///
/// # Panics
/// When it does not in time: then the case has failed.
pub(crate) async fn until(what: &str, patience: Duration, condition: impl AsyncFnMut() -> bool) {
    let came = comes_true(patience, condition).await;
    assert!(came, "not within {patience:?}: {what}");
}

/// Waits until a condition holds; whether it did in time.
pub(crate) async fn comes_true(
    patience: Duration,
    mut condition: impl AsyncFnMut() -> bool,
) -> bool {
    let deadline = Instant::now() + patience;
    while !condition().await {
        if Instant::now() > deadline {
            return false;
        }
        tokio::time::sleep(LOOK).await;
    }
    true
}

/// Lets time pass that is part of the case itself: how long a fault lasts.
pub(crate) async fn lasting(time: Duration) {
    tokio::time::sleep(time).await;
}
