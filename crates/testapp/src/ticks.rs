//! What the job of `/internal/active` writes to `TICK_FILE`, and whether two releases ever ran it at once.
//!
//! A line is `<unix millis> <release> <color> <instance>`, followed by `begin` or `end` where a tick takes
//! time (`TICK_RUN_MS`).

use std::collections::BTreeMap;
use std::fmt;
use std::io;
use std::path::Path;
use std::str::FromStr;
use std::time::Duration;

/// A tick comes at each multiple of it on the wall clock.
pub const PERIOD: Duration = Duration::from_millis(100);

/// One line of the file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Line {
    /// Milliseconds since the Unix epoch.
    pub(crate) at: u64,
    pub(crate) release: String,
    pub(crate) color: String,
    pub(crate) instance: String,
    pub(crate) part: Part,
}

/// Which part of a tick a line tells of.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Part {
    Whole,
    Begin,
    End,
}

impl fmt::Display for Line {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Line {
            at,
            release,
            color,
            instance,
            part,
        } = self;
        write!(out, "{at} {release} {color} {instance}")?;
        match part {
            Part::Whole => Ok(()),
            Part::Begin => out.write_str(" begin"),
            Part::End => out.write_str(" end"),
        }
    }
}

impl FromStr for Line {
    type Err = String;

    fn from_str(line: &str) -> Result<Line, String> {
        let words: Vec<&str> = line.split(' ').collect();
        let (at, release, color, instance, part) = match words.as_slice() {
            [at, release, color, instance] => (at, release, color, instance, Part::Whole),
            [at, release, color, instance, "begin"] => (at, release, color, instance, Part::Begin),
            [at, release, color, instance, "end"] => (at, release, color, instance, Part::End),
            _ => return Err("no line of a tick".to_owned()),
        };
        Ok(Line {
            at: at.parse().map_err(|error| format!("{at}: {error}"))?,
            release: (*release).to_owned(),
            color: (*color).to_owned(),
            instance: (*instance).to_owned(),
            part,
        })
    }
}

/// A release in a color: at most one of them may run the job at a time.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Owner {
    pub release: String,
    pub color: String,
}

impl fmt::Display for Owner {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(out, "{} ({})", self.release, self.color)
    }
}

/// What a correct file tells.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Ticks {
    pub ticks: u64,
    pub by_release: BTreeMap<String, u64>,
    /// Who ran the job, one after the other; a release that had it again is there again.
    pub turns: Vec<Owner>,
    /// The longest time in which no tick ran, between the end of one and the begin of the next. Up to a
    /// period of 100 ms lies between two ticks of a job that nobody stops.
    pub longest_pause: Duration,
    /// Ticks without an end: their instance was killed, or they run now.
    pub unfinished: u64,
}

#[derive(Debug, Clone)]
struct Tick {
    owner: Owner,
    begin: u64,
    /// None: unfinished.
    end: Option<u64>,
}

/// Reads a file of ticks and checks that no two releases ticked at the same time or in the same 100 ms.
/// Instances of one release may.
///
/// # Errors
/// The file cannot be read, a line is none of a tick, or two releases ran the job at once: the message names
/// the file, both, and when.
pub fn verify_ticks(file: &Path) -> io::Result<Ticks> {
    let named = |kind, what: String| io::Error::new(kind, format!("{}: {what}", file.display()));
    let text =
        std::fs::read_to_string(file).map_err(|error| named(error.kind(), error.to_string()))?;
    verify(&text).map_err(|what| named(io::ErrorKind::InvalidData, what))
}

fn verify(text: &str) -> Result<Ticks, String> {
    let mut ticks = read(text)?;
    // Lines of two instances may be written in another order than their times.
    ticks.sort_by_key(|tick| tick.begin);
    let mut found = Ticks::default();
    let mut last: BTreeMap<&Owner, Last> = BTreeMap::new();
    let mut busy_until: Option<u64> = None;
    for tick in &ticks {
        let end = tick.end.unwrap_or(tick.begin);
        let others = last.iter().filter(|(owner, _)| **owner != &tick.owner);
        for (other, theirs) in others {
            theirs.forbids(tick.begin).map_or(Ok(()), |why| {
                let at = tick.begin;
                Err(format!("{} began at {at} {why} {other}", tick.owner))
            })?;
        }
        last.entry(&tick.owner)
            .and_modify(|mine| *mine = mine.then(tick.begin, end))
            .or_insert(Last {
                begin: tick.begin,
                end,
            });
        if let Some(until) = busy_until {
            let pause = Duration::from_millis(tick.begin.saturating_sub(until));
            found.longest_pause = found.longest_pause.max(pause);
        }
        busy_until = busy_until.max(Some(end));
        found.count(tick);
    }
    Ok(found)
}

/// The last begin and the last end of one owner so far.
#[derive(Debug, Clone, Copy)]
struct Last {
    begin: u64,
    end: u64,
}

impl Last {
    fn then(self, begin: u64, end: u64) -> Last {
        Last {
            begin,
            end: end.max(self.end),
        }
    }

    /// Why another owner's tick must not begin at this time.
    fn forbids(self, begin: u64) -> Option<String> {
        let period = PERIOD.as_millis() as u64;
        if begin < self.end {
            Some(format!("during the tick until {} of", self.end))
        } else if begin / period == self.begin / period {
            Some(format!(
                "in the same 100 ms as the tick at {} of",
                self.begin
            ))
        } else {
            None
        }
    }
}

impl Ticks {
    fn count(&mut self, tick: &Tick) {
        self.ticks += 1;
        *self
            .by_release
            .entry(tick.owner.release.clone())
            .or_default() += 1;
        if self.turns.last() != Some(&tick.owner) {
            self.turns.push(tick.owner.clone());
        }
        if tick.end.is_none() {
            self.unfinished += 1;
        }
    }
}

/// Puts begin and end together, in the order of the lines.
fn read(text: &str) -> Result<Vec<Tick>, String> {
    let mut ticks: Vec<Tick> = Vec::new();
    // Instance of an owner → its tick that has not ended.
    let mut open: BTreeMap<(Owner, String), usize> = BTreeMap::new();
    for (number, line) in text.lines().enumerate() {
        let wrong = |what: &str| format!("line {} ({line:?}): {what}", number + 1);
        let parsed: Line = line.parse().map_err(|what: String| wrong(&what))?;
        let owner = Owner {
            release: parsed.release,
            color: parsed.color,
        };
        let key = (owner.clone(), parsed.instance);
        match parsed.part {
            Part::End => {
                let tick = open.remove(&key).and_then(|at| ticks.get_mut(at));
                let tick = tick.ok_or_else(|| wrong("an end without a begin"))?;
                if parsed.at < tick.begin {
                    return Err(wrong("an end before its begin"));
                }
                tick.end = Some(parsed.at);
            }
            part => {
                if part == Part::Begin {
                    // One that was open belongs to a life of the instance that was cut off.
                    open.insert(key, ticks.len());
                }
                ticks.push(Tick {
                    owner,
                    begin: parsed.at,
                    end: (part == Part::Whole).then_some(parsed.at),
                });
            }
        }
    }
    Ok(ticks)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn lines(lines: &[&str]) -> Result<Ticks, String> {
        verify(&(lines.join("\n") + "\n"))
    }

    #[test]
    fn a_line_reads_as_it_was_written() {
        for part in [Part::Whole, Part::Begin, Part::End] {
            let line = Line {
                at: 1_700_000_000_123,
                release: "r2".to_owned(),
                color: "green".to_owned(),
                instance: "/7".to_owned(),
                part,
            };
            assert_eq!(line.to_string().parse(), Ok(line));
        }
    }

    #[test]
    fn turns_pauses_and_counts_are_told() {
        let ticks = lines(&[
            "1000 r1 blue a/1 begin",
            "1050 r1 blue a/1 end",
            "1101 r1 blue a/1 begin",
            "1151 r1 blue a/1 end",
            "1500 r2 green b/1 begin",
            "1550 r2 green b/1 end",
            "1600 r2 green b/1 begin",
        ])
        .unwrap();
        assert_eq!(ticks.ticks, 4);
        assert_eq!(
            ticks.by_release,
            [("r1".into(), 2), ("r2".into(), 2)].into()
        );
        let turns: Vec<String> = ticks.turns.iter().map(Owner::to_string).collect();
        assert_eq!(turns, ["r1 (blue)", "r2 (green)"]);
        assert_eq!(ticks.longest_pause, Duration::from_millis(1500 - 1151));
        assert_eq!(ticks.unfinished, 1);
    }

    #[test]
    fn a_tick_during_another_color_s_tick_is_refused() {
        let error = lines(&[
            "1000 r1 blue a begin",
            "1210 r2 green b begin",
            "1250 r1 blue a end",
            "1260 r2 green b end",
        ]);
        let why = "r2 (green) began at 1210 during the tick until 1250 of r1 (blue)";
        assert_eq!(error, Err(why.to_owned()));
    }

    #[test]
    fn a_tick_in_another_color_s_100_ms_is_refused() {
        let error = lines(&["1000 r1 blue a", "1099 r2 green b"]);
        let why = "r2 (green) began at 1099 in the same 100 ms as the tick at 1000 of r1 (blue)";
        assert_eq!(error, Err(why.to_owned()));
        assert!(lines(&["1000 r1 blue a", "1100 r2 green b"]).is_ok());
    }

    #[test]
    fn lines_in_another_order_than_their_times_are_seen_through() {
        let late = ["1000 r1 blue a", "1200 r2 green b", "1150 r1 blue a"];
        assert_eq!(lines(&late).unwrap().turns.len(), 2);
        let twice = ["1000 r1 blue a", "1200 r2 green b", "1205 r1 blue a"];
        assert!(lines(&twice).is_err());
    }

    #[test]
    fn a_long_tick_is_remembered_behind_a_short_one() {
        let error = lines(&[
            "1000 r1 blue a begin",
            "1100 r1 blue b begin",
            "1110 r1 blue b end",
            "1500 r2 green c",
            "1900 r1 blue a end",
        ]);
        assert!(error.is_err(), "{error:?}");
    }

    #[test]
    fn instances_of_one_release_may_tick_together() {
        let ticks = lines(&["1000 r1 blue a", "1001 r1 blue b"]).unwrap();
        assert_eq!((ticks.ticks, ticks.turns.len()), (2, 1));
    }

    #[test]
    fn a_killed_instance_leaves_an_unfinished_tick() {
        let killed = [
            "1000 r1 blue a begin",
            "1300 r1 blue a begin",
            "1350 r1 blue a end",
        ];
        let ticks = lines(&killed).unwrap();
        assert_eq!((ticks.ticks, ticks.unfinished), (2, 1));
    }

    #[test]
    fn what_is_no_tick_is_named() {
        for (text, what) in [
            ("1000 r1 blue", "no line of a tick"),
            ("x r1 blue a", "invalid digit"),
            ("1000 r1 blue a end", "an end without a begin"),
        ] {
            let error = lines(&["900 r1 blue a", text]).unwrap_err();
            assert!(error.contains("line 2") && error.contains(what), "{error}");
        }
    }

    #[test]
    fn a_file_that_is_missing_is_named() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("ticks");
        let error = verify_ticks(&file).unwrap_err();
        assert!(error.to_string().contains("ticks: "), "{error}");
        std::fs::write(&file, "").unwrap();
        assert_eq!(verify_ticks(&file).unwrap(), Ticks::default());
    }
}
