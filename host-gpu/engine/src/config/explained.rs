//! Explains an error in a configuration, in the words of the list of keys, not of the TOML library.

use super::keys::{Form, KEYS, is_known, key, listed, suggestion};
use super::{PRESETS, RuleName};
use std::fmt::Write;
use toml::{Table, Value};

/// First words of the library's messages about a value of the wrong kind. All other messages are about TOML syntax and
/// stay unchanged.
const OF_VALUES: [&str; 9] = [
    "invalid type",
    "invalid value",
    "invalid length",
    "unknown variant",
    "unknown rule",
    "unexpected keys",
    "wanted",
    "expected",
    "test is",
];

/// Returns the error in a configuration text, with the value found and the value expected.
pub(super) fn explained(text: &str, error: &toml::de::Error) -> String {
    let reason = error.message().lines().collect::<Vec<_>>().join(" ");
    let start = error.span().map(|span| span.start).filter(|start| text.is_char_boundary(*start));
    let table: Option<Table> = toml::from_str(text).ok();
    if let Some(field) = quoted_after(&reason, "missing field") {
        return missing(table.as_ref(), &start.map(|at| path_at(text, at)).unwrap_or_default(), field);
    }
    let Some(start) = start else { return reason };
    let path = path_at(text, start);
    if let Some(unknown) = quoted_after(&reason, "unknown field")
        && let Some(said) = unknown_key(&path, unknown, &reason)
    {
        return said;
    }
    if !OF_VALUES.iter().any(|begin| reason.starts_with(begin)) {
        return reason;
    }
    let whole = table.as_ref().and_then(|table| value_at(table, &path));
    // For a table that is read as a whole, the library reports the place of the table. Search the wrong value in it.
    if let (None, Some(Value::Table(inner))) = (expected(&path), whole)
        && let Some((name, value)) =
            inner.iter().map(|(name, value)| (format!("{path}.{name}"), value)).find(|(name, value)| !fits(name, value))
    {
        return of_value(&name, &shown(value), &words(&name));
    }
    let (name, form) = match expected(&path) {
        Some(found) => found,
        None if is_known(&plain(&path)) && !path.is_empty() => (path.clone(), table_of(&path)),
        None => return reason,
    };
    let value = table.as_ref().and_then(|table| value_at(table, &name)).map(shown);
    let value =
        value.unwrap_or_else(|| line_at(text, start).split_once('=').map_or("", |(_, value)| value.trim()).into());
    of_value(&name, &value, &form)
}

fn of_value(name: &str, found: &str, form: &str) -> String {
    format!("{name}: found {found}; {name} is {form}")
}

/// Returns the message for a missing key, of the table at `path` or of one around it: the library does not always
/// report the table.
fn missing(table: Option<&Table>, path: &str, field: &str) -> String {
    let ends = path.match_indices('.').map(|(at, _)| &path[..at]).chain([path]);
    let around: Vec<&str> = std::iter::once("").chain(ends.filter(|path| !path.is_empty())).collect();
    let full = |place: &str| if place.is_empty() { field.to_owned() } else { format!("{place}.{field}") };
    let lacks = |place: &str| {
        let inner = if place.is_empty() { table } else { table.and_then(|table| value_at(table, place)?.as_table()) };
        is_known(&plain(&full(place))) && inner.is_some_and(|inner| !inner.contains_key(field))
    };
    // The table of a variant can be on the line of its key.
    let below = || {
        let inside = |name: &str| name.strip_prefix(listed(&plain(path))).is_some_and(|rest| rest.starts_with('.'));
        let ends = |name: &str| name.strip_suffix(field).is_some_and(|rest| rest.ends_with('.'));
        KEYS.iter().map(|key| key.name).find(|name| inside(name) && ends(name)).map(str::to_owned)
    };
    let full = match around.into_iter().rev().find(|place| lacks(place)) {
        Some(place) => full(place),
        None => below().unwrap_or_else(|| field.to_owned()),
    };
    let mut said = format!("missing field `{full}`");
    if is_known(&plain(&full)) {
        let _ = write!(said, ", expected {}", words(&full));
    }
    if table.is_none_or(|table| !table.contains_key("name")) || !full.contains('.') {
        let _ = write!(
            said,
            "; a complete configuration has all keys; a partial one begins with the line preset = \"{0}\" (or is used with \
             --preset {0})",
            PRESETS[0]
        );
    }
    said
}

/// Returns the message for an unknown key. `path` is the key's path or that of its table.
fn unknown_key(path: &str, unknown: &str, reason: &str) -> Option<String> {
    let is_own = path.rsplit('.').next() == Some(unknown);
    if !is_own && !unknown.contains('.') && expected(path).is_some() {
        return None;
    }
    let table = if is_own { path.rsplit_once('.').map_or("", |(table, _)| table) } else { path };
    let full =
        if table.is_empty() || unknown.contains('.') { unknown.to_owned() } else { format!("{table}.{unknown}") };
    let expected = reason.split_once("expected").map_or("", |(_, rest)| rest);
    Some(format!("unknown key `{full}`{}; expected{expected}", suggestion(&plain(&full))))
}

/// Returns the text in backquotes that follows `words`.
fn quoted_after<'a>(text: &'a str, words: &str) -> Option<&'a str> {
    text.strip_prefix(words)?.trim_start().strip_prefix('`')?.split('`').next()
}

/// Returns the accepted values of a key, if the path is a key or lies below one.
fn expected(path: &str) -> Option<(String, String)> {
    let mut name = path;
    loop {
        if let Some(key) = key(&plain(name)) {
            return Some((name.into(), key.form.words()));
        }
        name = name.rsplit_once('.')?.0;
    }
}

/// Returns the accepted values of a key or a table.
fn words(name: &str) -> String {
    key(&plain(name)).map_or_else(|| table_of(name), |key| key.form.words())
}

/// Describes a table in words.
fn table_of(path: &str) -> String {
    let plain = plain(path);
    let place = listed(&plain);
    let mut names: Vec<&str> = Vec::new();
    for key in KEYS {
        let rest = key.name.strip_prefix(place).map(|rest| rest.trim_start_matches("[]"));
        if let Some(name) = rest.and_then(|rest| rest.strip_prefix('.')?.split('.').next())
            && names.last() != Some(&name)
        {
            names.push(name);
        }
    }
    if place == "probe" {
        names.push("augment");
    }
    let what = if place == "blocks" { "a list of tables [[blocks]], each" } else { "a table" };
    format!("{what} with the keys {}", names.join(", "))
}

/// Converts a path to the form of the list of keys: `blocks[2]` becomes `blocks[]`.
fn plain(path: &str) -> String {
    match path.strip_prefix("blocks[").and_then(|rest| rest.split_once(']')) {
        Some((_, rest)) => format!("blocks[]{rest}"),
        None => path.into(),
    }
}

/// Returns the value at a path.
fn value_at<'a>(table: &'a Table, path: &str) -> Option<&'a Value> {
    let mut parts = path.split('.');
    let first = parts.next()?;
    let mut value = match first.strip_prefix("blocks[").and_then(|rest| rest.strip_suffix(']')) {
        Some(index) => table.get("blocks")?.get(index.parse::<usize>().ok()?)?,
        None => table.get(first)?,
    };
    for part in parts {
        value = value.get(part)?;
    }
    Some(value)
}

/// Formats a value in one line, shortened if it is long.
fn shown(value: &Value) -> String {
    const MOST: usize = 120;
    let text = value.to_string().replace('\n', " ");
    if text.chars().count() <= MOST { text } else { text.chars().take(MOST).chain(['…']).collect() }
}

/// Returns `true` if a value is of the kind that its key accepts. Values described in words always fit.
fn fits(name: &str, value: &Value) -> bool {
    let Some(key) = key(&plain(name)) else { return true };
    match key.form {
        Form::Flag => value.is_bool(),
        Form::Whole(..) => value.as_integer().is_some_and(|number| number >= 0),
        Form::Number(..) | Form::Above(..) | Form::BelowOne => value.is_float() || value.is_integer(),
        Form::OneOf(names) => value.as_str().is_some_and(|text| names.contains(&text)),
        Form::Rule => value.as_str().is_some_and(|text| RuleName::try_from(text.to_owned()).is_ok()),
        Form::Text(_) => value.is_str(),
        Form::Words(_) => true,
    }
}

/// Returns the line of a position in the text.
fn line_at(text: &str, start: usize) -> &str {
    let first = text[..start].rfind('\n').map_or(0, |end| end + 1);
    text[first..].lines().next().unwrap_or_default()
}

/// Returns the path of the key on the line of a position in a TOML text. The section above and the text before `=` give
/// the path.
fn path_at(text: &str, start: usize) -> String {
    let end = text[start..].find('\n').map_or(text.len(), |length| start + length);
    let (mut section, mut path) = (String::new(), String::new());
    let mut blocks = 0;
    for line in text[..end].lines() {
        let line = line.trim();
        // Rows of a list also begin with `[`.
        let is_name = |name: &&str| name.starts_with(|c: char| c == '[' || c.is_alphabetic()) && !name.contains(',');
        if let Some(name) = line.strip_prefix('[').and_then(|rest| rest.split(']').next()).filter(is_name) {
            if line.starts_with("[[blocks]]") {
                blocks += 1;
            }
            section = name.trim_start_matches('[').trim().into();
            // Tables of a block follow the block's own header.
            if line.starts_with("[[blocks]]") || section.starts_with("blocks.") {
                section = section.replacen("blocks", &format!("blocks[{}]", usize::saturating_sub(blocks, 1)), 1);
            }
            path.clone_from(&section);
        } else if let Some((key, _)) = line.split_once('=').filter(|(key, _)| !key.contains(['#', '{', '['])) {
            let key = key.trim().replace('"', "");
            path = if section.is_empty() { key } else { format!("{section}.{key}") };
        }
    }
    path
}
