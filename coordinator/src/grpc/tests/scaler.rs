//! The queue as KEDA sees it.

use distilsweep_proto::keda::{
    GetMetricsRequest, ScaledObjectRef, external_scaler_client::ExternalScalerClient,
};

use super::*;

/// What KEDA asks, in its order.
struct Keda(ExternalScalerClient<Channel>);

impl Keda {
    async fn to(coordinator: &Coordinator) -> Self {
        Self(ExternalScalerClient::connect(coordinator.server.scaler.clone().unwrap()).await.unwrap())
    }

    async fn is_active(&mut self) -> bool {
        self.0.is_active(ScaledObjectRef::default()).await.unwrap().into_inner().result
    }

    async fn trials(&mut self) -> (i64, f64) {
        let request = GetMetricsRequest { scaled_object_ref: None, metric_name: "trials".into() };
        let values = self.0.get_metrics(request).await.unwrap().into_inner().metric_values;
        assert_eq!(values.len(), 1);
        (values[0].metric_value, values[0].metric_value_float)
    }
}

async fn scaled() -> Coordinator {
    let state = tempfile::tempdir().unwrap();
    let scaler = Some(([127, 0, 0, 1], 0).into());
    let options = ServerOptions { scaler, ..options(state.path(), LONG) };
    Coordinator::with(state, options).await
}

#[tokio::test]
async fn an_idle_queue_wants_no_worker_and_a_submitted_sweep_wakes_it() {
    let mut coordinator = scaled().await;
    let mut keda = Keda::to(&coordinator).await;
    assert!(!keda.is_active().await);
    assert_eq!(keda.trials().await, (0, 0.0));
    coordinator.submit(SWEEP).await.unwrap();
    assert!(keda.is_active().await);
    assert_eq!(keda.trials().await, (2, 2.0));

    // A trial under a lease counts as long as it is trained, also of a sweep that is paused.
    let (mut worker, _) = coordinator.welcomed("w", &[]).await;
    let (lease, _) = worker.assigned().await;
    assert_eq!(keda.trials().await, (2, 2.0));
    let order = || v1::OrderRequest { sweep: "demo".into(), by: "ada".into() };
    coordinator.sweeps.pause_sweep(order()).await.unwrap();
    assert_eq!(keda.trials().await, (1, 1.0));
    worker.report(&lease, 1, completed(0.5));
    worker.acknowledged(&lease).await;
    assert!(!keda.is_active().await);
    coordinator.sweeps.resume_sweep(order()).await.unwrap();
    assert_eq!(keda.trials().await, (1, 1.0));
}

#[tokio::test]
async fn no_more_workers_are_wanted_than_a_sweep_may_use() {
    let mut coordinator = scaled().await;
    let mut keda = Keda::to(&coordinator).await;
    let narrow = SWEEP.replace("[2e-5, 5e-5]", "[1e-5, 2e-5, 3e-5, 4e-5]") + "max_concurrent_trials: 3\n";
    coordinator.submit(&narrow).await.unwrap();
    assert_eq!(keda.trials().await, (3, 3.0));
    let huge = SWEEP.replace("name: demo", "name: huge") + "max_concurrent_trials: 1\n";
    coordinator.submit(&huge).await.unwrap();
    assert_eq!(keda.trials().await, (4, 4.0));
}

#[tokio::test]
async fn what_keda_asks_wrongly_is_said() {
    let coordinator = scaled().await;
    let mut keda = Keda::to(&coordinator).await;
    let asked = |metadata: &[(&str, &str)]| ScaledObjectRef {
        scaler_metadata: metadata.iter().map(|(k, v)| ((*k).to_owned(), (*v).to_owned())).collect(),
        ..ScaledObjectRef::default()
    };
    let specs = keda.0.get_metric_spec(asked(&[("trialsPerWorker", "4")])).await.unwrap().into_inner();
    let spec = &specs.metric_specs[0];
    assert_eq!((spec.metric_name.as_str(), spec.target_size, spec.target_size_float), ("trials", 4, 4.0));
    let wrong = keda.0.get_metric_spec(asked(&[("trialsPerWorker", "0")])).await.unwrap_err();
    assert_eq!(wrong.code(), Code::InvalidArgument);
    let request = GetMetricsRequest { scaled_object_ref: None, metric_name: "cpu".into() };
    let wrong = keda.0.get_metrics(request).await.unwrap_err();
    assert_eq!(wrong.message(), "there is no metric \"cpu\", only \"trials\"");
    let pushed = keda.0.stream_is_active(ScaledObjectRef::default()).await.unwrap_err();
    assert_eq!(pushed.code(), Code::Unimplemented);
}
