//! What can be wrong with a user's files, said so that the user can mend it.

use std::fmt;
use std::path::{Path, PathBuf};

/// One mistake: `compose.yaml: services.api.x-baton.drain.requests: expected a duration such as
/// "30s", found "30"`.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Problem {
    /// As the user named it.
    pub file: Option<PathBuf>,
    /// Key path (`services.api.x-baton.port`); empty when the whole file is meant.
    pub key: String,
    /// What was expected and what was found.
    pub text: String,
    /// What to do next, where the text does not say it.
    pub help: Option<String>,
}

impl Problem {
    pub(crate) fn new(key: impl Into<String>, text: impl Into<String>) -> Problem {
        Problem {
            file: None,
            key: key.into(),
            text: text.into(),
            help: None,
        }
    }

    pub(crate) fn help(mut self, help: impl Into<String>) -> Problem {
        self.help = Some(help.into());
        self
    }

    pub(crate) fn in_file(mut self, file: &Path) -> Problem {
        self.file.get_or_insert_with(|| file.to_owned());
        self
    }
}

impl fmt::Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if let Some(file) = &self.file {
            write!(f, "{}: ", file.display())?;
        }
        if !self.key.is_empty() {
            write!(f, "{}: ", self.key)?;
        }
        f.write_str(&self.text)?;
        match &self.help {
            Some(help) => write!(f, "\n  {help}"),
            None => Ok(()),
        }
    }
}

/// Every mistake of one read, in the order of the files.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Problems(pub Vec<Problem>);

impl fmt::Display for Problems {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (index, problem) in self.0.iter().enumerate() {
            if index > 0 {
                f.write_str("\n")?;
            }
            problem.fmt(f)?;
        }
        Ok(())
    }
}

/// Why an app could not be read.
#[derive(Debug, thiserror::Error)]
pub enum ComposeError {
    #[error(
        "no compose file: looked for compose.yaml, compose.yml, docker-compose.yml and docker-compose.yaml in {folder} and its parents\n  \
         go to the app's folder, or name the file with -f FILE", folder = folder.display()
    )]
    NoFile { folder: PathBuf },
    #[error("{file}: cannot read it: {source}", file = file.display())]
    Unreadable {
        file: PathBuf,
        source: std::io::Error,
    },
    #[error(
        "docker is not in PATH, and this app needs it\n  \
         install Docker Engine with its Compose plugin (https://docs.docker.com/engine/install/), or set `x-baton.engine: process` to run without Docker"
    )]
    DockerMissing,
    #[error(
        "`docker compose` is not there: {detail}\n  \
         install the Compose plugin, v2.20 or newer (package docker-compose-plugin; https://docs.docker.com/compose/install/linux/); the old `docker-compose` v1 cannot be used"
    )]
    ComposeMissing { detail: String },
    #[error(
        "docker compose is {found}, and Baton needs v2.20 or newer\n  \
         update the package docker-compose-plugin"
    )]
    ComposeTooOld { found: String },
    #[error("running `{command}`: {source}")]
    Run {
        command: String,
        source: std::io::Error,
    },
    /// Compose refused the file; its own words.
    #[error("{file}: docker compose says: {message}", file = file.display())]
    Refused { file: PathBuf, message: String },
    #[error(
        "what `docker compose config` printed cannot be read: {detail}\n  please report this with the output of `docker compose config`"
    )]
    Output { detail: String },
    #[error("{0}")]
    Invalid(Problems),
}

impl ComposeError {
    /// The mistakes of the files one by one; empty when something else went wrong.
    #[must_use]
    pub fn problems(&self) -> &[Problem] {
        match self {
            ComposeError::Invalid(problems) => &problems.0,
            _ => &[],
        }
    }
}

impl From<Problem> for ComposeError {
    fn from(problem: Problem) -> ComposeError {
        ComposeError::Invalid(Problems(vec![problem]))
    }
}

/// Gathers mistakes, so that all of a file are shown at once.
#[derive(Debug, Default)]
pub(crate) struct Collector {
    /// Each once: both colors find the same ones.
    problems: Vec<Problem>,
    /// With those that were known already.
    raised: usize,
}

impl Collector {
    pub(crate) fn push(&mut self, problem: Problem) {
        self.raised += 1;
        if !self.problems.contains(&problem) {
            self.problems.push(problem);
        }
    }

    pub(crate) fn add(&mut self, key: impl Into<String>, text: impl Into<String>) {
        self.push(Problem::new(key, text));
    }

    /// How often something was wrong, to see whether it was in between.
    pub(crate) fn raised(&self) -> usize {
        self.raised
    }

    /// # Errors
    /// All problems, when there was one; `place` finds the file of each.
    pub(crate) fn finish(
        &mut self,
        place: impl Fn(&str) -> Option<PathBuf>,
    ) -> Result<(), ComposeError> {
        if self.problems.is_empty() {
            return Ok(());
        }
        let problems = std::mem::take(&mut self.problems)
            .into_iter()
            .map(|problem| {
                // Without a key it is about the command line, or names its file itself.
                let file = Some(&problem.key)
                    .filter(|key| !key.is_empty())
                    .and_then(|key| place(key));
                match file {
                    Some(file) => problem.in_file(&file),
                    None => problem,
                }
            });
        Err(ComposeError::Invalid(Problems(problems.collect())))
    }
}

/// The known word nearest to what was typed, if one is near enough to be meant.
pub(crate) fn nearest<'a>(
    typed: &str,
    known: impl IntoIterator<Item = &'a str>,
) -> Option<&'a str> {
    known
        .into_iter()
        .map(|word| (strsim::damerau_levenshtein(typed, word), word))
        .filter(|(distance, word)| *distance <= (word.len().max(typed.len()) / 3).max(1))
        .min_by_key(|(distance, _)| *distance)
        .map(|(_, word)| word)
}
