//! The table, in Markdown.

use std::fmt::Write;

use super::cell::Row;

const HEAD: &str = "\
# What each strategy does with each fault

Written by a test run (`scripts/soak`): each line is a daemon of its own with a good release, 60 visitors
who ask all the time, and a deploy of a second release that goes wrong. Exit code 0: it is live; 3: it
failed before anyone had it; 4: it had users and was taken back. *Errors of its own* are requests that the
new release answered with 500; *failed otherwise* is everything else that a visitor would complain about.
With the docker engine memory runs out at the container's limit, with the process engine at the limit of a
cgroup that holds the daemon and all of its processes.

| strategy | engine | fault of the new release | exit code | serves at the end | requests | of the new release | errors of its own | failed otherwise | what the command said |
| --- | --- | --- | --: | --- | --: | --: | --: | --: | --- |
";

pub(super) fn render(rows: &[Row]) -> String {
    let mut text = HEAD.to_owned();
    for row in rows {
        let (cell, visits) = (row.cell, &row.visits);
        let own = visits.errors_of("r2");
        let new = visits.by_release.get("r2").copied().unwrap_or(0) + own;
        let serves = match row.serves.as_str() {
            "r1" => "the old one",
            "r2" => "the new one",
            other => other,
        };
        // Writing to memory cannot fail.
        let _ = writeln!(
            text,
            "| {} | {} | {} | {} | {serves} | {} | {new} | {own} | {} | {} |",
            cell.strategy.name(),
            cell.engine_name(),
            cell.fault.name(),
            row.code,
            visits.requests,
            visits.failed() - own,
            row.message.replace('|', "\\|").replace('\n', " "),
        );
    }
    let seconds: f32 = rows.iter().map(|row| row.took.as_secs_f32()).sum();
    let _ = writeln!(
        text,
        "\n{} deploys, {seconds:.0} s of them in all.",
        rows.len()
    );
    text
}
