//! Properties of the settings as a whole.

use std::collections::BTreeMap;

use super::source::FileSettings;
use super::*;

fn command() -> clap::Command {
    clap::Command::new("test").args(args())
}

fn arg(command: &clap::Command, key: &str) -> Arg {
    let mut args = command.get_arguments();
    args.find(|arg| arg.get_id() == key)
        .expect("each setting is an argument")
        .clone()
}

fn resolved(config: Config) -> Resolved {
    Resolved {
        config,
        sources: BTreeMap::new(),
    }
}

#[test]
fn the_names_of_each_setting_follow_from_its_key() {
    let command = command();
    for setting in settings() {
        for key in setting.keys() {
            let arg = arg(&command, key);
            let long = arg.get_long().map(|long| format!("--{long}"));
            assert_eq!(long, Some(setting::flag(key)));
            let variable = arg.get_env().and_then(|env| env.to_str());
            assert_eq!(variable, Some(setting::variable(key).as_str()));
            assert_eq!(arg.get_help_heading(), Some(setting.heading));
            assert_eq!(arg.is_hide_set(), key != setting.key);
        }
    }
    // `--config` is the only other argument.
    let keys = settings().iter().flat_map(Setting::keys).count();
    assert_eq!(command.get_arguments().count(), keys + 1);
}

#[test]
fn no_two_settings_share_a_key() {
    let mut keys: Vec<_> = settings().iter().flat_map(Setting::keys).collect();
    let count = keys.len();
    keys.sort_unstable();
    keys.dedup();
    assert_eq!(keys.len(), count);
}

#[test]
fn the_help_names_the_default_and_the_variable() {
    let command = command();
    let config = Config::default();
    for setting in settings() {
        let key = setting.key;
        let value = setting.show(&config).expect("no default is a secret");
        let default = match key {
            "listen" => "127.0.0.1:8080 and [::1]:8080",
            "ops_listen" => "127.0.0.1:8081 and [::1]:8081",
            "workers" => "the number of CPUs",
            "webhook_events" => "message.created and message.waiting",
            _ if value == "[]" || value == "\"\"" => "none",
            _ => value.trim_matches('"'),
        };
        let facts = format!(" [default: {default}] [env: {}]", setting::variable(key));
        let arg = arg(&command, key);
        let short = arg.get_help().expect("a help text").to_string();
        assert!(short.ends_with(&facts), "{key}: {short}");
        let long = arg.get_long_help().expect("a help text").to_string();
        assert!(long.ends_with(facts.trim_start()), "{key}: {long}");
        assert!(!long.contains('`') && !long.contains("  "), "{key}: {long}");
    }
}

#[test]
fn the_short_help_shows_ten_settings() {
    let command = command();
    let shown = command
        .get_arguments()
        .filter(|arg| arg.get_id() != source::FILE_KEY && !arg.is_hide_short_help_set());
    assert_eq!(shown.count(), 10);
}

#[test]
fn the_displayed_configuration_is_a_valid_file() {
    let mut config = Config::default();
    config.network.base_path = "/a".into();
    config.storage.store = StoreUrl::Sqlite("a\"\u{7f}\n.db".into());
    let FileSettings(file) = toml::from_str(&resolved(config).to_string()).unwrap();
    assert_eq!(file["base_path"][0].as_str(), "/a");
    assert_eq!(file["store"][0].as_str(), "sqlite:a\"\u{7f}\n.db");
    assert_eq!(file["listen"].len(), 2);
}

#[test]
fn a_reachable_server_requires_tokens_unless_the_settings_say_otherwise() {
    let with = |listen: &str, auth, open| {
        let mut config = Config::default();
        config.network.listen.addresses = vec![listen.parse().unwrap()];
        config.auth.auth = auth;
        config.auth.open = open;
        let access = config.access();
        resolved(config)
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
            Ok(Access::GeneratedSecret)
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
fn a_displayed_configuration_contains_no_secret() {
    let mut config = Config::default();
    config.auth.jwt_secret = vec![Secret::new(b"hunter2").unwrap()];
    let debug = format!("{config:?}");
    let resolved = resolved(config);
    for text in [debug, format!("{resolved:?}"), resolved.to_string()] {
        assert!(
            !text.contains("hunter2") && text.contains("jwt_secret"),
            "{text}"
        );
    }
    // The displayed text is a valid file, in which the secret is not set.
    let FileSettings(file) = toml::from_str(&resolved.to_string()).unwrap();
    assert!(!file.contains_key("jwt_secret"));
}
