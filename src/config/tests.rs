//! What must hold of the settings as a whole.

use super::*;

#[test]
fn every_setting_has_the_names_that_follow_from_its_key() {
    let command = CommandLine::clap();
    for (heading, key, _) in Config::default().shown() {
        let arg = command
            .get_arguments()
            .find(|arg| arg.get_id() == key)
            .expect("each setting is a flag");
        assert_eq!(
            arg.get_long().map(|long| format!("--{long}")),
            Some(source::flag(key))
        );
        assert_eq!(
            arg.get_env().and_then(|env| env.to_str()),
            Some(source::variable(key).as_str())
        );
        assert_eq!(arg.get_help_heading(), Some(heading));
    }
    // `--config` is the only one that is not shown.
    let settings = command
        .get_arguments()
        .filter(|arg| arg.get_env().is_some());
    assert_eq!(settings.count(), Config::default().shown().len() + 1);
}

#[test]
fn the_help_tells_the_default_that_is_in_force() {
    let command = CommandLine::clap();
    for (_, key, value) in Config::default().shown() {
        let arg = command
            .get_arguments()
            .find(|arg| arg.get_id() == key)
            .expect("each setting is a flag");
        let told = match key {
            "listen" => "127.0.0.1:8080 and [::1]:8080",
            "workers" => "the number of CPUs",
            _ if value == "[]" || value == "\"\"" => "none",
            _ => value.trim_matches('"'),
        };
        let help = arg.get_help().map(ToString::to_string).unwrap_or_default();
        assert!(
            help.ends_with(&format!("[default: {told}]")),
            "{key}: {help}"
        );
    }
}

#[test]
fn what_is_shown_can_be_the_file() {
    let config = Config {
        base_path: "/a".into(),
        store: StoreUrl::Sqlite("a\"\u{7f}\n.db".into()),
        ..Config::default()
    };
    let text = Resolved {
        config,
        sources: BTreeMap::new(),
    }
    .to_string();
    let settings: Settings = toml::from_str(&text).unwrap();
    assert_eq!(settings.base_path.unwrap().as_str(), "/a");
    assert_eq!(settings.store.unwrap().as_str(), "sqlite:a\"\u{7f}\n.db");
    assert_eq!(settings.listen.unwrap().len(), 2);
}

#[test]
fn what_others_can_reach_asks_for_tokens_unless_somebody_says_otherwise() {
    let with = |listen: &str, auth, open| {
        let config = Config {
            listen: vec![listen.parse().unwrap()],
            auth,
            open,
            ..Config::default()
        };
        let access = config.access();
        let resolved = Resolved {
            config,
            sources: BTreeMap::new(),
        };
        resolved
            .for_serving()
            .map(|_| access)
            .map_err(|error| error.to_string())
    };
    for loopback in [
        "127.0.0.1:1",
        "127.9.9.9:1",
        "[::1]:1",
        "[::ffff:127.0.0.1]:1",
    ] {
        for auth in [AuthMode::Auto, AuthMode::None] {
            assert_eq!(with(loopback, auth, false), Ok(Access::Open));
        }
    }
    for reachable in [
        "0.0.0.0:1",
        "[::]:1",
        "10.0.0.5:1",
        "[fe80::1]:1",
        "[::ffff:10.0.0.5]:1",
    ] {
        assert_eq!(
            with(reachable, AuthMode::Auto, false),
            Ok(Access::OwnSecret)
        );
        for auth in [AuthMode::Auto, AuthMode::None] {
            assert_eq!(with(reachable, auth, true), Ok(Access::Open));
        }
        let error = with(reachable, AuthMode::None, false).unwrap_err();
        assert!(
            error.contains(reachable) && error.contains("--open"),
            "{error}"
        );
    }
}

#[test]
fn nothing_that_prints_a_configuration_prints_a_secret() {
    let config = Config {
        jwt_secret: vec![Secret::new(b"hunter2").unwrap()],
        ..Config::default()
    };
    let debug = format!("{config:?}");
    let resolved = Resolved {
        config,
        sources: BTreeMap::new(),
    };
    for text in [debug, format!("{resolved:?}"), resolved.to_string()] {
        assert!(
            !text.contains("hunter2") && text.contains("jwt_secret"),
            "{text}"
        );
    }
    // And it is no setting of the file that this can be used as.
    let settings: Settings = toml::from_str(&resolved.to_string()).unwrap();
    assert!(settings.jwt_secret.is_none());
}
