//! Fields that differ between configurations, with the value of each run.

use clapp_data::error::Error;
use clapp_engine::config::Config;
use std::collections::BTreeMap;
use toml::Value;

/// Shown for a field that a configuration does not have.
const ABSENT: &str = "not set";

/// A field that is not the same in all runs.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Difference {
    /// Path of the field, such as `optimizer.lr` or `blocks[2].channels`.
    pub field: String,
    /// Each value with the indices of the runs that have it, in the order of the first of them.
    pub values: Vec<(String, Vec<usize>)>,
}

/// The name under which the data sets are compared, beside the fields of the configurations.
const DATA: &str = "data set";

/// The fields of configurations and the data sets, each in words, that differ; by name.
///
/// # Errors
/// [`Error::Config`] if the library refuses a value.
pub fn differences<'a>(runs: impl Iterator<Item = (&'a Config, String)>) -> Result<Vec<Difference>, Error> {
    let mut all: Vec<BTreeMap<String, String>> = Vec::new();
    for (config, data) in runs {
        // Through its text, so numbers look as in the file.
        let table: toml::Table = toml::from_str(&config.to_toml()?)
            .map_err(|error| Error::Config { origin: config.name.clone(), message: error.to_string() })?;
        let mut fields = BTreeMap::new();
        flatten(String::new(), &Value::Table(table), &mut fields);
        fields.insert(DATA.into(), data);
        all.push(fields);
    }
    let mut names: Vec<&String> = all.iter().flat_map(BTreeMap::keys).collect();
    names.sort_unstable();
    names.dedup();
    let mut list = Vec::new();
    for name in names {
        let mut values: Vec<(String, Vec<usize>)> = Vec::new();
        for (run, fields) in all.iter().enumerate() {
            let value = fields.get(name).map_or(ABSENT, String::as_str);
            match values.iter_mut().find(|(known, _)| known == value) {
                Some((_, runs)) => runs.push(run),
                None => values.push((value.to_string(), vec![run])),
            }
        }
        if values.len() > 1 {
            list.push(Difference { field: name.clone(), values });
        }
    }
    Ok(list)
}

fn flatten(name: String, value: &Value, fields: &mut BTreeMap<String, String>) {
    match value {
        Value::Table(table) => {
            for (key, value) in table {
                flatten(if name.is_empty() { key.clone() } else { format!("{name}.{key}") }, value, fields);
            }
        }
        // Lists of numbers are one value; tables in a list have fields of their own.
        Value::Array(list) if list.iter().any(Value::is_table) => {
            for (index, value) in list.iter().enumerate() {
                flatten(format!("{name}[{index}]"), value, fields);
            }
        }
        Value::String(text) => drop(fields.insert(name, text.clone())),
        value => drop(fields.insert(name, value.to_string())),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use clapp_engine::config::preset;

    #[test]
    fn only_what_differs_is_listed_with_the_runs_that_have_it() {
        let base = preset("cifar10").unwrap();
        let on = |config, data: &str| (config, data.to_string());
        assert_eq!(differences([on(&base, "one"), on(&base, "one")].into_iter()).unwrap(), []);
        let other = Config { seed: 9, images: Some(100), ..base.clone() };
        let mut third = Config { seed: 9, ..base.clone() };
        third.blocks[2].channels = 7;
        let list = differences([on(&base, "one"), on(&other, "one"), on(&third, "two")].into_iter()).unwrap();
        let value = |text: &str, runs: &[usize]| (text.to_string(), runs.to_vec());
        let difference =
            |field: &str, values: [(String, Vec<usize>); 2]| Difference { field: field.into(), values: values.into() };
        assert_eq!(
            list,
            [
                difference("blocks[2].channels", [value("256", &[0, 1]), value("7", &[2])]),
                difference("data set", [value("one", &[0, 1]), value("two", &[2])]),
                difference("images", [value("not set", &[0, 2]), value("100", &[1])]),
                difference("seed", [value("2", &[0]), value("9", &[1, 2])]),
            ]
        );
    }
}
