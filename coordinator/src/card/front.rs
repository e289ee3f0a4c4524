//! The front matter: what the Hub reads of a model card
//! (<https://huggingface.co/docs/hub/model-cards#model-card-metadata>).

use std::collections::BTreeSet;

use distilsweep_proto::resource::{Resource, ResourceKind};
use serde::Serialize;

use super::{Card, last, scores};

/// What is not known is left out: the Hub takes an empty field for a wrong one.
#[derive(Serialize)]
struct Matter<'a> {
    #[serde(skip_serializing_if = "Option::is_none")]
    license: Option<&'a str>,
    library_name: &'static str,
    pipeline_tag: &'static str,
    #[serde(skip_serializing_if = "Option::is_none")]
    base_model: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    base_model_relation: Option<&'static str>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    datasets: Vec<&'a str>,
    metrics: BTreeSet<&'static str>,
    tags: [&'static str; 3],
    #[serde(rename = "model-index")]
    index: [Model<'a>; 1],
}

#[derive(Serialize)]
struct Model<'a> {
    name: &'a str,
    results: Vec<Results<'a>>,
}

#[derive(Serialize)]
struct Results<'a> {
    task: Task,
    dataset: Dataset<'a>,
    metrics: Vec<Metric>,
}

#[derive(Serialize)]
struct Task {
    r#type: &'static str,
    name: &'static str,
}

#[derive(Serialize)]
struct Dataset<'a> {
    /// Id on the Hub, where it has one.
    r#type: &'a str,
    name: &'a str,
    split: &'static str,
    #[serde(skip_serializing_if = "Option::is_none")]
    revision: Option<&'a str>,
}

#[derive(Serialize)]
struct Metric {
    r#type: &'static str,
    name: &'static str,
    value: f64,
}

/// The front matter as YAML, without the lines around it.
pub(super) fn matter(card: &Card<'_>) -> String {
    let base = card.resource(ResourceKind::Model);
    let data = card.resource(ResourceKind::Dataset);
    let of_hub = |resource: &Resource| resource.commit.is_some();
    let scores = scores::scores(card);
    let results = ["validation", "test"].map(|split| Results {
        task: Task { r#type: "text-classification", name: "Text Classification" },
        dataset: Dataset {
            r#type: data.filter(|data| of_hub(data)).map_or("local", |data| &data.id),
            name: data.map_or("not recorded", |data| if of_hub(data) { &data.id } else { last(&data.id) }),
            split,
            revision: data.and_then(|data| data.commit.as_deref()),
        },
        metrics: scores
            .iter()
            .filter(|score| score.split == split)
            .map(|score| Metric { r#type: score.kind, name: score.title, value: score.value })
            .collect(),
    });
    let base_model = base.filter(|base| of_hub(base)).map(|base| base.id.as_str());
    let matter = Matter {
        license: base.and_then(|base| base.license.as_deref()),
        library_name: "transformers",
        pipeline_tag: "text-classification",
        base_model,
        base_model_relation: base_model.map(|_| "finetune"),
        datasets: data.filter(|data| of_hub(data)).map(|data| data.id.as_str()).into_iter().collect(),
        metrics: scores.iter().map(|score| score.kind).filter(|kind| *kind != "loss").collect(),
        tags: ["text-classification", "distilbert", "distilsweep"],
        index: [Model {
            name: &card.summary.name,
            results: results.into_iter().filter(|results| !results.metrics.is_empty()).collect(),
        }],
    };
    serde_saphyr::to_string(&matter)
        .unwrap_or_else(|error| unreachable!("text keys alone always become YAML: {error}"))
}
