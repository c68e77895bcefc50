//! `stop_signal`: `SIGTERM`, `TERM` or `15`.

use rustix::process::Signal;

const NAMES: [(&str, Signal); 28] = [
    ("HUP", Signal::HUP),
    ("INT", Signal::INT),
    ("QUIT", Signal::QUIT),
    ("ILL", Signal::ILL),
    ("TRAP", Signal::TRAP),
    ("ABRT", Signal::ABORT),
    ("BUS", Signal::BUS),
    ("FPE", Signal::FPE),
    ("KILL", Signal::KILL),
    ("USR1", Signal::USR1),
    ("SEGV", Signal::SEGV),
    ("USR2", Signal::USR2),
    ("PIPE", Signal::PIPE),
    ("ALRM", Signal::ALARM),
    ("TERM", Signal::TERM),
    ("CHLD", Signal::CHILD),
    ("CONT", Signal::CONT),
    ("STOP", Signal::STOP),
    ("TSTP", Signal::TSTP),
    ("TTIN", Signal::TTIN),
    ("TTOU", Signal::TTOU),
    ("URG", Signal::URG),
    ("XCPU", Signal::XCPU),
    ("XFSZ", Signal::XFSZ),
    ("VTALRM", Signal::VTALARM),
    ("PROF", Signal::PROF),
    ("WINCH", Signal::WINCH),
    ("SYS", Signal::SYS),
];

/// The signal a Compose file names; SIGTERM where it names none. The error is for the user.
pub(super) fn parse(name: Option<&str>) -> Result<Signal, String> {
    let Some(name) = name else {
        return Ok(Signal::TERM);
    };
    let upper = name.trim().to_ascii_uppercase();
    let bare = upper.strip_prefix("SIG").unwrap_or(&upper);
    let by_number = bare.parse().ok().and_then(Signal::from_named_raw);
    NAMES
        .iter()
        .find(|(known, _)| *known == bare)
        .map(|(_, signal)| *signal)
        .or(by_number)
        .ok_or_else(|| {
            format!("stop_signal {name:?} is not a signal; expected one such as SIGTERM or 15")
        })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_and_numbers_are_understood() {
        for name in ["SIGQUIT", "QUIT", "quit", "sigquit", "3"] {
            assert_eq!(parse(Some(name)), Ok(Signal::QUIT), "{name}");
        }
        assert_eq!(parse(None), Ok(Signal::TERM));
    }

    #[test]
    fn anything_else_is_refused_by_name() {
        for name in ["", "SIG", "0", "-9", "99", "TERMINATE"] {
            assert!(
                parse(Some(name)).is_err_and(|error| error.contains(name)),
                "{name}"
            );
        }
    }
}
