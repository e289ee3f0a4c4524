//! What commands print for programs: `json.md` beside this crate says which keys each has.

use serde::Serialize;

/// Version of all of it: it grows when a key changes its meaning or goes; new keys may come without.
pub const VERSION: u32 = 1;

/// The option of every command that lists or shows something.
#[derive(Clone, Copy, Debug, Default, clap::Args)]
pub struct Json {
    /// As JSON, for programs
    #[arg(long)]
    pub json: bool,
}

#[derive(Serialize)]
struct Document<T> {
    version: u32,
    #[serde(flatten)]
    body: T,
}

/// A document over several lines. What is no finite number is null.
pub fn document(body: impl Serialize) -> String {
    let text = serde_json::to_string_pretty(&Document { version: VERSION, body });
    text.unwrap_or_else(|error| unreachable!("text keys alone always become JSON: {error}"))
}

/// A document on one line, where there are many.
pub fn line(body: impl Serialize) -> String {
    let text = serde_json::to_string(&Document { version: VERSION, body });
    text.unwrap_or_else(|error| unreachable!("text keys alone always become JSON: {error}"))
}
