//! Files that would take for ever, or all memory: the work is bounded, whatever they say.

use super::*;

/// A file whose aliases double eight values so many times.
fn doubled(times: usize) -> String {
    let first = "a0: &a0 [1, 2, 3, 4, 5, 6, 7, 8]\n".to_owned();
    let more = (1..=times).map(|level| {
        let [here, before] = [level, level - 1];
        format!("a{here}: &a{here} [*a{before}, *a{before}]\n")
    });
    first + &more.collect::<String>()
}

#[test]
fn what_is_too_much_is_refused_before_it_is_gone_through() {
    let nothing = |problems: String| problems.lines().last().unwrap_or_default().to_owned();
    let values = (0..120_000).map(|value| value.to_string()).collect::<Vec<_>>().join(",");
    let keys: String = (0..3_000).map(|key| format!("k{key}: 1\n")).collect();
    let long = "x".repeat(40_000);
    let repeated = format!("description: &a {long}\nname: [{}]\n", ["*a"; 200].join(", "));
    let cases = [
        format!("name: {}", "x".repeat(1 << 20)),
        doubled(60),
        GOOD.replace("2e-5, 5e-5", &values),
        keys,
        repeated,
        "[".repeat(1 << 19),
        "{a: ".repeat(1 << 17),
        "&a ".repeat(1 << 18),
        "- ".repeat(1 << 19),
        "? ".repeat(1 << 19),
        "'".repeat(1 << 19),
        "!".repeat(1 << 19),
        "\t".repeat(1 << 19),
        "%".repeat(1 << 19),
    ];
    insta::assert_snapshot!(cases.map(|case| nothing(problems(&case))).join("\n"), @r#"
    sweep.yaml:1:1: the file has 1048582 bytes, a sweep file has 1048576 at most
    sweep.yaml:14:6: with this the file has more than 100000 values, aliases written out: name fewer, or draw from ranges
    sweep.yaml:6:588918: with this the file has more than 100000 values, aliases written out: name fewer, or draw from ranges
    sweep.yaml:1001:8: with this the file has more than 1000 keys, aliases written out: a sweep file has fewer than a hundred
    sweep.yaml:2:644: with this the file has more than 100000 values, aliases written out: name fewer, or draw from ranges
    sweep.yaml:1:256: this is not YAML: recursion limit exceeded
    sweep.yaml:1:1021: this is not YAML: recursion limit exceeded
    sweep.yaml:1:4: this is not YAML: did not find expected <document start>
    sweep.yaml:1:65: nested deeper than 32 levels, a sweep file needs 4
    sweep.yaml:1:65: nested deeper than 32 levels, a sweep file needs 4
    sweep.yaml:1:1: the file is "'''''''''''''''''''''''''''''''''''''''''''''''''''''''''''…", a sweep is a mapping of keys: `name: …`, `model: …`
    sweep.yaml:1:1: this is not YAML: while parsing a tag, did not find expected tag URI
    sweep.yaml:1:1: the file is empty, a sweep needs `name`, `model`, `dataset`, `method` and `parameters`
    sweep.yaml:2:1: this is not YAML: did not find expected <document start>
    "#);
}

#[test]
fn aliases_within_bounds_stand_for_what_they_repeat() {
    let found = problems(&doubled(3));
    assert!(found.contains("unknown key `a3`") && found.contains("missing key `name`"), "{found}");
}

#[test]
fn of_very_many_problems_the_first_are_told() {
    let values = vec!["-1"; 90_000].join(",");
    let found = problems(&GOOD.replace("2e-5, 5e-5", &values));
    assert_eq!(found.lines().count(), 51);
    insta::assert_snapshot!(found.lines().last().unwrap(), @"sweep.yaml:6:178: and 89950 problems more from here on");
    let unknown: String = (0..1_000).map(|key| format!("learning_rate{key}: 1\n")).collect();
    assert_eq!(problems(&unknown).lines().count(), 51);
}

#[test]
fn values_that_are_no_numbers_to_train_with_are_refused() {
    let rate = |line: &str| {
        let file = GOOD.replace("method: grid", "method: random\nrun_cap: 2");
        problems(&file.replace("{values: [2e-5, 5e-5]}", line))
    };
    let cases = [
        rate("{min: .nan, max: 1e-3}"),
        rate("{min: 1e-5, max: .inf}"),
        rate("{min: 1e-3, max: 1e-5}"),
        rate("{min: 1e-3, max: 1e-3}"),
        rate("{values: []}"),
        rate("{values: [1e-3, 1e-4], probabilities: [0.5, 0.4]}"),
        rate("{distribution: normal, mu: .nan, sigma: 1}"),
        rate("{distribution: log_uniform, min: 800, max: 900}"),
        rate("{distribution: q_uniform, min: 0.0, max: 1.0, q: 0}"),
    ];
    insta::assert_snapshot!(cases.join("\n"), @"
    sweep.yaml:7:24: `min` is .nan, it must be a finite number
    sweep.yaml:7:35: `max` is .inf, it must be a finite number
    sweep.yaml:7:35: `max` must be above `min`, they are 0.00001 and 0.001
    sweep.yaml:7:35: `max` must be above `min`, they are 0.001 and 0.001
    sweep.yaml:7:27: `values` of `learning_rate` is empty, list at least one value
    sweep.yaml:7:56: `probabilities` adds up to 0.9, it must add up to 1
    sweep.yaml:7:45: `mu` is .nan, it must be a finite number
    sweep.yaml:7:61: `max` must be above `min`, they are inf and inf
    sweep.yaml:7:67: `q` is 0, it must be above 0
    ");
}

#[test]
fn conditions_over_more_than_can_be_gone_through_are_refused() {
    let listed = |name: &str| {
        format!(
            "  {name}: {{values: [{}]}}\n",
            (1..=200).map(|v| v.to_string()).collect::<Vec<_>>().join(",")
        )
    };
    let names = ["seed", "data_seed", "max_length", "eval_steps"];
    let parameters: String = names.iter().map(|name| listed(name)).collect();
    let all = names.map(|name| format!("{name}=7")).join(" and ");
    let file = format!(
        "name: n\nmodel: m\ndataset: d\nmethod: grid\nexclude: [{all}]\nparameters:\n{}",
        parameters.replace("[1,2,", "[")
    );
    insta::assert_snapshot!(problems(&file), @"sweep.yaml:6:1: the parameters that `when` and `exclude` are about have more than 1000000 combinations, the most that are counted: let conditions name fewer parameters, or draw with `method: random`");
}

/// The files of the fuzzer and the examples: between them, every key of the grammar.
const FILES: [&str; 5] = [
    include_str!("../../../../deploy/examples/sentiment.yaml"),
    include_str!("../../../../tests/fuzz/sweeps/conditional.yaml"),
    include_str!("../../../../tests/fuzz/sweeps/search.yaml"),
    include_str!("../../../../tests/fuzz/sweeps/dataset.yaml"),
    include_str!("../../../../tests/fuzz/sweeps/splits.yaml"),
];

#[test]
fn messages_show_long_and_unprintable_values_in_short() {
    let is_word = |c: char| c.is_ascii_alphanumeric() || "_-.".contains(c);
    let long = format!("{}\\e[31m", "x".repeat(9_000));
    let mut wrong = 0;
    for file in FILES {
        good(file);
        for (start, _) in file.match_indices(is_word) {
            if file[..start].ends_with(is_word) {
                continue;
            }
            let end = start + file[start..].find(|c| !is_word(c)).unwrap_or(file.len() - start);
            for value in [format!("\"{long}\""), long.clone(), format!("[{long}, {long}, \"\\e\"]")] {
                let damaged = format!("{}{value}{}", &file[..start], &file[end..]);
                let Err(problems) = parse(&damaged) else { continue };
                wrong += 1;
                for problem in problems.iter() {
                    let message = &problem.message;
                    assert!(!message.contains(&"x".repeat(61)), "{message}");
                    assert!(!message.contains(char::is_control), "{message:?}");
                    assert!(message.chars().count() <= 700, "{message}");
                }
            }
        }
    }
    assert!(wrong > 200, "only {wrong} files were refused");
}
