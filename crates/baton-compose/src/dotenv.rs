//! `.env` and `env_file`, read as Compose reads them: `KEY=value`, quotes, comments, and earlier
//! names filled into later values.

use std::collections::BTreeMap;

use crate::interpolate::Interpolation;

/// Reads the text of one file. `known` fills in `${NAME}`; names of the file itself come second. A
/// line `KEY` without `=` takes its value from `known`, and is left out when there is none.
///
/// # Errors
/// `line 3: …`
pub(crate) fn parse(
    text: &str,
    known: &BTreeMap<String, String>,
) -> Result<Vec<(String, String)>, String> {
    let mut pairs: Vec<(String, String)> = Vec::new();
    let mut scope = known.clone();
    let mut rest = text.strip_prefix('\u{feff}').unwrap_or(text);
    let mut line = 1;
    while !rest.is_empty() {
        let end = rest.find('\n').map_or(rest.len(), |at| at + 1);
        let current = rest[..end].trim();
        if current.is_empty() || current.starts_with('#') {
            rest = &rest[end..];
            line += 1;
            continue;
        }
        let (pair, used) = entry(rest, &scope).map_err(|error| format!("line {line}: {error}"))?;
        line += rest[..used].matches('\n').count();
        rest = &rest[used..];
        if let Some((name, value)) = pair {
            scope.entry(name.clone()).or_insert_with(|| value.clone());
            pairs.push((name, value));
        }
    }
    Ok(pairs)
}

type Entry = (Option<(String, String)>, usize);

/// One entry at the start of `text`, and how many bytes it took (quoted values may span lines).
fn entry(text: &str, scope: &BTreeMap<String, String>) -> Result<Entry, String> {
    let line_end = text.find('\n').map_or(text.len(), |at| at + 1);
    let line = &text[..line_end];
    let Some(equals) = line.find(['=', ':']) else {
        let name = line.trim().trim_start_matches("export ").trim();
        valid_name(name)?;
        let pair = scope
            .get(name)
            .map(|value| (name.to_owned(), value.clone()));
        return Ok((pair, line_end));
    };
    let name = line[..equals].trim();
    let name = name.strip_prefix("export ").unwrap_or(name).trim();
    valid_name(name)?;
    let value_at = equals
        + 1
        + (line[equals + 1..].len() - line[equals + 1..].trim_start_matches([' ', '\t']).len());
    let value_text = &text[value_at..];
    let (value, used) = match value_text.chars().next() {
        Some(quote @ ('"' | '\'')) => {
            let inner = &value_text[1..];
            let end = closing_quote(inner, quote)
                .ok_or_else(|| format!("the value of {name} has no closing {quote}"))?;
            let after = value_at + 1 + end + 1;
            let used = text[after..]
                .find('\n')
                .map_or(text.len(), |at| after + at + 1);
            let raw = &inner[..end];
            let value = if quote == '"' {
                fill(&unescape(raw), scope)?
            } else {
                raw.to_owned()
            };
            (value, used)
        }
        _ => {
            let raw = &text[value_at.min(line_end)..line_end];
            // A comment begins at a `#` after white space.
            let end = raw
                .char_indices()
                .find(|(at, c)| *c == '#' && (*at == 0 || raw[..*at].ends_with([' ', '\t'])))
                .map_or(raw.len(), |(at, _)| at);
            (fill(raw[..end].trim(), scope)?, line_end)
        }
    };
    Ok((Some((name.to_owned(), value)), used))
}

fn valid_name(name: &str) -> Result<(), String> {
    let ok = !name.is_empty()
        && name
            .chars()
            .all(|c| c.is_alphanumeric() || matches!(c, '_' | '.' | '-' | '[' | ']'));
    if ok {
        Ok(())
    } else {
        Err("expected NAME=value".to_owned())
    }
}

fn closing_quote(text: &str, quote: char) -> Option<usize> {
    let mut escaped = false;
    for (at, c) in text.char_indices() {
        match c {
            _ if escaped => escaped = false,
            '\\' => escaped = true,
            c if c == quote => return Some(at),
            _ => {}
        }
    }
    None
}

fn unescape(text: &str) -> String {
    let mut plain = String::with_capacity(text.len());
    let mut chars = text.chars();
    while let Some(c) = chars.next() {
        match (c, c == '\\') {
            (_, true) => match chars.next() {
                Some('n') => plain.push('\n'),
                Some('r') => plain.push('\r'),
                Some('t') => plain.push('\t'),
                Some('$') => plain.push_str("$$"),
                Some(other) => plain.push(other),
                None => plain.push('\\'),
            },
            (c, false) => plain.push(c),
        }
    }
    plain
}

fn fill(text: &str, scope: &BTreeMap<String, String>) -> Result<String, String> {
    Interpolation::of_dotenv(scope).text(text)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn no_text_panics_and_every_pair_has_a_name(text in "[A-C=:#'\"\\\\$ {}\\n\\r€-]{0,40}") {
            if let Ok(pairs) = parse(&text, &BTreeMap::new()) {
                prop_assert!(pairs.iter().all(|(name, _)| !name.is_empty()));
            }
        }

        #[test]
        fn single_quotes_keep_everything(value in "[^'\\\\\\r\\x00]{0,20}") {
            let pairs = parse(&format!("X='{value}'"), &BTreeMap::new()).unwrap();
            prop_assert_eq!(pairs, [("X".to_owned(), value)]);
        }
    }

    #[test]
    fn lines_as_compose_reads_them() {
        let known = BTreeMap::from([("HOME".to_owned(), "/root".to_owned())]);
        let text = "\u{feff}# comment\n\nA=1\nexport B = two words # said\nC='raw $A'\nD=\"a\\n${A}\"\nE=\nF=x#y\nHOME\nGONE\nG=\"first\nsecond\" # end\nH=$HOME/$A\r\nI=t0p$1 x$ a$$b\n";
        let pairs = parse(text, &known).unwrap();
        let expected = [
            ("A", "1"),
            ("B", "two words"),
            ("C", "raw $A"),
            ("D", "a\n1"),
            ("E", ""),
            ("F", "x#y"),
            ("HOME", "/root"),
            ("G", "first\nsecond"),
            ("H", "/root/1"),
            ("I", "t0p$1 x$ a$b"),
        ];
        let expected: Vec<_> = expected
            .map(|(name, value)| (name.to_owned(), value.to_owned()))
            .into();
        assert_eq!(pairs, expected);
    }

    #[test]
    fn a_bad_line_is_named() {
        let none = BTreeMap::new();
        assert_eq!(
            parse("A=1\n\nB=\"x", &none).unwrap_err(),
            "line 3: the value of B has no closing \""
        );
        assert_eq!(
            parse("a b=1", &none).unwrap_err(),
            "line 1: expected NAME=value"
        );
    }
}
