//! What is wrong in a configuration, in the words of the list of keys instead of those of the library that reads it.

use super::keys::{Form, KEYS, is_known, key, listed, suggestion};
use super::{PRESETS, RuleName};
use std::fmt::Write;
use toml::{Table, Value};

/// What the library says of a value of the wrong kind begins so; anything else is about signs and lines, and is kept.
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

/// What is wrong in a text, with what was found and what was expected.
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
    // Of a table that is read as a whole, the place is that of the table: the value is looked for in it.
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

/// A key that is not there, of the table at `path` or of one around it: the library does not always say where.
fn missing(table: Option<&Table>, path: &str, field: &str) -> String {
    let ends = path.match_indices('.').map(|(at, _)| &path[..at]).chain([path]);
    let around: Vec<&str> = std::iter::once("").chain(ends.filter(|path| !path.is_empty())).collect();
    let full = |place: &str| if place.is_empty() { field.to_owned() } else { format!("{place}.{field}") };
    let lacks = |place: &str| {
        let inner = if place.is_empty() { table } else { table.and_then(|table| value_at(table, place)?.as_table()) };
        is_known(&plain(&full(place))) && inner.is_some_and(|inner| !inner.contains_key(field))
    };
    // A variant's table may stand in the line of its key.
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
            "; a complete configuration has all its keys, one in parts begins with the line preset = \"{0}\" (or goes over \
             one with --preset {0})",
            PRESETS[0]
        );
    }
    said
}

/// A key that nobody knows, where `path` is its own or that of its table.
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

/// What stands in `` behind some words.
fn quoted_after<'a>(text: &'a str, words: &str) -> Option<&'a str> {
    text.strip_prefix(words)?.trim_start().strip_prefix('`')?.split('`').next()
}

/// What a key takes, where a path is one or lies below one.
fn expected(path: &str) -> Option<(String, String)> {
    let mut name = path;
    loop {
        if let Some(key) = key(&plain(name)) {
            return Some((name.into(), key.form.words()));
        }
        name = name.rsplit_once('.')?.0;
    }
}

/// What a key or a table takes.
fn words(name: &str) -> String {
    key(&plain(name)).map_or_else(|| table_of(name), |key| key.form.words())
}

/// A table, in words.
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

/// A path as the list of keys has it: `blocks[2]` is `blocks[]`.
fn plain(path: &str) -> String {
    match path.strip_prefix("blocks[").and_then(|rest| rest.split_once(']')) {
        Some((_, rest)) => format!("blocks[]{rest}"),
        None => path.into(),
    }
}

/// The value at a path.
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

/// A value in one line, cut off where it is long.
fn shown(value: &Value) -> String {
    const MOST: usize = 120;
    let text = value.to_string().replace('\n', " ");
    if text.chars().count() <= MOST { text } else { text.chars().take(MOST).chain(['…']).collect() }
}

/// Whether a value is of the kind that its key takes; what is told in words is not judged.
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

/// The line of a place.
fn line_at(text: &str, start: usize) -> &str {
    let first = text[..start].rfind('\n').map_or(0, |end| end + 1);
    text[first..].lines().next().unwrap_or_default()
}

/// The path of the key on whose line a place in a TOML text is: by the section above it and what stands before `=`.
fn path_at(text: &str, start: usize) -> String {
    let end = text[start..].find('\n').map_or(text.len(), |length| start + length);
    let (mut section, mut path) = (String::new(), String::new());
    let mut blocks = 0;
    for line in text[..end].lines() {
        let line = line.trim();
        // Rows of a list begin so, too.
        let is_name = |name: &&str| name.starts_with(|c: char| c == '[' || c.is_alphabetic()) && !name.contains(',');
        if let Some(name) = line.strip_prefix('[').and_then(|rest| rest.split(']').next()).filter(is_name) {
            if line.starts_with("[[blocks]]") {
                blocks += 1;
            }
            section = name.trim_start_matches('[').trim().into();
            // Those of a block stand behind its own header.
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
