//! The scanner: checks a text in one pass and fills the [`Tape`].

mod string;

use std::borrow::Cow;
use std::collections::HashSet;
use std::fmt;

use super::describe::{self, Quoted, is_visible};
use super::document::{Document, Value};
use super::pointer::push_token;
use super::tape::{Node, Open, SyntaxError, Tape, ValueKind};

/// Largest nesting depth of a frame. The frame itself is level 1 (PROTOCOL section 1.6).
pub const MAX_DEPTH: usize = 32;

/// A tape with a capacity of more nodes is shrunk before the next frame.
const KEEP_NODES: usize = 1024;

impl Tape {
    /// Scans `text`. The document is `None` if the text is not JSON by its grammar. Otherwise its members can be read, even if
    /// it violates another rule.
    pub fn scan<'t, 'a>(
        &'t mut self,
        text: &'a str,
    ) -> (Option<Document<'t, 'a>>, Option<SyntaxError>) {
        self.nodes.clear();
        self.open.clear();
        if self.nodes.capacity() > KEEP_NODES {
            self.nodes.shrink_to(KEEP_NODES);
        }
        let mut scanner = Scanner {
            text,
            bytes: text.as_bytes(),
            pos: 0,
            tape: self,
            problem: None,
        };
        match scanner.document() {
            Ok(()) => {
                let problem = scanner.problem.take();
                (Some(Document { text, tape: self }), problem)
            }
            Err(problem) => (None, Some(problem)),
        }
    }
}

/// The state of a scan.
struct Scanner<'s, 'a> {
    text: &'a str,
    bytes: &'a [u8],
    pos: usize,
    tape: &'s mut Tape,
    problem: Option<SyntaxError>,
}

type Scan<T> = Result<T, SyntaxError>;

impl Scanner<'_, '_> {
    fn document(&mut self) -> Scan<()> {
        if u32::try_from(self.bytes.len()).is_err() {
            return Err(self.syntax("a document under 4 GiB"));
        }
        self.space();
        loop {
            // A value starts here.
            self.value_start()?;
            // A value has ended. The containers around it may end here too.
            loop {
                self.space();
                let Some(open) = self.tape.open.last() else {
                    if self.pos < self.bytes.len() {
                        return Err(self.syntax("the end of the frame"));
                    }
                    return Ok(());
                };
                let node = open.node as usize;
                let object = self.tape.nodes[node].kind == ValueKind::Object;
                match self.bytes.get(self.pos) {
                    Some(b',') => {
                        self.pos += 1;
                        self.space();
                        if object {
                            self.key()?;
                        } else if let Some(open) = self.tape.open.last_mut() {
                            open.at += 1;
                        }
                        break;
                    }
                    Some(b'}') if object => self.close(node),
                    Some(b']') if !object => self.close(node),
                    _ if object => return Err(self.syntax("`,` or `}`")),
                    _ => return Err(self.syntax("`,` or `]`")),
                }
            }
        }
    }

    /// Reads a scalar or an empty container completely, or opens a container and stops at its first value.
    fn value_start(&mut self) -> Scan<()> {
        loop {
            let start = self.pos;
            let kind = match self.bytes.get(self.pos) {
                Some(b'{') => ValueKind::Object,
                Some(b'[') => ValueKind::Array,
                Some(b'"') => {
                    self.string()?;
                    return Ok(());
                }
                Some(b't') => return self.word(b"true", ValueKind::True),
                Some(b'f') => return self.word(b"false", ValueKind::False),
                Some(b'n') => return self.word(b"null", ValueKind::Null),
                Some(b'-' | b'0'..=b'9') => return self.number(),
                _ => return Err(self.syntax("a value")),
            };
            if self.tape.open.len() == MAX_DEPTH {
                return self.too_deep(kind);
            }
            self.pos += 1;
            let node = self.push(kind, start);
            self.tape.open.push(Open { node, at: 0 });
            self.space();
            match (kind, self.bytes.get(self.pos)) {
                (ValueKind::Object, Some(b'}')) | (ValueKind::Array, Some(b']')) => {
                    self.close(node as usize);
                    return Ok(());
                }
                (ValueKind::Object, _) => self.key()?,
                _ => {}
            }
        }
    }

    /// Reads `"key" :` and stops at the value.
    fn key(&mut self) -> Scan<()> {
        if self.bytes.get(self.pos) != Some(&b'"') {
            return Err(self.syntax("a member name in double quotes"));
        }
        let key = self.tape.nodes.len() as u32;
        if let Some(open) = self.tape.open.last_mut() {
            open.at = key;
        }
        self.string()?;
        self.space();
        if self.bytes.get(self.pos) != Some(&b':') {
            return Err(self.syntax("`:`"));
        }
        self.pos += 1;
        self.space();
        Ok(())
    }

    fn close(&mut self, node: usize) {
        self.pos += 1;
        let next = self.tape.nodes.len() as u32;
        let entry = &mut self.tape.nodes[node];
        entry.end = self.pos as u32;
        entry.next = next;
        if entry.kind == ValueKind::Object
            && self.problem.is_none()
            && let Some(key) = self.duplicate(node)
        {
            self.note_duplicate(key);
        }
        self.tape.open.pop();
    }

    /// Returns the key node of the first repeated member name in an object that was just read.
    fn duplicate(&self, node: usize) -> Option<u32> {
        const FEW: usize = 16;
        let object = self.value(node as u32);
        let keys = || object.children().filter_map(|(key, _)| key);
        for (count, key) in keys().take(FEW).enumerate() {
            if keys().take(count).any(|seen| same(seen, key)) {
                return Some(key.node);
            }
        }
        // With many members, comparing all pairs would take quadratic time.
        keys().nth(FEW)?;
        let mut seen: HashSet<Cow<'_, str>> = HashSet::new();
        keys()
            .find(|key| key.text().is_some_and(|text| !seen.insert(text)))
            .map(|key| key.node)
    }

    #[cold]
    fn note_duplicate(&mut self, key: u32) {
        if let Some(open) = self.tape.open.last_mut() {
            open.at = key;
        }
        let name = self.value(key).text().unwrap_or_default().into_owned();
        self.note(format_args!(
            "expected each member name once in an object, found {} twice",
            Quoted(&name)
        ));
    }

    fn value(&self, node: u32) -> Value<'_, '_> {
        let doc = Document {
            text: self.text,
            tape: self.tape,
        };
        Value { doc, node }
    }

    /// Skips a value that is nested too deeply, without adding it to the tape: the frame is rejected in any case.
    fn too_deep(&mut self, kind: ValueKind) -> Scan<()> {
        self.note(format_args!(
            "expected at most {MAX_DEPTH} levels of objects and arrays, found more"
        ));
        let start = self.pos;
        let mut depth = 0_usize;
        while let Some(byte) = self.bytes.get(self.pos) {
            match byte {
                b'{' | b'[' => depth += 1,
                b'}' | b']' => depth -= 1,
                b'"' => {
                    self.string()?;
                    self.tape.nodes.pop();
                    continue;
                }
                _ => {}
            }
            self.pos += 1;
            if depth == 0 {
                let node = self.push(kind, start) as usize;
                self.tape.nodes[node].end = self.pos as u32;
                return Ok(());
            }
        }
        Err(self.syntax("the end of an object or array"))
    }

    fn number(&mut self) -> Scan<()> {
        let start = self.pos;
        if self.bytes[self.pos] == b'-' {
            self.pos += 1;
        }
        match self.bytes.get(self.pos) {
            Some(b'0') => self.pos += 1,
            Some(b'1'..=b'9') => self.digits(),
            _ => return Err(self.syntax("a digit")),
        }
        let mut plain = true;
        if self.bytes.get(self.pos) == Some(&b'.') {
            plain = false;
            self.pos += 1;
            self.some_digits()?;
        }
        if let Some(b'e' | b'E') = self.bytes.get(self.pos) {
            plain = false;
            self.pos += 1;
            if let Some(b'+' | b'-') = self.bytes.get(self.pos) {
                self.pos += 1;
            }
            self.some_digits()?;
        }
        if let Some(b'0'..=b'9' | b'a'..=b'z' | b'A'..=b'Z' | b'+' | b'-' | b'.' | b'_') =
            self.bytes.get(self.pos)
        {
            return Err(self.syntax("the end of a number"));
        }
        let text = &self.text[start..self.pos];
        // Only a number with an exponent or with about 300 digits can exceed the range of a double.
        if (!plain || text.len() > 300) && !text.parse::<f64>().is_ok_and(f64::is_finite) {
            self.note(format_args!(
                "expected a number within the range of a double, found {}",
                describe::raw_excerpt(text)
            ));
        }
        let node = self.push(ValueKind::Number, start) as usize;
        self.tape.nodes[node].end = self.pos as u32;
        Ok(())
    }

    fn digits(&mut self) {
        while let Some(b'0'..=b'9') = self.bytes.get(self.pos) {
            self.pos += 1;
        }
    }

    fn some_digits(&mut self) -> Scan<()> {
        let before = self.pos;
        self.digits();
        if self.pos == before {
            return Err(self.syntax("a digit"));
        }
        Ok(())
    }

    fn word(&mut self, word: &[u8], kind: ValueKind) -> Scan<()> {
        if !self.bytes[self.pos..].starts_with(word) {
            return Err(self.syntax("a value"));
        }
        let start = self.pos;
        self.pos += word.len();
        let node = self.push(kind, start) as usize;
        self.tape.nodes[node].end = self.pos as u32;
        Ok(())
    }

    fn space(&mut self) {
        while let Some(b' ' | b'\t' | b'\n' | b'\r') = self.bytes.get(self.pos) {
            self.pos += 1;
        }
    }

    fn push(&mut self, kind: ValueKind, start: usize) -> u32 {
        let node = self.tape.nodes.len() as u32;
        self.tape.nodes.push(Node {
            kind,
            start: start as u32,
            end: 0,
            next: node + 1,
        });
        node
    }

    #[cold]
    fn syntax(&self, expected: &str) -> SyntaxError {
        let found = match self
            .text
            .get(self.pos..)
            .and_then(|rest| rest.chars().next())
        {
            Some(c) if !is_visible(c) => format!("the character U+{:04X}", c as u32),
            Some(c) => format!("`{c}`"),
            None => "the end".to_owned(),
        };
        SyntaxError {
            detail: format!(
                "not JSON: expected {expected}, found {found} at byte {}",
                self.pos
            ),
            path: None,
        }
    }

    /// Records the first violation, with the path of the value that is being read.
    #[cold]
    fn note(&mut self, detail: fmt::Arguments<'_>) {
        if self.problem.is_some() {
            return;
        }
        let mut path = String::new();
        for open in &self.tape.open {
            if self.tape.nodes[open.node as usize].kind == ValueKind::Object {
                // A key that is being read has no node yet. The path then ends at its object.
                if let Some(node) = self.tape.nodes.get(open.at as usize)
                    && node.end > 0
                    && let Some(key) = self.value(open.at).text()
                {
                    push_token(&mut path, &key);
                }
            } else {
                push_token(&mut path, &open.at.to_string());
            }
        }
        self.problem = Some(SyntaxError {
            detail: detail.to_string(),
            path: Some(path),
        });
    }
}

fn same(a: Value<'_, '_>, b: Value<'_, '_>) -> bool {
    if a.kind() == ValueKind::Plain && b.kind() == ValueKind::Plain {
        a.raw_bytes() == b.raw_bytes()
    } else {
        a.text() == b.text()
    }
}
