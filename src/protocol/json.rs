//! One pass over a frame's text: RFC 8259 grammar, PROTOCOL section 1's extra rules, and an index of where things are.
//!
//! A frame is read once into a [`Tape`] of spans that borrow from the text; the typed structs are then filled from the
//! tape (see [`super::de`]). Doing it here rather than through a general parser gives four things at once: a JSON
//! Pointer for each mistake, raw content that can be carried on as it came, duplicate keys and lone surrogates refused
//! anywhere in the document, and `ref` found even in a frame that is wrong elsewhere.

pub mod decode;

use std::borrow::Cow;
use std::collections::HashSet;

/// Deepest nesting of a frame, the frame itself being level 1 (PROTOCOL section 1.6).
pub const MAX_DEPTH: usize = 32;

/// A tape that grew past this many nodes gives its memory back before the next frame.
const KEEP_NODES: usize = 1024;

/// What kind of value a node is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// `{...}`: its children are keys and values in turn.
    Object,
    /// `[...]`
    Array,
    /// A string or key without escapes: its text can be borrowed.
    Plain,
    /// A string or key with at least one escape.
    Escaped,
    /// A number, in any spelling.
    Number,
    /// `true`
    True,
    /// `false`
    False,
    /// `null`
    Null,
}

#[derive(Clone, Copy, Debug)]
struct Node {
    kind: Kind,
    /// Byte span of the value's text, quotes and brackets included.
    start: u32,
    end: u32,
    /// Index of the node after this value and all that is in it.
    next: u32,
}

#[derive(Clone, Copy, Debug)]
struct Open {
    node: u32,
    /// Node of the key whose value is being read (objects), or the index of the element (arrays).
    at: u32,
}

/// Reusable memory for scanning; one per worker thread is enough.
#[derive(Debug, Default)]
pub struct Tape {
    nodes: Vec<Node>,
    open: Vec<Open>,
}

/// What is wrong with a document as JSON, before any type is looked at. Always answered `invalid_json`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SyntaxError {
    /// For people: what was expected, what was found.
    pub detail: String,
    /// JSON Pointer, where one can be given.
    pub path: Option<String>,
}

/// A scanned document. `problem` is the first rule broken; what could be read is there all the same.
#[derive(Clone, Copy, Debug)]
pub struct Document<'t, 'a> {
    text: &'a str,
    tape: &'t Tape,
}

/// A value inside a [`Document`].
#[derive(Clone, Copy, Debug)]
pub struct Value<'t, 'a> {
    doc: Document<'t, 'a>,
    node: u32,
}

impl Tape {
    /// Scans `text`. The document is `None` when the text is not JSON by its grammar, so that nothing can be said of
    /// its members; otherwise it is readable even if a [`SyntaxError`] forbids using it.
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

impl<'t, 'a> Document<'t, 'a> {
    /// The whole document.
    pub fn root(self) -> Value<'t, 'a> {
        Value { doc: self, node: 0 }
    }
}

impl<'t, 'a> Value<'t, 'a> {
    fn node(self) -> Node {
        self.doc.tape.nodes[self.node as usize]
    }

    /// What kind of value this is.
    pub fn kind(self) -> Kind {
        self.node().kind
    }

    /// The value exactly as it came.
    pub fn raw(self) -> &'a str {
        let node = self.node();
        &self.doc.text[node.start as usize..node.end as usize]
    }

    /// The text of a string; `None` for any other value.
    pub fn text(self) -> Option<Cow<'a, str>> {
        let raw = self.raw();
        match self.kind() {
            Kind::Plain => Some(Cow::Borrowed(&raw[1..raw.len() - 1])),
            Kind::Escaped => Some(Cow::Owned(unescape(&raw[1..raw.len() - 1]))),
            _ => None,
        }
    }

    /// Whether a string's escapes stand for characters, each surrogate having its other half.
    pub fn is_well_formed(self) -> bool {
        let mut rest = self.raw();
        while let Some(at) = rest.find('\\') {
            let (c, used) = unescape_one(&rest[at..]);
            let escape = &rest[at..at + used];
            if c == '\u{FFFD}' && !escape.eq_ignore_ascii_case("\\ufffd") {
                return false;
            }
            rest = &rest[at + used..];
        }
        true
    }

    /// The members of an object, or the elements of an array (with an empty key); nothing for other values.
    pub fn children(self) -> Children<'t, 'a> {
        let node = self.node();
        Children {
            doc: self.doc,
            object: node.kind == Kind::Object,
            at: self.node + 1,
            end: node.next,
        }
    }

    /// The first member of an object with this name.
    pub fn get(self, name: &str) -> Option<Value<'t, 'a>> {
        if self.kind() != Kind::Object {
            return None;
        }
        self.children()
            .find(|(key, _)| key.is_some_and(|key| key.is_text(name)))
            .map(|(_, value)| value)
    }

    /// Whether this is a string with this text.
    pub fn is_text(self, wanted: &str) -> bool {
        let raw = self.raw();
        match self.kind() {
            Kind::Plain => &raw[1..raw.len() - 1] == wanted,
            Kind::Escaped => self.text().is_some_and(|text| text == wanted),
            _ => false,
        }
    }
}

/// Iterator over the children of a container: `(key, value)`, the key being `None` in arrays.
#[derive(Clone, Debug)]
pub struct Children<'t, 'a> {
    doc: Document<'t, 'a>,
    object: bool,
    at: u32,
    end: u32,
}

impl<'t, 'a> Iterator for Children<'t, 'a> {
    type Item = (Option<Value<'t, 'a>>, Value<'t, 'a>);

    fn next(&mut self) -> Option<Self::Item> {
        if self.at >= self.end {
            return None;
        }
        let doc = self.doc;
        let key = self.object.then(|| {
            let key = Value { doc, node: self.at };
            self.at += 1;
            key
        });
        let value = Value { doc, node: self.at };
        self.at = value.node().next;
        Some((key, value))
    }
}

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
            // A value begins here.
            self.value_start()?;
            // It may have ended here, and with it the containers around it.
            loop {
                self.space();
                let Some(open) = self.tape.open.last() else {
                    if self.pos < self.bytes.len() {
                        return Err(self.syntax("the end of the frame"));
                    }
                    return Ok(());
                };
                let node = open.node as usize;
                let object = self.tape.nodes[node].kind == Kind::Object;
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

    /// Reads a scalar whole, or opens a container. Empty containers are read whole too.
    fn value_start(&mut self) -> Scan<()> {
        loop {
            let start = self.pos;
            let kind = match self.bytes.get(self.pos) {
                Some(b'{') => Kind::Object,
                Some(b'[') => Kind::Array,
                Some(b'"') => {
                    self.string()?;
                    return Ok(());
                }
                Some(b't') => return self.word(b"true", Kind::True),
                Some(b'f') => return self.word(b"false", Kind::False),
                Some(b'n') => return self.word(b"null", Kind::Null),
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
                (Kind::Object, Some(b'}')) | (Kind::Array, Some(b']')) => {
                    self.close(node as usize);
                    return Ok(());
                }
                (Kind::Object, _) => self.key()?,
                _ => {}
            }
        }
    }

    /// Reads `"key" :` and leaves the scanner at the value.
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
        if entry.kind == Kind::Object
            && self.problem.is_none()
            && let Some(key) = self.duplicate(node)
        {
            if let Some(open) = self.tape.open.last_mut() {
                open.at = key;
            }
            self.note("a member name stands once in an object, found it twice");
        }
        self.tape.open.pop();
    }

    /// The key node of the first repeated member name in an object that was just read.
    fn duplicate(&self, node: usize) -> Option<u32> {
        const FEW: usize = 16;
        let doc = Document {
            text: self.text,
            tape: self.tape,
        };
        let object = Value {
            doc,
            node: node as u32,
        };
        let mut few: [Option<Value<'_, '_>>; FEW] = [None; FEW];
        let mut keys = object.children().filter_map(|(key, _)| key);
        for (count, key) in keys.by_ref().take(FEW).enumerate() {
            if few[..count].iter().flatten().any(|seen| same(*seen, key)) {
                return Some(key.node);
            }
            few[count] = Some(key);
        }
        // Many members: comparing each with each would let a peer buy quadratic work with one frame.
        let first = keys.next()?;
        let mut seen: HashSet<Cow<'_, str>> =
            few.iter().flatten().filter_map(|k| k.text()).collect();
        std::iter::once(first)
            .chain(keys)
            .find(|key| key.text().is_some_and(|text| !seen.insert(text)))
            .map(|key| key.node)
    }

    /// Steps over a value that is nested too deeply without indexing it: the frame is refused in any case.
    fn too_deep(&mut self, kind: Kind) -> Scan<()> {
        self.note(&format!(
            "at most {MAX_DEPTH} levels of objects and arrays, found more"
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

    fn string(&mut self) -> Scan<()> {
        let start = self.pos;
        self.pos += 1;
        let mut kind = Kind::Plain;
        loop {
            match self.bytes.get(self.pos) {
                Some(b'"') => break,
                Some(b'\\') => {
                    kind = Kind::Escaped;
                    self.escape()?;
                }
                Some(0..=0x1f) => {
                    return Err(self.syntax("a string without raw control characters"));
                }
                Some(_) => self.pos += 1,
                None => return Err(self.syntax("the end of a string")),
            }
        }
        self.pos += 1;
        let node = self.push(kind, start) as usize;
        self.tape.nodes[node].end = self.pos as u32;
        Ok(())
    }

    fn escape(&mut self) -> Scan<()> {
        self.pos += 1;
        match self.bytes.get(self.pos) {
            Some(b'"' | b'\\' | b'/' | b'b' | b'f' | b'n' | b'r' | b't') => self.pos += 1,
            Some(b'u') => {
                self.pos += 1;
                let unit = self.hex4()?;
                if (0xDC00..0xE000).contains(&unit) {
                    self.note("surrogates come in pairs, found a low one alone");
                } else if (0xD800..0xDC00).contains(&unit) {
                    let paired = self.bytes[self.pos..].starts_with(b"\\u") && {
                        let back = self.pos;
                        self.pos += 2;
                        let low = self.hex4()?;
                        let paired = (0xDC00..0xE000).contains(&low);
                        if !paired {
                            self.pos = back;
                        }
                        paired
                    };
                    if !paired {
                        self.note("surrogates come in pairs, found a high one alone");
                    }
                }
            }
            _ => return Err(self.syntax("one of \\\" \\\\ \\/ \\b \\f \\n \\r \\t \\uXXXX")),
        }
        Ok(())
    }

    fn hex4(&mut self) -> Scan<u32> {
        let unit = self.bytes.get(self.pos..self.pos + 4).and_then(|digits| {
            digits
                .iter()
                .try_fold(0, |unit, d| Some(unit << 4 | (*d as char).to_digit(16)?))
        });
        match unit {
            Some(unit) => {
                self.pos += 4;
                Ok(unit)
            }
            None => Err(self.syntax("four hexadecimal digits after \\u")),
        }
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
        // Only an exponent or some 300 digits can leave the range of a double.
        if (!plain || text.len() > 300) && !text.parse::<f64>().is_ok_and(f64::is_finite) {
            self.note("a number within the range of a double, found one beyond it");
        }
        let node = self.push(Kind::Number, start) as usize;
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

    fn word(&mut self, word: &[u8], kind: Kind) -> Scan<()> {
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

    fn push(&mut self, kind: Kind, start: usize) -> u32 {
        let node = self.tape.nodes.len() as u32;
        self.tape.nodes.push(Node {
            kind,
            start: start as u32,
            end: 0,
            next: node + 1,
        });
        node
    }

    fn syntax(&self, expected: &str) -> SyntaxError {
        let found = match self
            .text
            .get(self.pos..)
            .and_then(|rest| rest.chars().next())
        {
            Some(c) if c.is_control() => format!("the control character U+{:04X}", c as u32),
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

    /// Remembers the first rule broken, with the place that is being read.
    fn note(&mut self, detail: &str) {
        if self.problem.is_some() {
            return;
        }
        let doc = Document {
            text: self.text,
            tape: self.tape,
        };
        let mut path = String::new();
        for open in &self.tape.open {
            if self.tape.nodes[open.node as usize].kind == Kind::Object {
                // A key that is itself being read has no node yet; its parent is the best place to name.
                if let Some(node) = self.tape.nodes.get(open.at as usize)
                    && node.end > 0
                    && let Some(key) = (Value { doc, node: open.at }).text()
                {
                    push_token(&mut path, &key);
                }
            } else {
                push_token(&mut path, &open.at.to_string());
            }
        }
        self.problem = Some(SyntaxError {
            detail: detail.to_owned(),
            path: Some(path),
        });
    }
}

fn same(a: Value<'_, '_>, b: Value<'_, '_>) -> bool {
    if a.kind() == Kind::Plain && b.kind() == Kind::Plain {
        a.raw() == b.raw()
    } else {
        a.text() == b.text()
    }
}

/// Appends one reference token to a JSON Pointer (RFC 6901 section 3).
pub fn push_token(pointer: &mut String, token: &str) {
    pointer.push('/');
    for c in token.chars() {
        match c {
            '~' => pointer.push_str("~0"),
            '/' => pointer.push_str("~1"),
            c => pointer.push(c),
        }
    }
}

/// Resolves the escapes of a scanned string. Lone surrogates, which only a refused frame has, become U+FFFD.
fn unescape(raw: &str) -> String {
    let mut out = String::with_capacity(raw.len());
    let mut rest = raw;
    while let Some(at) = rest.find('\\') {
        out.push_str(&rest[..at]);
        let (c, used) = unescape_one(&rest[at..]);
        out.push(c);
        rest = &rest[at + used..];
    }
    out.push_str(rest);
    out
}

/// One escape at the start of `text`: the character, and how many bytes it took.
fn unescape_one(text: &str) -> (char, usize) {
    let unit = |at: usize| {
        text.get(at..at + 4)
            .and_then(|hex| u32::from_str_radix(hex, 16).ok())
    };
    match text.as_bytes().get(1) {
        Some(b'b') => ('\u{8}', 2),
        Some(b'f') => ('\u{c}', 2),
        Some(b'n') => ('\n', 2),
        Some(b'r') => ('\r', 2),
        Some(b't') => ('\t', 2),
        Some(b'u') => {
            let high = unit(2).unwrap_or(0xFFFD);
            if (0xD800..0xDC00).contains(&high)
                && text.get(6..8) == Some("\\u")
                && let Some(low) = unit(8)
                && (0xDC00..0xE000).contains(&low)
            {
                let c = 0x10000 + ((high - 0xD800) << 10) + (low - 0xDC00);
                return (char::from_u32(c).unwrap_or('\u{FFFD}'), 12);
            }
            (char::from_u32(high).unwrap_or('\u{FFFD}'), 6)
        }
        Some(c) => (*c as char, 2),
        None => ('\\', 1),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn problem(text: &str) -> Option<SyntaxError> {
        Tape::default().scan(text).1
    }

    #[test]
    fn agrees_with_serde_json_on_grammar() {
        let cases = [
            "{}",
            "[]",
            "[1,2]",
            "[1,]",
            "{\"a\":1,}",
            "{\"a\"}",
            "{\"a\":}",
            "{a:1}",
            "",
            " ",
            "1",
            "01",
            "-0",
            "-",
            "1.",
            ".5",
            "1e",
            "1e+",
            "1e5",
            "1E-5",
            "tru",
            "true",
            "truex",
            "null",
            "nul",
            "\"",
            "\"a",
            "\"\\x\"",
            "\"\\u12\"",
            "\"\\u1234\"",
            "\"\t\"",
            "[",
            "{",
            "]",
            "}",
            "[}",
            "{]",
            "[[[]]]",
            "[1 2]",
            "{\"a\" 1}",
            "{\"a\":1 \"b\":2}",
            "1 2",
            "{}{}",
            "\u{feff}{}",
            "[1]]",
            "'a'",
            "NaN",
            "Infinity",
            "+1",
            "0x10",
            "1_0",
            "{\"a\":[{\"b\":null}]}",
            "\"\\ud83d\\ude00\"",
            "[\"\u{7f}\"]",
            "/**/1",
            "[,1]",
            "{,}",
            "{\"a\":1,,}",
        ];
        for case in cases {
            let ours = problem(case).is_none();
            let theirs = serde_json::from_str::<serde_json::Value>(case).is_ok();
            assert_eq!(ours, theirs, "{case:?}");
        }
    }

    #[test]
    fn names_the_place_of_a_duplicate() {
        let at = |text| problem(text).and_then(|p| p.path);
        assert_eq!(at(r#"{"a":1,"a":2}"#).as_deref(), Some("/a"));
        assert_eq!(at(r#"{"a":1,"\u0061":2}"#).as_deref(), Some("/a"));
        assert_eq!(
            at(r#"{"m":{"x/y":[0,{"k~":1,"k~":2}]}}"#).as_deref(),
            Some("/m/x~1y/1/k~0")
        );
        let many: Vec<String> = (0..40).map(|n| format!("\"k{n}\":0")).collect();
        assert_eq!(problem(&format!("{{{}}}", many.join(","))), None);
        assert_eq!(
            at(&format!("{{{},\"k3\":1}}", many.join(","))).as_deref(),
            Some("/k3")
        );
    }

    #[test]
    fn depth_surrogates_and_doubles_have_bounds() {
        let nested = |n| format!("{}{}", "[".repeat(n), "]".repeat(n));
        assert_eq!(problem(&nested(32)), None);
        assert!(problem(&nested(33)).is_some());
        assert!(problem(&nested(60_000)).is_some());
        assert!(problem(&"[".repeat(60_000)).is_some());
        assert!(problem(r#""\ud800""#).is_some());
        assert!(problem(r#""\ude00\ud83d""#).is_some());
        assert!(problem(r#""\ud83d\ud83d\ude00""#).is_some());
        assert!(problem("1e309").is_some());
        assert!(problem(&"9".repeat(400)).is_some());
        assert_eq!(problem("1e308"), None);
        assert_eq!(problem("1e-999"), None);
    }

    #[test]
    fn members_are_found_beside_a_problem() {
        let mut tape = Tape::default();
        let deep = format!(
            r#"{{"x":{}"]"{},"ref":"r1"}}"#,
            "[".repeat(40),
            "]".repeat(40)
        );
        let (doc, problem) = tape.scan(&deep);
        assert!(problem.is_some());
        let reference = doc.and_then(|doc| doc.root().get("ref")?.text());
        assert_eq!(reference.as_deref(), Some("r1"));
    }

    #[test]
    fn escapes_resolve() {
        let text = r#""a\"\\\/\b\f\n\r\t\u00e9\ud83d\ude00z""#;
        let mut tape = Tape::default();
        let (doc, _) = tape.scan(text);
        let ours = doc.and_then(|doc| doc.root().text()).map(Cow::into_owned);
        assert_eq!(ours, serde_json::from_str(text).ok());
    }
}
