//! The coordinator's pages and the report in a real Chromium, on sweeps that were really trained.

use std::{path::Path, time::Duration};

use anyhow::ensure;
use distilsweep_tests::{
    browser::{Browser, PATIENCE, driver},
    fleet::{Coordinator, Scene, worker},
    sweep::{fixture, one_trial, sixteen_trials},
    wait::{now, until},
};

const TAB: &str = "\u{e004}";
const ENTER: &str = "\u{e007}";
const DOWN: &str = "\u{e015}";
const LEFT: &str = "\u{e012}";
const TOKEN: &str = "client-0123456789abcdef";
/// Nothing on a page is wider than the window.
const FITS: &str = "document.documentElement.scrollWidth <= window.innerWidth";

/// A sweep of twelve trials in every kind of value, one of which diverges.
fn mixed() -> String {
    let fixture = fixture();
    format!(
        "name: emotion-of-headlines
model: {fixture}/start
dataset: {{train: {fixture}/train.csv, validation: {fixture}/validation.csv, test: {fixture}/validation.csv}}
method: grid
metric: {{name: best_validation_f1, goal: maximize}}
parameters:
  learning_rate: {{values: [1e-4, 1e-3, 3e-3]}}
  lr_scheduler_type: {{values: [linear, cosine]}}
  weight_decay: {{values: [0, 0.1]}}
  per_device_train_batch_size: {{value: 8}}
  max_steps: {{value: 24}}
  logging_steps: {{value: 4}}
  eval_strategy: {{value: steps}}
  eval_steps: {{value: 8}}
",
        fixture = fixture.display()
    )
}

/// Where the pages of a coordinator are.
fn pages(scene: &Scene) -> anyhow::Result<String> {
    let file = scene.path("state/http-address");
    until("the address of the pages", PATIENCE, || {
        Ok(std::fs::read_to_string(&file).ok().filter(|url| url.ends_with('\n')))
    })
    .map(|url| url.trim().to_owned())
}

/// The trials of the table, in its order.
const ROWS: &str =
    "[...document.querySelectorAll('#trials tbody tr')].map(row => row.children[1].innerText).join(' ')";

fn trained(scene: &Scene) -> anyhow::Result<()> {
    let file = scene.write("sweep.yaml", &mixed())?;
    let file = file.to_string_lossy();
    let arguments =
        ["run", &*file, "--state", "state", "--device", "cpu", "--threads", "1", "--workers", "1"];
    let ended = scene.start("distilsweep", &arguments)?.wait(Duration::from_secs(300))?;
    ensure!(ended.code == Some(0), "{ended:?}");
    ensure!(ended.err.contains("watch   http://127.0.0.1:"), "it says where to watch: {}", ended.err);
    Ok(())
}

#[test]
fn a_finished_sweep_is_sorted_filtered_brushed_and_pointed_at() -> anyhow::Result<()> {
    let Some(driver) = driver() else { return Ok(()) };
    let scene = Scene::new()?;
    trained(&scene)?;
    let _coordinator = Coordinator::start(&scene, "127.0.0.1:0", &[])?;
    let home = pages(&scene)?;
    let browser = Browser::start(&scene, &driver)?;
    browser.screen(1280, false)?;
    browser.open(&home)?;
    ensure!(browser.text("document.querySelector('h1').innerText")? == "Sweeps");
    browser.picture("sweeps")?;
    browser.click("#sweeps a")?;
    browser.becomes("document.querySelectorAll('#trials tbody tr').length === 12")?;

    // Sorting stays on the page: the mark survives.
    browser.run("window.mark = true")?;
    browser.click("[id='by-trial']")?;
    browser.becomes(&format!("{ROWS} === '0 1 2 3 4 5 6 7 8 9 10 11'"))?;
    browser.click("[id='by-trial']")?;
    browser.becomes(&format!("{ROWS} === '11 10 9 8 7 6 5 4 3 2 1 0'"))?;
    ensure!(
        browser.run("return window.mark && document.activeElement.id === 'by-trial'")? == true,
        "focus stays"
    );

    browser.write("#where", &format!("lr_scheduler_type=cosine and weight_decay=0{ENTER}"))?;
    browser.becomes("document.querySelectorAll('#trials tbody tr').length === 3")?;
    ensure!(browser.text("location.search")?.contains("where="), "the address says so");
    browser.run("document.getElementById('where').value = ''")?;
    browser.write("#where", &format!("learning_rat>1{ENTER}"))?;
    browser.becomes("document.querySelector('#trials [role=alert]')?.innerText.includes('learning_rate')")?;
    browser.click("[data-clear]")?;
    browser.becomes("document.querySelectorAll('#trials tbody tr').length === 12")?;

    brush(&browser)?;
    hover(&browser)?;
    ensure!(browser.complaints()?.is_empty(), "{:?}", browser.complaints()?);

    // The same without a script's help: each is an address.
    browser.open(&format!(
        "{home}/sweeps/emotion-of-headlines?where=weight_decay%3D0.1&sort=trial&order=desc"
    ))?;
    ensure!(browser.text(ROWS)? == "11 9 7 5 3 1");
    browser.open(&format!("{home}/sweeps/emotion-of-headlines/trials/3"))?;
    ensure!(browser.text("document.querySelector('h1').innerText")? == "Trial 3");
    browser.becomes("document.querySelectorAll('table.matrix').length === 2")?;

    looks(&browser, &home)?;
    let elsewhere: Vec<String> = browser
        .requests()?
        .into_iter()
        .filter(|url| !url.starts_with(&home) && url.starts_with("http"))
        .collect();
    ensure!(elsewhere.is_empty(), "nothing leaves the machine: {elsewhere:?}");
    ensure!(browser.complaints()?.is_empty(), "{:?}", browser.complaints()?);
    Ok(())
}

/// Chooses along an axis by mouse and by keys.
fn brush(browser: &Browser) -> anyhow::Result<()> {
    let axis = "document.querySelector('.upright[data-name=weight_decay] .grip')";
    browser.run(&format!("{axis}.scrollIntoView({{block: 'center'}})"))?;
    let at = browser.run(&format!(
        "const box = {axis}.getBoundingClientRect(); return [box.x + box.width / 2, box.y, box.bottom]"
    ))?;
    let at = |place: usize| at[place].as_f64().unwrap_or_default() as i64;
    // The upper half holds the greater of two values.
    browser.drag(&[[at(0), at(1) + 2], [at(0), at(1) + 40], [at(0), (at(1) + at(2)) / 2]], true)?;
    browser.becomes("document.getElementById('where').value === 'weight_decay=0.1'")?;
    browser.becomes("document.querySelectorAll('.lines path.off').length === 6")?;
    browser.becomes("document.querySelectorAll('#trials tbody tr').length === 6")?;
    browser.picture("brushed")?;
    // A click lets go.
    browser.drag(&[[at(0), at(1) + 30]], true)?;
    browser.becomes("document.querySelectorAll('#trials tbody tr').length === 12")?;
    browser.run("document.querySelector('.upright[data-name=learning_rate]').focus()")?;
    browser.press(&[DOWN])?;
    browser.becomes("document.querySelectorAll('.lines path.off').length > 0")?;
    browser.press(&["\u{e00c}"])?;
    browser.becomes("document.querySelectorAll('.lines path.off').length === 0")
}

/// Asks a curve for its values by mouse and by keys.
fn hover(browser: &Browser) -> anyhow::Result<()> {
    let plot = "document.querySelector('#curves svg.plot')";
    browser.run(&format!("{plot}.scrollIntoView({{block: 'center'}})"))?;
    let at = browser.run(&format!(
        "const box = {plot}.getBoundingClientRect(); return [box.x + box.width / 2, box.y + box.height / 2]"
    ))?;
    let at = |place: usize| at[place].as_f64().unwrap_or_default() as i64;
    browser.drag(&[[at(0) - 5, at(1)], [at(0), at(1)]], false)?;
    browser
        .becomes("document.querySelector('#curves .tip:not([hidden])')?.innerText.startsWith('step 16')")?;
    browser.becomes("document.querySelectorAll('#curves .tip:not([hidden]) div').length === 8")?;
    browser.picture("hover")?;
    browser.drag(&[[2, 2]], false)?;
    browser.run(&format!("{plot}.focus()"))?;
    browser.press(&[LEFT])?;
    browser.becomes("document.querySelector('#curves .tip:not([hidden])')?.innerText.startsWith('step 24')")
}

/// Every page at every width in light and dark fits, and can be walked through by keys.
fn looks(browser: &Browser, home: &str) -> anyhow::Result<()> {
    let sweep = format!("{home}/sweeps/emotion-of-headlines");
    for (name, url) in
        [("sweeps", home.to_owned()), ("sweep", sweep.clone()), ("trial", format!("{sweep}/trials/3"))]
    {
        for (width, dark) in [(390, false), (390, true), (1280, false), (1280, true), (1920, false)] {
            browser.screen(width, dark)?;
            browser.open(&url)?;
            ensure!(browser.run(&format!("return {FITS}"))? == true, "{name} at {width} fits");
            browser.picture(&format!("{name}-{width}{}", if dark { "-dark" } else { "" }))?;
        }
    }
    browser.screen(1280, false)?;
    browser.open(&sweep)?;
    browser.run(
        "window.reached = new Set(); document.addEventListener('focusin', e => window.reached.add(e.target))",
    )?;
    let wanted = "[...document.querySelectorAll('a[href], button, input:not([type=hidden]), summary, .upright, svg.plot[tabindex]')]";
    let count = browser.run(&format!("return {wanted}.length"))?.as_u64().unwrap_or_default();
    ensure!(count > 30, "there is something to reach: {count}");
    for _ in 0..count.div_ceil(40) + 2 {
        browser.press(&[TAB; 40])?;
    }
    let missed = browser.text(&format!(
        "{wanted}.filter(one => !window.reached.has(one)).map(one => one.outerHTML.slice(0, 80)).join()"
    ))?;
    ensure!(missed.is_empty(), "keys do not reach {missed}");
    Ok(())
}

#[test]
fn a_report_works_from_a_file() -> anyhow::Result<()> {
    let Some(driver) = driver() else { return Ok(()) };
    let scene = Scene::new()?;
    trained(&scene)?;
    let written =
        scene.run("distilsweep", &["report", "-o", "report.html", "--svg", "plots", "--state", "state"])?;
    ensure!(written.code == Some(0), "{written:?}");
    let browser = Browser::start(&scene, &driver)?;
    for (width, dark) in [(390, true), (1280, false)] {
        browser.screen(width, dark)?;
        browser.open(&format!("file://{}", scene.path("report.html").display()))?;
        ensure!(browser.run(&format!("return {FITS}"))? == true, "the report at {width} fits");
        browser.picture(&format!("report-{width}"))?;
    }
    ensure!(browser.text("document.body.innerText")?.contains("Selection is on validation only"));
    let plot = "document.querySelector('figure svg.plot')";
    browser.run(&format!("{plot}.scrollIntoView(); {plot}.focus()"))?;
    browser.press(&[LEFT])?;
    browser.becomes("document.querySelector('.tip:not([hidden])')?.innerText.startsWith('step 24')")?;
    for plot in ["curves-loss", "parallel", "importance", "scores"] {
        browser.open(&format!("file://{}", scene.path(&format!("plots/{plot}.svg")).display()))?;
        ensure!(browser.run("return document.documentElement.tagName")? == "svg", "{plot} is a picture");
    }
    let elsewhere: Vec<String> =
        browser.requests()?.into_iter().filter(|url| url.starts_with("http")).collect();
    ensure!(elsewhere.is_empty(), "nothing is asked for: {elsewhere:?}");
    ensure!(browser.complaints()?.is_empty(), "{:?}", browser.complaints()?);
    Ok(())
}

#[test]
fn a_running_sweep_is_live_and_comes_back_with_its_coordinator() -> anyhow::Result<()> {
    let Some(driver) = driver() else { return Ok(()) };
    let scene = Scene::new()?;
    let mut coordinator = Coordinator::start(&scene, "127.0.0.1:0", &[])?;
    let home = pages(&scene)?;
    coordinator.submit(&scene, &scene.write("sweep.yaml", &sixteen_trials("live", 400))?)?;
    let browser = Browser::start(&scene, &driver)?;
    browser.screen(1280, false)?;
    browser.open(&format!("{home}/sweeps/live"))?;
    ensure!(browser.text("document.getElementById('trials').innerText")?.contains("No trial has begun yet."));
    ensure!(
        browser.text("document.getElementById('workers').innerText")?.contains("No worker is connected.")
    );
    browser.picture("empty")?;
    browser.run("window.mark = true; document.getElementById('where').value = 'half a thou'; document.getElementById('where').focus()")?;

    let _worker = worker(&scene, &coordinator.url, &["--scripted", "400x2"])?;
    browser.becomes("document.querySelectorAll('#progress tbody tr').length > 0")?;
    browser.becomes("document.querySelectorAll('#workers tbody tr').length === 1")?;
    browser.picture("live")?;
    browser.becomes("document.querySelectorAll('#trials .completed').length > 1")?;
    let untouched = "window.mark && document.activeElement.id === 'where' && document.activeElement.value === 'half a thou'";
    ensure!(browser.run(&format!("return {untouched}"))? == true, "what somebody types stays");

    // The coordinator goes and comes back at its address: the page goes on by itself.
    let (grpc, http) = (
        coordinator.url.trim_start_matches("http://").to_owned(),
        home.trim_start_matches("http://").to_owned(),
    );
    coordinator.process.kill()?;
    let ended = "document.querySelectorAll('#trials .completed').length";
    let before = browser.run(&format!("return {ended}"))?;
    let _back = Coordinator::start(&scene, &grpc, &["--http", &http])?;
    browser.becomes(&format!("{ended} > {before} + 1 && window.mark"))?;
    browser.becomes("document.querySelector('#progress .state').innerText === 'completed'")?;
    browser.becomes("document.querySelectorAll('#trials .completed').length === 16")
}

#[test]
fn orders_need_a_token_and_stand_in_the_journal_under_its_name() -> anyhow::Result<()> {
    let Some(driver) = driver() else { return Ok(()) };
    let scene = Scene::new()?;
    let tokens = scene.write("tokens", &format!("anna: {TOKEN}\n"))?;
    let file = scene.write("sweep.yaml", &one_trial("steered", 4))?;
    let tokens = tokens.to_string_lossy();
    let coordinator = Coordinator::start(&scene, "127.0.0.1:0", &["--client-token-file", &tokens])?;
    let home = pages(&scene)?;
    let submit = [
        "sweep",
        "submit",
        &*file.to_string_lossy(),
        "--coordinator",
        &coordinator.url,
        "--token-file",
        &*tokens,
    ];
    let submitted = scene.run("distilsweep", &submit)?;
    ensure!(submitted.code == Some(0), "{submitted:?}");
    let browser = Browser::start(&scene, &driver)?;
    browser.screen(1280, false)?;
    let sweep = format!("{home}/sweeps/steered");
    browser.open(&sweep)?;
    ensure!(
        browser.run("return document.querySelectorAll('form[method=post]').length")? == 0,
        "reading only"
    );
    browser.click("header a[href='/sign-in']")?;
    browser.write("#token", &format!("not-the-token-of-anna{ENTER}"))?;
    browser.becomes("document.querySelector('[role=alert]')")?;
    browser.picture("sign-in")?;
    browser.write("#token", &format!("{TOKEN}{ENTER}"))?;
    browser.becomes("document.querySelector('.last')?.innerText.includes('anna')")?;
    browser.open(&sweep)?;
    browser.click("form[action$='/pause'] button")?;
    browser.becomes("document.querySelector('#progress .state').innerText === 'paused'")?;
    browser.becomes("document.getElementById('events').innerText.includes('by anna')")?;
    browser.picture("orders")?;
    // The refused sign-in is the one thing that the console has.
    let complaints = browser.complaints()?;
    ensure!(complaints.iter().all(|line| line.contains("401")), "{complaints:?}");

    // A page of another site cannot order, whatever cookie the browser has.
    let agent: ureq::Agent =
        ureq::Agent::config_builder().http_status_as_error(false).max_redirects(0).build().into();
    let forged =
        agent.post(format!("{sweep}/resume")).header("origin", "http://evil.example").send_empty()?;
    ensure!(forged.status() == 403, "{}", forged.status());
    let stranger = agent.post(format!("{sweep}/resume")).send_empty()?;
    ensure!(stranger.status() == 303, "to the page that asks for a token: {}", stranger.status());
    let rebound = agent.get(&sweep).header("host", "evil.example").call()?;
    ensure!(rebound.status() == 421, "{}", rebound.status());
    Ok(())
}

/// A finished sweep of ten thousand trials: one is trained, the others are its copies with other scores.
fn ten_thousand(scene: &Scene) -> anyhow::Result<()> {
    let fixture = fixture();
    let steps = |first: f64, by: f64| {
        (0..10).map(|n| format!("{:.5}", first + by * f64::from(n))).collect::<Vec<_>>().join(", ")
    };
    let file = format!(
        "name: ten-thousand\nmodel: {0}/start\ndataset: {{train: {0}/train.csv, validation: {0}/validation.csv}}\nmethod: grid\n\
         metric: {{name: best_validation_f1, goal: maximize}}\nparameters:\n  learning_rate: {{values: [{1}]}}\n  weight_decay: {{values: [{2}]}}\n  \
         warmup_ratio: {{values: [{2}]}}\n  seed: {{values: [1, 2, 3, 4, 5, 6, 7, 8, 9, 10]}}\n  max_steps: {{value: 2}}\n",
        fixture.display(),
        steps(1e-5, 1e-5),
        steps(0.0, 0.01)
    );
    let mut coordinator = Coordinator::start(scene, "127.0.0.1:0", &[])?;
    coordinator.submit(scene, &scene.write("sweep.yaml", &file)?)?;
    let mut one = worker(scene, &coordinator.url, &["--scripted", "2x1"])?;
    coordinator.ranking_when(scene, "a trial with a result", |ranking| {
        ranking.trials().iter().any(|trial| trial.number() == 0 && trial.state() == "completed")
    })?;
    one.kill()?;
    coordinator.process.kill()?;
    copy(&scene.path("state/coordinator.db"))
}

fn copy(database: &Path) -> anyhow::Result<()> {
    let connection = rusqlite::Connection::open(database)?;
    connection.execute_batch(
        "DELETE FROM leases WHERE ended_ms IS NULL;
         DELETE FROM trials WHERE trial > 0;
         WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < 9999),
              scored(i, score) AS (SELECT i, 0.5 + 0.3 * ((i * 7919) % 10007) / 10007.0 FROM n)
         INSERT INTO trials (sweep, trial, state, attempts, worker, result, metric, started_ms, finished_ms)
         SELECT t.sweep, i, t.state, t.attempts, t.worker, json_set(t.result, '$.metrics.best_validation_f1', score), score,
                t.started_ms, t.finished_ms
         FROM scored, trials t WHERE t.trial = 0;",
    )?;
    Ok(())
}

#[test]
fn ten_thousand_trials_open() -> anyhow::Result<()> {
    let Some(driver) = driver() else { return Ok(()) };
    let scene = Scene::new()?;
    ten_thousand(&scene)?;
    let _coordinator = Coordinator::start(&scene, "127.0.0.1:0", &[])?;
    let home = pages(&scene)?;
    let browser = Browser::start(&scene, &driver)?;
    browser.screen(1280, false)?;
    for time in ["first", "second"] {
        let before = now();
        browser.open(&format!("{home}/sweeps/ten-thousand"))?;
        println!("ten thousand trials open in {:.2} s the {time} time", (now() - before).as_secs_f64());
    }
    browser.becomes("document.querySelector('#trials [role=status]').innerText.includes('10000 trials')")?;
    browser.click("#trials [role=status] a")?;
    browser.becomes("document.querySelector('#trials [role=status]').innerText.includes('page 2 of 100')")?;
    ensure!(browser.run("return document.querySelectorAll('.lines path').length")?.as_u64() <= Some(2000));
    let before = now();
    browser.write("#where", &format!("learning_rate>5e-5 and seed=3{ENTER}"))?;
    browser.becomes(
        "document.querySelector('#trials [role=status]').innerText.includes('500 of 10000 trials')",
    )?;
    println!("and are filtered in {:.2} s", (now() - before).as_secs_f64());
    browser.picture("ten-thousand")?;
    ensure!(browser.complaints()?.is_empty(), "{:?}", browser.complaints()?);
    Ok(())
}
