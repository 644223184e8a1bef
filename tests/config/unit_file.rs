//! The systemd unit `deploy/dmwire.service`: how it restarts the server, and that its settings are valid.

use std::fs;
use std::path::Path;

use crate::support::{Folder, program, run_to_end};

/// The assignments of a section, in order. A key may occur several times.
fn section(name: &str) -> Vec<(String, String)> {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("deploy/dmwire.service");
    let text = fs::read_to_string(path).expect("the unit is there");
    let mut current = String::new();
    let mut found = Vec::new();
    for line in text.lines().map(str::trim) {
        if line.is_empty() || line.starts_with('#') {
            continue;
        }
        if let Some(name) = line
            .strip_prefix('[')
            .and_then(|line| line.strip_suffix(']'))
        {
            name.clone_into(&mut current);
        } else if current == name {
            let (key, value) = line.split_once('=').expect("an assignment");
            found.push((key.to_owned(), value.to_owned()));
        }
    }
    found
}

fn value(section: &[(String, String)], key: &str) -> String {
    let mut values = section.iter().filter(|(name, _)| name == key);
    let (Some((_, value)), None) = (values.next(), values.next()) else {
        panic!("{key} is not set once");
    };
    value.clone()
}

fn number(section: &[(String, String)], key: &str) -> f64 {
    value(section, key).parse().expect("a number")
}

#[test]
fn a_failing_server_is_started_a_few_times_a_minute_at_most() {
    let (unit, service) = (section("Unit"), section("Service"));
    assert_eq!(value(&service, "Restart"), "on-failure");
    assert_eq!(value(&service, "RestartPreventExitStatus"), "2");
    assert!(
        service
            .iter()
            .all(|(key, _)| key != "RestartForceExitStatus")
    );
    // Every version of systemd.
    let per_minute =
        number(&unit, "StartLimitBurst") * 60.0 / number(&unit, "StartLimitIntervalSec");
    assert!((1.0..=5.0).contains(&per_minute), "{per_minute}");
    // From 254 on, the delay grows and the limit is not reached.
    let (first, last) = (
        number(&service, "RestartSec"),
        number(&service, "RestartMaxDelaySec"),
    );
    let steps = number(&service, "RestartSteps");
    assert!(first >= 1.0 && last >= 60.0 && steps >= 1.0);
    let mut at = 0.0;
    let mut starts = 1;
    for step in 0..100 {
        at += first * (last / first).powf(f64::from(step).min(steps) / steps);
        if at < number(&unit, "StartLimitIntervalSec") {
            starts += 1;
        }
    }
    assert!(
        f64::from(starts) < number(&unit, "StartLimitBurst"),
        "{starts}"
    );
}

#[test]
fn the_service_is_confined_and_may_open_many_files() {
    let service = section("Service");
    for (key, expected) in [
        ("DynamicUser", "yes"),
        ("StateDirectory", "dmwire"),
        ("NoNewPrivileges", "yes"),
        ("CapabilityBoundingSet", ""),
        ("ProtectSystem", "strict"),
        ("ProtectHome", "yes"),
        ("PrivateTmp", "yes"),
        ("UMask", "0077"),
    ] {
        assert_eq!(value(&service, key), expected, "{key}");
    }
    assert!(number(&service, "LimitNOFILE") >= 65_536.0);
    // Longer than a shutdown waits for sessions.
    assert!(number(&service, "TimeoutStopSec") > 10.0);
}

#[test]
fn the_environment_of_the_unit_is_accepted() {
    let folder = Folder::new();
    let service = section("Service");
    fs::write(
        folder.0.join("jwt.secret"),
        "0123456789abcdef0123456789abcdef",
    )
    .expect("a file");
    let at = folder.0.to_str().expect("the path is text");
    let mut command = program(&folder.0, &["config"]);
    for (_, assignment) in service.iter().filter(|(key, _)| key == "Environment") {
        let (name, value) = assignment.split_once('=').expect("an assignment");
        command.env(name, value.replace("%d", at));
    }
    let output = run_to_end(command);
    assert_eq!(
        (output.code, output.err.as_str()),
        (Some(0), ""),
        "{output:?}"
    );
    assert!(
        output.out.contains("/var/lib/dmwire/dmwire.db"),
        "{output:?}"
    );
}
