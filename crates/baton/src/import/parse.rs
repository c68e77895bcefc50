//! nginx's configuration language: directives, quotes, comments, nested blocks, `include`.

use std::iter::Peekable;
use std::path::{Path, PathBuf};
use std::rc::Rc;
use std::str::Chars;

/// `include` in `include` no deeper than this: a file may name itself.
const DEEPEST: usize = 16;

/// Where something is written.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct At {
    pub file: Rc<Path>,
    pub line: u32,
}

impl std::fmt::Display for At {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}:{}", self.file.display(), self.line)
    }
}

/// `name args…;` or `name args… { block }`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Directive {
    pub at: At,
    pub name: String,
    pub args: Vec<String>,
    pub block: Vec<Directive>,
}

impl Directive {
    /// As one would write it, without its block.
    pub fn shown(&self) -> String {
        let mut text = self.name.clone();
        for arg in &self.args {
            text.push(' ');
            text.push_str(arg);
        }
        text
    }

    /// The first argument.
    pub fn arg(&self) -> &str {
        self.args.first().map_or("", String::as_str)
    }
}

/// The directives of a file, those of included files in the place of their `include`. An include that
/// is not there stays as it is.
///
/// # Errors
/// A file cannot be read, or is not what nginx would read; with the line.
pub fn read(file: &Path) -> Result<Vec<Directive>, String> {
    let text = std::fs::read_to_string(file).map_err(|e| format!("{}: {e}", file.display()))?;
    let folders: Vec<PathBuf> = file
        .ancestors()
        .skip(1)
        .take(3)
        .map(Path::to_owned)
        .collect();
    expand(parse(file, &text)?, &folders, 0)
}

fn expand(
    list: Vec<Directive>,
    folders: &[PathBuf],
    depth: usize,
) -> Result<Vec<Directive>, String> {
    let mut all = Vec::new();
    for mut directive in list {
        directive.block = expand(directive.block, folders, depth)?;
        let files = match directive.name.as_str() {
            "include" => find(directive.arg(), folders),
            _ => Vec::new(),
        };
        if files.is_empty() {
            all.push(directive);
            continue;
        }
        if depth == DEEPEST {
            return Err(format!("{}: include goes too deep", directive.at));
        }
        for file in files {
            let text = std::fs::read_to_string(&file)
                .map_err(|error| format!("{}: {}: {error}", directive.at, file.display()))?;
            all.extend(expand(parse(&file, &text)?, folders, depth + 1)?);
        }
    }
    Ok(all)
}

/// nginx reads relative names from the folder of nginx.conf, which is this file's or one above it.
fn find(pattern: &str, folders: &[PathBuf]) -> Vec<PathBuf> {
    for folder in folders {
        let path = folder.join(pattern);
        let Some(name) = path.file_name().and_then(|name| name.to_str()) else {
            return Vec::new();
        };
        if !name.contains(['*', '?']) {
            if path.is_file() {
                return vec![path];
            }
            continue;
        }
        let entries = path.parent().map(std::fs::read_dir);
        let mut found: Vec<PathBuf> = entries
            .into_iter()
            .flatten()
            .flatten()
            .flatten()
            .filter(|entry| {
                let found = entry.file_name();
                let found = found.to_string_lossy();
                !found.starts_with('.') && fits(name, &found)
            })
            .map(|entry| entry.path())
            .filter(|path| path.is_file())
            .collect();
        found.sort();
        if !found.is_empty() {
            return found;
        }
    }
    Vec::new()
}

/// `*.conf`
fn fits(pattern: &str, name: &str) -> bool {
    match (pattern.chars().next(), name.chars().next()) {
        (None, None) => true,
        (Some('*'), _) => {
            let rest = &pattern[1..];
            name.char_indices()
                .map(|(at, _)| at)
                .chain([name.len()])
                .any(|at| fits(rest, &name[at..]))
        }
        (Some(one), Some(other)) if one == '?' || one == other => {
            fits(&pattern[one.len_utf8()..], &name[other.len_utf8()..])
        }
        _ => false,
    }
}

/// The directives of one text.
///
/// # Errors
/// It is not what nginx would read; with the line.
pub fn parse(file: &Path, text: &str) -> Result<Vec<Directive>, String> {
    let mut reader = Reader {
        file: Rc::from(file),
        chars: text.chars().peekable(),
        line: 1,
    };
    reader.block(false)
}

enum Token {
    Word(String),
    End,
    Open,
    Close,
}

struct Reader<'a> {
    file: Rc<Path>,
    chars: Peekable<Chars<'a>>,
    line: u32,
}

impl Reader<'_> {
    fn block(&mut self, nested: bool) -> Result<Vec<Directive>, String> {
        let mut list = Vec::new();
        let mut words: Vec<String> = Vec::new();
        let mut line = self.line;
        while let Some(token) = self.token()? {
            match token {
                Token::Word(word) => {
                    if words.is_empty() {
                        line = self.line;
                    }
                    words.push(word);
                }
                Token::Close if words.is_empty() && nested => return Ok(list),
                Token::End | Token::Open if words.is_empty() => {
                    return Err(self.wrong("a directive is missing"));
                }
                Token::End => list.push(self.directive(line, &mut words, Vec::new())),
                Token::Open => {
                    let script = words[0].ends_with("_by_lua_block");
                    let block = if script {
                        self.skip()?;
                        Vec::new()
                    } else {
                        self.block(true)?
                    };
                    list.push(self.directive(line, &mut words, block));
                }
                Token::Close => return Err(self.wrong("unexpected \"}\"")),
            }
        }
        if nested {
            return Err(self.wrong("the file ends and a \"}\" is missing"));
        }
        if !words.is_empty() {
            return Err(self.wrong("the file ends and a \";\" is missing"));
        }
        Ok(list)
    }

    fn directive(&self, line: u32, words: &mut Vec<String>, block: Vec<Directive>) -> Directive {
        let args = words.split_off(1);
        Directive {
            at: At {
                file: Rc::clone(&self.file),
                line,
            },
            name: words.pop().unwrap_or_default(),
            args,
            block,
        }
    }

    fn wrong(&self, what: &str) -> String {
        format!("{}:{}: {what}", self.file.display(), self.line)
    }

    fn next(&mut self) -> Option<char> {
        let next = self.chars.next();
        if next == Some('\n') {
            self.line += 1;
        }
        next
    }

    fn token(&mut self) -> Result<Option<Token>, String> {
        loop {
            match self.chars.peek().copied() {
                None => return Ok(None),
                Some('#') => while self.next().is_some_and(|c| c != '\n') {},
                Some(c) if c.is_whitespace() => drop(self.next()),
                Some(_) => break,
            }
        }
        Ok(Some(match self.chars.peek().copied() {
            Some(';') => {
                self.next();
                Token::End
            }
            Some('{') => {
                self.next();
                Token::Open
            }
            Some('}') => {
                self.next();
                Token::Close
            }
            Some('"' | '\'') => Token::Word(self.quoted()?),
            _ => Token::Word(self.word()),
        }))
    }

    fn quoted(&mut self) -> Result<String, String> {
        let quote = self.next();
        let mut word = String::new();
        loop {
            match self.next() {
                None => return Err(self.wrong("the file ends inside of quotes")),
                end if end == quote => return Ok(word),
                Some('\\') => word.extend(self.escaped()),
                Some(c) => word.push(c),
            }
        }
    }

    fn word(&mut self) -> String {
        let mut word = String::new();
        while let Some(&c) = self.chars.peek() {
            // `${name}` is a variable, and no block.
            if c == '{' && word.ends_with('$') {
                while let Some(c) = self.next() {
                    word.push(c);
                    if c == '}' {
                        break;
                    }
                }
                continue;
            }
            if c.is_whitespace() || matches!(c, ';' | '{' | '}') {
                break;
            }
            self.next();
            if c == '\\' {
                word.extend(self.escaped());
            } else {
                word.push(c);
            }
        }
        word
    }

    /// What stands for itself behind a backslash, else both (ngx_conf_read_token).
    fn escaped(&mut self) -> Vec<char> {
        match self.next() {
            Some('t') => vec!['\t'],
            Some('r') => vec!['\r'],
            Some('n') => vec!['\n'],
            Some(c @ ('"' | '\'' | '\\')) => vec![c],
            Some(c) => vec!['\\', c],
            None => vec!['\\'],
        }
    }

    /// Another language, to its last brace.
    fn skip(&mut self) -> Result<(), String> {
        let mut depth = 1;
        while depth > 0 {
            match self.next() {
                Some('{') => depth += 1,
                Some('}') => depth -= 1,
                Some(_) => {}
                None => return Err(self.wrong("the file ends and a \"}\" is missing")),
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parsed(text: &str) -> Result<Vec<Directive>, String> {
        parse(Path::new("site.conf"), text)
    }

    #[test]
    fn blocks_quotes_comments_and_variables_are_read() {
        let list = parsed(
            "# a comment; { }\nserver {\n  listen 80; # more\n  location ~ \"^/x{2}\" { return 200 'a; b\\'c'; }\n  set $y ${host}x;\n}\n",
        )
        .unwrap();
        let [server] = &list[..] else {
            panic!("{list:?}")
        };
        assert_eq!((server.name.as_str(), server.at.line), ("server", 2));
        let shown: Vec<String> = server.block.iter().map(Directive::shown).collect();
        assert_eq!(shown, ["listen 80", "location ~ ^/x{2}", "set $y ${host}x"]);
        assert_eq!(server.block[1].block[0].args, ["200", "a; b'c"]);
        assert_eq!(server.block[1].at.to_string(), "site.conf:4");
    }

    #[test]
    fn what_nginx_would_not_read_is_an_error_with_its_line() {
        let error = |text: &str| parsed(text).unwrap_err();
        insta::assert_snapshot!(error("server {\n listen 80;\n"), @r#"site.conf:3: the file ends and a "}" is missing"#);
        insta::assert_snapshot!(error("listen 80\n"), @r#"site.conf:2: the file ends and a ";" is missing"#);
        insta::assert_snapshot!(error("}\n"), @r#"site.conf:1: unexpected "}""#);
        insta::assert_snapshot!(error("a 'b"), @"site.conf:1: the file ends inside of quotes");
    }

    #[test]
    fn files_are_included_from_the_folder_of_nginx() {
        let folder = tempfile::tempdir().unwrap();
        let write = |name: &str, text: &str| {
            let path = folder.path().join(name);
            std::fs::create_dir_all(path.parent().unwrap()).unwrap();
            std::fs::write(path, text).unwrap();
        };
        write("snippets/tls.conf", "ssl_certificate a.pem;\n");
        write("parts/1.conf", "one;");
        write("parts/2.conf", "two;");
        write("parts/.hidden.conf", "three;");
        write(
            "sites-enabled/shop",
            "server { include snippets/tls.conf; include parts/*.conf; include gone.conf; }",
        );
        let list = read(&folder.path().join("sites-enabled/shop")).unwrap();
        let shown: Vec<String> = list[0].block.iter().map(Directive::shown).collect();
        assert_eq!(
            shown,
            ["ssl_certificate a.pem", "one", "two", "include gone.conf"]
        );
    }
}
