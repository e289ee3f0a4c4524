//! Wrong input, through the real programs: one clear sentence, a documented exit code, and nothing half-written.

use distilsweep_tests::{
    fleet::{Coordinator, Scene},
    sweep::four_trials,
};

const ROWS: &str = "text,label\nfine,positive\nbad,negative\ngood,positive\n";

/// What `distilsweep run` says to a sweep file, after its exit code; shows that it left no state behind.
fn refused(change: impl FnOnce(String) -> String, train: &str) -> anyhow::Result<String> {
    let scene = Scene::new()?;
    let train = scene.write("train.csv", train)?;
    let fixture = distilsweep_tests::sweep::fixture();
    let own = four_trials("wrong", 1)
        .replace(&format!("train: {}/train.csv", fixture.display()), &format!("train: {}", train.display()));
    let own = own.replace(&format!("{}/validation.csv", fixture.display()), &train.to_string_lossy());
    scene.write("sweep.yaml", &change(own))?;
    let before = scene.files()?;
    let finished = scene.run("distilsweep", &["run", "sweep.yaml", "--state", "state", "--device", "cpu"])?;
    assert_eq!(scene.files()?, before, "nothing is left behind");
    assert_eq!(finished.out, "");
    Ok(format!("{}: {}", finished.code.unwrap_or(-1), scene.redact(finished.err.trim())))
}

#[test]
fn a_wrong_sweep_file_is_told_by_line_and_key() -> anyhow::Result<()> {
    let unknown = refused(|file| file.replace("learning_rate:", "learning_rte:"), ROWS)?;
    let wrong_type = refused(|file| file.replace("max_steps: {value: 1}", "max_steps: {value: many}"), ROWS)?;
    let empty = refused(|file| file.replace("values: [1, 2]", "values: []"), ROWS)?;
    let several = refused(|file| file.replace("method: grid", "methd: grid").replace("[1, 2]", "[]"), ROWS)?;
    let no_yaml = refused(|file| format!("{file}\n  - ]"), ROWS)?;
    insta::assert_snapshot!([unknown, wrong_type, empty, several, no_yaml].join("\n\n"), @r#"
        3: error: sweep.yaml:10:3: unknown parameter `learning_rte`, did you mean `learning_rate`?

        3: error: sweep.yaml:13:22: `max_steps` is "many", it must be a whole number of at least -1

        3: error: sweep.yaml:11:18: `values` of `seed` is empty, list at least one value

        3: error: sweep.yaml:7:1: unknown key `methd`, did you mean `method`?
        sweep.yaml:11:18: `values` of `seed` is empty, list at least one value

        3: error: sweep.yaml:15:5: this is not YAML: while parsing a block mapping, did not find expected key
        "#);
    Ok(())
}

#[test]
fn a_wrong_model_or_data_set_is_told_before_anything_starts() -> anyhow::Result<()> {
    let fixture = distilsweep_tests::sweep::fixture();
    let model = format!("model: {}/start", fixture.display());
    let absent = refused(|file| file.replace(&model, "model: ./nowhere"), ROWS)?;
    let incomplete = refused(|file| file.replace(&model, "model: ."), ROWS)?;
    let no_class = refused(
        |file| file.replace("method:", "  labels: [negative, positive]\nmethod:"),
        &ROWS.replace("bad,negative", "bad,negativ"),
    )?;
    let no_column = refused(|file| file.replace("method:", "  text: body\nmethod:"), ROWS)?;
    let no_file = refused(|file| file.replace("train.csv", "gone.csv"), ROWS)?;
    insta::assert_snapshot!([absent, incomplete, no_class, no_column, no_file].join("\n"), @r#"
    3: error: SCENE/nowhere does not exist: it must be a directory or an id of the Hub (owner/name)
    3: error: SCENE/config.json does not exist: a model needs config.json, model.safetensors, tokenizer.json
    3: error: SCENE/train.csv line 3: unknown label "negativ", did you mean "negative"?; the classes are "negative", "positive"
    3: error: SCENE/train.csv has no column "body"; its columns are "text", "label"
    3: error: SCENE/gone.csv does not exist: check the path (relative ones in a sweep file count from it)
    "#);
    Ok(())
}

#[test]
fn an_unreachable_coordinator_is_named() -> anyhow::Result<()> {
    let scene = Scene::new()?;
    let address = format!("http://127.0.0.1:{}", distilsweep_tests::mlflow::free_port()?);
    let mut shown = Vec::new();
    for (program, arguments) in [
        ("distilsweep", &["results", "--coordinator", &address][..]),
        ("distilsweep", &["sweep", "list", "--coordinator", "nonsense"]),
        ("distilsweep-worker", &["join", &address, "--patience", "1", "--device", "cpu"]),
        ("distilsweep", &["results", "--state", "state"]),
    ] {
        let finished = scene.run(program, arguments)?;
        let said = finished.err.lines().last().unwrap_or_default().replace(&address, "ADDRESS");
        shown.push(format!("{}: {}", finished.code.unwrap_or(-1), scene.redact(&said)));
    }
    assert!(!scene.path("state").exists(), "looking makes no state directory");
    insta::assert_snapshot!(shown.join("\n"), @r"
        4: error: coordinator ADDRESS cannot be reached: Connection refused (os error 111): is `distilsweep serve` running there?
        2: error: `nonsense` is no URL, it must be http://host:port or https://host:port
        4: error: coordinator ADDRESS cannot be reached: Connection refused (os error 111): is `distilsweep serve` running there?
        3: error: state holds no sweeps: start one with `distilsweep run SWEEP.yaml`, or name the directory with --state
        ");
    Ok(())
}

#[test]
fn a_port_or_state_directory_in_use_is_named() -> anyhow::Result<()> {
    let scene = Scene::new()?;
    let coordinator = Coordinator::start(&scene, "127.0.0.1:0", &[])?;
    let listen = coordinator.url.trim_start_matches("http://").to_owned();
    let port = scene.run("distilsweep", &["serve", "--state", "other", "--listen", &listen])?;
    assert!(!scene.path("other").exists(), "nothing is made for a coordinator that cannot listen");
    let state = scene.run("distilsweep", &["serve", "--state", "state", "--listen", "127.0.0.1:0"])?;
    let shown = [port, state].map(|finished| {
        format!(
            "{}: {}",
            finished.code.unwrap_or(-1),
            scene.redact(finished.err.trim()).replace(&listen, "ADDRESS")
        )
    });
    insta::assert_snapshot!(shown.join("\n"), @r"
        5: error: cannot listen on ADDRESS: Address already in use (os error 98): choose another with --listen HOST:PORT, port 0 takes a free one
        5: error: state directory SCENE/state is in use by another coordinator
        ");
    Ok(())
}
