//! Keys that replace those of another configuration: a file over a preset, `--set KEY=VALUE` over either.

use super::explained::explained;
use super::keys::{is_known, suggestion};
use super::{Config, RuleName};
use clapp_data::error::Error;
use std::str::FromStr;
use toml::{Table, Value};

/// `KEY=VALUE` of the command line.
#[derive(Debug, Clone, PartialEq)]
pub struct Setting {
    /// The path as it was given.
    key: String,
    /// The value as it was given.
    text: String,
}

impl FromStr for Setting {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        match text.split_once('=') {
            Some((key, value)) if !key.trim().is_empty() => {
                Ok(Self { key: key.trim().into(), text: value.trim().into() })
            }
            _ => Err("expected KEY=VALUE, such as optimizer.lr=0.001".into()),
        }
    }
}

/// Keys with variants: a new variant replaces the old one.
const VARIANTS: [&str; 7] =
    ["negatives", "contrast", "backward", "schedule", "probe.test", "blocks[].loss-pool", "blocks[].probe-pool"];

/// A configuration as a table of TOML.
fn table(config: &Config) -> Result<Table, Error> {
    toml::from_str(&config.to_toml()?)
        .map_err(|error| Error::Config { origin: config.name.clone(), message: error.to_string() })
}

/// `base` with the keys of `over`, which `origin` names in errors; checked.
///
/// # Errors
/// [`Error::Config`] with the key and the expected value.
pub(super) fn over(base: &Config, over: Table, origin: &str) -> Result<Config, Error> {
    let base = with_rule(base, &over);
    let mut merged = table(&base)?;
    merge(&mut merged, over, "");
    let config = read(&merged, origin)?;
    config.check(origin)?;
    Ok(config)
}

/// `base` with the settings, one after the other; checked.
///
/// # Errors
/// [`Error::Config`] with the setting and the expected value.
pub fn set(base: Config, settings: &[Setting]) -> Result<Config, Error> {
    let mut config = base;
    for Setting { key, text } in settings {
        let origin = format!("--set {key}={text}");
        let wrong = |message: String| Error::Config { origin: origin.clone(), message };
        let parts = parts(key);
        let name = parts.iter().map(Part::name).collect::<String>();
        let name = name.trim_start_matches('.');
        if !is_known(name) {
            let message =
                format!("`{key}` is not a key of a configuration{}; `clapp config` lists all keys", suggestion(key));
            return Err(wrong(message));
        }
        let value = value(text, &wrong)?;
        let mut merged = table(&config)?;
        // From the inside out: blocks are in place, everything else is a table of tables.
        let (place, rest) = match parts.as_slice() {
            [Part::Name(blocks), Part::Index(index), rest @ ..] => {
                let list = merged.get_mut(blocks).and_then(Value::as_array_mut);
                let count = list.as_ref().map_or(0, |list| list.len());
                let block = list.and_then(|list| list.get_mut(*index)).and_then(Value::as_table_mut);
                let message = format!("there is no block {index}; the network has {count}, counted from 0");
                (block.ok_or_else(|| wrong(message))?, rest)
            }
            rest => (&mut merged, rest),
        };
        let prefix = if rest.len() < parts.len() { "blocks[]" } else { "" };
        let Some(nested) = nested(rest, value) else {
            return Err(wrong("a block as a whole cannot be set; set its keys, such as blocks[0].channels".into()));
        };
        if prefix.is_empty() {
            *place = table(&with_rule(&config, &nested))?;
        }
        merge(place, nested, prefix);
        config = read(&merged, &origin)?;
        // Name this setting if it is out of range. Later settings may still correct the others.
        if settings.len() == 1 {
            config.check(&origin)?;
        }
    }
    if let Some(Setting { key, text }) = settings.last() {
        let origin = if settings.len() == 1 { format!("--set {key}={text}") } else { "--set".into() };
        config.check(&origin)?;
    }
    Ok(config)
}

/// The base of keys that name another rule, as `--rule` changes it.
fn with_rule(base: &Config, over: &Table) -> Config {
    let rule = over.get("rule").and_then(Value::as_str).and_then(|name| RuleName::try_from(name.to_owned()).ok());
    rule.map_or_else(|| base.clone(), |rule| base.clone().with_rule(rule))
}

/// A table as a configuration.
fn read(table: &Table, origin: &str) -> Result<Config, Error> {
    let wrong = |message: String| Error::Config { origin: origin.into(), message };
    let text = toml::to_string(table).map_err(|error| wrong(error.to_string()))?;
    // The lines belong to no file, so the message names the key.
    toml::from_str(&text).map_err(|error| wrong(explained(&text, &error)))
}

/// A part of a path.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Part {
    Name(String),
    Index(usize),
}

impl Part {
    /// Returns the name in the form of the list of keys.
    fn name(&self) -> String {
        match self {
            Self::Name(name) => format!(".{name}"),
            Self::Index(_) => "[]".into(),
        }
    }
}

/// The parts of `blocks[2].channels` or `blocks.2.channels`.
fn parts(key: &str) -> Vec<Part> {
    key.split(['.', '['])
        .map(|part| part.trim_end_matches(']'))
        .map(|part| part.parse().map_or_else(|_| Part::Name(part.to_owned()), Part::Index))
        .collect()
}

/// A table with the value at the end of the path; none for an empty path, or one with an index in it.
fn nested(parts: &[Part], value: Value) -> Option<Table> {
    let mut value = value;
    for part in parts.iter().rev() {
        let Part::Name(name) = part else { return None };
        value = Value::Table(Table::from_iter([(name.clone(), value)]));
    }
    match value {
        Value::Table(table) if !parts.is_empty() => Some(table),
        _ => None,
    }
}

/// A value as TOML has it; a word without quotation marks is a text.
fn value(text: &str, wrong: &impl Fn(String) -> Error) -> Result<Value, Error> {
    if let Ok(mut table) = toml::from_str::<Table>(&format!("value = {text}"))
        && table.len() == 1
        && let Some(value) = table.remove("value")
    {
        return Ok(value);
    }
    let plain = |c: char| c.is_ascii_alphanumeric() || "._-+".contains(c);
    if !text.is_empty() && text.chars().all(plain) {
        return Ok(Value::String(text.into()));
    }
    Err(wrong(
        "the value is not TOML; a text with characters other than letters, digits and ._-+ needs \"quotation marks\""
            .into(),
    ))
}

/// Replaces keys of `base` by those of `over`; `path` is the path of both.
fn merge(base: &mut Table, over: Table, path: &str) {
    for (name, value) in over {
        let full = if path.is_empty() { name.clone() } else { format!("{path}.{name}") };
        match (base.get_mut(&name), value) {
            (Some(Value::Table(base)), Value::Table(over)) => {
                if VARIANTS.contains(&full.as_str()) && over.keys().any(|key| !base.contains_key(key)) {
                    *base = Table::new();
                }
                if full == "optimizer" && over.get("kind").is_some_and(|kind| base.get("kind") != Some(kind)) {
                    // The keys that the other kind has, too.
                    let kept: &[&str] = match over.get("kind").and_then(Value::as_str) {
                        Some("adamw") => &["lr", "weight-decay"],
                        _ => &["lr", "momentum", "weight-decay"],
                    };
                    base.retain(|key, _| kept.contains(&key));
                }
                merge(base, over, &full);
            }
            (_, value) => {
                base.insert(name, value);
            }
        }
    }
}

/// A complete configuration as text that can be fed back, with the defaults that are in force as remarks.
///
/// # Errors
/// [`Error::Config`] if the library refuses a value.
pub fn printed(config: &Config) -> Result<String, Error> {
    let table = table(config)?;
    let is_there = |name: &str| {
        let mut place = Some(&table);
        let mut parts = name.split('.').peekable();
        while let (Some(inner), Some(part)) = (place, parts.next()) {
            match (inner.get(part), parts.peek()) {
                (None, _) => return false,
                (Some(_), None) => return true,
                (Some(value), Some(_)) => place = value.as_table(),
            }
        }
        // A variant without a table of its own.
        true
    };
    let mut text = String::from("# Complete; `clapp config` explains all keys.\n");
    for key in super::keys::KEYS.iter().filter(|key| !key.name.contains("[]") && !key.name.starts_with("optimizer.")) {
        let is_value = key.default.is_some_and(|default| toml::from_str::<Table>(&format!("v = {default}")).is_ok());
        if let (true, Some(default)) = (is_value && !key.name.starts_with("schedule."), key.default)
            && !is_there(key.name)
        {
            text += &format!("# {} = {default}\n", key.name);
        }
    }
    Ok(text + &config.to_toml()?)
}
