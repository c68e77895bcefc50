//! A command that runs to its end in the image and with the environment of a service, beside its
//! instances: a migration.

use std::collections::VecDeque;
use std::time::Duration;

use baton_compose::Role;
use baton_compose::rendering::Rendering;

use crate::{Exit, Slot};

/// Lines of output that a result keeps.
const KEPT: usize = 30;

/// What to run. The rendering has its images and its release number filled in.
#[derive(Debug, Clone)]
pub struct Once<'a> {
    pub slot: &'a Slot,
    pub release: u64,
    pub role: Role,
    pub rendering: &'a Rendering,
    pub service: &'a str,
    /// Argument vector; never a shell. It stands for the image's entrypoint and command.
    pub command: &'a [String],
    /// It is killed after so long, counted from the call.
    pub timeout: Duration,
}

impl Once<'_> {
    /// For messages: `shop-blue/api`.
    pub(crate) fn title(&self) -> String {
        format!("{}/{}", self.slot, self.service)
    }
}

/// How a [`Once`] ended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct OnceResult {
    pub exit: Exit,
    pub timed_out: bool,
    /// Its last lines, at most 30.
    pub log: Vec<String>,
}

/// Tells each line as it comes, and keeps the last ones.
pub(crate) struct Said<'a> {
    tell: &'a (dyn Fn(String) + Send + Sync),
    last: VecDeque<String>,
}

impl<'a> Said<'a> {
    pub(crate) fn new(tell: &'a (dyn Fn(String) + Send + Sync)) -> Said<'a> {
        Said {
            tell,
            last: VecDeque::with_capacity(KEPT),
        }
    }

    pub(crate) fn line(&mut self, text: &str) {
        if self.last.len() == KEPT {
            self.last.pop_front();
        }
        self.last.push_back(text.to_owned());
        (self.tell)(text.to_owned());
    }

    pub(crate) fn result(self, exit: Exit, timed_out: bool) -> OnceResult {
        OnceResult {
            exit,
            timed_out,
            log: self.last.into(),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Mutex;

    use super::*;

    #[test]
    fn every_line_is_told_and_the_last_thirty_are_kept() {
        let told = Mutex::new(0);
        let tell = |_: String| *told.lock().expect("not poisoned") += 1;
        let mut said = Said::new(&tell);
        for number in 1..=100 {
            said.line(&format!("line {number}"));
        }
        let exit = Exit {
            code: Some(0),
            oom_killed: false,
            error: None,
        };
        let result = said.result(exit, false);
        assert_eq!(*told.lock().expect("not poisoned"), 100);
        assert_eq!(result.log.len(), 30);
        assert_eq!(result.log.first().map(String::as_str), Some("line 71"));
    }
}
