//! What makes a worker go: signals, a spot machine's notice, the end of the parent process.

use std::io::Read;

use distilsweep_proto::exit::Exit;
use tokio::{
    signal::unix::{SignalKind, signal},
    sync::watch,
};

use super::CliError;
use crate::spot::{self, Source};

/// Says why to drain, once there is a reason: SIGTERM or Ctrl-C, a spot notice and, where asked, that standard input
/// closes.
pub(super) fn reason(
    notice: Option<Source>,
    until_stdin_closes: bool,
) -> Result<watch::Receiver<Option<String>>, CliError> {
    let (sender, receiver) = watch::channel(None);
    let handler =
        |kind| signal(kind).map_err(|error| CliError::failure(format!("no signal handler: {error}")));
    let (mut terminate, mut interrupt) =
        (handler(SignalKind::terminate())?, handler(SignalKind::interrupt())?);
    let mut signalled = async move || {
        tokio::select! {
            _ = terminate.recv() => {}
            _ = interrupt.recv() => {}
        }
    };
    let told = sender.clone();
    tokio::spawn(async move {
        signalled().await;
        told.send_replace(Some("the worker was told to stop".to_owned()));
        // The second signal, not the second reason: a cluster that heard the notice too sends SIGTERM after it.
        signalled().await;
        // Somebody is in a hurry.
        std::process::exit(i32::from(Exit::Interrupted as u8));
    });
    if let Some(source) = notice {
        let told = sender.clone();
        tokio::spawn(async move {
            match spot::noticed(&source).await {
                Ok(notice) => drop(told.send_replace(Some(format!("spot notice: {notice}")))),
                Err(error) => tracing::error!(%error, "no spot notice will be heard"),
            }
        });
    }
    if until_stdin_closes {
        std::thread::Builder::new()
            .name("stdin".to_owned())
            .spawn(move || {
                let _ = std::io::stdin().read_to_end(&mut Vec::new());
                sender.send_replace(Some("the process that started the worker is gone".to_owned()));
            })
            .map_err(|error| CliError::failure(format!("no thread: {error}")))?;
    }
    Ok(receiver)
}
