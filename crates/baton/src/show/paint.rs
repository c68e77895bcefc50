//! Color, where a terminal wants it.

use baton_compose::Color;

/// Paints text, or leaves it as it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Paint {
    color: bool,
}

impl Paint {
    /// For files, pipes and `NO_COLOR`.
    pub const NONE: Paint = Paint { color: false };

    /// Colors where `terminal` is true, unless `NO_COLOR` is set and not empty (no-color.org) or
    /// the terminal is a dumb one.
    #[must_use]
    pub fn new(terminal: bool) -> Paint {
        let no_color = std::env::var_os("NO_COLOR").is_some_and(|value| !value.is_empty());
        let dumb = std::env::var_os("TERM").is_some_and(|term| term == "dumb");
        Paint {
            color: terminal && !no_color && !dumb,
        }
    }

    fn wrap(self, code: &str, text: &str) -> String {
        if self.color {
            format!("\x1b[{code}m{text}\x1b[0m")
        } else {
            text.to_owned()
        }
    }

    #[must_use]
    pub fn bold(self, text: &str) -> String {
        self.wrap("1", text)
    }

    #[must_use]
    pub fn dim(self, text: &str) -> String {
        self.wrap("2", text)
    }

    #[must_use]
    pub fn red(self, text: &str) -> String {
        self.wrap("31", text)
    }

    #[must_use]
    pub fn green(self, text: &str) -> String {
        self.wrap("32", text)
    }

    #[must_use]
    pub fn yellow(self, text: &str) -> String {
        self.wrap("33", text)
    }

    /// A slot's name in its own color.
    #[must_use]
    pub fn slot(self, color: Color) -> String {
        let code = match color {
            Color::Blue => "34",
            Color::Green => "32",
        };
        self.wrap(code, color.as_str())
    }
}
