//! Where in a line for the shell a value stands: the same text needs other quotes between words
//! than inside the writer's own quotes.
//!
//! The line is read as POSIX `sh` reads it, as far as quotes, substitutions, comments and
//! here-documents go.

/// Shells and interpreters that run the text after `-c` as code.
const INTERPRETERS: [&str; 10] =
    ["sh", "bash", "dash", "zsh", "ksh", "ash", "fish", "python", "python3", "perl"];

/// How a value must be written where it stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Quoting {
    /// Between words, where nothing is quoted yet.
    Word,
    /// Inside `"..."`.
    Double,
    /// Inside `'...'`.
    Single,
    /// In arithmetic, or in code for another shell: only text that needs no quotes at all.
    Bare,
}

/// What the reader is inside of.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Inside {
    Double,
    Single,
    /// `$'...'`
    AnsiC,
    /// `$(...)`, with the parentheses open in it.
    Substitution(usize),
    /// `$((...))`, with the parentheses open in it.
    Arithmetic(usize),
    /// `${...}`
    Expansion,
    Backquotes,
    Comment,
}

/// Reads a line piece by piece; values stand between the pieces.
#[derive(Debug, Default)]
pub(crate) struct Reader {
    inside: Vec<Inside>,
    /// The last character was a backslash that escapes the next one.
    is_escaped: bool,
    /// The last character was a `$` that begins nothing.
    is_dollar: bool,
    /// After what no value can stand any more: what follows may be read in another way than here.
    unclear_after: Option<&'static str>,
    /// The words of the command so far, and the one that is being read.
    words: Vec<String>,
    word: String,
    is_word_begun: bool,
    /// Those of the commands around the substitution that is being read.
    outer: Vec<(Vec<String>, String)>,
}

impl Reader {
    /// Reads a piece of the line.
    pub fn read(&mut self, text: &str) {
        let mut rest = text;
        while let Some(first) = rest.chars().next() {
            let taken = self.take(first, rest);
            rest = &rest[taken..];
        }
    }

    /// Takes the text's first character, and those that belong to it; returns their bytes.
    fn take(&mut self, first: char, rest: &str) -> usize {
        let one = first.len_utf8();
        self.is_dollar = false;
        if std::mem::take(&mut self.is_escaped) {
            self.add(first);
            return one;
        }
        match (self.inside.last().copied(), first) {
            (Some(Inside::Single | Inside::AnsiC), '\'')
            | (Some(Inside::Double), '"')
            | (Some(Inside::Expansion), '}')
            | (Some(Inside::Backquotes), '`') => {
                self.inside.pop();
            }
            (Some(Inside::Comment), '\n') => {
                self.inside.pop();
                self.end_command();
            }
            (Some(Inside::Single | Inside::Comment), _) => {}
            (_, '\\') => self.is_escaped = true,
            (Some(Inside::AnsiC | Inside::Backquotes), _) => {}
            (_, '$') => return self.dollar(rest),
            (_, '`') => self.enter(Inside::Backquotes),
            (Some(Inside::Double), _) => {}
            (_, '"') => self.enter(Inside::Double),
            (Some(Inside::Expansion), '\'') if self.is_in_double_quotes() => {}
            (_, '\'') => self.enter(Inside::Single),
            (Some(Inside::Expansion), _) => {}
            (Some(Inside::Arithmetic(open)), _) => return self.arithmetic(open, rest),
            (_, '#') if !self.is_word_begun => self.inside.push(Inside::Comment),
            (_, '<') => return self.here(rest),
            (_, '(') => self.parenthesis(1),
            (_, ')') => self.parenthesis(-1),
            (_, '\n' | ';' | '&' | '|') => self.end_command(),
            (_, blank) if blank.is_whitespace() => self.end_word(),
            (_, other) => self.add(other),
        }
        one
    }

    fn dollar(&mut self, rest: &str) -> usize {
        let is_quotable = !matches!(self.inside.last(), Some(Inside::Double));
        let (inside, taken) = if rest.starts_with("$((") {
            (Inside::Arithmetic(0), 3)
        } else if rest.starts_with("$(") {
            (Inside::Substitution(0), 2)
        } else if rest.starts_with("${") {
            (Inside::Expansion, 2)
        } else if rest.starts_with("$'") && is_quotable {
            self.unclear_after = Some("after a `$'...'`, which not every `sh` has");
            (Inside::AnsiC, 2)
        } else {
            self.add('$');
            self.is_dollar = true;
            return 1;
        };
        self.enter(inside);
        if matches!(inside, Inside::Substitution(_)) {
            let word = std::mem::take(&mut self.word);
            self.outer.push((std::mem::take(&mut self.words), word));
            self.is_word_begun = false;
        }
        taken
    }

    fn arithmetic(&mut self, open: usize, rest: &str) -> usize {
        let open = match rest.as_bytes()[0] {
            b'(' => open + 1,
            b')' if open > 0 => open - 1,
            b')' => {
                self.inside.pop();
                return if rest.starts_with("))") { 2 } else { 1 };
            }
            _ => return rest.chars().next().map_or(1, char::len_utf8),
        };
        self.replace(Inside::Arithmetic(open));
        1
    }

    /// `<<` begins a here-document, in which quotes are text; `<<<` does not.
    fn here(&mut self, rest: &str) -> usize {
        self.end_word();
        if rest.starts_with("<<<") {
            return 3;
        }
        if rest.starts_with("<<") {
            self.unclear_after = Some("after the `<<` of a here-document");
            return 2;
        }
        1
    }

    fn parenthesis(&mut self, change: i8) {
        self.end_command();
        let Some(Inside::Substitution(open)) = self.inside.last().copied() else { return };
        match (change, open) {
            (-1, 0) => {
                self.inside.pop();
                (self.words, self.word) = self.outer.pop().unwrap_or_default();
                // The substitution is a part of that word.
                self.is_word_begun = true;
            }
            (-1, _) => self.replace(Inside::Substitution(open - 1)),
            _ => self.replace(Inside::Substitution(open + 1)),
        }
    }

    fn enter(&mut self, inside: Inside) {
        self.is_word_begun = true;
        self.inside.push(inside);
    }

    fn replace(&mut self, inside: Inside) {
        self.inside.pop();
        self.inside.push(inside);
    }

    fn add(&mut self, character: char) {
        self.is_word_begun = true;
        if !self.is_quoted() {
            self.word.push(character);
        }
    }

    fn end_word(&mut self) {
        if std::mem::take(&mut self.is_word_begun) {
            let is_within = matches!(self.inside.last(), Some(Inside::Substitution(_)));
            if is_within && self.words.is_empty() && self.word == "case" {
                // The parentheses of its patterns are not those of the substitution.
                self.unclear_after = Some("after a `case` inside `$(...)`");
            }
            self.words.push(std::mem::take(&mut self.word));
        }
    }

    fn end_command(&mut self) {
        self.end_word();
        self.words.clear();
    }

    fn is_quoted(&self) -> bool {
        matches!(self.inside.last(), Some(Inside::Double | Inside::Single | Inside::AnsiC))
    }

    fn is_in_double_quotes(&self) -> bool {
        self.inside.iter().rev().nth(1) == Some(&Inside::Double)
    }

    /// Whether the word that is being read is code for another program: `bash -lc "..."`.
    fn is_code(&self) -> bool {
        if self.words.first().is_some_and(|first| first == "eval") {
            return true;
        }
        let Some((last, before)) = self.words.split_last() else { return false };
        let is_option = |word: &&String| word.starts_with('-') || *word == "pipefail";
        let takes_code = last.starts_with('-') && !last.starts_with("--") && last.ends_with('c');
        let program = before.iter().rev().find(|word| !is_option(word));
        let name = program.and_then(|program| program.rsplit('/').next());
        takes_code && name.is_some_and(|name| INTERPRETERS.contains(&name))
    }

    /// How a value that stands here must be written, or what it stands in that no value can.
    pub fn value(&mut self) -> Result<Quoting, &'static str> {
        if std::mem::take(&mut self.is_escaped) {
            return Err("after a backslash");
        }
        if std::mem::take(&mut self.is_dollar) {
            return Err("after a `$`");
        }
        if let Some(place) = self.unclear_after {
            return Err(place);
        }
        let is_code = self.is_code();
        self.is_word_begun = true;
        // A substitution begins anew; up to there everything around the value counts.
        let is_around = |inside: &&Inside| !matches!(inside, Inside::Substitution(_));
        let mut quoting = None;
        for inside in self.inside.iter().rev().take_while(is_around) {
            match inside {
                Inside::AnsiC => return Err("inside `$'...'`"),
                Inside::Expansion => return Err("inside `${...}`"),
                Inside::Backquotes => return Err("inside backquotes"),
                // A comment ends with its line, which a value in it must not do.
                Inside::Comment => return Err("in a comment"),
                Inside::Arithmetic(_) => quoting = Some(Quoting::Bare),
                Inside::Double => quoting = quoting.or(Some(Quoting::Double)),
                Inside::Single => quoting = quoting.or(Some(Quoting::Single)),
                Inside::Substitution(_) => {}
            }
        }
        if is_code {
            return Ok(Quoting::Bare);
        }
        Ok(quoting.unwrap_or(Quoting::Word))
    }

    /// Whether every quote and every bracket has its end.
    pub fn is_whole(&self) -> bool {
        self.inside.iter().all(|inside| *inside == Inside::Comment) && !self.is_escaped
    }
}
