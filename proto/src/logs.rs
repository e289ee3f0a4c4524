//! What both programs log, and how: for people on a terminal, as JSON elsewhere, on standard error.
//!
//! The same things have the same field names in both: `lease`, `trial` (SWEEP/INDEX), `worker`, `request`.

use std::io::IsTerminal;

use tracing_subscriber::EnvFilter;

use crate::terminal;

/// Which variable chooses the form: `human` or `json`.
const FORM_VARIABLE: &str = "DISTILSWEEP_LOG";

/// Starts logging. `default` is the level where `RUST_LOG` says nothing; a `service` writes JSON where nobody looks on.
pub fn start(default: &str, service: bool) {
    let filter = EnvFilter::try_from_default_env().unwrap_or_else(|_| EnvFilter::new(default));
    let terminal = std::io::stderr().is_terminal();
    let logs = tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_ansi(terminal::colors(&std::io::stderr()))
        .with_writer(std::io::stderr)
        .with_target(false);
    if is_json(std::env::var(FORM_VARIABLE).ok().as_deref(), service && !terminal) {
        logs.json().flatten_event(true).with_current_span(true).with_span_list(false).init();
    } else {
        logs.init();
    }
}

fn is_json(asked: Option<&str>, default: bool) -> bool {
    match asked {
        Some("json") => true,
        Some("human") => false,
        Some(_) | None => default,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_form_is_as_asked_for_and_else_as_fits() {
        assert!(is_json(Some("json"), false) && is_json(None, true) && is_json(Some(""), true));
        assert!(!is_json(Some("human"), true) && !is_json(None, false));
    }
}
