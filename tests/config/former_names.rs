//! Settings that were renamed. Their former names stay valid as flags, variables and keys.

use crate::run::{Run, has_line};

const RENAMED: [(&str, &str); 3] = [
    ("unclaimed", "unknown_recipients"),
    ("unclaimed_per_user", "unknown_recipients_per_user"),
    ("unclaimed_per_ip", "unknown_recipients_per_ip"),
];

fn flag(key: &str) -> String {
    format!("--{}", key.replace('_', "-"))
}

fn variable(key: &str) -> String {
    format!("DMWIRE_{}", key.to_uppercase())
}

#[test]
fn a_former_name_works_in_every_source_and_config_prints_the_present_one() {
    for (former, key) in RENAMED {
        let (flag, variable) = (flag(former), variable(former));
        for (run, source) in [
            (
                Run::new(&format!("config {flag} 7")),
                format!("flag {flag}"),
            ),
            (
                Run::new("config").variable(&variable, "7"),
                format!("variable {variable}"),
            ),
            (
                Run::new("config").file("dmwire.toml", &format!("{former} = 7")),
                "file dmwire.toml".to_owned(),
            ),
        ] {
            let settings = run.output();
            let line = format!("{key} = 7  # {source}");
            assert!(has_line(&settings, &line), "{line} is not in\n{settings}");
            assert!(!settings.contains(&format!("\n{former} =")), "{settings}");
        }
    }
}

#[test]
fn an_error_names_the_former_name_if_it_was_used() {
    Run::new("config --unclaimed many").fails_with(&["--unclaimed: \"many\"", "whole number"]);
    Run::new("config")
        .variable("DMWIRE_UNCLAIMED_PER_IP", "0")
        .fails_with(&["DMWIRE_UNCLAIMED_PER_IP: \"0\"", "auto"]);
    Run::new("config")
        .file("dmwire.toml", "unclaimed_per_user = -1")
        .fails_with(&["dmwire.toml: unclaimed_per_user: \"-1\""]);
}

#[test]
fn both_names_in_one_source_are_an_error() {
    for (former, key) in RENAMED {
        Run::new(&format!("config {} 7 {} 7", flag(former), flag(key))).fails_with(&[
            &format!("{}: is the former name of {}", flag(former), flag(key)),
            "only one of them",
        ]);
        Run::new("config")
            .variable(&variable(former), "7")
            .variable(&variable(key), "7")
            .fails_with(&[
                &format!(
                    "{}: is the former name of {}",
                    variable(former),
                    variable(key)
                ),
                "only one of them",
            ]);
        Run::new("config")
            .file("dmwire.toml", &format!("{former} = 7\n{key} = 7"))
            .fails_with(&[
                &format!("dmwire.toml: {former}: is the former name of {key}"),
                "only one of them",
            ]);
    }
}

#[test]
fn the_precedence_of_the_sources_is_the_same_for_former_names() {
    let settings = Run::new("config --unclaimed 1")
        .variable("DMWIRE_UNKNOWN_RECIPIENTS", "2")
        .variable("DMWIRE_UNCLAIMED_PER_USER", "3")
        // An empty variable counts as absent.
        .variable("DMWIRE_UNKNOWN_RECIPIENTS_PER_USER", "")
        .file("dmwire.toml", "unknown_recipients_per_user = 4")
        .output();
    for line in [
        "unknown_recipients = 1  # flag --unclaimed",
        "unknown_recipients_per_user = 3  # variable DMWIRE_UNCLAIMED_PER_USER",
    ] {
        assert!(has_line(&settings, line), "{line} is not in\n{settings}");
    }
}
