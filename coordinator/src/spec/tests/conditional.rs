//! `when`, `exclude` and `run_cap`: which points there are, by which numbers.

use std::collections::{BTreeMap, BTreeSet};

use distilsweep_proto::params::{PARAMETERS, Params};

use super::*;
use crate::spec::{Axis, Chosen, Filter, MAX_POINTS, SpaceError, conditions::Conditions};

pub(super) const CONDITIONAL: &str = "\
name: demo
model: ./model
dataset: {train: train.csv, validation: validation.csv}
method: grid
exclude:
  - learning_rate>1e-4 and per_device_train_batch_size=16
parameters:
  learning_rate: {values: [2e-5, 5e-5, 3e-4]}
  lr_scheduler_type: {values: [linear, constant_with_warmup]}
  warmup_steps: {values: [0, 100], when: lr_scheduler_type = constant_with_warmup}
  per_device_train_batch_size: {values: [16, 32]}
  weight_decay: {values: [0.0, 0.1]}
";

/// A parameter with a value for each number from 0 on.
fn axis(place: usize, count: usize) -> Axis {
    let values = (0..count).map(|value| Value::Integer(value as i64)).collect();
    Axis { name: PARAMETERS[place].name.to_owned(), values }
}

/// The points of a space in order, as text.
fn points(space: &Space) -> Vec<String> {
    (0..space.len()).map(|index| serde_json::to_string(&space.point(index)).unwrap()).collect()
}

#[test]
fn a_conditional_parameter_exists_where_its_condition_holds_and_excluded_points_nowhere() {
    let spec = good(CONDITIONAL);
    // 3 rates x 2 batches without the excluded one = 5; (linear + 2 with warm-up) = 3; 2 decays.
    assert_eq!(spec.space.len(), 5 * 3 * 2);
    for index in 0..spec.space.len() {
        let point = spec.space.point(index);
        let warms_up = point["lr_scheduler_type"] == Value::Text("constant_with_warmup".to_owned());
        assert_eq!(point.contains_key("warmup_steps"), warms_up, "{point:?}");
        let is_excluded = point["learning_rate"].as_number().unwrap() > 1e-4
            && point["per_device_train_batch_size"] == Value::Integer(16);
        assert!(!is_excluded, "{point:?}");
    }
    assert_eq!(
        spec.space.varied(),
        ["learning_rate", "lr_scheduler_type", "warmup_steps", "per_device_train_batch_size", "weight_decay"]
    );
    // What a stored sweep has numbered must never change.
    insta::assert_snapshot!([points(&spec.space)[3].as_str(), &spec.digest()].join("\n"), @r#"
    {"learning_rate":0.00002,"lr_scheduler_type":"linear","per_device_train_batch_size":32,"weight_decay":0.1}
    37c8827baa2811800a78c7e50ac45dd32afdd0e778bc9d1d7f70b1e31328925f
    "#);
    let stored = serde_json::to_string(&spec).unwrap();
    assert_eq!(serde_json::from_str::<SweepSpec>(&stored).unwrap(), spec);
}

#[test]
fn conditions_that_hold_everywhere_change_neither_points_nor_the_number_of_any() {
    let plain = CONDITIONAL
        .replace("exclude:\n  - learning_rate>1e-4 and per_device_train_batch_size=16\n", "")
        .replace(", when: lr_scheduler_type = constant_with_warmup", "");
    let conditional = plain.replace("values: [0, 100]", "values: [0, 100], when: learning_rate < 1");
    let sorted = |source: &str| points(&good(source).space).into_iter().collect::<BTreeSet<_>>();
    assert_eq!(sorted(&plain), sorted(&conditional));
}

#[test]
fn a_capped_grid_trains_its_first_points_and_says_so() {
    let whole = good(&CONDITIONAL.replace("exclude", "# ").replace("  - learning", "# "));
    let all = points(&whole.space);
    for (capped, count) in [("run_cap: 7\n", 7), ("run_cap: 500\n", all.len())] {
        let source = CONDITIONAL.replace("exclude", "# ").replace("  - learning", "# ") + capped;
        assert_eq!(points(&good(&source).space), all[..count]);
    }
    let two = good(&format!("{GOOD}repeats: 3\nrun_cap: 1\n"));
    assert_eq!((two.space.len(), two.space.point(2)["seed"].clone()), (3, Value::Integer(3)));
    let warnings = super::super::read(&format!("{GOOD}run_cap: 1\n")).unwrap().warnings;
    insta::assert_snapshot!(warnings[0].in_file("sweep.yaml"), @"sweep.yaml:7:1: `run_cap` trains the first 1 of 2 points of the grid; `method: random` draws from all of them");
    assert_eq!(good(&format!("{GOOD}run_cap: 2\n")).digest(), good(GOOD).digest(), "all of them");
}

#[test]
fn lanes_agree_where_a_structural_parameter_is_involved_only_within_a_combination() {
    let spec = good(CONDITIONAL);
    let [(0, involved)] = &spec.space.digits(&["per_device_train_batch_size"])[..] else {
        panic!("one part")
    };
    assert_eq!((involved[0].stride, involved[0].base), (2, u64::MAX), "two decays a combination");
    let [(0, free)] = &spec.space.digits(&["weight_decay"])[..] else { panic!("one part") };
    assert_eq!((free[0].stride, free[0].base), (1, 2));
    assert_eq!(spec.space.digits(&["max_length"]), [(0, Vec::new())]);
}

#[test]
fn spaces_of_any_size_are_counted_as_long_as_few_parameters_are_involved() {
    // 2^62 points and one condition that takes a quarter of them away.
    let axes: Vec<Axis> = (0..31).map(|place| axis(place, 4)).collect();
    let condition = |text: &str| -> Filter { text.parse().unwrap() };
    let exclude = vec![condition("learning_rate = 0")];
    let conditions = Conditions::new(Vec::new(), exclude).unwrap();
    let chosen = Chosen::new(axes.clone(), conditions, None).unwrap();
    assert_eq!(chosen.len(), MAX_POINTS / 2 / 4 * 3);
    let last = chosen.point(chosen.len() - 1);
    assert_eq!(chosen.index_of(&last), Some(chosen.len() - 1));
    // All of them involved: 2^62 combinations.
    let all: Vec<String> = axes[1..].iter().map(|axis| format!("{} = 0", axis.name)).collect();
    let names: Vec<&str> = PARAMETERS.iter().map(|parameter| parameter.name).collect();
    let involved = Filter::of_results(&all.join(" and "), &names).unwrap();
    let conditions = Conditions::new(Vec::new(), vec![involved]).unwrap();
    assert_eq!(Chosen::new(axes, conditions, None), Err(SpaceError::Uncountable));
}

#[test]
fn a_condition_on_what_is_missing_never_holds() {
    let file = "name: n\nmodel: m\ndataset: d\nmethod: grid\nparameters:\n  \
        weight_decay: {values: [0.1, 0.2], when: warmup_steps != 5}\n  \
        warmup_steps: {values: [0, 5], when: lr_scheduler_type != linear}\n  \
        lr_scheduler_type: {values: [linear, cosine]}\n";
    insta::assert_snapshot!(points(&good(file).space).join("\n"), @r#"
    {"lr_scheduler_type":"cosine","warmup_steps":0,"weight_decay":0.1}
    {"lr_scheduler_type":"cosine","warmup_steps":0,"weight_decay":0.2}
    {"lr_scheduler_type":"cosine","warmup_steps":5}
    {"lr_scheduler_type":"linear"}
    "#);
}

#[test]
fn drawn_points_lose_what_they_have_not_and_are_drawn_again_where_they_are_excluded() {
    let plain = "name: n\nmodel: m\ndataset: d\nmethod: random\nrun_cap: 60\nparameters:\n  \
        learning_rate: {distribution: log_uniform_values, min: 1e-5, max: 1e-3}\n  \
        lr_scheduler_type: {values: [linear, constant_with_warmup]}\n  \
        warmup_steps: {min: 0, max: 100}\n";
    let conditional = plain.replace("max: 100", "max: 100, when: lr_scheduler_type=constant_with_warmup")
        + "exclude: [learning_rate>1e-4]\n";
    for method in ["random", "quasi-random"] {
        let [plain, conditional] =
            [plain, &conditional].map(|file| good(&file.replace("random", method)).space);
        let mut kept = 0;
        for index in 0..60 {
            let (point, mut before) = (conditional.point(index), plain.point(index));
            assert!(point["learning_rate"].as_number().unwrap() <= 1e-4, "{point:?}");
            let is_linear = point["lr_scheduler_type"] == Value::Text("linear".to_owned());
            assert_eq!(point.contains_key("warmup_steps"), !is_linear);
            if before["lr_scheduler_type"] == Value::Text("linear".to_owned()) {
                before.remove("warmup_steps");
            }
            // What was not left out stays as it was.
            kept += usize::from(before == point);
        }
        assert!((20..=40).contains(&kept), "half of the logarithms lie below the middle: {kept}");
    }
    let spec = good(&conditional);
    let stored = serde_json::to_string(&spec).unwrap();
    assert_eq!(serde_json::from_str::<SweepSpec>(&stored).unwrap(), spec);
}

#[test]
fn a_circle_is_told_without_what_only_stands_behind_it() {
    let file = "name: n\nmodel: m\ndataset: d\nmethod: grid\nparameters:\n  \
        seed: {value: 1, when: max_length > 3}\n  max_length: {value: 64, when: data_seed = 2}\n  \
        data_seed: {value: 2, when: eval_steps = 3}\n  eval_steps: {value: 3, when: max_length = 64}\n";
    insta::assert_snapshot!(problems(file), @"sweep.yaml:7:33: whether `data_seed`, `eval_steps`, `max_length` exist depends on each other in a circle: take one `when` away");
}

#[test]
fn conditions_that_make_no_sense_are_refused_with_what_would() {
    let instead = |of: &str, line: &str| {
        assert!(CONDITIONAL.contains(of), "{of}");
        problems(&CONDITIONAL.replace(of, line))
    };
    let excluding =
        |condition: &str| instead("learning_rate>1e-4 and per_device_train_batch_size=16", condition);
    let when = |condition: &str| instead("lr_scheduler_type = constant_with_warmup", condition);
    let drawn = "name: n\nmodel: m\ndataset: d\nmethod: random\nrun_cap: 6\nparameters:\n  \
        learning_rate: {min: 0.0, max: 1.0}\n";
    let cases = [
        excluding("learning_rte>1e-4"),
        excluding("warmup_ratio>0.5"),
        excluding("learning_rate"),
        excluding("learning_rate=1e-4"),
        excluding("lr_scheduler_type=cosine"),
        excluding("lr_scheduler_type>linear"),
        excluding("weight_decay>=0"),
        excluding("[learning_rate]"),
        instead("exclude:\n  -", "exclude: # "),
        when("lr_scheduler_type = linaer"),
        when("warmup_steps > 0"),
        when(""),
        instead("constant_with_warmup]}", "constant_with_warmup], when: warmup_steps=0}"),
        problems(&format!("{drawn}exclude: [learning_rate>0.001]\n")),
        problems(&format!("{drawn}exclude: [learning_rate=0.5]\n")),
    ];
    insta::assert_snapshot!(cases.join("\n"), @r#"
    sweep.yaml:6:5: unknown parameter `learning_rte`, did you mean `learning_rate`?
    sweep.yaml:6:5: `warmup_ratio` of the condition is not among `parameters`, did you mean `warmup_steps`?
    sweep.yaml:6:5: `learning_rate` is no condition, write NAME OPERATOR VALUE with one of = != < <= > >=: learning_rate>1e-4
    sweep.yaml:6:5: `learning_rate` is never 0.0001, did you mean 0.0003?
    sweep.yaml:6:5: `lr_scheduler_type` is never cosine, it is one of linear, constant_with_warmup
    sweep.yaml:6:5: `lr_scheduler_type` is neither less nor greater than anything, compare it with = or !=
    sweep.yaml:7:1: `exclude` leaves no point: every combination of the values is among what it takes away
    sweep.yaml:6:5: `exclude` is a list, it must be a condition: "learning_rate>1e-4 and per_device_train_batch_size=16"
    sweep.yaml:5:8: `exclude` is empty, it must be a list of conditions: ["learning_rate>1e-4 and warmup_ratio=0"]
    sweep.yaml:10:42: `lr_scheduler_type` is "linaer", it must be one of linear, cosine, polynomial, constant, constant_with_warmup
    sweep.yaml:10:42: whether `warmup_steps` exists depends on itself, name another parameter
    sweep.yaml:10:40: `when` is empty, it must be a condition: "learning_rate>1e-4 and per_device_train_batch_size=16"
    sweep.yaml:9:69: whether `lr_scheduler_type`, `warmup_steps` exist depends on each other in a circle: take one `when` away
    sweep.yaml:6:1: `exclude` lets fewer than 1 in 100 points through, of 1000 that were drawn: narrow the ranges instead
    sweep.yaml:8:11: `learning_rate` is never 0.5, it is drawn from a range: compare it with < or >
    "#);
}

proptest! {
    #[test]
    fn counts_and_points_are_those_of_going_through_all(
        counts in prop::collection::vec(1_usize..4, 2..6),
        when in prop::collection::vec((0_usize..6, 0_usize..6, 0_i64..4, prop::bool::ANY), 0..4),
        exclude in prop::collection::vec(prop::collection::vec((0_usize..6, 0_i64..4, 0_usize..3), 1..3), 0..3),
        first in prop::option::of(1_u64..50),
    ) {
        let axes: Vec<Axis> = counts.iter().enumerate().map(|(place, count)| axis(place, *count)).collect();
        let name = |place: usize| axes[place % axes.len()].name.clone();
        let text = |place: usize, sign: &str, value: i64| format!("{} {sign} {value}", name(place));
        let others: Vec<&str> = axes.iter().map(|axis| axis.name.as_str()).collect();
        // Values are numbers here whatever the parameter.
        let filter = |text: &str| Filter::of_results(text, &others).unwrap();
        // On an earlier one each, so that there is no circle.
        let when: BTreeMap<String, Filter> = when
            .into_iter()
            .filter(|(of, on, ..)| on % axes.len() < of % axes.len())
            .map(|(of, on, value, equal)| (name(of), filter(&text(on, if equal { "=" } else { "!=" }, value))))
            .collect();
        let exclude: Vec<Filter> = exclude
            .iter()
            .map(|all| {
                let all: Vec<String> = all.iter().map(|(place, value, sign)| text(*place, ["=", "<", ">="][*sign], *value)).collect();
                filter(&all.join(" and "))
            })
            .collect();
        let conditions = Conditions::new(when.into_iter().rev().collect(), exclude).unwrap();

        let grid = crate::spec::Grid::new(axes.clone()).unwrap();
        let settled = |index| {
            let mut point = grid.point(index);
            conditions.settle(&mut point).then_some(point)
        };
        let expected: BTreeSet<String> =
            (0..grid.len()).filter_map(settled).map(|point| serde_json::to_string(&point).unwrap()).collect();
        match Chosen::new(axes.clone(), conditions.clone(), None) {
            Err(error) => {
                prop_assert_eq!(error, SpaceError::NothingLeft);
                prop_assert!(expected.is_empty());
            }
            Ok(chosen) => {
                prop_assert_eq!(chosen.len(), expected.len() as u64);
                let points: Vec<Params> = (0..chosen.len()).map(|index| chosen.point(index)).collect();
                for (index, point) in points.iter().enumerate() {
                    prop_assert_eq!(chosen.index_of(point), Some(index as u64));
                }
                let found: BTreeSet<String> = points.iter().map(|point| serde_json::to_string(point).unwrap()).collect();
                prop_assert_eq!(found, expected);
                let digits = chosen.digits(&others);
                for (index, other) in (0..chosen.len()).flat_map(|index| (0..index).map(move |other| (index, other))) {
                    let of = |index: u64| digits[0].1.iter().map(|d| d.first + index / d.stride % d.base).collect::<Vec<_>>();
                    if of(index) == of(other) {
                        prop_assert_eq!(&points[index as usize], &points[other as usize]);
                    }
                }
                let capped = Chosen::new(axes, conditions, first).unwrap();
                prop_assert_eq!(capped.len(), chosen.len().min(first.unwrap_or(u64::MAX)));
                for index in 0..capped.len() {
                    prop_assert_eq!(&capped.point(index), &points[index as usize]);
                }
            }
        }
    }
}
