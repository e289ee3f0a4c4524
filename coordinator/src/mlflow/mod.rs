//! What MLflow is told, and how it gets there whatever happens in between.
//!
//! [`tell`] says as values ([`op::Op`]) what a sweep and its trials have to record; the engine commits them to its
//! outbox in the transaction of the state that caused them. A row leaves the outbox only once MLflow has answered that it
//! holds it.
//!
//! Nothing here owns durable state. After a crash the rows that were not acknowledged are sent again, and every one of
//! them is made so that a second time changes nothing.

mod classes;
pub mod client;
pub mod drain;
pub mod error;
pub mod models;
pub mod op;
pub mod outbox;
mod plan;
pub mod settings;
pub mod tell;
pub mod verify;
mod wire;

#[cfg(test)]
mod tests;
