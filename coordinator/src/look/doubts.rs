//! What usually goes wrong with a sweep, and shows once model and data are known.

use crate::spec::SweepSpec;

use super::checked::{DataFacts, ModelFacts};

/// Positions of DistilBERT and BERT, of which the file alone tells.
const USUAL_POSITIONS: u64 = 512;

/// Doubts by the hyperparameter that they are about.
pub fn doubts(spec: &SweepSpec, model: &ModelFacts, data: Option<&DataFacts>) -> Vec<(&'static str, String)> {
    let most = |name| spec.space.reach(name).map(|(_, most)| most);
    let mut doubts = Vec::new();
    if let (Some(length), Some(positions)) = (most("max_length"), model.positions)
        && length > positions as f64
        && positions != USUAL_POSITIONS
    {
        let sentence = format!(
            "`max_length` goes up to {length}; {} has positions for {positions} tokens, and trials with more fail",
            model.name
        );
        doubts.push(("max_length", sentence));
    }
    let Some(data) = data else { return doubts };
    let rows = data.splits.first().map_or(0, |split| split.rows);
    if let Some(batch) = most("per_device_train_batch_size").filter(|batch| *batch > rows as f64) {
        let sentence = format!(
            "`per_device_train_batch_size` goes up to {batch}; the training split has {rows} rows, which is one step an epoch"
        );
        doubts.push(("per_device_train_batch_size", sentence));
    }
    for (length, cut, _) in data.tokens.iter().flat_map(|tokens| &tokens.cut) {
        if cut * 2 > rows {
            let sentence =
                format!("`max_length` {length} cuts {cut} of {rows} training rows, more than half of them");
            doubts.push(("max_length", sentence));
        }
    }
    doubts
}

#[cfg(test)]
mod tests {
    use distilsweep_data::TokenFacts;

    use super::*;
    use crate::{look::SplitRows, spec};

    #[test]
    fn batches_lengths_and_positions_are_held_against_model_and_data() {
        let source = "name: n\nmodel: m\ndataset: d\nmethod: grid\nparameters:\n  \
                      per_device_train_batch_size: {values: [8, 64]}\n  max_length: {values: [16, 256]}\n";
        let spec = spec::parse(source).unwrap();
        let model = |positions| ModelFacts { name: "m".into(), commit: None, bytes: None, positions };
        let data = |rows, cut| DataFacts {
            name: "d".into(),
            commit: None,
            splits: vec![SplitRows { name: "train", rows }],
            classes: Vec::new(),
            tokens: Some(TokenFacts {
                quantiles: [1; 4],
                total: 1,
                histogram: Vec::new(),
                cut: vec![(16, cut, 0.5)],
            }),
        };
        assert_eq!(doubts(&spec, &model(Some(512)), Some(&data(64, 32))), []);
        assert_eq!(doubts(&spec, &model(None), None), []);
        let all = doubts(&spec, &model(Some(128)), Some(&data(63, 32)));
        let all: Vec<String> =
            all.into_iter().map(|(name, sentence)| format!("{name}: {sentence}")).collect();
        insta::assert_snapshot!(all.join("\n"), @"
        max_length: `max_length` goes up to 256; m has positions for 128 tokens, and trials with more fail
        per_device_train_batch_size: `per_device_train_batch_size` goes up to 64; the training split has 63 rows, which is one step an epoch
        max_length: `max_length` 16 cuts 32 of 63 training rows, more than half of them
        ");
    }
}
