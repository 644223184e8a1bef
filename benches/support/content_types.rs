//! The cost of validating content by schemas of an application.

use std::hint::black_box;
use std::time::{Duration, Instant};

use dmwire::protocol::content_types::SchemaSource;
use dmwire::protocol::{Contract, Scanned, Tape};
use serde_json::{Value, json};

const TYPE: &str = "bench.type";
const CONTENT_BYTES: usize = 65_536 - 100;

fn contract(schema: &Value) -> Option<Contract> {
    let source = SchemaSource {
        name: TYPE.to_owned(),
        text: schema.to_string(),
    };
    Contract::with_content_types(vec![source]).ok()
}

/// The contract of the largest of these schemas that is accepted, by the number that `schema` is given.
fn largest(schema: impl Fn(usize) -> Value) -> Option<(usize, Contract)> {
    let accepted = |n: &usize| contract(&schema(*n)).is_some();
    let most = (1..400).take_while(accepted).last()?;
    Some((most, contract(&schema(most))?))
}

fn frame(fields: &str) -> String {
    format!(r#"{{"target_user":"b","message":{{"type":"{TYPE}",{fields}}}}}"#)
}

/// A frame whose content has `element` as often as possible in `start` ... `end`.
fn filled(start: &str, element: impl Fn(usize) -> String, end: &str) -> String {
    let mut fields = start.to_owned();
    for n in 0.. {
        let next = element(n);
        if fields.len() + next.len() + end.len() > CONTENT_BYTES {
            break;
        }
        if n > 0 {
            fields.push(',');
        }
        fields.push_str(&next);
    }
    frame(&(fields + end))
}

/// The fastest time to parse and validate a frame, in microseconds, and whether its content is valid.
fn time(contract: &Contract, frame: &str, rounds: usize) -> (f64, bool) {
    let mut tape = Tape::default();
    let mut best = Duration::MAX;
    let mut valid = false;
    for _ in 0..rounds {
        let start = Instant::now();
        let parsed = Scanned::new(&mut tape, black_box(frame)).parse(contract);
        best = best.min(start.elapsed());
        valid = parsed.is_ok_and(|parsed| parsed.invalid_content.is_none());
    }
    (best.as_secs_f64() * 1e6, valid)
}

fn print(what: &str, (time, valid): (f64, bool), bytes: usize) {
    let result = if valid { "valid" } else { "invalid" };
    println!("{what:50} {result:8} {bytes:6} bytes {time:10.1} us");
}

/// Measures usual content, and then the most expensive one.
pub fn measure() {
    let line = json!({
        "type": "object",
        "properties": {
            "sku": {"type": "string", "pattern": "^[A-Z0-9-]{1,20}$"},
            "name": {"type": "string", "minLength": 1, "maxLength": 200},
            "quantity": {"type": "integer", "minimum": 1, "maximum": 1000},
            "price": {"type": "number", "minimum": 0},
            "currency": {"enum": ["EUR", "USD", "CHF"]}
        },
        "required": ["sku", "quantity"],
        "additionalProperties": false
    });
    let order = json!({
        "type": "object",
        "properties": {
            "type": true,
            "order": {"type": "string", "minLength": 1},
            "lines": {"type": "array", "items": {"$ref": "#/$defs/line"}, "maxItems": 20}
        },
        "required": ["order", "lines"],
        "additionalProperties": false,
        "$defs": {"line": line}
    });
    let usual = r#"{"sku":"A-1234-XY","name":"A thing with a name of usual length","quantity":3,"price":19.5,"currency":"EUR"}"#;
    let order = contract(&order).expect("the schema is accepted");
    let lines = |count: usize| {
        frame(&format!(
            r#""order":"A-17","lines":[{}]"#,
            vec![usual; count].join(",")
        ))
    };
    for count in [1, 8] {
        let frame = lines(count);
        print("an order", time(&order, &frame, 20_000), frame.len());
    }
    expensive();
}

fn branches(count: usize) -> Value {
    (0..count)
        .map(|n| json!({"type": "array", "minItems": n + 1}))
        .chain([json!({"type": "array"})])
        .collect()
}

/// A kind of schemas, the schema for a number, and the content that takes longest.
type Case = (&'static str, Box<dyn Fn(usize) -> Value>, String);

fn list(element: fn(usize) -> String) -> String {
    filled(r#""list":["#, element, "]")
}

fn members(element: fn(usize) -> String) -> String {
    filled(r#""list":{"#, element, "}")
}

fn of_list(items: Value) -> Value {
    json!({"properties": {"list": {"items": items}}})
}

/// Many assertions for each value.
fn assertions() -> Vec<Case> {
    vec![
        (
            "elements: anyOf of n",
            Box::new(move |n| of_list(json!({"anyOf": branches(n)}))),
            list(|_| "[]".to_owned()),
        ),
        (
            "elements: anyOf of n, invalid",
            Box::new(move |n| of_list(json!({"anyOf": branches(n)}))),
            list(|_| "7".to_owned()),
        ),
        (
            "elements: enum of n",
            Box::new(move |n| of_list(json!({"enum": (0..n).collect::<Vec<_>>()}))),
            list(|_| "0".to_owned()),
        ),
        (
            "elements: n patterns",
            Box::new(move |n| {
                of_list(
                    json!({"allOf": (0..n).map(|n| json!({"pattern": format!("^[^{n}]*$")})).collect::<Vec<_>>()}),
                )
            }),
            list(|_| "\"\"".to_owned()),
        ),
        (
            "elements: objects with n properties",
            Box::new(move |n| {
                of_list(
                    json!({"properties": (0..n).map(|n| (format!("p{n}"), json!({"type": "integer"}))).collect::<serde_json::Map<_, _>>(), "additionalProperties": false}),
                )
            }),
            list(|_| "{\"p0\":1}".to_owned()),
        ),
        (
            "a string: n patterns",
            Box::new(
                |n| json!({"properties": {"text": {"allOf": (0..n).map(|n| json!({"pattern": format!("^([a-z]{{3}}[0-9]?)*{n}?$")})).collect::<Vec<_>>()}}}),
            ),
            filled("\"text\":\"", |_| "abcabc1abcxyz".to_owned(), "\"")
                .replace("abcxyz,", "abcxyz1"),
        ),
        (
            "members: n patterns of names",
            Box::new(
                |n| json!({"properties": {"list": {"patternProperties": (0..n).map(|n| (format!("{n}[a-z]+$"), json!(true))).collect::<serde_json::Map<_, _>>()}}}),
            ),
            members(|n| format!("\"{n:x}\":0")),
        ),
        (
            "elements: n times multipleOf",
            Box::new(move |n| of_list(json!({"allOf": vec![json!({"multipleOf": 0.01}); n]}))),
            list(|_| "1e300".to_owned()),
        ),
    ]
}

/// References, combinators and comparisons.
fn combinations() -> Vec<Case> {
    vec![
        (
            "unique elements, n lists",
            Box::new(
                |n| json!({"properties": {"list": {"allOf": vec![json!({"uniqueItems": true, "maxItems": 100_000}); n]}}}),
            ),
            list(|n| n.to_string()),
        ),
        (
            "recursive lists, n keywords",
            Box::new(
                |n| json!({"properties": {"list": {"$ref": "#/$defs/a"}}, "$defs": {"a": {"items": {"$ref": "#/$defs/a"}, "allOf": vec![json!({"type": "array"}); n]}}}),
            ),
            list(|_| "[]".to_owned()),
        ),
        (
            "recursive lists of one element",
            Box::new(
                |n| json!({"properties": {"list": {"$ref": "#/$defs/a"}}, "$defs": {"a": {"items": {"$ref": "#/$defs/a"}, "allOf": vec![json!({"type": "array"}); n]}}}),
            ),
            list(|_| format!("{}{}", "[".repeat(28), "]".repeat(28))),
        ),
        (
            "elements: n times not",
            Box::new(move |n| {
                of_list(json!({"allOf": vec![json!({"not": {"type": "string"}}); n]}))
            }),
            list(|_| "1".to_owned()),
        ),
        (
            "elements: if and else, n times",
            Box::new(move |n| {
                of_list(
                    json!({"allOf": vec![json!({"if": {"minimum": 5}, "else": {"maximum": 5}}); n]}),
                )
            }),
            list(|_| "1".to_owned()),
        ),
        (
            "no rules for elements, n ignored",
            Box::new(|n| json!({"minProperties": n})),
            list(|_| "[]".to_owned()),
        ),
        (
            "no rules for members, n ignored",
            Box::new(|n| json!({"minProperties": n})),
            members(|n| format!("\"{n:x}\":0")),
        ),
    ]
}

/// Measures schemas at the limit of what is accepted.
fn expensive() {
    for (what, schema, frame) in assertions().into_iter().chain(combinations()) {
        match largest(schema) {
            Some((n, contract)) => print(
                &format!("{what} (n = {n})"),
                time(&contract, &frame, 30),
                frame.len(),
            ),
            None => println!("{what:50} never accepted"),
        }
    }
}
