//! Waits for the end of a load.

use std::io;
use std::time::{Duration, Instant};

use tokio::task::JoinHandle;
use tokio::time::sleep;

/// Waits until `until`, then until `done` or `deadline`, then aborts the tasks. Tasks end by themselves only if they fail.
///
/// # Errors
/// Returns the error of a failed task.
pub async fn settle(
    tasks: Vec<JoinHandle<io::Result<()>>>,
    until: Instant,
    deadline: Instant,
    done: impl Fn() -> bool,
) -> io::Result<()> {
    loop {
        let now = Instant::now();
        let failed = tasks.iter().any(JoinHandle::is_finished);
        if failed || now >= deadline || (now >= until && done()) {
            break;
        }
        let left = until.saturating_duration_since(now);
        sleep(left.clamp(Duration::from_millis(1), Duration::from_millis(50))).await;
    }
    for task in tasks {
        task.abort();
        if let Ok(failed) = task.await {
            failed?;
        }
    }
    Ok(())
}
