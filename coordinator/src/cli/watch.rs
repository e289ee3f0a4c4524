//! Following a sweep until it ends.

use std::time::Duration;

use distilsweep_proto::v1;
use futures::StreamExt;

use super::{CliError, connect::Client, terminal};
use crate::results::{
    convert,
    progress::{self, ProgressView},
};

/// Follows a sweep, drawing on standard error: a line a running trial on a terminal, a line an event elsewhere.
/// Answers its last status.
pub(super) async fn follow(
    mut client: Client,
    sweep: &str,
    varied: &[String],
) -> Result<v1::SweepStatus, CliError> {
    let request = v1::GetSweepRequest { sweep: sweep.to_owned() };
    let mut statuses = client.watch_sweep(request).await?.into_inner();
    let live = terminal::draws();
    let since = tokio::time::Instant::now();
    let mut screen = terminal::LiveLines::default();
    let mut before: Option<ProgressView> = None;
    let mut last: Option<v1::SweepStatus> = None;
    let mut ended_before = 0;
    let mut redraw = tokio::time::interval(Duration::from_secs(1));
    loop {
        tokio::select! {
            status = statuses.next() => match status {
                Some(status) => {
                    let status = status.inspect_err(|_| screen.clear())?;
                    if last.is_none() {
                        ended_before = status.completed + status.failed + status.diverged;
                    }
                    last = Some(status);
                }
                None => break,
            },
            _ = redraw.tick() => {}
        }
        let Some(status) = &last else { continue };
        let view = convert::progress(status, varied, ended_before, since.elapsed().as_secs_f64());
        if live {
            screen.draw(&progress::lines(&view, terminal::width()));
        } else {
            for line in progress::events(before.as_ref(), &view) {
                terminal::note(line);
            }
            before = Some(view);
        }
    }
    screen.clear();
    last.ok_or_else(|| CliError::failure("the coordinator ended the stream without a word"))
}
