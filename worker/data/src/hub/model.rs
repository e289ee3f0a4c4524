//! The files of models: which are needed, which are downloaded, and which say that a model is in another format.

use std::path::Path;

use distilsweep_proto::resource::split_revision;

use super::{Hub, Kind, Snapshot, block_on, repository::Repository};
use crate::{DataError, tokenizer};

/// Files that every model needs, or their substitutes.
const NEEDED: [&str; 3] = ["config.json", WEIGHTS, tokenizer::FILE];
const WEIGHTS: &str = "model.safetensors";
/// Substitute for the weights: says which of several files holds which tensor.
const INDEX: &str = "model.safetensors.index.json";
/// Weights as pickles, which only Python reads, and the index of several.
const PICKLES: [&str; 2] = ["pytorch_model.bin", "pytorch_model.bin.index.json"];
/// Weights of other frameworks, and the option of from_pretrained that reads them.
const FRAMEWORKS: [(&str, &str, &str); 3] = [
    ("tf_model.h5", "TensorFlow", "from_tf"),
    ("tf_model.h5.index.json", "TensorFlow", "from_tf"),
    ("flax_model.msgpack", "Flax", "from_flax"),
];
/// What PEFT saves instead of a model: the difference to a base model.
const ADAPTER: [&str; 3] = ["adapter_config.json", "adapter_model.safetensors", "adapter_model.bin"];
/// Files that are downloaded if they exist.
const WELCOME: [&str; 4] =
    [tokenizer::CONFIG, tokenizer::VOCABULARY, tokenizer::ADDED_TOKENS, tokenizer::SPECIAL_TOKENS];
/// What the tokenizer of a model is made of.
const TOKENIZER: [&str; 6] = [
    tokenizer::FILE,
    tokenizer::VOCABULARY,
    tokenizer::CONFIG,
    tokenizer::ADDED_TOKENS,
    tokenizer::SPECIAL_TOKENS,
    "config.json",
];

impl Snapshot {
    /// Whether this file of a model is used.
    pub(crate) fn wants(&self, name: &str) -> bool {
        let sharded = !self.has(WEIGHTS) && self.has(INDEX);
        NEEDED.contains(&name) || WELCOME.contains(&name) || (sharded && is_weights(name))
    }
}

impl Hub {
    /// Finds the files of a model: those of the directory `id` if there is one, else those of this Hub id
    /// (`id@revision`), which are downloaded. Blocks.
    ///
    /// # Errors
    /// There is no such directory or repository, it lacks a file or is in another format, or the Hub cannot be reached.
    pub fn model(&self, id: &str, revision: Option<&str>) -> Result<Snapshot, DataError> {
        let (id, revision) = named(id, revision);
        if let Some(found) = Snapshot::of_directory(Path::new(id))? {
            return match unusable(&found) {
                None => Ok(found),
                Some((name, Unusable::Absent(wanted))) => {
                    Err(DataError::Missing { path: found.directory.join(name), wanted })
                }
                Some((name, Unusable::Foreign(problem))) => {
                    Err(DataError::Malformed { path: found.directory.join(name), problem })
                }
            };
        }
        block_on(async {
            let repository = Repository::new(self, Kind::Model, id, revision)?;
            let found = repository.snapshot().await?;
            if let Some((name, problem)) = unusable(&found) {
                let problem = match problem {
                    Unusable::Absent(wanted) => format!("it has no {name}; {wanted}"),
                    Unusable::Foreign(problem) => format!("its {name} {problem}"),
                };
                return Err(repository.asked().error(problem, false));
            }
            for name in found.files.iter().filter(|name| found.wants(name)) {
                repository.fetch(&found, name).await?;
            }
            repository.remember(&found)?;
            Ok(found)
        })
    }

    /// Finds the files of a model's tokenizer, without its weights. Blocks.
    ///
    /// # Errors
    /// There is no such repository, or the Hub cannot be reached.
    pub fn tokenizer(&self, id: &str, revision: Option<&str>) -> Result<Snapshot, DataError> {
        let (id, revision) = named(id, revision);
        if let Some(found) = Snapshot::of_directory(Path::new(id))? {
            return Ok(found);
        }
        block_on(async {
            let repository = Repository::new(self, Kind::Model, id, revision)?;
            let found = repository.snapshot().await?;
            for name in TOKENIZER {
                if found.has(name) {
                    repository.fetch(&found, name).await?;
                }
            }
            Ok(found)
        })
    }
}

/// Splits `id@revision`, unless there is such a path.
fn named<'a>(id: &'a str, revision: Option<&'a str>) -> (&'a str, Option<&'a str>) {
    match revision {
        None if !Path::new(id).exists() => split_revision(id),
        _ => (id, revision),
    }
}

/// Why the files of a model cannot be used.
enum Unusable {
    /// The file is missing: what would be right.
    Absent(String),
    /// The file says that the model is in another format: what it is, and what makes a model of it.
    Foreign(String),
}

/// The file that rules out a model, and why.
fn unusable(found: &Snapshot) -> Option<(&'static str, Unusable)> {
    let present = |names: &[&'static str]| names.iter().copied().find(|name| found.has(name));
    let has_weights = found.has(WEIGHTS) || found.has(INDEX);
    if let Some(name) = present(&ADAPTER) {
        // transformers loads the base model that an adapter names, whatever weights are beside it.
        let merge = "AutoPeftModelForSequenceClassification.from_pretrained(..).merge_and_unload().save_pretrained(DIR) \
                     writes the whole model (peft), tokenizer.save_pretrained(DIR) its tokenizer";
        let merged =
            if has_weights { format!("; if {WEIGHTS} is that model, remove {name}") } else { String::new() };
        return Some((
            name,
            Unusable::Foreign(format!("is of a PEFT adapter, not of a model: {merge}{merged}")),
        ));
    }
    if !has_weights && let Some(name) = present(&PICKLES) {
        // Reading a pickle can run any code.
        let wanted = format!(
            "its weights are a pickle ({name}): save it again with save_pretrained(.., safe_serialization=True)"
        );
        return Some((WEIGHTS, Unusable::Absent(wanted)));
    }
    if !has_weights
        && let Some((name, framework, option)) = FRAMEWORKS.iter().find(|(name, ..)| found.has(name))
    {
        let wanted = format!(
            "its weights are those of {framework} ({name}): AutoModelForSequenceClassification.from_pretrained(.., \
             {option}=True).save_pretrained(DIR) of transformers 4 converts them"
        );
        return Some((WEIGHTS, Unusable::Absent(wanted)));
    }
    let absent = NEEDED.into_iter().find(|name| {
        let instead = match *name {
            WEIGHTS => INDEX,
            tokenizer::FILE => tokenizer::VOCABULARY,
            _ => name,
        };
        !found.has(name) && !found.has(instead)
    })?;
    Some((absent, Unusable::Absent(format!("a model needs {}", NEEDED.join(", ")))))
}

/// Whether a file is a shard of the weights as save_pretrained names it, or their index.
fn is_weights(name: &str) -> bool {
    name == INDEX || (name.starts_with("model-") && name.ends_with(".safetensors"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn foreign_model_directories_are_rejected_with_instructions() {
        let directory = tempfile::tempdir().unwrap();
        let hub = Hub::from_environment();
        let read = |files: &[&str]| {
            let model = directory.path().join(files.join("+"));
            std::fs::create_dir(&model).unwrap();
            for name in files {
                std::fs::write(model.join(name), "{}").unwrap();
            }
            match hub.model(&model.to_string_lossy(), None) {
                Ok(found) => format!("{} files", found.files.len()),
                Err(error) => error.to_string().replace(&*model.to_string_lossy(), "DIR"),
            }
        };
        let rest = ["config.json", "tokenizer.json"];
        let with = |names: &[&'static str]| [&rest[..], names].concat();
        let said = [
            read(&with(&["model.safetensors"])),
            read(&with(&["model.safetensors", "pytorch_model.bin", "tf_model.h5"])),
            read(&with(&["pytorch_model.bin"])),
            read(&with(&["pytorch_model.bin.index.json"])),
            read(&with(&["tf_model.h5"])),
            read(&with(&["flax_model.msgpack"])),
            read(&["adapter_config.json", "adapter_model.safetensors"]),
            read(&with(&["adapter_config.json", "model.safetensors"])),
            read(&["config.json", "model.safetensors"]),
            read(&["tokenizer.json", "model.safetensors"]),
        ];
        insta::assert_snapshot!(said.join("\n"), @"
        3 files
        5 files
        DIR/model.safetensors does not exist: its weights are a pickle (pytorch_model.bin): save it again with save_pretrained(.., safe_serialization=True)
        DIR/model.safetensors does not exist: its weights are a pickle (pytorch_model.bin.index.json): save it again with save_pretrained(.., safe_serialization=True)
        DIR/model.safetensors does not exist: its weights are those of TensorFlow (tf_model.h5): AutoModelForSequenceClassification.from_pretrained(.., from_tf=True).save_pretrained(DIR) of transformers 4 converts them
        DIR/model.safetensors does not exist: its weights are those of Flax (flax_model.msgpack): AutoModelForSequenceClassification.from_pretrained(.., from_flax=True).save_pretrained(DIR) of transformers 4 converts them
        DIR/adapter_config.json is of a PEFT adapter, not of a model: AutoPeftModelForSequenceClassification.from_pretrained(..).merge_and_unload().save_pretrained(DIR) writes the whole model (peft), tokenizer.save_pretrained(DIR) its tokenizer
        DIR/adapter_config.json is of a PEFT adapter, not of a model: AutoPeftModelForSequenceClassification.from_pretrained(..).merge_and_unload().save_pretrained(DIR) writes the whole model (peft), tokenizer.save_pretrained(DIR) its tokenizer; if model.safetensors is that model, remove adapter_config.json
        DIR/tokenizer.json does not exist: a model needs config.json, model.safetensors, tokenizer.json
        DIR/config.json does not exist: a model needs config.json, model.safetensors, tokenizer.json
        ");
    }
}
