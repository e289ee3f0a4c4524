use safetensors::tensor::{TensorView, serialize_to_file};
use tempfile::TempDir;

use super::*;
use crate::model::Rates;

fn config(family: Family) -> Config {
    Config {
        vocab_size: 9,
        max_position_embeddings: 5,
        dim: 4,
        hidden_dim: 6,
        n_layers: 2,
        n_heads: 2,
        activation: crate::model::Activation::Gelu,
        rates: Rates::uniform(0.1),
        pad_token_id: Some(0),
        family,
    }
}

/// A checkpoint of these names and shapes, each weight with values of its own.
fn checkpoint(tensors: &[(String, Vec<i64>)]) -> TempDir {
    let directory = TempDir::new().unwrap();
    let bytes: Vec<Vec<u8>> = tensors
        .iter()
        .enumerate()
        .map(|(i, (_, shape))| {
            let count = shape.iter().product::<i64>();
            (0..count).flat_map(|j| (i as f32 + j as f32 / 64.0).to_le_bytes()).collect()
        })
        .collect();
    let views = tensors.iter().zip(&bytes).map(|((name, shape), bytes)| {
        let shape = shape.iter().map(|n| *n as usize).collect();
        (name.as_str(), TensorView::new(Dtype::F32, shape, bytes).unwrap())
    });
    serialize_to_file(views, None, &directory.path().join("model.safetensors")).unwrap();
    directory
}

fn bert(prefix: &str, older_names: bool) -> Vec<(String, Vec<i64>)> {
    let mut tensors: Vec<(String, Vec<i64>)> = shapes(&config(Family::Bert), 0)
        .into_iter()
        .map(|(name, shape)| {
            let name = bert_name(name.trim_start_matches("distilbert."));
            let name = match older_names && name.contains("LayerNorm") {
                true => name.replace(".weight", ".gamma").replace(".bias", ".beta"),
                false => name,
            };
            (format!("{prefix}{name}"), shape)
        })
        .collect();
    tensors.push((format!("{prefix}embeddings.token_type_embeddings.weight"), vec![2, 4]));
    tensors.push((format!("{prefix}pooler.dense.weight"), vec![4, 4]));
    tensors
}

fn values(tensor: &Tensor) -> Vec<f64> {
    Vec::try_from(tensor.reshape([-1])).unwrap_or_default()
}

#[test]
fn a_bert_becomes_the_distilbert_that_computes_the_same() {
    for (prefix, older_names) in [("", false), ("bert.", false), ("bert.", true)] {
        let tensors = bert(prefix, older_names);
        let directory = checkpoint(&tensors);
        let config = config(Family::Bert);
        let loaded = Parameters::load(directory.path(), &config, 3, 1, Kind::Double).unwrap();
        let value = |i: usize, j: i64| i as f64 + j as f64 / 64.0;
        for (i, name) in loaded.names().iter().enumerate() {
            if name.starts_with("distilbert.") {
                // The last two are the token types and the pooler.
                let types = tensors.len() - 2;
                let expected: Vec<f64> = (0..tensors[i].1.iter().product::<i64>())
                    .map(|j| match name.contains("position") {
                        true => value(i, j) + value(types, j % 4),
                        false => value(i, j),
                    })
                    .collect();
                assert_eq!(values(loaded.get(name)), expected, "{name} from {prefix}{}", tensors[i].0);
            }
        }
        assert_eq!(loaded.get("classifier.weight").size(), [3, 4]);
    }
    assert_eq!(
        bert("bert.", false)[8].0,
        "bert.encoder.layer.0.attention.self.value.weight",
        "the names are those of transformers"
    );
}

#[test]
fn a_head_of_the_right_shape_is_kept_and_another_made_from_the_seed() {
    let config = config(Family::DistilBert);
    let directory = checkpoint(&shapes(&config, 3));
    let load =
        |classes, seed| Parameters::load(directory.path(), &config, classes, seed, Kind::Float).unwrap();
    assert_eq!(values(load(3, 1).get("classifier.weight")), values(load(3, 2).get("classifier.weight")));
    assert_ne!(values(load(2, 1).get("classifier.weight")), values(load(2, 2).get("classifier.weight")));
    let reseeded = load(2, 1).seeded(2, Device::Cpu).unwrap();
    assert_eq!(values(reseeded.get("classifier.weight")), values(load(2, 2).get("classifier.weight")));
    assert_eq!(
        values(reseeded.get("pre_classifier.weight")),
        values(load(2, 1).get("pre_classifier.weight"))
    );
}

#[test]
fn a_classifier_needs_a_head_for_its_classes() {
    let config = config(Family::DistilBert);
    let directory = checkpoint(&shapes(&config, 3));
    let loaded = Parameters::load_classifier(directory.path(), &config, 3, Kind::Float).unwrap();
    assert_eq!(loaded.get("classifier.weight").size(), [3, 4]);
    let said = |directory: &TempDir, config: &Config| {
        let error =
            Parameters::load_classifier(directory.path(), config, 2, Kind::Float).unwrap_err().to_string();
        error.replace(&directory.path().display().to_string(), "DIR")
    };
    let headless = checkpoint(&shapes(&config, 0));
    let bert = Config { family: Family::Bert, ..config.clone() };
    let wrong = [said(&directory, &config), said(&headless, &config), said(&headless, &bert)];
    insta::assert_snapshot!(wrong.join("\n"), @r#"
    DIR/model.safetensors: tensor `classifier.weight` has the shape [3, 4], config.json makes it [2, 4]
    DIR/model.safetensors has no tensor `pre_classifier.weight`
    DIR/config.json: `model_type` is "bert", it must be distilbert to classify: training makes one of it
    "#);
}

/// As save_pretrained(.., max_shard_size=..) of transformers writes them.
#[test]
fn a_sharded_checkpoint_is_the_whole_one() {
    let config = config(Family::DistilBert);
    let whole = checkpoint(&shapes(&config, 3));
    let parts = TempDir::new().unwrap();
    let bytes = std::fs::read(whole.path().join("model.safetensors")).unwrap();
    let stored = safetensors::SafeTensors::deserialize(&bytes).unwrap();
    let mut map = serde_json::Map::new();
    for shard in 0..3 {
        let file = format!("model-{:05}-of-00003.safetensors", shard + 1);
        let views: Vec<_> =
            stored.tensors().into_iter().filter(|(name, _)| name.len() % 3 == shard).collect();
        map.extend(views.iter().map(|(name, _)| (name.clone(), file.clone().into())));
        serialize_to_file(views, None, &parts.path().join(file)).unwrap();
    }
    let index = serde_json::json!({"metadata": {"total_size": bytes.len()}, "weight_map": map});
    std::fs::write(parts.path().join("model.safetensors.index.json"), index.to_string()).unwrap();
    let [a, b] = [&whole, &parts]
        .map(|directory| Parameters::load(directory.path(), &config, 3, 1, Kind::Float).unwrap());
    for name in a.names() {
        assert_eq!(values(a.get(name)), values(b.get(name)), "{name}");
    }
}

#[test]
fn missing_and_misshapen_weights_are_named() {
    let config = config(Family::DistilBert);
    let mut tensors = shapes(&config, 0);
    let said = |tensors: &[(String, Vec<i64>)]| {
        let directory = checkpoint(tensors);
        let error = Parameters::load(directory.path(), &config, 2, 1, Kind::Float).unwrap_err().to_string();
        error.replace(&directory.path().display().to_string(), "DIR")
    };
    tensors[1].1 = vec![7, 4];
    let misshapen = said(&tensors);
    tensors.remove(1);
    insta::assert_snapshot!(format!("{misshapen}\n{}", said(&tensors)), @"
    DIR/model.safetensors: tensor `distilbert.embeddings.position_embeddings.weight` has the shape [7, 4], config.json makes it [5, 4]
    DIR/model.safetensors has no tensor `distilbert.embeddings.position_embeddings.weight`
    ");
}

#[test]
fn weights_that_are_not_finite_are_named() {
    let config = config(Family::DistilBert);
    let directory = checkpoint(&shapes(&config, 3));
    let path = directory.path().join("model.safetensors");
    let whole = std::fs::read(&path).unwrap();
    let stored = safetensors::SafeTensors::deserialize(&whole).unwrap();
    let offset = |name: &str| stored.tensor(name).unwrap().data().as_ptr() as usize - whole.as_ptr() as usize;
    let said = |name: &str, value: f32| {
        let mut bytes = whole.clone();
        bytes[offset(name) + 4..][..4].copy_from_slice(&value.to_le_bytes());
        std::fs::write(&path, bytes).unwrap();
        let load = Parameters::load(directory.path(), &config, 3, 1, Kind::Float).map(|_| ());
        let classifier = Parameters::load_classifier(directory.path(), &config, 3, Kind::Double).map(|_| ());
        let [load, classifier] = [load, classifier]
            .map(|read| read.map_or_else(|error| error.to_string(), |()| "fine".to_owned()));
        assert_eq!(load, classifier);
        load.replace(&directory.path().display().to_string(), "DIR")
    };
    let said = [
        said("classifier.bias", 1e38),
        said("classifier.bias", f32::NAN),
        said(WORD_EMBEDDINGS, f32::INFINITY),
        said("distilbert.transformer.layer.1.ffn.lin2.weight", f32::NEG_INFINITY),
    ];
    insta::assert_snapshot!(said.join("\n"), @"
    fine
    DIR/model.safetensors: tensor `classifier.bias` holds NaN or an infinite number, every weight must be finite
    DIR/model.safetensors: tensor `distilbert.embeddings.word_embeddings.weight` holds NaN or an infinite number, every weight must be finite
    DIR/model.safetensors: tensor `distilbert.transformer.layer.1.ffn.lin2.weight` holds NaN or an infinite number, every weight must be finite
    ");
}
