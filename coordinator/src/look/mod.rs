//! How repositories of the Hub, data sets, tokens and sweeps to come look to a person. Pure.

mod bill;
mod checked;
mod columns;
mod doubts;
mod inspection;
mod page;
mod repositories;
mod tokens;

pub use bill::{Bill, Known, Pace, Timed, Work, bill, looked_at};
pub use checked::{Checked, DataFacts, ModelFacts, Shown, SplitRows, Warning, checked};
pub use doubts::doubts;
pub use inspection::{Inspected, inspection};
pub use page::page;
pub use repositories::{described, listed, unfit};
pub use tokens::tokens;
