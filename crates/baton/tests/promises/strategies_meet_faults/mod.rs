//! Each strategy on each engine meets a good release and every way in which a release fails, under
//! load: the exit code says what happened, the better release serves at the end, and no request fails
//! but those that the new release answered with an error itself, which the canary keeps few.
//!
//! `BATON_LONG=1` meets all of them, else each fault once on each engine with the strategies in turn;
//! `BATON_TEST_TABLE=FILE` writes the table.
//!
//! | module | does |
//! | --- | --- |
//! | `cell` | one strategy, one engine, one release |
//! | `table` | what came of all of them, for people |

mod cell;
mod table;

use std::collections::VecDeque;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Mutex;

use crate::kit::{Engine, long};
use cell::{Cell, Fault, Row, Strategy};

/// At a time: each has a daemon, an app and a crowd of its own, and boots within seconds.
const AT_ONCE: usize = 3;

/// What a canary at 20 % errors may answer with an error before it is taken back: it is after 31 of its
/// requests in nine of ten runs (DESIGN.md §7), and one error of a client counts in ten seconds.
const CANARY_ERRORS: u64 = 40;

fn cells() -> Vec<Cell> {
    let mut cells = Vec::new();
    for (number, fault) in Fault::ALL.into_iter().enumerate() {
        for (other, engine) in [Engine::Process, Engine::Docker].into_iter().enumerate() {
            for (turn, strategy) in Strategy::ALL.into_iter().enumerate() {
                if long() || (number + 2 * other) % 3 == turn {
                    cells.push(Cell {
                        strategy,
                        engine,
                        fault,
                    });
                }
            }
        }
    }
    cells
}

#[test]
fn a_worse_release_is_taken_back_by_every_strategy() {
    let waiting = Mutex::new(VecDeque::from(cells()));
    let rows = Mutex::new(Vec::new());
    let wrong = Mutex::new(Vec::new());
    std::thread::scope(|scope| {
        for _ in 0..AT_ONCE {
            scope.spawn(|| {
                loop {
                    let Some(cell) = waiting.lock().unwrap().pop_front() else {
                        return;
                    };
                    match catch_unwind(AssertUnwindSafe(|| cell.run())) {
                        Ok(row) => {
                            wrong.lock().unwrap().extend(mistakes(&row));
                            rows.lock().unwrap().push(row);
                        }
                        // What went wrong was printed where it did.
                        Err(_) => wrong
                            .lock()
                            .unwrap()
                            .push(format!("{}: it panicked", cell.name())),
                    }
                }
            });
        }
    });
    let (mut rows, wrong) = (rows.into_inner().unwrap(), wrong.into_inner().unwrap());
    rows.sort_by_key(|row| order(&row.cell));
    let table = table::render(&rows);
    println!("{table}");
    if let Ok(file) = std::env::var("BATON_TEST_TABLE") {
        std::fs::write(file, &table).unwrap();
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

fn order(cell: &Cell) -> (usize, usize, usize) {
    let at = |found: Option<usize>| found.unwrap_or_default();
    (
        at(Strategy::ALL.iter().position(|it| *it == cell.strategy)),
        usize::from(cell.engine == Engine::Docker),
        at(Fault::ALL.iter().position(|it| *it == cell.fault)),
    )
}

/// What a row says that it must not.
fn mistakes(row: &Row) -> Vec<String> {
    let (cell, visits) = (row.cell, &row.visits);
    let code = cell.fault.code();
    let serves = if code == 0 { "r2" } else { "r1" };
    let own = visits.errors_of("r2");
    let most = match (cell.fault, cell.strategy) {
        (Fault::Errors, Strategy::Canary) => CANARY_ERRORS,
        // All clients have it at once: it is seen as fast, and more are hit meanwhile.
        (Fault::Errors, _) => 3 * CANARY_ERRORS,
        _ => 0,
    };
    let says_memory = !matches!(cell.fault, Fault::OomAtStart | Fault::OomLater)
        || row.message.contains("memory");
    let checks = [
        (
            row.code == code,
            format!("exit code {}, not {code}", row.code),
        ),
        (
            row.serves == serves,
            format!("{} serves, not {serves}", row.serves),
        ),
        (
            visits.failed() == own,
            format!(
                "{} requests failed by another's fault",
                visits.failed() - own
            ),
        ),
        (
            own <= most,
            format!("{own} errors of its own, more than {most}"),
        ),
        (
            says_memory,
            "it does not say that memory ran out".to_owned(),
        ),
    ];
    let wrong = checks.into_iter().filter(|(right, _)| !right);
    wrong
        .map(|(_, what)| {
            let (message, errors) = (&row.message, &visits.errors);
            format!(
                "{}: {what}\n  it said: {message}\n  {errors:#?}",
                cell.name()
            )
        })
        .collect()
}
