//! How early the kernel kills a process when memory runs out (`oom_score_adj`, proc_pid_oom_score_adj(5)).

use std::io;
use std::time::Duration;

use crate::procfs::{ProcFolder, is_gone};

/// Half of all memory is added to what the process uses: it goes before anything of the live color, and
/// still after one that takes nearly everything.
pub(crate) const HIGH: i32 = 500;
const FILE: &str = "oom_score_adj";

/// One that is being forked is not seen yet, and has what its parent had before.
const FORKED_BY_NOW: Duration = Duration::from_millis(20);
/// Something that forks without end is not waited for.
const LOOKS: usize = 50;

/// What one process is to have.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Score {
    High,
    /// What it would have without a shield.
    Usual(i32),
}

/// True when something had to be changed.
///
/// # Errors
/// When this process may not: another user's without root, or below where that one began.
pub(crate) fn set(process: &ProcFolder, score: Score) -> io::Result<bool> {
    let set = || {
        let text = process.read(FILE)?;
        let now: i32 = text.trim().parse().map_err(io::Error::other)?;
        let wanted = match score {
            Score::High if now < HIGH => HIGH,
            // A score of its own choice is left alone.
            Score::Usual(usual) if now == HIGH && usual != HIGH => usual,
            _ => return Ok(false),
        };
        process.write(FILE, &wanted.to_string())?;
        Ok(true)
    };
    match set() {
        Err(error) if is_gone(&error) => Ok(false),
        result => result,
    }
}

/// Of this process itself; None where `/proc` does not tell.
pub(crate) fn own() -> Option<i32> {
    let text = std::fs::read_to_string("/proc/self/oom_score_adj").ok()?;
    text.trim().parse().ok()
}

/// Lifts this process to 0 if it was put below (a unit's `OOMScoreAdjust`), so that what it starts is
/// not spared along with it. Returns what it has then.
pub(crate) fn at_least_usual() -> i32 {
    let inherited = own().unwrap_or(0);
    // Upwards is allowed to everyone.
    if inherited < 0 && std::fs::write("/proc/self/oom_score_adj", "0").is_ok() {
        return 0;
    }
    inherited
}

/// Children have what their parent has. So all is as it should be after a look at which nothing had
/// to be changed; after each other look comes one more, shortly after. The last error is returned.
pub(crate) async fn until_settled(
    mut look: impl FnMut() -> (bool, Option<io::Error>),
) -> Option<io::Error> {
    for _ in 0..LOOKS {
        let (changed, error) = look();
        if !changed {
            return error;
        }
        tokio::time::sleep(FORKED_BY_NOW).await;
    }
    look().1
}

/// One look at these processes, for [`until_settled`].
pub(crate) fn set_all(
    processes: impl Iterator<Item = ProcFolder>,
    score: Score,
) -> (bool, Option<io::Error>) {
    let mut seen = (false, None);
    for process in processes {
        match set(&process, score) {
            Ok(changed) => seen.0 |= changed,
            Err(error) => seen.1 = Some(error),
        }
    }
    seen
}
