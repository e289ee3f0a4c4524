//! The directory of a logged model in the transformers flavor, as `mlflow.transformers.log_model` lays it out; MLflow
//! 3.17's own is recorded beside the tests.

use std::fmt::Write;

/// What a directory is made for.
#[derive(Clone, Copy, Debug)]
pub(super) struct Facts<'a> {
    /// Id of the logged model.
    pub(super) model_id: &'a str,
    /// Where its files go, as MLflow names it.
    pub(super) artifact_uri: &'a str,
    /// Id of the run that made it.
    pub(super) run_id: &'a str,
    /// What it was fine-tuned from.
    pub(super) base: &'a str,
    /// Whether its tokenizer has a vocabulary file, as DistilBERT's own has.
    pub(super) has_vocabulary: bool,
    /// Bytes of its files.
    pub(super) bytes: u64,
    /// When it was made, in milliseconds since 1970.
    pub(super) created_ms: i64,
}

/// The vocabulary, which models with a tokenizer of another kind lack.
pub(super) const VOCABULARY: &str = "vocab.txt";

/// Where each published file goes. The tokenizer's class needs no more than these.
pub(super) const FILES: [(&str, &str); 6] = [
    ("config.json", "model/config.json"),
    ("tokenizer.json", "components/tokenizer/tokenizer.json"),
    ("tokenizer_config.json", "components/tokenizer/tokenizer_config.json"),
    ("special_tokens_map.json", "components/tokenizer/special_tokens_map.json"),
    (VOCABULARY, "components/tokenizer/vocab.txt"),
    ("model.safetensors", "model/model.safetensors"),
];

/// Versions that load it, as the tests do.
const PYTHON: &str = "3.11.7";
const MLFLOW: &str = "3.17.2";
const TORCH: &str = "2.11.0";
const TRANSFORMERS: &str = "4.57.6";

/// The text of the input example, and of the signature's one column.
const EXAMPLE: &str = "An example of a text to classify.";

/// The files that describe a model, by path.
pub(super) fn texts(facts: Facts<'_>) -> [(&'static str, String); 6] {
    let requirements = [("mlflow", MLFLOW), ("torch", TORCH), ("transformers", TRANSFORMERS)]
        .map(|(name, version)| format!("{name}=={version}"));
    let conda: String = requirements.iter().fold(String::new(), |mut text, requirement| {
        let _ = writeln!(text, "  - {requirement}");
        text
    });
    [
        ("requirements.txt", requirements.join("\n")),
        (
            "python_env.yaml",
            format!(
                "python: {PYTHON}\nbuild_dependencies:\n- pip\n- setuptools\n- wheel\ndependencies:\n- -r requirements.txt\n"
            ),
        ),
        (
            "conda.yaml",
            format!(
                "channels:\n- conda-forge\ndependencies:\n- python={PYTHON}\n- pip\n- pip:\n{conda}name: mlflow-env\n"
            ),
        ),
        ("input_example.json", format!("[\"{EXAMPLE}\"]")),
        ("serving_input_example.json", format!("{{\n  \"inputs\": [\n    \"{EXAMPLE}\"\n  ]\n}}")),
        ("MLmodel", mlmodel(facts)),
    ]
}

fn mlmodel(facts: Facts<'_>) -> String {
    let Facts { model_id, artifact_uri, run_id, base, has_vocabulary, bytes, created_ms } = facts;
    let tokenizer = if has_vocabulary { "DistilBertTokenizerFast" } else { "PreTrainedTokenizerFast" };
    let base = quoted(base);
    let created = moment(created_ms);
    format!(
        "artifact_path: {artifact_uri}
flavors:
  python_function:
    env:
      conda: conda.yaml
      virtualenv: python_env.yaml
    loader_module: mlflow.transformers
    python_version: {PYTHON}
  transformers:
    code: null
    components:
    - tokenizer
    framework: pt
    instance_type: TextClassificationPipeline
    model_binary: model
    pipeline_model_type: DistilBertForSequenceClassification
    source_model_name: {base}
    task: text-classification
    tokenizer_type: {tokenizer}
    torch_dtype: torch.float32
    transformers_version: {TRANSFORMERS}
is_signature_from_type_hint: false
mlflow_version: {MLFLOW}
model_id: {model_id}
model_size_bytes: {bytes}
model_uuid: {model_id}
prompts: null
run_id: {run_id}
saved_input_example_info:
  artifact_path: input_example.json
  serving_input_path: serving_input_example.json
  type: json_object
signature:
  inputs: '[{{\"type\": \"string\", \"required\": true}}]'
  outputs: '[{{\"type\": \"string\", \"name\": \"label\", \"required\": true}}, {{\"type\": \"double\", \"name\": \"score\", \"required\": true}}]'
  params: null
type_hint_from_example: false
utc_time_created: '{created}'
"
    )
}

/// A text as YAML takes it whatever it holds.
fn quoted(text: &str) -> String {
    format!("'{}'", text.replace('\'', "''").replace(['\n', '\r'], " "))
}

/// A time as Python prints it: `2026-11-27 10:26:34.421000`.
fn moment(ms: i64) -> String {
    let at = std::time::UNIX_EPOCH + std::time::Duration::from_millis(ms.max(0).cast_unsigned());
    let text = humantime::format_rfc3339_micros(at).to_string();
    text.trim_end_matches('Z').replace('T', " ")
}

#[cfg(test)]
mod tests {
    use saphyr_parser::{Event, Parser};

    use super::*;

    fn facts() -> Facts<'static> {
        Facts {
            model_id: "m-c1c991e051b1452183781e53611314fd",
            artifact_uri: "mlflow-artifacts:/1/models/m-c1c991e051b1452183781e53611314fd/artifacts",
            run_id: "df2d6c075022400ebe6c729685b29e86",
            base: "",
            has_vocabulary: true,
            bytes: 2_945_366,
            created_ms: 1_795_775_194_421,
        }
    }

    /// The scalars of a YAML document in order, comments and layout aside.
    fn scalars(text: &str) -> Vec<String> {
        Parser::new_from_str(text)
            .map(|event| event.unwrap().0)
            .filter_map(|event| match event {
                Event::Scalar(text, ..) => Some(text.into_owned()),
                _ => None,
            })
            .collect()
    }

    #[test]
    fn the_directory_is_that_of_the_official_client() {
        let ours = texts(facts());
        let official = [
            ("requirements.txt", include_str!("../tests/official/requirements.txt")),
            ("python_env.yaml", include_str!("../tests/official/python_env.yaml")),
            ("conda.yaml", include_str!("../tests/official/conda.yaml")),
            ("input_example.json", include_str!("../tests/official/input_example.json")),
            ("serving_input_example.json", include_str!("../tests/official/serving_input_example.json")),
            ("MLmodel", include_str!("../tests/official/MLmodel")),
        ];
        for ((name, ours), (official_name, official)) in ours.into_iter().zip(official) {
            assert_eq!(name, official_name);
            // Its example is another, and it pins the pip that it found.
            let official = official.replace("a fine day", EXAMPLE);
            let official =
                ["==23.2.1", "<=23.2.1", "==65.5.0"].iter().fold(official, |text, pin| text.replace(pin, ""));
            if name.contains("json") || name.contains("txt") {
                assert_eq!(ours, official, "{name}");
            } else {
                let mut ours = scalars(&ours);
                let mut official = scalars(&official);
                if name == "MLmodel" {
                    let (ours, official) = (ours.pop().unwrap(), official.pop().unwrap());
                    assert_eq!(ours[..23], official[..23], "times to the millisecond");
                }
                assert_eq!(ours, official, "{name}");
            }
        }
    }

    #[test]
    fn a_tokenizer_without_a_vocabulary_is_loaded_as_it_is_written() {
        let text = mlmodel(Facts { has_vocabulary: false, ..facts() });
        assert!(scalars(&text).contains(&"PreTrainedTokenizerFast".to_owned()), "{text}");
    }

    #[test]
    fn any_name_of_a_model_is_one_yaml_text() {
        let base = "it's: {a}\n- b";
        let text = mlmodel(Facts { base, ..facts() });
        assert!(scalars(&text).contains(&"it's: {a} - b".to_owned()), "{text}");
    }
}
