//! Two configurations field by field.

use super::Config;
use clapp_data::error::Error;
use toml::{Table, Value};

/// A field that two configurations do not agree on.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Difference {
    /// Path of the field, such as `optimizer.lr` or `blocks[2].channels`.
    pub field: String,
    /// The one value as TOML, or `nothing`.
    pub one: String,
    /// The other.
    pub other: String,
}

/// All fields that two configurations do not agree on, in alphabetical order.
///
/// # Errors
/// [`Error::Config`] if the library refuses a value.
pub fn differences(one: &Config, other: &Config) -> Result<Vec<Difference>, Error> {
    // Compare the TOML text, so that numbers are compared and shown as they are written.
    let table = |config: &Config| -> Result<Value, Error> {
        let table: Table = toml::from_str(&config.to_toml()?)
            .map_err(|error| Error::Config { origin: config.name.clone(), message: error.to_string() })?;
        Ok(Value::Table(table))
    };
    let mut list = Vec::new();
    compare(String::new(), Some(&table(one)?), Some(&table(other)?), &mut list);
    Ok(list)
}

fn compare(field: String, one: Option<&Value>, other: Option<&Value>, list: &mut Vec<Difference>) {
    match (one, other) {
        (Some(Value::Table(one)), Some(Value::Table(other))) => {
            let added = other.keys().filter(|key| !one.contains_key(*key));
            let mut keys: Vec<&String> = one.keys().chain(added).collect();
            keys.sort_unstable();
            for key in keys {
                let field = if field.is_empty() { key.clone() } else { format!("{field}.{key}") };
                compare(field, one.get(key), other.get(key), list);
            }
        }
        // Lists of numbers are one value; tables in a list have fields of their own.
        (Some(Value::Array(one)), Some(Value::Array(other)))
            if one.iter().chain(other).any(|value| matches!(value, Value::Table(_))) =>
        {
            for index in 0..one.len().max(other.len()) {
                compare(format!("{field}[{index}]"), one.get(index), other.get(index), list);
            }
        }
        (one, other) if one != other => {
            let text = |value: Option<&Value>| value.map_or("nothing".into(), Value::to_string);
            list.push(Difference { field, one: text(one), other: text(other) });
        }
        _ => {}
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::{RuleName, preset};
    use crate::optimizer::Optimizer;

    fn fields(change: impl Fn(&mut Config)) -> Vec<(String, String, String)> {
        let one = preset("cifar10").unwrap();
        let mut other = one.clone();
        change(&mut other);
        let list = differences(&one, &other).unwrap();
        list.into_iter().map(|Difference { field, one, other }| (field, one, other)).collect()
    }

    #[test]
    fn every_field_that_differs_is_named_with_both_values() {
        assert_eq!(fields(|_| {}), []);
        let named = |field: &str, one: &str, other: &str| (field.to_string(), one.to_string(), other.to_string());
        assert_eq!(
            fields(|config| config.optimizer = Optimizer::adamw(1e-3)),
            [named("optimizer.lr", "0.0002", "0.001")]
        );
        assert_eq!(fields(|config| config.blocks[2].channels = 7), [named("blocks[2].channels", "256", "7")]);
        assert_eq!(fields(|config| config.images = Some(9)), [named("images", "nothing", "9")]);
        assert_eq!(fields(|config| config.augment.mean[1] = 0.5).len(), 1);
        let two = fields(|config| {
            config.width = 0.25;
            config.rule = RuleName::ClappPpDfb;
        });
        assert_eq!(two, [named("rule", "\"clapp++\"", "\"clapp++dfb\""), named("width", "1.0", "0.25")]);
        let fewer = fields(|config| config.blocks.truncate(5));
        assert!(fewer.len() == 1 && fewer[0].0 == "blocks[5]" && fewer[0].2 == "nothing", "{fewer:?}");
    }
}
