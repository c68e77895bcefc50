//! Which files an app is made of, found as Compose finds them.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use serde_json::Value;

use crate::color::AppName;
use crate::error::{ComposeError, Problem};
use crate::interpolate::Interpolation;
use crate::project::EngineKind;
use crate::read::ReadOptions;
use crate::{dotenv, yaml};

const NAMES: [&str; 4] = [
    "compose.yaml",
    "compose.yml",
    "docker-compose.yml",
    "docker-compose.yaml",
];
const OVERRIDES: [&str; 4] = [
    "compose.override.yml",
    "compose.override.yaml",
    "docker-compose.override.yml",
    "docker-compose.override.yaml",
];

/// The user's files and what surrounds them.
#[derive(Debug)]
pub(crate) struct Located {
    pub(crate) files: Vec<SourceFile>,
    /// Project folder, absolute.
    pub(crate) directory: PathBuf,
    /// The caller's environment over `.env`.
    pub(crate) environment: BTreeMap<String, String>,
    /// What is wrong with `.env`. Whether that matters is for who reads it: Compose has its own words.
    pub(crate) dotenv_problem: Option<Problem>,
}

/// One compose file.
#[derive(Debug)]
pub(crate) struct SourceFile {
    /// As the user named it, for messages.
    pub(crate) shown: PathBuf,
    /// None for what only Compose can fetch (`oci://…`, a git address).
    pub(crate) path: Option<PathBuf>,
    /// The plain reading of it, before interpolation; the error where there is none.
    pub(crate) parsed: Result<Value, String>,
}

impl SourceFile {
    fn read(named: &Path, cwd: &Path) -> Result<SourceFile, ComposeError> {
        let text = named.to_string_lossy();
        if text.contains("://") || text.starts_with("git@") {
            return Ok(SourceFile {
                shown: named.to_owned(),
                path: None,
                parsed: Err("remote".to_owned()),
            });
        }
        let path = cwd.join(named);
        let content =
            std::fs::read_to_string(&path).map_err(|source| ComposeError::Unreadable {
                file: named.to_owned(),
                source,
            })?;
        Ok(SourceFile {
            shown: named.to_owned(),
            path: Some(path),
            parsed: yaml::parse(&content),
        })
    }
}

/// Finds the files and reads them once.
///
/// # Errors
/// No file, or one that cannot be read.
pub(crate) fn locate(options: &ReadOptions) -> Result<Located, ComposeError> {
    let cwd = &options.cwd;
    let mut environment = options.environment.clone();
    let early = options
        .project_directory
        .as_ref()
        .map(|directory| cwd.join(directory))
        .or_else(|| {
            options
                .files
                .first()
                .and_then(|file| Some(cwd.join(file).parent()?.to_owned()))
        })
        .unwrap_or_else(|| cwd.clone());
    let first_problem = add_dotenv(&early, &mut environment).err();
    let named = if options.files.is_empty() {
        from_environment(&environment).map_or_else(|| discover(cwd, &early), Ok)?
    } else {
        options.files.clone()
    };
    if let Some(stdin) = named.iter().find(|file| file.as_os_str() == "-") {
        return Err(
            Problem::new("", "a compose file on standard input cannot be read twice")
                .help("write it to a file and name that with -f FILE")
                .in_file(stdin)
                .into(),
        );
    }
    let files = named
        .iter()
        .map(|file| SourceFile::read(file, cwd))
        .collect::<Result<Vec<_>, _>>()?;
    let directory = match &options.project_directory {
        Some(directory) => cwd.join(directory),
        None => files
            .first()
            .and_then(|file| file.path.as_ref()?.parent())
            .unwrap_or(cwd)
            .to_owned(),
    };
    let directory = normal(&directory);
    let second_problem = add_dotenv(&directory, &mut environment).err();
    Ok(Located {
        files,
        directory,
        environment,
        dotenv_problem: first_problem.or(second_problem),
    })
}

/// `COMPOSE_FILE`, separated by `COMPOSE_PATH_SEPARATOR` (`:`).
fn from_environment(environment: &BTreeMap<String, String>) -> Option<Vec<PathBuf>> {
    let list = environment
        .get("COMPOSE_FILE")
        .filter(|list| !list.is_empty())?;
    let separator = environment
        .get("COMPOSE_PATH_SEPARATOR")
        .map_or(":", String::as_str);
    Some(list.split(separator).map(PathBuf::from).collect())
}

/// The default names in `start` or the nearest parent that has one, with its override file.
fn discover(cwd: &Path, start: &Path) -> Result<Vec<PathBuf>, ComposeError> {
    for folder in start.ancestors() {
        let first = |names: [&str; 4]| {
            names
                .into_iter()
                .map(|name| folder.join(name))
                .find(|path| path.is_file())
        };
        if let Some(file) = first(NAMES) {
            let shown = |path: PathBuf| path.strip_prefix(cwd).map(Path::to_owned).unwrap_or(path);
            return Ok([Some(file), first(OVERRIDES)]
                .into_iter()
                .flatten()
                .map(shown)
                .collect());
        }
    }
    Err(ComposeError::NoFile {
        folder: cwd.to_owned(),
    })
}

/// `.env` of a folder, under what the environment says already.
fn add_dotenv(folder: &Path, environment: &mut BTreeMap<String, String>) -> Result<(), Problem> {
    let path = folder.join(".env");
    let Ok(text) = std::fs::read_to_string(&path) else {
        return Ok(());
    };
    let pairs = dotenv::parse(&text, environment)
        .map_err(|error| Problem::new("", error).in_file(&path))?;
    for (name, value) in pairs {
        environment.entry(name).or_insert(value);
    }
    Ok(())
}

/// Without `.` and `..`, symbolic links left as they are (as Go's `filepath.Abs`).
pub(crate) fn normal(path: &Path) -> PathBuf {
    let mut normal = PathBuf::new();
    for part in path.components() {
        match part {
            std::path::Component::CurDir => {}
            std::path::Component::ParentDir => {
                normal.pop();
            }
            other => normal.push(other),
        }
    }
    normal
}

impl Located {
    /// The file that says `key`: the last one that has it, as later files win.
    pub(crate) fn place(&self, key: &str) -> Option<PathBuf> {
        let depth = |file: &SourceFile| match &file.parsed {
            Ok(value) => yaml::depth(value, key),
            Err(_) => 0,
        };
        let mut best = self.files.first()?;
        for file in &self.files {
            if depth(file) >= depth(best) && depth(file) > 0 {
                best = file;
            }
        }
        Some(best.shown.clone())
    }

    /// For messages that concern the whole app.
    pub(crate) fn first(&self) -> PathBuf {
        self.files
            .first()
            .map(|file| file.shown.clone())
            .unwrap_or_default()
    }

    /// Every service that a plain reading of the files shows, with what the file says of it.
    pub(crate) fn services(&self) -> impl Iterator<Item = (&String, &Value)> {
        self.files
            .iter()
            .filter_map(|file| file.parsed.as_ref().ok()?.get("services")?.as_object())
            .flatten()
    }

    /// Who runs this app, as far as a plain reading shows: `process` where any service says so.
    /// Everything that is not plain (fragments, includes, remote files) is for Docker Compose.
    pub(crate) fn engine(&self) -> EngineKind {
        let says_process = |service: &Value| {
            service
                .get("x-baton")
                .and_then(|x_baton| x_baton.get("engine"))
                .and_then(Value::as_str)
                .and_then(|engine| Interpolation::new(&self.environment).text(engine).ok())
                .is_some_and(|engine| engine == "process")
        };
        if self.services().any(|(_, service)| says_process(service)) {
            EngineKind::Process
        } else {
            EngineKind::Docker
        }
    }

    /// A name that stands above the files: `-p` or `COMPOSE_PROJECT_NAME`.
    pub(crate) fn given_name<'a>(&'a self, options: &'a ReadOptions) -> Option<&'a str> {
        let environment = self.environment.get("COMPOSE_PROJECT_NAME");
        let environment = environment
            .map(String::as_str)
            .filter(|name| !name.is_empty());
        options.project_name.as_deref().or(environment)
    }

    /// The app's name, by Compose's rules: `-p`, `COMPOSE_PROJECT_NAME`, the last `name:`, the folder.
    ///
    /// # Errors
    /// None of them makes a name.
    pub(crate) fn app(&self, options: &ReadOptions) -> Result<AppName, ComposeError> {
        if let Some(name) = self.given_name(options) {
            return name
                .parse()
                .map_err(|text: String| Problem::new("", text).into());
        }
        let in_files = self.files.iter().rev().find_map(|file| {
            let name = file.parsed.as_ref().ok()?.get("name")?.as_str()?;
            Some((file, name))
        });
        if let Some((file, name)) = in_files {
            let problem =
                |text: String| ComposeError::from(Problem::new("name", text).in_file(&file.shown));
            let name = Interpolation::new(&self.environment)
                .text(name)
                .map_err(problem)?;
            return name.parse().map_err(problem);
        }
        let folder = self
            .directory
            .file_name()
            .unwrap_or_default()
            .to_string_lossy()
            .to_lowercase();
        let name: String = folder
            .chars()
            .filter(|c| c.is_ascii_lowercase() || c.is_ascii_digit() || *c == '-' || *c == '_')
            .collect();
        name.trim_start_matches(['-', '_'])
            .parse()
            .map_err(|_: String| {
                Problem::new(
                    "",
                    format!(
                        "the folder {} gives the app no name",
                        self.directory.display()
                    ),
                )
                .help("put `name: NAME` into the compose file, or give -p NAME")
                .in_file(&self.first())
                .into()
            })
    }
}
