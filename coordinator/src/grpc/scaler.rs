//! How many workers the queue wants, as KEDA asks it: the external scaler of a `ScaledJob` or `ScaledObject`.
//!
//! It tells one number and takes no order, so it asks nobody for a token (KEDA's client has none to show): it listens on
//! a port of its own, which a cluster opens to KEDA alone.

use std::collections::HashMap;

use distilsweep_proto::keda::{
    GetMetricSpecResponse, GetMetricsRequest, GetMetricsResponse, IsActiveResponse, MetricSpec, MetricValue,
    ScaledObjectRef,
    external_scaler_server::{ExternalScaler, ExternalScalerServer},
};
use tokio_stream::Empty;
use tonic::{
    Request, Response, Status,
    transport::{Server, server::Router},
};

use crate::{engine::EngineHandle, scheduler::Census};

/// What is measured: trials that a worker could train now, or trains.
const METRIC: &str = "trials";
/// Key of the trigger that says how many trials one worker is for.
const PER_WORKER: &str = "trialsPerWorker";

/// The scaler over an engine.
pub fn router(engine: EngineHandle) -> Router {
    Server::builder().add_service(ExternalScalerServer::new(Scaler { engine }))
}

struct Scaler {
    engine: EngineHandle,
}

impl Scaler {
    async fn trials(&self) -> Result<u64, Status> {
        let census = self.engine.census().await.map_err(|error| Status::unavailable(error.to_string()))?;
        Ok(wanted(&census))
    }
}

/// Trials that a worker could train now, and those under a lease: a worker that still trains must not be taken away.
fn wanted(census: &Census) -> u64 {
    let assignable = census.sweeps.iter().fold(0u64, |sum, sweep| sum.saturating_add(sweep.assignable));
    assignable.saturating_add(census.leases)
}

/// How many trials one worker is for; 1 where the trigger does not say.
fn per_worker(metadata: &HashMap<String, String>) -> Result<i64, Status> {
    let Some(text) = metadata.get(PER_WORKER) else { return Ok(1) };
    // KEDA divides by it.
    text.trim().parse().ok().filter(|count| *count >= 1).ok_or_else(|| {
        Status::invalid_argument(format!(
            "{PER_WORKER} is \"{text}\", it must be a whole number of at least 1"
        ))
    })
}

#[tonic::async_trait]
impl ExternalScaler for Scaler {
    type StreamIsActiveStream = Empty<Result<IsActiveResponse, Status>>;

    async fn is_active(&self, _: Request<ScaledObjectRef>) -> Result<Response<IsActiveResponse>, Status> {
        Ok(Response::new(IsActiveResponse { result: self.trials().await? > 0 }))
    }

    async fn stream_is_active(
        &self,
        _: Request<ScaledObjectRef>,
    ) -> Result<Response<Self::StreamIsActiveStream>, Status> {
        Err(Status::unimplemented("use the trigger `external`: this scaler is asked, it does not push"))
    }

    async fn get_metric_spec(
        &self,
        request: Request<ScaledObjectRef>,
    ) -> Result<Response<GetMetricSpecResponse>, Status> {
        let target = per_worker(&request.get_ref().scaler_metadata)?;
        let spec = MetricSpec {
            metric_name: METRIC.to_owned(),
            target_size: target,
            target_size_float: target as f64,
        };
        Ok(Response::new(GetMetricSpecResponse { metric_specs: vec![spec] }))
    }

    async fn get_metrics(
        &self,
        request: Request<GetMetricsRequest>,
    ) -> Result<Response<GetMetricsResponse>, Status> {
        let asked = &request.get_ref().metric_name;
        if asked != METRIC {
            return Err(Status::invalid_argument(format!(
                "there is no metric \"{asked}\", only \"{METRIC}\""
            )));
        }
        let trials = self.trials().await?;
        let value = MetricValue {
            metric_name: METRIC.to_owned(),
            // The largest space has one point more than KEDA counts to.
            metric_value: i64::try_from(trials).unwrap_or(i64::MAX),
            metric_value_float: trials as f64,
        };
        Ok(Response::new(GetMetricsResponse { metric_values: vec![value] }))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_trigger_says_how_many_trials_a_worker_is_for() {
        let of = |text: &str| per_worker(&HashMap::from([(PER_WORKER.to_owned(), text.to_owned())]));
        assert_eq!(per_worker(&HashMap::new()).unwrap(), 1);
        assert_eq!(of(" 4 ").unwrap(), 4);
        for wrong in ["0", "-1", "1.5", "many"] {
            let message = of(wrong).unwrap_err().message().to_owned();
            assert_eq!(
                message,
                format!("trialsPerWorker is \"{wrong}\", it must be a whole number of at least 1")
            );
        }
    }
}
