//! The pages: a list of sweeps, a sweep, a trial, each made of sections that are also served by themselves.

use std::{
    sync::Arc,
    time::{Duration, UNIX_EPOCH},
};

use axum::{
    Extension,
    extract::{Path, RawQuery, State},
    response::Html,
};
use distilsweep_proto::{ids::SweepId, v1};

use super::{Pages, asked::Refused, guard::Visitor, live, sections, shown::drawn};
use crate::{
    clock::Clock,
    grpc,
    results::{
        self,
        html::{self, View, escaped},
    },
};

/// Sections of a sweep's page, in order.
const SECTIONS: [&str; 9] =
    ["progress", "answer", "trials", "curves", "parallel", "mattered", "scores", "workers", "events"];

/// Where a page's sections come from.
pub(super) struct Live<'a> {
    /// Address of the page.
    pub(super) base: &'a str,
    /// Address of its events; empty where nothing changes any more.
    pub(super) events: String,
}

/// A whole page around its `body`.
pub(super) fn shell(title: &str, visitor: Option<&Visitor>, live: &str, body: &str) -> String {
    let title = escaped(title);
    let who = match visitor {
        Some(Visitor { name: Some(name), .. }) => format!(
            "<span class=\"last\"><span>{}</span><form method=\"post\" action=\"/sign-out\"><button>Sign out</button></form></span>",
            escaped(name)
        ),
        Some(Visitor { name: None, may_sign_in: true }) => {
            "<span class=\"last\"><a href=\"/sign-in\">Sign in</a></span>".to_owned()
        }
        Some(_) | None => String::new(),
    };
    format!(
        "<!doctype html>\n<html lang=\"en\">\n<head>\n<meta charset=\"utf-8\">\n\
         <meta name=\"viewport\" content=\"width=device-width, initial-scale=1\">\n<title>{title} · Distilsweep</title>\n\
         <link rel=\"icon\" href=\"/assets/icon.svg\">\n<link rel=\"stylesheet\" href=\"/assets/style.css\">\n\
         <script type=\"module\" src=\"/assets/app.js\"></script>\n</head>\n<body>\n\
         <a class=\"skip\" href=\"#main\">To the content</a>\n\
         <header class=\"top\"><a class=\"brand\" href=\"/\">Distilsweep</a>{who}</header>\n\
         <main id=\"main\"{live}>\n{body}</main>\n</body>\n</html>\n"
    )
}

fn attributes(live: &Live<'_>) -> String {
    format!(" data-base=\"{}\" data-live=\"{}\"", escaped(live.base), escaped(&live.events))
}

fn section(name: &str, body: &str) -> String {
    format!("<section id=\"{name}\">\n{body}</section>\n")
}

pub(super) fn now_ms() -> i64 {
    Clock::wall().0
}

/// A moment, relative for people and exact for machines.
pub(super) fn ago(at_ms: i64, now_ms: i64) -> String {
    let since = Duration::from_millis(u64::try_from(at_ms).unwrap_or_default());
    let exact = humantime::format_rfc3339_seconds(UNIX_EPOCH + since);
    let seconds = (now_ms - at_ms).max(0) / 1000;
    let relative = match seconds {
        0..60 => format!("{seconds} s ago"),
        60..3600 => format!("{} min ago", seconds / 60),
        3600..172_800 => format!("{} h ago", seconds / 3600),
        _ => format!("{} days ago", seconds / 86_400),
    };
    format!("<time datetime=\"{exact}\" title=\"{exact}\">{relative}</time>")
}

/// All sweeps.
pub(super) async fn sweeps(
    State(pages): State<Arc<Pages>>,
    Extension(visitor): Extension<Visitor>,
) -> Result<Html<String>, Refused> {
    let body = format!("<h1>Sweeps</h1>\n{}", section("sweeps", &pages.list().await?));
    let live = attributes(&Live { base: "", events: "/live".to_owned() });
    Ok(Html(shell("Sweeps", Some(&visitor), &live, &body)))
}

/// The list by itself.
pub(super) async fn sweeps_section(
    State(pages): State<Arc<Pages>>,
    Path(section): Path<String>,
) -> Result<Html<String>, Refused> {
    if section != "sweeps" {
        return Err(Refused::nowhere("there is no such section"));
    }
    Ok(Html(pages.list().await?))
}

/// One sweep.
pub(super) async fn sweep(
    State(pages): State<Arc<Pages>>,
    Extension(visitor): Extension<Visitor>,
    Path(sweep): Path<String>,
    RawQuery(query): RawQuery,
) -> Result<Html<String>, Refused> {
    let sweep = pages.find(sweep).await?;
    let status = pages.status(&sweep).await?;
    let view = View::parse(&query.unwrap_or_default());
    let mut body = format!(
        "<h1>{}</h1>\n<p class=\"dim\">Sweep <code>{sweep}</code>, {}</p>\n",
        escaped(&status.name),
        ago(status.created_ms, now_ms())
    );
    if visitor.name.is_some() {
        body.push_str(&sections::orders(&sweep, &status));
    }
    for name in SECTIONS {
        if name == "trials" {
            body.push_str(&sections::filter(&sweep, &view));
        }
        body.push_str(&section(name, &pages.of_sweep(&sweep, &status, name, &view, false).await?));
    }
    let base = format!("/sweeps/{sweep}");
    let live = attributes(&Live { base: &base, events: pages.events(&sweep, &status) });
    Ok(Html(shell(&status.name, Some(&visitor), &live, &body)))
}

/// A section of a sweep's page.
pub(super) async fn sweep_section(
    State(pages): State<Arc<Pages>>,
    Path((sweep, section)): Path<(String, String)>,
    RawQuery(query): RawQuery,
) -> Result<Html<String>, Refused> {
    let sweep = pages.find(sweep).await?;
    let status = pages.status(&sweep).await?;
    let view = View::parse(&query.unwrap_or_default());
    Ok(Html(pages.of_sweep(&sweep, &status, &section, &view, true).await?))
}

/// One trial.
pub(super) async fn trial(
    State(pages): State<Arc<Pages>>,
    Extension(visitor): Extension<Visitor>,
    Path((sweep, trial)): Path<(String, u64)>,
) -> Result<Html<String>, Refused> {
    let sweep = pages.find(sweep).await?;
    let status = pages.status(&sweep).await?;
    let (state, section_body) = pages.of_trial(&sweep, &status, trial).await?;
    let name = escaped(&status.name);
    let mut body = format!("<p><a href=\"/sweeps/{sweep}\">{name}</a></p>\n<h1>Trial {trial}</h1>\n");
    if visitor.name.is_some() {
        body.push_str(&sections::trial_orders(&sweep, trial, &state));
    }
    body.push_str(&section("trial", &section_body));
    let base = format!("/sweeps/{sweep}/trials/{trial}");
    let live = attributes(&Live { base: &base, events: pages.events(&sweep, &status) });
    Ok(Html(shell(&format!("Trial {trial} of {}", status.name), Some(&visitor), &live, &body)))
}

/// A trial by itself.
pub(super) async fn trial_section(
    State(pages): State<Arc<Pages>>,
    Path((sweep, trial, section)): Path<(String, u64, String)>,
) -> Result<Html<String>, Refused> {
    if section != "trial" {
        return Err(Refused::nowhere("there is no such section"));
    }
    let sweep = pages.find(sweep).await?;
    let status = pages.status(&sweep).await?;
    Ok(Html(pages.of_trial(&sweep, &status, trial).await?.1))
}

impl Pages {
    fn events(&self, sweep: &SweepId, status: &v1::SweepStatus) -> String {
        if grpc::is_final(status) {
            return String::new();
        }
        format!("/sweeps/{sweep}/live?{}", live::results(status))
    }

    async fn list(&self) -> Result<String, Refused> {
        let rows = self.engine.read(|reader| reader.sweeps()).await?;
        let mut statuses = Vec::new();
        for row in rows.iter().rev().take(sections::SWEEPS) {
            statuses.push(self.status(&row.id).await?);
        }
        Ok(sections::sweeps(&statuses, rows.len(), now_ms()))
    }

    /// A section of a sweep's page; what takes long is left for later unless it is asked for by `itself`.
    async fn of_sweep(
        &self,
        sweep: &SweepId,
        status: &v1::SweepStatus,
        section: &str,
        view: &View,
        itself: bool,
    ) -> Result<String, Refused> {
        match section {
            "progress" => {
                let id = sweep.clone();
                let outbox = self.engine.read(move |reader| reader.outbox_of(&id)).await?;
                let now = Clock::wall();
                let status = grpc::convert::with_outbox(status.clone(), outbox, now);
                return Ok(sections::progress(&status, now.0));
            }
            "workers" => {
                let workers = self.engine.workers().await?;
                let reasons = self.engine.read(|reader| reader.reasons()).await?;
                let workers: Vec<v1::WorkerStatus> =
                    workers.into_iter().map(|worker| grpc::convert::worker(worker, &reasons)).collect();
                return Ok(sections::workers(&workers, sweep));
            }
            "events" => {
                let id = sweep.clone();
                let rows = self.engine.read(move |reader| reader.latest(&id, sections::EVENTS)).await?;
                let events: Vec<v1::Event> = rows.into_iter().map(grpc::convert::event).collect();
                return Ok(sections::events(&events, sweep, now_ms()));
            }
            _ => {}
        }
        let shown = self.shown(sweep, status).await?;
        let (section, view, base) = (section.to_owned(), view.clone(), format!("/sweeps/{sweep}"));
        let draw = move || {
            Some(match &*section {
                "answer" => html::answer(&shown.summary, &shown.ranked()),
                "trials" => html::table(&shown.summary, &shown.ranked(), &view, &base),
                "curves" => shown.curves().to_owned(),
                "parallel" => shown.coordinates().to_owned(),
                "scores" => shown.scores().to_owned(),
                "mattered" => match shown.insight_at_once() {
                    Some(insight) => html::mattered(&shown.summary, insight),
                    None if itself => html::mattered(&shown.summary, shown.insight()),
                    None => sections::later("What mattered", &format!("{base}/sections/mattered")),
                },
                _ => return None,
            })
        };
        drawn(draw).await?.ok_or_else(|| Refused::nowhere("there is no such section"))
    }

    /// State and page of a trial.
    async fn of_trial(
        &self,
        sweep: &SweepId,
        status: &v1::SweepStatus,
        trial: u64,
    ) -> Result<(String, String), Refused> {
        let (id, mlflow) = (sweep.clone(), self.mlflow_url.clone());
        let detail =
            self.engine.read(move |reader| grpc::detail::detail(reader, &id, trial, &mlflow)).await?;
        let Some(detail) = detail else {
            if trial < status.total {
                return Ok(("waiting".to_owned(), sections::waiting()));
            }
            let sentence =
                format!("sweep {sweep} has no trial {trial}, its last is {}", status.total.saturating_sub(1));
            return Err(Refused::nowhere(sentence));
        };
        let running = status.running.iter().find(|running| running.trial == trial).cloned();
        let shown = self.shown(sweep, status).await?;
        drawn(move || {
            let view = results::convert::trial(detail, &shown.summary);
            let mut body = running.map_or_else(String::new, |running| sections::underway(&running));
            body.push_str(&html::trial(&view, now_ms()));
            (view.row.state.name().to_owned(), body)
        })
        .await
    }
}
