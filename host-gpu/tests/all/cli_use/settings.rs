//! Partial configurations: presets, files over presets, single keys. Also the list of all keys, and the checks before
//! any image is read.

use crate::cli_common::{CONFIG, clapp, refuses, spoilt, succeeds, write_cifar};
use clapp_engine::config::keys::{Form, KEYS, is_known, page};
use clapp_engine::config::{Config, PRESETS, RuleName, Setting, differences, preset, printed, set};
use std::fs;
use std::path::Path;

fn place() -> tempfile::TempDir {
    let place = tempfile::tempdir().expect("a folder");
    fs::write(place.path().join("tiny.toml"), CONFIG).expect("a file");
    write_cifar(&place.path().join("data"));
    place
}

fn settings(list: &[&str]) -> Vec<Setting> {
    list.iter().map(|text| text.parse().expect("a setting")).collect()
}

fn changed(base: &Config, list: &[&str]) -> Result<Config, String> {
    set(base.clone(), &settings(list)).map_err(|error| error.to_string())
}

#[test]
fn the_page_of_all_keys_is_current() {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../docs/config.md");
    let kept = fs::read_to_string(path).unwrap_or_default();
    assert!(kept.trim_end() == page().trim_end(), "docs/config.md is old: `clapp config > docs/config.md`");
    let place = tempfile::tempdir().expect("a folder");
    assert!(succeeds(place.path(), &["config"]).trim_end() == page().trim_end());
}

/// Returns the fields that serde reads, from its error message.
fn fields(text: &str, table: &str) -> Vec<String> {
    let said = Config::parse(text, "test").expect_err("an unknown key").to_string();
    let (_, list) = said.split_once("; expected").unwrap_or_else(|| panic!("{said}"));
    let list = list.split(", in `").next().expect("a list");
    let names: Vec<String> = list.split('`').skip(1).step_by(2).map(|name| format!("{table}{name}")).collect();
    assert!(names.len() > 1, "{said}");
    names
}

#[test]
fn the_list_of_keys_is_what_the_types_read() {
    let mut found = Vec::new();
    let over = |text: &str| format!("preset = \"cifar10\"\n{text}");
    found.extend(fields(&over("zzz = 1"), ""));
    for table in ["head", "lpl", "soft-hebb", "relaxation", "mirror", "probe", "augment", "augment.crop"] {
        found.extend(fields(&over(&format!("[{table}]\nzzz = 1")), &format!("{table}.")));
    }
    for table in ["augment.jitter", "augment.blur"] {
        found.extend(fields(&over(&format!("[{table}]\nzzz = 1")), &format!("{table}.")));
    }
    for kind in ["sgd", "adamw", "lars"] {
        found.extend(fields(&over(&format!("[optimizer]\nkind = \"{kind}\"\nzzz = 1")), "optimizer."));
    }
    found.push("optimizer.kind".into());
    found.extend(fields(&spoilt("channels = 4", "channels = 4\nzzz = 1"), "blocks[]."));
    for name in &found {
        assert!(is_known(name), "`{name}` is read, but is not in the list of keys");
    }
    for key in KEYS {
        let is_read = found.iter().any(|name| *name == key.name || key.name.starts_with(&format!("{name}.")));
        let is_table = found.iter().any(|name| key.name.starts_with(&format!("{name}[")));
        assert!(is_read || is_table, "`{}` is in the list of keys, but is not read", key.name);
    }
}

/// A configuration in which a key has a meaning.
fn base_for(name: &str) -> Config {
    let base = preset("cifar10").expect("a preset");
    let rule = match name.split('.').next().unwrap_or_default() {
        "relaxation" => RuleName::PredictiveCoding,
        "mirror" => RuleName::WeightMirror,
        "contrast" if name.contains("phyll") => RuleName::Phyll,
        "contrast" => RuleName::Scff,
        _ => RuleName::ClappPp,
    };
    let base = base.with_rule(rule);
    let kind = match name {
        "optimizer.momentum" => "optimizer.kind=sgd",
        "optimizer.trust" => "optimizer.kind=lars",
        "split-seed" => "split=0.8",
        _ => return base,
    };
    changed(&base, &[kind]).expect("a kind")
}

#[test]
fn the_ranges_of_the_list_are_those_of_the_checks() {
    for key in KEYS {
        let number = |value: f64| if value.fract() == 0.0 { format!("{value:.1}") } else { format!("{value}") };
        let (good, bad): (Vec<String>, Vec<String>) = match key.form {
            Form::Whole(least, most) => {
                let ends = [Some(least), (most < u64::MAX).then_some(most)];
                let beyond = [Some(least as i64 - 1), (most < u64::MAX).then_some(most as i64 + 1)];
                let text = |list: &[Option<i64>]| list.iter().flatten().map(i64::to_string).collect();
                (text(&ends.map(|end| end.map(|end| end as i64))), [text(&beyond), vec!["1.5".into()]].concat())
            }
            Form::Number(least, most) => {
                let mut sets = (vec![number(least)], vec![number(least - 0.001), "nan".into(), "\"one\"".into()]);
                if most.is_finite() {
                    sets.0.push(number(most));
                    sets.1.push(number(most + 0.001));
                }
                sets
            }
            Form::Above(least, most) => {
                let mut sets = (vec![number(least + 0.001)], vec![number(least), "nan".into(), "inf".into()]);
                if most.is_finite() {
                    sets.0.push(number(most));
                    sets.1.push(number(most + 0.001));
                }
                sets
            }
            Form::BelowOne => (vec!["0.0".into(), "0.999".into()], vec!["1.0".into(), "-0.001".into()]),
            Form::Flag => (vec![], vec!["1".into(), "maybe".into()]),
            Form::OneOf(_) | Form::Rule => (vec![], vec!["nothing-of-the-kind".into()]),
            Form::Text(_) | Form::Words(_) => continue,
        };
        let base = base_for(key.name);
        let name = key.name.replace("[]", "[0]");
        for value in good {
            let outcome = changed(&base, &[&format!("{name}={value}")]);
            // The largest channels are too many for these blocks.
            let is_in_range = outcome.as_ref().err().is_none_or(|said| said.contains("more than 2^"));
            assert!(is_in_range, "{name}={value}: {}", outcome.expect_err("it"));
        }
        for value in bad {
            let outcome = changed(&base, &[&format!("{name}={value}")]);
            let said = outcome.err().unwrap_or_else(|| panic!("{name}={value} is taken"));
            assert!(said.contains(&format!("--set {name}={value}: ")), "{said}");
        }
    }
}

#[test]
fn the_defaults_of_the_list_are_those_in_force() {
    for key in KEYS {
        let Some(default) = key.default else { continue };
        if toml::from_str::<toml::Table>(&format!("v = {default}")).is_err() || key.name.starts_with("schedule.") {
            continue;
        }
        let base = base_for(key.name);
        let name = key.name.replace("[]", "[0]");
        let with = changed(&base, &[&format!("{name}={default}")]).expect("a default");
        // The presets say some of these themselves.
        if !["data", "blocks[].padding", "blocks[].stride"].contains(&key.name) {
            assert_eq!(differences(&base, &with).expect("tables"), [], "{name} = {default}");
        }
    }
}

#[test]
fn what_is_printed_is_read_back_to_the_same_configuration() {
    for name in PRESETS {
        let base = preset(name).expect("a preset");
        let rules = [RuleName::ClappPpDfb, RuleName::SoftHebb, RuleName::PredictiveCoding, RuleName::BpInfoNce];
        for config in rules.map(|rule| base.clone().with_rule(rule)).into_iter().chain([base.clone()]) {
            let text = printed(&config).expect("text");
            assert_eq!(Config::parse(&text, "printed").expect("a configuration"), config);
            // The defaults in the comments are in force.
            let all: Vec<&str> = text.lines().skip(1).map(|line| line.strip_prefix("# ").unwrap_or(line)).collect();
            assert!(all.len() > text.lines().filter(|line| !line.starts_with('#')).count());
            assert_eq!(Config::parse(&all.join("\n"), "remarks").expect("a configuration"), config);
        }
    }
}

#[test]
fn a_printed_configuration_trains_to_the_same_bytes() {
    let place = place();
    let folder = place.path();
    let options = ["--epochs", "1", "--set", "optimizer.lr=0.002", "--set", "negatives={ uniform = 2 }"];
    let train = [&["train", "--config", "tiny.toml"][..], &options].concat();
    let text = succeeds(folder, &[&train[..], &["--print-config"]].concat());
    assert!(!folder.join("out").exists(), "nothing is trained");
    fs::write(folder.join("whole.toml"), &text).expect("a file");
    succeeds(folder, &[&train[..], &["--data", "data", "--out", "one"]].concat());
    succeeds(folder, &["train", "--config", "whole.toml", "--data", "data", "--out", "two"]);
    let bytes = |run: &str| fs::read(folder.join(run).join("checkpoint.safetensors")).expect("a checkpoint");
    assert!(bytes("one") == bytes("two"));
    // Of a preset; and of the run, which is not named again.
    let preset_text = succeeds(folder, &["train", "--preset", "cifar10", "--print-config"]);
    assert_eq!(Config::parse(&preset_text, "printed").expect("a configuration"), preset("cifar10").expect("a preset"));
    let of_run = succeeds(folder, &["train", "--resume", "--out", "one", "--print-config"]);
    assert_eq!(of_run, text.replace("data = \"generated\"", "data = \"files\""));
    // What it names continues the run, too.
    let resume = ["train", "--config", "whole.toml", "--data", "data", "--out", "one", "--resume"];
    assert!(succeeds(folder, &resume).contains("finished already"));
}

#[test]
fn a_file_replaces_the_keys_of_a_preset() {
    let place = place();
    let write = |name: &str, text: &str| fs::write(place.path().join(name), text).expect("a file");
    let read = |name: &str| Config::read(&place.path().join(name)).expect("a configuration");
    write(
        "a.toml",
        "preset = \"cifar10\"\nepochs = 7\nnegatives = { uniform = 3 }\n[optimizer]\nlr = 0.5\n[head]\noutputs = 8\n",
    );
    let base = preset("cifar10").expect("a preset");
    let mut expected = Config { epochs: 7, ..base.clone() };
    expected.negatives = clapp_engine::config::Negatives::Uniform(3);
    expected.optimizer = expected.optimizer.with_learning_rate(0.5);
    expected.head.outputs = 8;
    assert_eq!(read("a.toml"), expected);
    // The same over --preset, and with a whole file, of which nothing is left of the preset.
    write("b.toml", "epochs = 7\nnegatives = { uniform = 3 }\noptimizer.lr = 0.5\nhead.outputs = 8\n");
    let of = |arguments: &[&str]| {
        let text = succeeds(place.path(), &[&["train", "--print-config"], arguments].concat());
        Config::parse(&text, "printed").expect("a configuration")
    };
    assert_eq!(of(&["--preset", "cifar10", "--config", "b.toml"]), expected);
    assert_eq!(of(&["--preset", "cifar10", "--config", "a.toml"]), expected);
    assert_eq!(of(&["--preset", "cifar10", "--config", "tiny.toml"]), of(&["--config", "tiny.toml"]));
    // Another kind, variant and rule.
    write(
        "c.toml",
        "preset = \"tiny-imagenet\"\nrule = \"bp-infonce\"\nschedule = { warmup-cosine = { warmup-epochs = 2 } }\n",
    );
    let with = preset("tiny-imagenet").expect("a preset").with_rule(RuleName::BpInfoNce);
    assert_eq!(read("c.toml").optimizer, with.optimizer);
    write("d.toml", "preset = \"imagenet\"\nschedule = \"constant\"\n[optimizer]\nkind = \"adamw\"\nlr = 0.001\n");
    let (found, old) = (read("d.toml"), preset("imagenet").expect("a preset"));
    assert!(found.schedule == clapp_engine::schedule::Schedule::Constant && found.optimizer != old.optimizer);
    assert_eq!(found.blocks, old.blocks);
    // In any command that takes a configuration.
    assert!(succeeds(place.path(), &["info", "--config", "c.toml"]).contains("bp-infonce"));
    let train = ["train", "--data", "data", "--epochs", "0", "--out", "run", "--config"];
    let bad: [(&str, &[&str]); 8] = [
        ("preset = \"cifar11\"\n", &["bad.toml", "cifar11", "cifar10"]),
        ("preset = 3\n", &["bad.toml", "preset `3`"]),
        ("preset = \"cifar10\"\nepoch = 3\n", &["bad.toml", "`epoch`", "did you mean epochs"]),
        ("preset = \"cifar10\"\nbatch = \"four\"\n", &["bad.toml", "batch", "a whole number, 2 to 16384"]),
        ("preset = \"cifar10\"\nbatch = 1\n", &["bad.toml", "batch is 1"]),
        ("preset = \"cifar10\"\n[optimizer]\nbeta3 = 0.5\n", &["bad.toml", "optimizer.beta3", "optimizer.beta1"]),
        ("preset = \"cifar10\"\nnegatives = \"uniform\"\n", &["bad.toml", "negatives is \"ring\" or { uniform"]),
        ("preset = \"cifar10\"\n[augment.jiter]\nhue = 0.1\n", &["bad.toml", "augment.jiter", "augment.jitter"]),
    ];
    for (text, parts) in bad {
        write("bad.toml", text);
        refuses(place.path(), &[&train[..], &["bad.toml"]].concat(), parts);
    }
    let both = ["train", "--preset", "stl10", "--config", "a.toml", "--print-config"];
    refuses(place.path(), &both, &["a.toml", "cifar10", "stl10"]);
}

#[test]
fn a_wrong_schedule_is_told_in_words() {
    let place = place();
    for text in [
        "schedule = \"cosine\"",
        "schedule = \"warmup-cosine\"",
        "schedule = 3",
        "schedule = { kind = \"warmup-cosine\" }",
        "schedule = { warmup-epochs = 5 }",
        "schedule = { warmup-cosine = 5 }",
        "schedule = { warmup-cosine = { epochs = 5 } }",
        "schedule = { warmup-cosine = { warmup-epochs = -5 } }",
        "schedule = { constant = {}, warmup-cosine = {} }",
        "[schedule]\nkind = \"cosine\"",
        "[schedule]",
        "[schedule.warmup-cosine]\nwarmup = 5",
    ] {
        let whole = if text.starts_with('[') {
            format!("{CONFIG}\n{text}\n")
        } else {
            spoilt("seed = 3", &format!("seed = 3\n{text}"))
        };
        for (number, config) in [whole, format!("preset = \"cifar10\"\n{text}\n")].into_iter().enumerate() {
            fs::write(place.path().join("bad.toml"), config).expect("a file");
            let output = clapp(place.path(), &["info", "--config", "bad.toml"]);
            let said = String::from_utf8_lossy(&output.stderr).into_owned();
            assert_eq!(output.status.code(), Some(2), "{text}: {said}");
            let words = said.contains("schedule is \"constant\" or { warmup-cosine = {")
                || said.contains("schedule.warmup-cosine.warmup-epochs is a whole number");
            assert!(words && said.contains("bad.toml"), "{number} {text}: {said}");
        }
    }
}

/// Of every key and every table: the file, the key, what was found and what was expected, and none of the words that the
/// library has for its types.
#[test]
fn a_value_of_the_wrong_kind_is_told_in_words() {
    let mut names: Vec<String> = KEYS.iter().map(|key| key.name.to_owned()).collect();
    names.extend(KEYS.iter().filter(|key| key.name.starts_with("augment")).map(|key| format!("probe.{}", key.name)));
    let ends = |name: &String| name.match_indices('.').map(|(at, _)| name[..at].to_owned()).collect::<Vec<_>>();
    let tables: Vec<String> = names.iter().flat_map(ends).filter(|name| !name.contains("[]")).collect();
    names.extend(tables);
    names.sort();
    names.dedup();
    assert!(names.len() > 100, "{names:?}");
    let theirs = ["invalid", "variant", "struct", "u64", "usize", "f32", "tagged", "sequence", "wanted", "map,"];
    for name in &names {
        let base = base_for(name);
        let setting = name.replace("[]", "[0]");
        for value in ["\"?\"", "[[1]]", "-0.5", "{ zzz = 1 }"] {
            let outcome = changed(&base, &[&format!("{setting}={value}")]);
            let Err(said) = outcome else { continue };
            assert!(said.starts_with(&format!("--set {setting}={value}: ")) || said.contains("zzz"), "{said}");
            for word in theirs {
                assert!(!said.contains(word), "`{word}` in: {said}");
            }
            let is_known = said.contains(" is ") || said.contains("unknown key") || said.contains("did you mean");
            assert!(is_known || said.contains("expected") || said.contains("blocks"), "{said}");
        }
    }
}

#[test]
fn a_key_that_is_missing_is_named_with_its_table() {
    let place = place();
    let hint = "begins with the line preset = \"cifar10\"";
    let table: [(String, &[&str]); 9] = [
        (String::new(), &["missing field `name`", hint]),
        ("epochs = 3\n".into(), &["missing field `name`", hint]),
        ("[probe]\nbatch = 3\n".into(), &["missing field `probe.epochs`", hint]),
        (spoilt("seed = 3", ""), &["missing field `seed`, expected a whole number of at least 0", hint]),
        (spoilt("[probe]\nepochs = 2", "[probe]"), &["missing field `probe.epochs`, expected a whole number"]),
        (spoilt("kind = \"adamw\"", ""), &["missing field `optimizer.kind`, expected \"sgd\", \"adamw\" or \"lars\""]),
        (spoilt("loss-pool = \"global\"", ""), &["missing field `blocks[1].loss-pool`, expected \"global\""]),
        (spoilt("contrast = \"hinge\"", "contrast = { phyll = {} }"), &["missing field `contrast.phyll.theta`"]),
        ("preset = \"cifar10\"\n[[blocks]]\nchannels = 3\n".into(), &["missing field `blocks[0].kernel`"]),
    ];
    for (text, parts) in table {
        fs::write(place.path().join("bad.toml"), text).expect("a file");
        refuses(place.path(), &["info", "--config", "bad.toml"], &[&["bad.toml"], parts].concat());
    }
}

#[test]
fn one_key_is_set_or_refused_by_name() {
    let base = preset("cifar10").expect("a preset");
    let list = ["optimizer.lr=0.5", "blocks[2].channels=64", "blocks.0.bias=false", "name=other", "width=0.5"];
    let config = changed(&base, &list).expect("it");
    assert!(!config.blocks[0].bias && config.blocks[1].bias);
    assert_eq!((config.optimizer.learning_rate(), config.blocks[2].channels), (0.5, 64));
    assert_eq!((config.name.as_str(), config.width), ("other", 0.5));
    // A rule brings its optimiser, as --rule does; settings that go together come one after the other.
    assert_eq!(changed(&base, &["rule=soft-hebb"]).expect("it"), base.clone().with_rule(RuleName::SoftHebb));
    let three =
        changed(&preset("demo").expect("a preset"), &["input=[3, 64, 64]", "augment.size=64", "probe.augment.size=64"]);
    assert_eq!(three.expect("it").input, [3, 64, 64]);
    let sgd = changed(&base, &["optimizer.kind=sgd", "optimizer.momentum=0.9"]).expect("it");
    assert_eq!(sgd.optimizer.learning_rate(), base.optimizer.learning_rate());
    for (setting, parts) in [
        ("lr=0.1", &["is not a key", "optimizer.lr", "probe.lr"][..]),
        ("optimizer.learning-rate=0.1", &["is not a key"]),
        ("optimizer.weight_decay=0.1", &["is not a key", "optimizer.weight-decay"]),
        ("epoch=3", &["is not a key", "epochs"]),
        ("augment.jitter.heu=0.1", &["is not a key", "augment.jitter.hue"]),
        ("batch=four", &["batch", "a whole number, 2 to 16384"]),
        ("batch=4.5", &["batch", "a whole number, 2 to 16384"]),
        ("batch=1", &["batch is 1"]),
        ("name=3", &["name", "letters"]),
        ("blocks[9].channels=4", &["no block 9", "6"]),
        ("blocks[0]={}", &["blocks[0].channels"]),
        ("schedule=cosine", &["schedule is \"constant\" or"]),
        ("epochs=", &["not TOML"]),
        ("epochs=3\nbatch=4", &["not TOML"]),
    ] {
        let said = changed(&base, &[setting]).expect_err(setting);
        assert!(said.contains(&format!("--set {setting}: ")), "{said}");
        for part in parts {
            assert!(said.contains(part), "no `{part}` in: {said}");
        }
    }
    let place = tempfile::tempdir().expect("a folder");
    refuses(place.path(), &["train", "--preset", "demo", "--set", "epochs"], &["--set", "KEY=VALUE"]);
    let run = ["train", "--preset", "demo", "--rule", "clapp++dfb", "--set", "lr=1", "--print-config"];
    refuses(place.path(), &run, &["--set lr=1", "did you mean optimizer.lr"]);
}

#[test]
fn what_needs_no_images_is_found_out_before_they_are_read() {
    let place = place();
    let folder = place.path();
    // A set that is not there is the last thing to be missed.
    let train = ["train", "--config", "tiny.toml", "--data", "missing", "--out", "run"];
    refuses(folder, &train, &["missing"]);
    fs::create_dir(folder.join("run")).expect("a folder");
    let lock = fs::File::open(folder.join("run")).expect("a folder");
    lock.lock().expect("a lock");
    refuses(folder, &train, &["run: another run uses this folder"]);
    drop(lock);
    refuses(folder, &[&train[..6], &["tiny.toml"]].concat(), &["--out", "not a folder"]);
    refuses(folder, &[&train[..6], &["tiny.toml/deeper"]].concat(), &["tiny.toml/deeper"]);
    refuses(folder, &[&train[..], &["--align-every", "2", "--rule", "bp-clapp++"]].concat(), &["--align-every"]);
    refuses(folder, &[&train[..], &["--precision", "bf16"]].concat(), &["--precision"]);
    refuses(folder, &[&train[..], &["--cache", "tiny.toml"]].concat(), &["--cache"]);
}

#[test]
fn seeds_are_given_as_ranges() {
    let place = place();
    let sweep = ["sweep", "--config", "tiny.toml", "--data", "data", "--out", "all", "--slurm", "job.sh", "--seeds"];
    succeeds(place.path(), &[&sweep[..], &["1-3,7,10-11"]].concat());
    let script = fs::read_to_string(place.path().join("job.sh")).expect("a script");
    assert!(script.contains("--array=0-5\n") && script.contains("1,2,3,7,10,11"), "{script}");
    for (seeds, part) in [("3-1", "1-3"), ("1-", "FROM-TO"), ("a", "a"), ("1-3,2", "2 twice"), ("0-99999", "10000")] {
        refuses(place.path(), &[&sweep[..], &[seeds]].concat(), &["--seeds", part]);
    }
}

#[test]
fn a_recommended_configuration_is_written_and_trains() {
    let place = place();
    let folder = place.path();
    let recommend = ["recommend", "--ram", "128k", "--flash", "512k", "--classes", "6", "--out", "net.toml", "--input"];
    let said = succeeds(folder, &[&recommend[..], &["1x32x32"]].concat());
    assert!(said.contains("wrote net.toml"), "{said}");
    succeeds(folder, &["train", "--config", "net.toml", "--data", "data", "--epochs", "0", "--out", "run"]);
    let other = [&recommend[..7], &["--out", "other.toml", "--input", "1x24x32"]].concat();
    refuses(folder, &other, &["--out", "square"]);
}

#[test]
fn every_shell_has_its_completions() {
    let place = tempfile::tempdir().expect("a folder");
    for shell in ["bash", "zsh", "fish", "powershell", "elvish"] {
        let script = succeeds(place.path(), &["completions", shell]);
        for word in ["train", "print-config", "completions", "require-gpu"] {
            assert!(script.contains(word), "{shell}: no {word}");
        }
    }
    refuses(place.path(), &["completions", "tcsh"], &["tcsh", "bash"]);
}
