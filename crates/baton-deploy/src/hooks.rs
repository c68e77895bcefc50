//! `hooks`: commands of the team around a deploy. They run on the machine of the daemon, in the folder
//! of the compose file, as the owner of that folder: whoever may write it may write the hook.

use std::collections::VecDeque;
use std::os::unix::fs::MetadataExt;
use std::path::Path;
use std::process::Stdio;
use std::time::Duration;

use baton_compose::policy::{HookCommand, Hooks};
use tokio::io::{AsyncBufReadExt, AsyncRead, BufReader};
use tokio::process::Command;
use tokio::sync::mpsc;

use crate::plan::StepName;
use crate::release::Release;

/// One that takes longer is ended.
const LIMIT: Duration = Duration::from_secs(600);

/// Lines of its output that are kept for the failure.
const LINES: usize = 30;

/// What a hook is told, as environment variables.
pub(crate) type Facts = Vec<(&'static str, String)>;

/// A hook that did not exit with 0.
#[derive(Debug)]
pub(crate) struct Failed {
    /// `before_switch of api ("./check.sh") exited with code 3`.
    pub(crate) message: String,
    /// Its last lines.
    pub(crate) log: Vec<String>,
}

/// The commands of a step, by service.
pub(crate) fn of(release: &Release, step: StepName) -> Vec<(String, HookCommand)> {
    let services = release.project.services.iter();
    services
        .flat_map(|service| {
            let commands = commands(&service.policy.hooks, step).iter();
            commands.map(|command| (service.name.clone(), command.clone()))
        })
        .collect()
}

fn commands(hooks: &Hooks, step: StepName) -> &[HookCommand] {
    match step {
        StepName::BeforeStart => &hooks.before_start,
        StepName::BeforeSwitch => &hooks.before_switch,
        StepName::AfterSwitch => &hooks.after_switch,
        StepName::AfterDeploy => &hooks.after_deploy,
        _ => &[],
    }
}

/// Does any service ask for a hook in this step?
pub(crate) fn asked_for(project: &baton_compose::Project, step: StepName) -> bool {
    let mut services = project.services.iter();
    services.any(|service| !commands(&service.policy.hooks, step).is_empty())
}

/// Runs one; each line of its output goes to `line`.
pub(crate) async fn run(
    what: &str,
    command: &HookCommand,
    folder: &Path,
    facts: &Facts,
    line: &(dyn Fn(String) + Send + Sync),
) -> Result<(), Failed> {
    let shown = match command {
        HookCommand::Shell(text) => format!("{text:?}"),
        HookCommand::Exec(words) => format!("{words:?}"),
    };
    let failed = |how: String, log: Vec<String>| Failed {
        message: format!("{what} ({shown}) {how}"),
        log,
    };
    let mut child = build(command, folder, facts).spawn().map_err(|error| {
        failed(
            format!("could not be run in {}: {error}", folder.display()),
            Vec::new(),
        )
    })?;
    let (says, mut said) = mpsc::channel(16);
    for output in [
        child.stdout.take().map(boxed),
        child.stderr.take().map(boxed),
    ]
    .into_iter()
    .flatten()
    {
        tokio::spawn(lines(output, says.clone()));
    }
    drop(says);
    let mut log = VecDeque::new();
    let reading = async {
        while let Some(text) = said.recv().await {
            line(text.clone());
            log.push_back(text);
            if log.len() > LINES {
                log.pop_front();
            }
        }
        child.wait().await
    };
    let ended = tokio::time::timeout(LIMIT, reading).await;
    let log = Vec::from(log);
    match ended {
        Ok(Ok(status)) if status.success() => Ok(()),
        Ok(Ok(status)) => Err(failed(
            status.code().map_or_else(
                || "was ended by a signal".to_owned(),
                |code| format!("exited with code {code}"),
            ),
            log,
        )),
        Ok(Err(error)) => Err(failed(format!("was lost: {error}"), log)),
        Err(_) => {
            end_group(&mut child);
            Err(failed(
                format!("took longer than {} s and was ended", LIMIT.as_secs()),
                log,
            ))
        }
    }
}

fn build(command: &HookCommand, folder: &Path, facts: &Facts) -> Command {
    let mut built = match command {
        HookCommand::Shell(text) => {
            let mut built = Command::new("/bin/sh");
            built.args(["-c", text]);
            built
        }
        HookCommand::Exec(words) => {
            let mut words = words.iter();
            let mut built = Command::new(words.next().map_or("", String::as_str));
            built.args(words);
            built
        }
    };
    built
        .current_dir(folder)
        .env_clear()
        .envs(std::env::vars_os().filter(|(name, _)| {
            ["PATH", "HOME", "LANG", "TZ"]
                .iter()
                .any(|kept| *name == **kept)
        }))
        .envs(facts.iter().map(|(name, value)| (name, value)))
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .process_group(0)
        .kill_on_drop(true);
    // The daemon may be root; the hook must be no more than whoever wrote it.
    if rustix::process::geteuid().is_root()
        && let Ok(owner) = folder.metadata()
        && owner.uid() != 0
    {
        built.uid(owner.uid()).gid(owner.gid());
    }
    built
}

fn boxed(output: impl AsyncRead + Send + Unpin + 'static) -> Box<dyn AsyncRead + Send + Unpin> {
    Box::new(output)
}

async fn lines(output: Box<dyn AsyncRead + Send + Unpin>, says: mpsc::Sender<String>) {
    let mut lines = BufReader::new(output).split(b'\n');
    while let Ok(Some(bytes)) = lines.next_segment().await {
        let text = String::from_utf8_lossy(&bytes).trim_end().to_owned();
        if says.send(text).await.is_err() {
            return;
        }
    }
}

/// Its children as well: a shell is rarely alone.
fn end_group(child: &mut tokio::process::Child) {
    let pid = child.id().and_then(|id| i32::try_from(id).ok());
    if let Some(group) = pid.and_then(rustix::process::Pid::from_raw) {
        let _ = rustix::process::kill_process_group(group, rustix::process::Signal::KILL);
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Mutex;

    use super::*;

    async fn hook(command: HookCommand) -> (Result<(), Failed>, Vec<String>) {
        let said = Mutex::new(Vec::new());
        let facts = vec![("BATON_RELEASE", "r7".to_owned())];
        let folder = std::env::temp_dir();
        let note = |text: String| said.lock().unwrap().push(text);
        let result = run("before_start of api", &command, &folder, &facts, &note).await;
        let said = said.lock().unwrap().clone();
        (result, said)
    }

    #[tokio::test]
    async fn a_hook_is_told_what_is_deployed_and_its_output_is_passed_on() {
        let line = "echo to $BATON_RELEASE; echo oops >&2";
        let (result, mut said) = hook(HookCommand::Shell(line.to_owned())).await;
        result.expect("it exits with 0");
        said.sort();
        assert_eq!(said, ["oops", "to r7"]);
    }

    #[tokio::test]
    async fn a_hook_that_fails_says_how_and_what_it_wrote() {
        let words = ["sh", "-c", "echo broken; exit 3"].map(str::to_owned);
        let (result, _) = hook(HookCommand::Exec(words.to_vec())).await;
        let failed = result.expect_err("it exits with 3");
        assert!(
            failed.message.ends_with("exited with code 3"),
            "{}",
            failed.message
        );
        assert_eq!(failed.log, ["broken"]);
    }

    #[tokio::test]
    async fn a_hook_that_is_not_there_is_named() {
        let words = vec!["no-such-program-at-all".to_owned()];
        let (result, _) = hook(HookCommand::Exec(words)).await;
        let failed = result.expect_err("there is no such program");
        assert!(
            failed.message.contains("no-such-program-at-all"),
            "{}",
            failed.message
        );
    }
}
