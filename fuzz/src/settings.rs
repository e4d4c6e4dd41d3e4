//! Connection strings and config files: whatever they say, no secret shows in what is said of them.
//!
//! The input is the text.

use std::path::Path;

use walcast::config::Config;
use walcast::net::ConnectConfig;
use walcast::{Lsn, TablePattern};

const SECRET: &str = "S3CR3T";

/// See the [module](self).
pub fn check(input: &[u8]) {
    let Ok(text) = std::str::from_utf8(input) else { return };
    // A text that holds it by itself proves nothing, and no file is to be opened.
    if text.contains("S3") || text.contains("_file") {
        return;
    }
    for prefix in ["", "password=S3CR3T ", "password='S3CR3T' ", "postgres://u:S3CR3T@"] {
        connection(&format!("{prefix}{text}"));
    }
    let environment = |_: &str| Some(SECRET.to_owned());
    if let Err(error) = Config::parse(text, Path::new("walcast.toml"), &environment) {
        conceals(&error.to_string());
        conceals(&format!("{error:?}"));
    }
    if let Ok(lsn) = text.parse::<Lsn>() {
        assert_eq!(lsn.to_string().parse(), Ok(lsn));
    }
    if let Ok(pattern) = text.parse::<TablePattern>() {
        pattern.matches("public", text);
        pattern.matches(text, "t");
    }
}

fn connection(text: &str) {
    match text.parse::<ConnectConfig>() {
        Ok(config) => {
            conceals(&format!("{config:?}"));
            conceals(&config.display_target());
        }
        Err(error) => {
            conceals(&error.to_string());
            conceals(&format!("{error:?}"));
        }
    }
}

#[track_caller]
fn conceals(shown: &str) {
    assert!(!shown.contains(SECRET), "{shown}");
}
