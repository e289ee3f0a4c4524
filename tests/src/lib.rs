//! What end-to-end tests stand on: real processes of this workspace and of MLflow on free ports of the loopback, waited
//! for by condition, their logs shown when a test fails, and none left behind.

pub mod browser;
pub mod chaos;
pub mod curves;
pub mod documented;
pub mod fleet;
pub mod hub;
pub mod leaving;
pub mod load;
pub mod mlflow;
pub mod network;
pub mod process;
pub mod proxy;
pub mod search;
pub mod swarm;
pub mod sweep;
pub mod wait;
