//! Following a sweep until it ends, also over connections that break and coordinators that are started again.

mod source;

use std::{collections::BTreeMap, time::Duration};

use chrono::Local;
use distilsweep_proto::v1;
use tokio::{sync::mpsc, time::Instant};

use self::source::News;
use super::{CliError, connect::Client, events, terminal};
use crate::{
    clock::Clock,
    grpc::{convert::ended, is_final},
    results::{
        convert,
        pace::Pace,
        progress::{self, ProgressView},
    },
};

/// How long the journal's last lines are waited for when the sweep has ended.
const LAST_WORDS: Duration = Duration::from_secs(2);

/// Events that a person wants to see go by while the rest is drawn.
const TROUBLES: [&str; 5] = ["failed", "diverged", "cancelled", "attempt_ended", "quarantined"];

/// Follows a sweep, on standard error: drawn in place on a terminal, with what goes wrong above it; a line an event
/// elsewhere. Answers its last status.
pub(super) async fn follow(
    client: Client,
    sweep: &str,
    varied: &[String],
) -> Result<v1::SweepStatus, CliError> {
    let mut news = source::open(client, sweep).await?;
    let mut watch = Watch {
        varied: varied.to_vec(),
        live: terminal::draws(),
        since: Instant::now(),
        since_ms: Clock::wall().0,
        screen: terminal::LiveLines::default(),
        ended_before: 0,
        status: None,
        devices: BTreeMap::new(),
        pace: Pace::default(),
        lost: None,
    };
    let last = watch.until_the_end(&mut news).await;
    watch.screen.clear();
    last
}

struct Watch {
    varied: Vec<String>,
    live: bool,
    screen: terminal::LiveLines,
    since: Instant,
    /// Older lines of the journal are history.
    since_ms: i64,
    ended_before: u64,
    status: Option<v1::SweepStatus>,
    devices: BTreeMap<String, u64>,
    pace: Pace,
    lost: Option<String>,
}

impl Watch {
    async fn until_the_end(&mut self, news: &mut mpsc::Receiver<News>) -> Result<v1::SweepStatus, CliError> {
        let mut redraw = tokio::time::interval(Duration::from_secs(1));
        let mut last_words = None;
        loop {
            tokio::select! {
                heard = news.recv() => match heard {
                    Some(News::AllTold) | None => break,
                    Some(news) => self.hear(news)?,
                },
                _ = redraw.tick() => {}
                () = until(last_words) => break,
            }
            if self.status.as_ref().is_some_and(is_final) {
                last_words.get_or_insert_with(|| Instant::now() + LAST_WORDS);
            } else if self.live {
                self.draw();
            }
        }
        self.status.take().ok_or_else(|| CliError::failure("the coordinator ended the stream without a word"))
    }

    fn hear(&mut self, news: News) -> Result<(), CliError> {
        match news {
            News::Status(status) => {
                if self.status.is_none() {
                    self.ended_before = ended(&status);
                }
                self.lost = None;
                self.status = Some(*status);
            }
            News::Event(event) => self.tell(&event),
            News::Workers(workers) => {
                self.devices = BTreeMap::new();
                let there = workers.into_iter().filter(|worker| worker.state != "away");
                for device in there.flat_map(|worker| worker.devices) {
                    *self.devices.entry(device).or_default() += 1;
                }
            }
            News::Lost(why) => {
                if self.lost.is_none() && !self.live {
                    terminal::note(format_args!("the coordinator is not heard of: {why}; trying again"));
                }
                self.lost = Some(why);
            }
            News::Refused(status) => return Err(status.into()),
            News::AllTold => {}
        }
        Ok(())
    }

    fn tell(&mut self, event: &v1::Event) {
        if let Some(trial) = event.trial {
            self.pace.hear(&event.event, trial, event.at_ms);
        }
        let kind = event.event.as_str();
        let told = if self.live { TROUBLES.contains(&kind) } else { kind != "checkpoint" };
        if !told || event.at_ms < self.since_ms || terminal::is_quiet() {
            return;
        }
        let tally = match (&self.status, event.trial) {
            (Some(status), Some(_))
                if ["completed", "diverged", "failed", "early_stopped"].contains(&kind) =>
            {
                format!("  ({} of {})", self.pace.ended(), status.total)
            }
            _ => String::new(),
        };
        self.screen.tell(&format!("{}{tally}", events::line(event, &Local)));
    }

    fn draw(&mut self) {
        let Some(status) = &self.status else { return };
        let view = ProgressView {
            ended_before: self.ended_before,
            elapsed: self.since.elapsed().as_secs_f64(),
            pace: self.pace.clone(),
            devices: self.devices.clone(),
            lost: self.lost.clone(),
            ..convert::progress(status, &self.varied)
        };
        let (width, height) = terminal::screen();
        self.screen.draw(&progress::lines(&view, width, height));
    }
}

async fn until(deadline: Option<Instant>) {
    match deadline {
        Some(deadline) => tokio::time::sleep_until(deadline).await,
        None => std::future::pending().await,
    }
}
