//! A real Chromium, driven over WebDriver. A client of the few calls that tests make is shorter than what a crate for all
//! of them brings along, and speaks ChromeDriver's own ones (logs, emulation) too.

use std::{
    fmt,
    os::unix::process::CommandExt,
    path::{Path, PathBuf},
    process::Command,
    time::Duration,
};

use anyhow::{Context, ensure};
use rustix::process::{Signal, kill_process_group};
use serde_json::{Value, json};

use crate::{fleet::Scene, mlflow::free_port, process::Process, wait::until};

/// How long a page may take on a busy machine.
pub const PATIENCE: Duration = Duration::from_secs(60);

/// Under which key WebDriver names an element.
const ELEMENT: &str = "element-6066-11e4-a52e-4f735466cecf";

/// Arguments that keep a browser to itself: no sandbox, for root has none, and no word to anybody.
const ARGUMENTS: [&str; 10] = [
    "--headless",
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--disable-dev-shm-usage",
    "--hide-scrollbars",
];

/// A browser with one page.
pub struct Browser {
    driver: Process,
    agent: ureq::Agent,
    session: String,
}

impl fmt::Debug for Browser {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Browser").field("session", &self.session).finish_non_exhaustive()
    }
}

/// The program that drives it, where somebody installed it.
pub fn driver() -> Option<PathBuf> {
    let Some(driver) = std::env::var_os("DISTILSWEEP_TEST_CHROMEDRIVER") else {
        println!(
            "skipped: DISTILSWEEP_TEST_CHROMEDRIVER does not name `chromedriver`; tests/run.sh finds Debian's, or installs it"
        );
        return None;
    };
    Some(driver.into())
}

impl Browser {
    /// Starts one whose data lie in the scene.
    ///
    /// # Errors
    /// It does not start.
    pub fn start(scene: &Scene, driver: &Path) -> anyhow::Result<Self> {
        let port = free_port()?;
        let data = scene.path(&format!("chromium-{port}"));
        std::fs::create_dir_all(&data)?;
        let mut command = Command::new(driver);
        command.arg(format!("--port={port}")).env("TMPDIR", &data).current_dir(&data).process_group(0);
        let driver = Process::start(&format!("chromedriver-{port}"), command, &scene.path("logs"))?;
        let agent = ureq::Agent::config_builder().http_status_as_error(false).build().into();
        let mut browser = Self { driver, agent, session: format!("http://127.0.0.1:{port}") };
        until("chromedriver", PATIENCE, || Ok(browser.call("GET", "/status", &Value::Null).ok()))?;
        let mut arguments: Vec<String> = ARGUMENTS.map(ToOwned::to_owned).into();
        arguments.push(format!("--user-data-dir={}", data.join("profile").display()));
        let wanted = json!({"capabilities": {"alwaysMatch": {
            "browserName": "chrome",
            "goog:chromeOptions": {"args": arguments},
            "goog:loggingPrefs": {"browser": "ALL", "performance": "ALL"},
        }}});
        let session = browser.call("POST", "/session", &wanted)?;
        let id = session["sessionId"].as_str().with_context(|| format!("a session, not {session}"))?;
        browser.session = format!("{}/session/{id}", browser.session);
        Ok(browser)
    }

    fn call(&self, method: &str, path: &str, body: &Value) -> anyhow::Result<Value> {
        let url = format!("{}{path}", self.session);
        let mut answer = match method {
            "GET" => self.agent.get(&url).call()?,
            "DELETE" => self.agent.delete(&url).call()?,
            _ => self.agent.post(&url).send_json(body)?,
        };
        let said: Value = answer.body_mut().with_config().limit(64 << 20).read_json()?;
        ensure!(answer.status().is_success(), "{path}: {}", said["value"]["message"]);
        Ok(said["value"].clone())
    }

    /// Opens a page and waits until it is loaded.
    ///
    /// # Errors
    /// It cannot be.
    pub fn open(&self, url: &str) -> anyhow::Result<()> {
        self.call("POST", "/url", &json!({"url": url})).map(drop)
    }

    /// What a script answers.
    ///
    /// # Errors
    /// It throws.
    pub fn run(&self, script: &str) -> anyhow::Result<Value> {
        self.call("POST", "/execute/sync", &json!({"script": script, "args": []}))
    }

    /// Waits until an expression of the page's is true.
    ///
    /// # Errors
    /// It does not become so in time.
    pub fn becomes(&self, expression: &str) -> anyhow::Result<()> {
        let script = format!("return Boolean({expression})");
        until(expression, PATIENCE, || Ok((self.run(&script)? == true).then_some(())))
    }

    /// A text that an expression of the page's gives.
    ///
    /// # Errors
    /// It gives none.
    pub fn text(&self, expression: &str) -> anyhow::Result<String> {
        let found = self.run(&format!("return {expression}"))?;
        found.as_str().map(ToOwned::to_owned).with_context(|| format!("{expression} is {found}"))
    }

    /// Clicks on the first element that a selector finds.
    ///
    /// # Errors
    /// There is none, or it cannot be clicked on.
    pub fn click(&self, selector: &str) -> anyhow::Result<()> {
        let element = self.element(selector)?;
        self.call("POST", &format!("/element/{element}/click"), &json!({})).map(drop)
    }

    /// Types into the first element that a selector finds; `\u{e007}` is Enter.
    ///
    /// # Errors
    /// There is none.
    pub fn write(&self, selector: &str, text: &str) -> anyhow::Result<()> {
        let element = self.element(selector)?;
        self.call("POST", &format!("/element/{element}/value"), &json!({"text": text})).map(drop)
    }

    fn element(&self, selector: &str) -> anyhow::Result<String> {
        let found = self.call("POST", "/element", &json!({"using": "css selector", "value": selector}))?;
        let id = found[ELEMENT].as_str();
        id.map(ToOwned::to_owned).with_context(|| format!("{selector}: {found}"))
    }

    /// Presses keys, one after the other.
    ///
    /// # Errors
    /// The browser does not answer.
    pub fn press(&self, keys: &[&str]) -> anyhow::Result<()> {
        let each =
            |key: &&str| [json!({"type": "keyDown", "value": key}), json!({"type": "keyUp", "value": key})];
        let actions: Vec<Value> = keys.iter().flat_map(each).collect();
        self.call(
            "POST",
            "/actions",
            &json!({"actions": [{"type": "key", "id": "keys", "actions": actions}]}),
        )
        .map(drop)
    }

    /// Moves the mouse along points of the window, with its button held from the first to the last where asked.
    ///
    /// # Errors
    /// A point is outside.
    pub fn drag(&self, points: &[[i64; 2]], held: bool) -> anyhow::Result<()> {
        let mut actions = Vec::new();
        for (place, [x, y]) in points.iter().enumerate() {
            actions.push(json!({"type": "pointerMove", "duration": 20, "x": x, "y": y}));
            if place == 0 && held {
                actions.push(json!({"type": "pointerDown", "button": 0}));
            }
        }
        if held {
            actions.push(json!({"type": "pointerUp", "button": 0}));
        }
        let mouse = json!({"type": "pointer", "id": "mouse", "parameters": {"pointerType": "mouse"}, "actions": actions});
        self.call("POST", "/actions", &json!({"actions": [mouse]})).map(drop)
    }

    /// Shows pages on a screen of this width, in light or dark.
    ///
    /// # Errors
    /// The browser does not know how.
    pub fn screen(&self, width: u32, dark: bool) -> anyhow::Result<()> {
        let metrics = json!({"width": width, "height": 900, "deviceScaleFactor": 1, "mobile": width < 600});
        self.devtools("Emulation.setDeviceMetricsOverride", &metrics)?;
        let scheme = if dark { "dark" } else { "light" };
        let features = json!({"features": [{"name": "prefers-color-scheme", "value": scheme}]});
        self.devtools("Emulation.setEmulatedMedia", &features).map(drop)
    }

    fn devtools(&self, command: &str, parameters: &Value) -> anyhow::Result<Value> {
        self.call("POST", "/goog/cdp/execute", &json!({"cmd": command, "params": parameters}))
    }

    /// The whole page as a PNG file in `screenshots` of the target directory, for a person to look at.
    ///
    /// # Errors
    /// It cannot be taken or written.
    pub fn picture(&self, name: &str) -> anyhow::Result<()> {
        use std::io::Write as _;
        let taken = self.devtools("Page.captureScreenshot", &json!({"captureBeyondViewport": true}))?;
        let data = taken["data"].as_str().context("a picture")?;
        let test = std::env::current_exe()?;
        let target = test.ancestors().nth(3).context("tests lie in the target directory")?;
        let directory = target.join("screenshots");
        std::fs::create_dir_all(&directory)?;
        let bytes = decoded(data);
        std::fs::File::create(directory.join(format!("{name}.png")))?.write_all(&bytes)?;
        Ok(())
    }

    /// What the console and the network said against pages since this was last asked.
    ///
    /// # Errors
    /// The browser does not tell.
    pub fn complaints(&self) -> anyhow::Result<Vec<String>> {
        let log = self.call("POST", "/se/log", &json!({"type": "browser"}))?;
        let lines = log.as_array().context("a log")?.iter();
        let bad = lines.filter(|line| matches!(line["level"].as_str(), Some("SEVERE" | "WARNING")));
        Ok(bad.map(|line| line["message"].to_string()).collect())
    }

    /// The addresses of all requests since this was last asked.
    ///
    /// # Errors
    /// The browser does not tell.
    pub fn requests(&self) -> anyhow::Result<Vec<String>> {
        let log = self.call("POST", "/se/log", &json!({"type": "performance"}))?;
        let mut urls = Vec::new();
        for line in log.as_array().context("a log")? {
            let entry: Value = serde_json::from_str(line["message"].as_str().unwrap_or_default())?;
            if entry["message"]["method"] == "Network.requestWillBeSent" {
                let url = entry["message"]["params"]["request"]["url"].as_str();
                urls.push(url.unwrap_or_default().to_owned());
            }
        }
        Ok(urls)
    }
}

impl Drop for Browser {
    fn drop(&mut self) {
        // Chromium ends with its session; what a failed test left goes with the driver's group.
        let _ = self.call("DELETE", "", &Value::Null);
        if let Ok(group) = self.driver.pid() {
            let _ = kill_process_group(group, Signal::TERM);
        }
    }
}

/// Base64, as a browser sends pictures.
fn decoded(text: &str) -> Vec<u8> {
    let value = |letter: u8| match letter {
        b'A'..=b'Z' => letter - b'A',
        b'a'..=b'z' => letter - b'a' + 26,
        b'0'..=b'9' => letter - b'0' + 52,
        b'+' => 62,
        _ => 63,
    };
    let letters: Vec<u8> = text.bytes().filter(|letter| *letter != b'=').map(value).collect();
    let mut bytes = Vec::with_capacity(letters.len() * 3 / 4);
    for four in letters.chunks(4) {
        let whole = four.iter().enumerate().fold(0u32, |sum, (i, six)| sum | u32::from(*six) << (18 - 6 * i));
        bytes.extend(&whole.to_be_bytes()[1..four.len()]);
    }
    bytes
}
