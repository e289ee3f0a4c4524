//! How repositories of the Hub, data sets and tokens look to a person. Pure.

mod columns;
mod inspection;
mod page;
mod repositories;
mod tokens;

pub use inspection::{Inspected, inspection};
pub use page::page;
pub use repositories::{described, listed, unfit};
pub use tokens::tokens;
