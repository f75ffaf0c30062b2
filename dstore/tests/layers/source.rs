//! What a Rust file names: its paths, without comments, texts and the code under `#[cfg(test)]`.

use std::iter::Peekable;
use std::str::Chars;

/// A path as it is written, with the groups of a `use` spelt out: `use a::{b, c::d}` is `a::b` and `a::c::d`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Named {
    /// Where it stands; lines count from 1.
    pub(crate) line: usize,
    /// Its words. Of a macro call the last one ends in `!`.
    pub(crate) words: Vec<String>,
}

/// Every path that the code in `text` names.
pub(crate) fn paths(text: &str) -> Vec<Named> {
    let mut tokens = Tokens { at: 0, list: without_tests(tokens(text)) };
    let mut found = Vec::new();
    while tokens.at < tokens.list.len() {
        match &tokens.list[tokens.at].what {
            What::Word(_) => tokens.path(&[], &mut found),
            _ => tokens.at += 1,
        }
    }
    found
}

#[derive(Debug, Clone, PartialEq, Eq)]
enum What {
    Word(String),
    Colons,
    Sign(char),
}

#[derive(Debug, Clone)]
struct Token {
    line: usize,
    what: What,
}

struct Tokens {
    at: usize,
    list: Vec<Token>,
}

impl Tokens {
    fn sees(&self, ahead: usize, what: &What) -> bool {
        self.list.get(self.at + ahead).is_some_and(|token| token.what == *what)
    }

    /// Reads one path, or one tree of a `use`, behind `prefix`.
    fn path(&mut self, prefix: &[String], found: &mut Vec<Named>) {
        let mut words = prefix.to_vec();
        let line = self.list[self.at].line;
        loop {
            match self.list.get(self.at).map(|token| &token.what) {
                Some(What::Word(word)) => words.push(word.clone()),
                Some(What::Sign('{')) => return self.group(&words, found),
                _ => break,
            }
            self.at += 1;
            if !self.sees(0, &What::Colons) {
                break;
            }
            self.at += 1;
        }
        if let Some(last) = words.last_mut()
            && self.sees(0, &What::Sign('!'))
            && !self.sees(1, &What::Sign('='))
        {
            last.push('!');
        }
        found.push(Named { line, words });
    }

    fn group(&mut self, prefix: &[String], found: &mut Vec<Named>) {
        self.at += 1;
        while self.at < self.list.len() && !self.sees(0, &What::Sign('}')) {
            match &self.list[self.at].what {
                What::Word(word) if word == "as" => self.at += 2,
                What::Word(_) => self.path(prefix, found),
                _ => self.at += 1,
            }
        }
        self.at += 1;
    }
}

/// Leaves out every item under `#[cfg(test)]`.
fn without_tests(tokens: Vec<Token>) -> Vec<Token> {
    let word = |text: &str| What::Word(text.to_owned());
    let mark = ["#", "[", "cfg", "(", "test", ")", "]"].map(|part| match part.chars().next() {
        Some(sign) if !sign.is_alphabetic() => What::Sign(sign),
        _ => word(part),
    });
    let mut kept = Vec::new();
    let mut at = 0;
    while at < tokens.len() {
        let ahead = tokens[at..].iter().map(|token| &token.what);
        if ahead.take(mark.len()).eq(mark.iter()) {
            at = end_of_item(&tokens, at + mark.len());
        } else {
            kept.push(tokens[at].clone());
            at += 1;
        }
    }
    kept
}

/// Behind the item that starts at `at`: its `;`, or the brace that closes it.
fn end_of_item(tokens: &[Token], mut at: usize) -> usize {
    let mut depth = 0_usize;
    while let Some(token) = tokens.get(at) {
        at += 1;
        match token.what {
            What::Sign('{' | '(' | '[') => depth += 1,
            What::Sign(close @ ('}' | ')' | ']')) => {
                depth = depth.saturating_sub(1);
                if depth == 0 && close == '}' {
                    break;
                }
            }
            What::Sign(';') if depth == 0 => break,
            _ => {}
        }
    }
    at
}

fn tokens(text: &str) -> Vec<Token> {
    let mut scanner = Scanner { rest: text.chars().peekable(), line: 1, found: Vec::new() };
    while let Some(char) = scanner.next() {
        scanner.take(char);
    }
    scanner.found
}

struct Scanner<'a> {
    rest: Peekable<Chars<'a>>,
    line: usize,
    found: Vec<Token>,
}

impl Scanner<'_> {
    fn next(&mut self) -> Option<char> {
        let char = self.rest.next()?;
        self.line += usize::from(char == '\n');
        Some(char)
    }

    fn next_is(&mut self, wanted: char) -> bool {
        self.rest.peek() == Some(&wanted)
    }

    fn push(&mut self, what: What) {
        self.found.push(Token { line: self.line, what });
    }

    fn take(&mut self, char: char) {
        match char {
            '/' if self.next_is('/') => while self.next().is_some_and(|char| char != '\n') {},
            '/' if self.next_is('*') => self.comment(),
            '"' => self.text(),
            '\'' => self.quote(),
            ':' if self.next_is(':') => {
                self.next();
                self.push(What::Colons);
            }
            _ if is_word(char) => self.word(char),
            _ if char.is_whitespace() => {}
            _ => self.push(What::Sign(char)),
        }
    }

    /// Comments nest.
    fn comment(&mut self) {
        let mut depth = 0;
        let mut last = '/';
        while let Some(char) = self.next() {
            match (last, char) {
                ('/', '*') => depth += 1,
                ('*', '/') => depth -= 1,
                _ => {
                    last = char;
                    continue;
                }
            }
            if depth == 0 {
                break;
            }
            last = ' ';
        }
    }

    fn text(&mut self) {
        while let Some(char) = self.next() {
            match char {
                '\\' => _ = self.next(),
                '"' => break,
                _ => {}
            }
        }
    }

    /// A character, or a lifetime.
    fn quote(&mut self) {
        let mut ahead = self.rest.clone();
        match (ahead.next(), ahead.next()) {
            (Some('\\'), _) => {
                self.next();
                self.next();
                while self.next().is_some_and(|char| char != '\'') {}
            }
            (Some(_), Some('\'')) => {
                self.next();
                self.next();
            }
            _ => {
                while self.rest.peek().is_some_and(|char| is_word(*char)) {
                    self.next();
                }
            }
        }
    }

    fn word(&mut self, first: char) {
        let mut word = String::from(first);
        while let Some(char) = self.rest.peek().copied().filter(|char| is_word(*char)) {
            word.push(char);
            self.next();
        }
        match word.as_str() {
            "r" | "br" | "cr" if self.next_is('#') || self.next_is('"') => self.raw(),
            "b" if self.next_is('\'') => {}
            _ => self.push(What::Word(word)),
        }
    }

    /// A raw text, or a raw word such as `r#type`.
    fn raw(&mut self) {
        let mut signs = 0;
        while self.next_is('#') {
            self.next();
            signs += 1;
        }
        if !self.next_is('"') {
            return;
        }
        self.next();
        while let Some(char) = self.next() {
            if char == '"' && self.rest.clone().take(signs).filter(|char| *char == '#').count() == signs {
                (0..signs).for_each(|_| _ = self.next());
                break;
            }
        }
    }
}

fn is_word(char: char) -> bool {
    char == '_' || char.is_alphanumeric()
}

#[test]
fn comments_texts_and_tests_are_not_code() {
    let text = r###"
        //! `crate::doc`
        use crate::a::{b, c::{self, D}, e as f};
        /* crate::x /* crate::y */ crate::z */
        const T: &str = "crate::text \" crate::text"; const R: &[u8] = br#"crate::"raw"#;
        fn g<'a>(x: &'a str) -> char { let q = '"'; if x != y { crate::h::i::<u8>() } '\u{22}' }
        #[cfg(test)] mod tests { use crate::t; fn j() { crate::u() } }
        #[cfg(test)] mod more;
        fn k() { println!("{}", crate::l); }
    "###;
    let named: Vec<_> = paths(text).into_iter().map(|path| (path.line, path.words.join("::"))).collect();
    let crates: Vec<_> = named.iter().filter(|(_, path)| path.starts_with("crate")).collect();
    let expected = [
        (3, "crate::a::b"),
        (3, "crate::a::c::self"),
        (3, "crate::a::c::D"),
        (3, "crate::a::e"),
        (6, "crate::h::i"),
        (9, "crate::l"),
    ];
    assert_eq!(crates, expected.map(|(line, path)| (line, path.to_owned())).iter().collect::<Vec<_>>());
    assert!(named.contains(&(9, "println!".to_owned())) && !named.iter().any(|(_, path)| path == "x!"));
}
