//! `${VAR}` as Compose fills it in, for the files that Baton reads itself.
//! Source: the Compose specification, "Interpolation".

use std::collections::BTreeMap;

use serde_json::Value;

/// Where values come from, and which names were asked for in vain.
#[derive(Debug)]
pub(crate) struct Interpolation<'a> {
    environment: &'a BTreeMap<String, String>,
    /// A `$` without a name stands for itself, as in `.env` files.
    lenient: bool,
    /// Names without a value and without a default: a blank string was used.
    pub(crate) unset: Vec<String>,
}

impl<'a> Interpolation<'a> {
    pub(crate) fn new(environment: &'a BTreeMap<String, String>) -> Interpolation<'a> {
        Interpolation {
            environment,
            lenient: false,
            unset: Vec::new(),
        }
    }

    /// The rules of `.env` files.
    pub(crate) fn of_dotenv(environment: &'a BTreeMap<String, String>) -> Interpolation<'a> {
        Interpolation {
            lenient: true,
            ..Interpolation::new(environment)
        }
    }

    /// Fills in every string below `value`; `failed` hears of each that cannot be, with its key path.
    pub(crate) fn value(
        &mut self,
        value: &mut Value,
        path: &str,
        failed: &mut impl FnMut(&str, String),
    ) {
        match value {
            Value::String(text) => match self.text(text) {
                Ok(filled) => *text = filled,
                Err(error) => failed(path, error),
            },
            Value::Array(items) => {
                for (index, item) in items.iter_mut().enumerate() {
                    self.value(item, &format!("{path}[{index}]"), failed);
                }
            }
            Value::Object(map) => {
                for (key, item) in map {
                    let path = if path.is_empty() {
                        key.clone()
                    } else {
                        format!("{path}.{key}")
                    };
                    self.value(item, &path, failed);
                }
            }
            _ => {}
        }
    }

    /// # Errors
    /// A `${` that is not closed or says nothing known, or the message of `${VAR:?message}`.
    pub(crate) fn text(&mut self, text: &str) -> Result<String, String> {
        let mut filled = String::with_capacity(text.len());
        let mut rest = text;
        while let Some(at) = rest.find('$') {
            filled.push_str(&rest[..at]);
            rest = &rest[at + 1..];
            if let Some(after) = rest.strip_prefix('$') {
                filled.push('$');
                rest = after;
            } else if let Some(inside) = rest.strip_prefix('{') {
                let end = closing(inside).ok_or_else(|| {
                    format!("`${{` without its `}}` in {text:?}; write $$ for a plain dollar")
                })?;
                filled.push_str(&self.braced(&inside[..end], text)?);
                rest = &inside[end + 1..];
            } else {
                let end = name_length(rest);
                if end == 0 && self.lenient {
                    filled.push('$');
                    continue;
                }
                if end == 0 {
                    return Err(format!(
                        "`$` without a name in {text:?}; write $$ for a plain dollar"
                    ));
                }
                filled.push_str(&self.plain(&rest[..end]));
                rest = &rest[end..];
            }
        }
        filled.push_str(rest);
        Ok(filled)
    }

    fn plain(&mut self, name: &str) -> String {
        match self.environment.get(name) {
            Some(value) => value.clone(),
            None => {
                if !self.unset.iter().any(|unset| unset == name) {
                    self.unset.push(name.to_owned());
                }
                String::new()
            }
        }
    }

    fn braced(&mut self, inside: &str, whole: &str) -> Result<String, String> {
        let (name, operation) = inside.split_at(name_length(inside));
        if name.is_empty() {
            return Err(format!(
                "`${{{inside}}}` has no name in {whole:?}; write $$ for a plain dollar"
            ));
        }
        let set = self.environment.get(name).cloned();
        let filled = set.clone().filter(|value| !value.is_empty());
        // With the colon an empty value counts as none.
        let (colon, operation) = match operation.strip_prefix(':') {
            Some(operation) => (true, operation),
            None => (false, operation),
        };
        let present = if colon { filled } else { set };
        let word = operation.get(1..).unwrap_or_default();
        match (operation.chars().next(), present) {
            (None, _) if !colon => Ok(self.plain(name)),
            (Some('-' | '?'), Some(value)) => Ok(value),
            (Some('-'), None) | (Some('+'), Some(_)) => self.text(word),
            (Some('+'), None) => Ok(String::new()),
            (Some('?'), None) => {
                let message = self.text(word)?;
                let message = if message.is_empty() {
                    "it has no value"
                } else {
                    message.as_str()
                };
                Err(format!("the variable {name} is needed: {message}"))
            }
            _ => Err(format!(
                "`${{{inside}}}` is not known in {whole:?}; known are ${{X}}, ${{X:-default}}, ${{X:?message}}, ${{X:+value}}"
            )),
        }
    }
}

/// Bytes of the name that `text` starts with.
fn name_length(text: &str) -> usize {
    let end = text
        .find(|c: char| !c.is_ascii_alphanumeric() && c != '_')
        .unwrap_or(text.len());
    if text.starts_with(|c: char| c.is_ascii_digit()) {
        0
    } else {
        end
    }
}

/// Where the brace that was opened before `text` is closed, nested ones skipped.
fn closing(text: &str) -> Option<usize> {
    let mut depth = 0usize;
    let bytes = text.as_bytes();
    for (at, byte) in bytes.iter().enumerate() {
        match byte {
            b'{' if at > 0 && bytes[at - 1] == b'$' => depth += 1,
            b'}' if depth == 0 => return Some(at),
            b'}' => depth -= 1,
            _ => {}
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn no_text_panics(text in "[$A-C{}:?+€-]{0,30}") {
            let _ = fill(&text);
            let environment = BTreeMap::new();
            let _ = Interpolation::of_dotenv(&environment).text(&text);
        }

        #[test]
        fn an_escaped_text_reads_as_it_was(text in ".{0,30}") {
            prop_assert_eq!(fill(&text.replace('$', "$$")), Ok(text));
        }
    }

    fn fill(text: &str) -> Result<String, String> {
        let environment = BTreeMap::from([
            ("A".to_owned(), "one".to_owned()),
            ("EMPTY".to_owned(), String::new()),
        ]);
        Interpolation::new(&environment).text(text)
    }

    #[test]
    fn every_form_of_the_specification() {
        for (text, filled) in [
            ("x", "x"),
            ("$A-${A}", "one-one"),
            ("$$A", "$A"),
            ("${A:-x}${A-x}", "oneone"),
            ("${EMPTY:-x}", "x"),
            ("${EMPTY-x}", ""),
            ("${NO:-x}${NO-y}", "xy"),
            ("${NO:-${A}}", "one"),
            ("${NO:-${ALSO_NO:-deep}}!", "deep!"),
            ("${A:+set}${NO:+set}", "set"),
            ("${EMPTY:+set}|${EMPTY+set}", "|set"),
            ("${A:?needed}", "one"),
            ("${NO}", ""),
            ("€$A€", "€one€"),
            ("a}b", "a}b"),
        ] {
            assert_eq!(fill(text).as_deref(), Ok(filled), "{text}");
        }
    }

    #[test]
    fn what_cannot_be_filled_in_is_said() {
        for (text, part) in [
            (
                "${NO:?give me one}",
                "the variable NO is needed: give me one",
            ),
            ("${NO?}", "the variable NO is needed"),
            ("${A", "without its `}`"),
            ("a $ b", "`$` without a name"),
            ("${}", "has no name"),
            ("${A:x}", "is not known"),
            ("${1}", "has no name"),
        ] {
            let error = fill(text).unwrap_err();
            assert!(error.contains(part), "{text}: {error}");
        }
    }

    #[test]
    fn a_name_without_value_is_remembered_once() {
        let environment = BTreeMap::new();
        let mut interpolation = Interpolation::new(&environment);
        assert_eq!(interpolation.text("$X${X}${Y:-}").as_deref(), Ok(""));
        assert_eq!(interpolation.unset, ["X"]);
    }
}
