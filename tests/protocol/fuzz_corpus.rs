//! The fuzz targets (`fuzz/`) without a fuzzer: on the frames under `tests/frames`, on random mutations of them, and on the
//! inputs under `tests/fuzz` that a fuzzer has found.
//!
//! If `DMWIRE_FUZZ_SEEDS` names a folder, the frames are written there, in one folder per target: the seeds of `scripts/fuzz`.

use std::fs;
use std::path::Path;
use std::time::{Duration, Instant};

use serde_json::Value;

use crate::support::{Random, client_frame, env_number, random_seed};
use crate::targets::{TARGETS, Target, log_seeds};

/// The maximum time for the mutations of one target.
const MUTATION_TIME: Duration = Duration::from_secs(3);

fn files(folder: &str) -> Vec<Vec<u8>> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join(folder);
    let mut paths: Vec<_> = fs::read_dir(&folder)
        .unwrap_or_else(|error| panic!("{}: {error}", folder.display()))
        .map(|entry| entry.expect("the folder can be read").path())
        .collect();
    paths.sort();
    let read = |path| fs::read(path).expect("the file can be read");
    paths.iter().map(read).collect()
}

/// The texts of all valid and invalid frames of the corpus.
fn frames() -> Vec<String> {
    let mut frames: Vec<_> = files("tests/frames/valid")
        .into_iter()
        .map(|text| String::from_utf8(text).expect("a corpus file is UTF-8"))
        .collect();
    for case in files("tests/frames/invalid") {
        let case: Value = serde_json::from_slice(&case).expect("a case is JSON");
        frames.push(
            case["frame"]
                .as_str()
                .expect("a case has a frame")
                .to_owned(),
        );
    }
    frames
}

fn websocket_streams() -> Vec<Vec<u8>> {
    let fragments = [
        client_frame(0x01, b"hel"),
        client_frame(0x89, b"ping"),
        client_frame(0x00, "l\u{e9}".as_bytes()),
        client_frame(0x80, b"o"),
        client_frame(0x82, &[0xFF; 200]),
        client_frame(0x8A, b""),
        client_frame(0x88, &[0x03, 0xE8, b'b', b'y', b'e']),
    ];
    let mut streams: Vec<_> = frames()
        .iter()
        .map(|text| client_frame(0x81, text.as_bytes()))
        .filter(|frame| frame.len() < 2000)
        .collect();
    streams.push(fragments.concat());
    streams.extend(fragments);
    streams.push(vec![0x81, 0xFE, 0, 126, 1, 2, 3, 4]);
    streams.push(vec![0x81, 0xFF, 0, 0, 0, 0, 0, 1, 0, 0, 1, 2, 3, 4]);
    streams.push(vec![
        0x81, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF,
    ]);
    let settings = (0..=u8::MAX).cycle().map(|n| [n % 5, n.wrapping_mul(37)]);
    let streams = streams.iter().zip(settings);
    streams
        .map(|(stream, of)| [&of, &stream[..]].concat())
        .collect()
}

fn upgrades() -> Vec<Vec<u8>> {
    const KEY: &str = "Connection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Version: 13\r\n\
                       Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n";
    let mut requests = vec!["GET /healthz HTTP/1.1\r\nHost: localhost\r\n\r\n".to_owned()];
    for address in [
        "/ws/8888",
        "/ws/8888?since=41&epoch=0b9f4c1a-6a53-4f0e-9d3e-1f2a3b4c5d6e&device=phone&ack=manual",
        "/ws/a%40b?%73ince=0&&x=%zz&room=r&token=a.b.c",
        "/echo",
        "http://evil.example/ws/a",
        "/ws/%0d%0aX:y",
    ] {
        for more in [
            "Host: localhost:8080\r\n",
            "Host: [::1]\r\nOrigin: https://app.example\r\nSec-WebSocket-Protocol: dmwire.v1, bearer.a.b.c\r\n",
            "Host: chat\r\nOrigin: null\r\nAuthorization: Bearer a.b.c\r\nX-Forwarded-For: 1.2.3.4, [::1]:8, x\r\n\
             X-Forwarded-Proto: https\r\nX-Forwarded-Host: a\r\nForwarded: for=\"[2001:db8::1]:1\";proto=https;host=a:1, for=_x\r\n",
            "Host: a\r\nHost: b\r\nContent-Length: 5\r\nTransfer-Encoding: chunked\r\n",
        ] {
            requests.push(format!("GET {address} HTTP/1.1\r\n{KEY}{more}\r\n"));
        }
    }
    requests.into_iter().map(String::into_bytes).collect()
}

fn tokens() -> Vec<Vec<u8>> {
    [
        "\0eyJhbGciOiJIUzI1NiJ9.eyJzdWIiOiI4ODg4In0.AAAA",
        "\0..",
        "\0eyJhbGciOiJub25lIn0.e30.",
        "\u{1}{\"alg\":\"HS256\",\"typ\":\"JWT\",\"kid\":\"1\",\"crit\":[\"exp\"],\"b64\":false}",
        "\u{1}{\"alg\":\"RS256\",\"jku\":\"http://a\",\"jwk\":{\"kty\":\"oct\"}}",
        "\u{2}{\"sub\":\"8888\",\"exp\":2100000000,\"iss\":\"me\",\"nbf\":0,\"iat\":0}",
        "\u{2}{\"sub\":\"8888\",\"exp\":1795172580123,\"iss\":\"me\"}",
        "\u{2}{\"sub\":\"8888\",\"exp\":1e18,\"iss\":[\"me\",\"x\"],\"aud\":[\"chat\"]}",
    ]
    .map(|text| text.as_bytes().to_vec())
    .to_vec()
}

fn seeds(target: &str) -> Vec<Vec<u8>> {
    match target {
        "websocket" => websocket_streams(),
        "frame" => frames().into_iter().map(String::into_bytes).collect(),
        "content" => frames()
            .iter()
            .filter_map(|text| serde_json::from_str::<Value>(text).ok())
            .filter_map(|frame| Some(frame.get("message")?.to_string().into_bytes()))
            .collect(),
        "upgrade" => upgrades(),
        "token" => tokens(),
        "log" => log_seeds(),
        other => panic!("{other} has no seeds"),
    }
}

/// Runs a target, and prints the input if it panics.
fn run(name: &str, target: Target, data: &[u8]) {
    struct PrintOnPanic<'a>(&'a str, &'a [u8]);
    impl Drop for PrintOnPanic<'_> {
        fn drop(&mut self) {
            if std::thread::panicking() {
                eprintln!(
                    "{} failed on {:?}",
                    self.0,
                    self.1.escape_ascii().to_string()
                );
            }
        }
    }
    let _print_on_panic = PrintOnPanic(name, data);
    target(data);
}

#[test]
fn the_targets_pass_on_the_corpus() {
    let folder = std::env::var_os("DMWIRE_FUZZ_SEEDS");
    for (name, target) in TARGETS {
        let seeds = seeds(name);
        assert!(seeds.len() > 5, "{name}");
        for (n, seed) in seeds.iter().enumerate() {
            run(name, target, seed);
            if let Some(folder) = &folder {
                let folder = Path::new(folder).join(name);
                fs::create_dir_all(&folder)
                    .and_then(|()| fs::write(folder.join(format!("seed-{n:04}")), seed))
                    .expect("a seed can be written");
            }
        }
    }
}

#[test]
fn the_targets_pass_on_inputs_found_by_a_fuzzer() {
    for (name, target) in TARGETS {
        let folder = format!("tests/fuzz/{name}");
        // The other targets have no such inputs.
        if Path::new(env!("CARGO_MANIFEST_DIR")).join(&folder).exists() {
            for data in files(&folder) {
                run(name, target, &data);
            }
        }
    }
}

#[test]
fn the_targets_pass_on_mutations() {
    let mut random = Random::new(env_number("DMWIRE_FUZZ_SEED", random_seed));
    for (name, target) in TARGETS {
        let seeds: Vec<_> = seeds(name)
            .into_iter()
            .filter(|seed| seed.len() < 1000)
            .collect();
        let until = Instant::now() + MUTATION_TIME;
        let mut count = 0;
        while Instant::now() < until && count < 20_000 {
            let mut data = random.pick(&seeds).clone();
            for _ in 0..=random.below(4) {
                mutate(&mut data, &mut random, &seeds);
            }
            run(name, target, &data);
            count += 1;
        }
        eprintln!("{name}: {count} mutations");
    }
}

/// Changes a few bytes.
fn mutate(data: &mut Vec<u8>, random: &mut Random, seeds: &[Vec<u8>]) {
    const ODD: &[u8] = b"\0\t\r\n \"\\/{}[]:,%;=-+.0189aeEu\x7F\x80\xFF";
    let at = random.below(data.len() + 1);
    match random.below(6) {
        0 => data.truncate(at),
        1 => data.insert(at, *random.pick(ODD)),
        2 if at < data.len() => data[at] ^= 1 << random.below(8),
        3 if at < data.len() => data[at] = *random.pick(ODD),
        4 => {
            let end = (at + random.below(16)).min(data.len());
            data.drain(at..end);
        }
        _ => {
            // A part of another seed.
            let other = random.pick(seeds);
            let from = random.below(other.len() + 1);
            let to = (from + random.below(40)).min(other.len());
            let part: Vec<u8> = other[from..to].to_vec();
            data.splice(at..at, part);
        }
    }
}
