//! The corpus under `tests/frames`: the parser and the schema must accept and reject the same frames, and agree on random
//! mutations of them. The schema is checked by an independent JSON Schema validator, on the committed files.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::sync::LazyLock;

use dmwire::protocol::{Contract, ErrorCode, FrameError, Parsed, Scanned, Tape};
use serde_json::Value;

/// The number of mutations. Each consists of one to three random changes of a frame of the corpus.
const MUTATIONS: usize = 20_000;

fn corpus(folder: &str) -> BTreeMap<PathBuf, String> {
    let dir = Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("tests/frames")
        .join(folder);
    let frames: BTreeMap<_, _> = fs::read_dir(dir)
        .expect("the corpus is there")
        .map(|entry| entry.expect("the folder can be read").path())
        .map(|path| {
            let text = fs::read_to_string(&path).expect("a corpus file is UTF-8");
            (path, text)
        })
        .collect();
    assert!(!frames.is_empty(), "{folder} has no frames");
    frames
}

fn schema() -> jsonschema::Validator {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("schema/client-frame.schema.json");
    let text = fs::read_to_string(path).expect("the schema is there");
    let schema: Value = serde_json::from_str(&text).expect("the schema is JSON");
    jsonschema::draft202012::meta::validate(&schema).expect("the schema is a draft 2020-12 schema");
    jsonschema::draft202012::new(&schema).expect("the schema compiles")
}

fn validate(text: &str) -> Result<(), FrameError> {
    static CONTRACT: LazyLock<Contract> = LazyLock::new(Contract::built_in);
    Scanned::new(&mut Tape::default(), text)
        .parse(&CONTRACT)
        .and_then(Parsed::valid)
        .map(drop)
}

#[test]
fn valid_frames_are_accepted_by_parser_and_schema() {
    let schema = schema();
    let frames = corpus("valid");
    assert!(frames.len() >= 40);
    for (path, text) in frames {
        assert_eq!(validate(&text), Ok(()), "{}", path.display());
        let value = serde_json::from_str(&text).expect("a valid frame is JSON");
        if let Err(error) = schema.validate(&value) {
            panic!("{}: the schema rejects it: {error}", path.display());
        }
    }
}

#[test]
fn invalid_frames_are_rejected_with_their_code_and_path() {
    let schema = schema();
    let cases = corpus("invalid");
    assert!(cases.len() >= 80);
    let mut wrong = Vec::new();
    for (path, text) in cases {
        let case: Value = serde_json::from_str(&text).expect("a case is JSON");
        let frame = case["frame"].as_str().expect("a case has a frame");
        let Err(refused) = validate(frame) else {
            wrong.push(format!("{}: accepted", path.display()));
            continue;
        };
        let expected_path = case.get("path").and_then(Value::as_str);
        if refused.code.as_str() != case["code"]
            || (expected_path.is_some() && refused.path.as_deref() != expected_path)
        {
            wrong.push(format!(
                "{}: expected {} at {expected_path:?}, got {refused:?}",
                path.display(),
                case["code"]
            ));
        }
        // A schema cannot express the rules about JSON syntax.
        if refused.code != ErrorCode::InvalidJson {
            let value = serde_json::from_str(frame).expect("JSON");
            if schema.is_valid(&value) {
                wrong.push(format!("{}: the schema accepts it", path.display()));
            }
        }
    }
    assert!(
        wrong.is_empty(),
        "{} wrong:\n{}",
        wrong.len(),
        wrong.join("\n")
    );
}

#[test]
fn parser_and_schema_agree_on_mutations() {
    let schema = schema();
    let mut seeds: Vec<Value> = Vec::new();
    for text in corpus("valid").values() {
        seeds.push(serde_json::from_str(text).expect("JSON"));
    }
    for text in corpus("invalid").values() {
        let case: Value = serde_json::from_str(text).expect("JSON");
        if case["code"] != "invalid_json" {
            seeds.push(serde_json::from_str(case["frame"].as_str().expect("text")).expect("JSON"));
        }
    }
    // Long frames are checked above; here they only take time.
    seeds.retain(|seed| seed.to_string().len() < 600);
    let seed = std::time::UNIX_EPOCH
        .elapsed()
        .map_or(1, |d| d.as_nanos() as u64)
        | 1;
    println!("random seed {seed}");
    let mut random = Random(seed);
    let mut accepted = 0;
    for _ in 0..MUTATIONS {
        let mut value = random.pick(&seeds).clone();
        for _ in 0..=random.below(3) {
            mutate(&mut value, &seeds, &mut random, 0);
        }
        let text = value.to_string();
        let ours = validate(&text);
        if ours
            .as_ref()
            .is_err_and(|refused| refused.code == ErrorCode::InvalidJson)
        {
            // Nesting beyond 32 levels violates a rule about JSON syntax.
            continue;
        }
        let theirs = schema.is_valid(&value);
        accepted += usize::from(theirs);
        assert_eq!(
            ours.is_ok(),
            theirs,
            "seed {seed}: {text}\nparser: {ours:?}"
        );
    }
    // Enough mutations of both kinds are needed for a meaningful result.
    assert!(accepted > MUTATIONS / 50, "{accepted} accepted");
    assert!(accepted < MUTATIONS, "{accepted} accepted");
}

/// A small generator (xorshift64*), so that a failing seed can be repeated.
struct Random(u64);

impl Random {
    fn below(&mut self, n: usize) -> usize {
        self.0 ^= self.0 >> 12;
        self.0 ^= self.0 << 25;
        self.0 ^= self.0 >> 27;
        (self.0.wrapping_mul(0x2545_F491_4F6C_DD1D) >> 33) as usize % n
    }

    fn pick<'a, T>(&mut self, from: &'a [T]) -> &'a T {
        &from[self.below(from.len())]
    }
}

/// Changes one random value inside `value`.
fn mutate(value: &mut Value, seeds: &[Value], random: &mut Random, depth: usize) {
    let deeper = depth < 6 && random.below(3) > 0;
    match value {
        Value::Object(members) if deeper && !members.is_empty() => {
            let nth = random.below(members.len());
            if let Some((_, member)) = members.iter_mut().nth(nth) {
                mutate(member, seeds, random, depth + 1);
            }
        }
        Value::Array(items) if deeper && !items.is_empty() => {
            let nth = random.below(items.len());
            mutate(&mut items[nth], seeds, random, depth + 1);
        }
        Value::Object(members) => {
            let other = random.pick(seeds).clone();
            match (random.below(3), other) {
                // Removes a member.
                (0, _) if !members.is_empty() => {
                    let nth = random.below(members.len());
                    let name = members.keys().nth(nth).cloned().unwrap_or_default();
                    members.shift_remove(&name);
                }
                // Adds a member of another frame, or of the object inside it.
                (_, Value::Object(mut other)) if !other.is_empty() => {
                    if let Some(Value::Object(inner)) = other.get("message").cloned()
                        && !inner.is_empty()
                        && random.below(2) == 0
                    {
                        other = inner;
                    }
                    let nth = random.below(other.len());
                    if let Some((name, member)) = other.iter().nth(nth) {
                        members.insert(name.clone(), member.clone());
                    }
                }
                _ => *value = odd_value(random),
            }
        }
        _ => *value = odd_value(random),
    }
}

fn odd_value(random: &mut Random) -> Value {
    const ODD: &[&str] = &[
        "null",
        "true",
        "false",
        "0",
        "1",
        "-1",
        "-0.0",
        "1.0",
        "1.5",
        "65535",
        "65536",
        "90",
        "90.5",
        "-180",
        "181",
        "9007199254740991",
        "9007199254740992",
        "9007199254740991.0",
        "1e3",
        "1e300",
        "-1e300",
        "\"\"",
        "\"a\"",
        "\"8888\"",
        "\"a b\"",
        "\"message\"",
        "\"typing\"",
        "\"received\"",
        "\"ping\"",
        "\"image\"",
        "\"markdown\"",
        "\"data\"",
        "\"location\"",
        "\"http://a\"",
        "\"ftp://a\"",
        "\"\\u0000\"",
        "\"6666\\n\"",
        "\"\\ud83d\\ude00\"",
        "\"019A2F4E-7b1c-7d3e-9a55-0c1d2e3f4a5b\"",
        "\"019a2f4e7b1c7d3e9a550c1d2e3f4a5b\"",
        "[]",
        "{}",
        "[{}]",
        "{\"type\":\"markdown\",\"text\":\"x\"}",
        "{\"type\":\"nope\"}",
        "{\"type\":\"data\",\"name\":\"n\",\"data\":null}",
    ];
    match random.below(12) {
        0 => Value::String("é".repeat(64)),
        1 => Value::String("é".repeat(65)),
        2 => Value::String("a".repeat(65)),
        _ => serde_json::from_str(random.pick::<&str>(ODD)).expect("the list is JSON"),
    }
}
