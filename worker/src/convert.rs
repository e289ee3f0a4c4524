//! Where protobuf ends on the worker's side.

use distilsweep_proto::{
    convert::{params, present},
    ids::Lease,
    names::Selection,
    params::TrainingArguments,
    v1,
};

use crate::{
    trainer::Ended,
    wire::{Assignment, FromCoordinator, Progress, Report, ReportBody},
};

/// A message that makes no sense: the other side's fault, or a version's.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("field `{field}` of the coordinator's message is {problem}")]
pub struct WireError {
    field: &'static str,
    problem: String,
}

fn missing(field: &'static str) -> WireError {
    WireError { field, problem: "missing".to_owned() }
}

impl TryFrom<v1::CoordinatorMessage> for FromCoordinator {
    type Error = WireError;

    fn try_from(message: v1::CoordinatorMessage) -> Result<Self, WireError> {
        use v1::coordinator_message::Body;
        Ok(match message.body.ok_or_else(|| missing("body"))? {
            Body::Welcome(welcome) => FromCoordinator::Welcome {
                heartbeat_interval_ms: welcome.heartbeat_interval_ms,
                ended: welcome.ended.into_iter().map(Into::into).collect(),
            },
            Body::Assignment(given) => assignment(given)?,
            Body::Acknowledgement(a) => {
                FromCoordinator::Acknowledge(a.lease.ok_or_else(|| missing("lease"))?.into(), a.sequence)
            }
            Body::Stop(stop) => {
                FromCoordinator::Stop(stop.lease.ok_or_else(|| missing("lease"))?.into(), stop.reason)
            }
            Body::Drain(drain) => FromCoordinator::Drain(drain.reason),
        })
    }
}

fn assignment(given: v1::Assignment) -> Result<FromCoordinator, WireError> {
    let [lane]: [v1::Lane; 1] = given.lanes.try_into().map_err(|lanes: Vec<v1::Lane>| WireError {
        field: "lanes",
        problem: format!("{} long, this worker trains one trial at a time", lanes.len()),
    })?;
    let lease: Lease = lane.lease.ok_or_else(|| missing("lease"))?.into();
    let params = params(lane.parameters);
    let arguments = match TrainingArguments::from_params(&params) {
        Ok(arguments) => arguments,
        Err(error) => return Ok(FromCoordinator::Unusable(lease, Ended::BadPoint(error.to_string()))),
    };
    let metric = given.metric.ok_or_else(|| missing("metric"))?;
    let Some(selection) = Selection::named(&metric.name) else {
        let problem = format!("no evaluation measures metric `{}`", metric.name);
        return Ok(FromCoordinator::Unusable(lease, Ended::BadInput(problem)));
    };
    Ok(FromCoordinator::Assign(Box::new(Assignment {
        lease,
        model: given.model,
        model_revision: present(given.model_revision),
        dataset: given.dataset.ok_or_else(|| missing("dataset"))?.into(),
        selection,
        maximize: metric.goal == v1::Goal::Maximize as i32,
        store_url: given.store_url,
        params,
        arguments,
    })))
}

impl From<Report> for v1::Report {
    fn from(report: Report) -> Self {
        use v1::report::Body;
        let body = match report.body {
            ReportBody::Metrics(points) => Body::Metrics(v1::MetricBlock {
                points: points
                    .into_iter()
                    .map(|point| v1::MetricPoint {
                        key: point.key,
                        value: point.value,
                        step: point.step.cast_signed(),
                        timestamp_ms: point.timestamp_ms,
                    })
                    .collect(),
            }),
            ReportBody::Completed(completed) => Body::Completed(v1::Completed {
                metrics: completed.metrics.into_iter().collect(),
                model: Some(v1::StoredFiles {
                    url: completed.model.url,
                    step: completed.model.step.cast_signed(),
                    manifest_sha256: completed.model.manifest_sha256,
                }),
                train_seconds: completed.trained.seconds,
                steps: completed.trained.steps.cast_signed(),
                steps_per_second: completed.trained.steps_per_second,
                baseline: completed.trained.baseline.into_iter().collect(),
                tags: completed.trained.tags.into_iter().collect(),
            }),
            ReportBody::Stopped => Body::Stopped(v1::Stopped {}),
            ReportBody::Failed(ended) => Body::Failed(failure(&ended)),
        };
        Self { lease: Some(report.lease.into()), sequence: report.sequence, body: Some(body) }
    }
}

fn failure(ended: &Ended) -> v1::Failure {
    let kind = match ended {
        Ended::Stopped => v1::FailureKind::Preempted,
        Ended::Diverged(_) => v1::FailureKind::Diverged,
        Ended::BadInput(_) => v1::FailureKind::BadInput,
        Ended::BadPoint(_) => v1::FailureKind::BadPoint,
        Ended::OutOfMemory(_) => v1::FailureKind::OutOfMemory,
        Ended::Internal(_) => v1::FailureKind::Internal,
    };
    v1::Failure { kind: kind.into(), message: ended.to_string() }
}

impl From<Progress> for v1::Progress {
    fn from(progress: Progress) -> Self {
        Self {
            lease: Some(progress.lease.into()),
            step: progress.step.cast_signed(),
            total_steps: progress.total_steps.cast_signed(),
            loss: progress.loss,
            best_metric: progress.best_metric,
            steps_per_second: progress.steps_per_second,
            phase: progress.phase.to_owned(),
        }
    }
}

#[cfg(test)]
mod tests {
    use distilsweep_proto::ids::Term;

    use super::*;

    fn given() -> v1::Assignment {
        v1::Assignment {
            model: "m".into(),
            dataset: Some(v1::Dataset { train: "train.csv".into(), train_limit: 7, ..Default::default() }),
            metric: Some(v1::Metric { name: "best_validation_f1".into(), goal: v1::Goal::Maximize.into() }),
            lanes: vec![v1::Lane {
                lease: Some(v1::Lease { sweep: "s".into(), trial: 3, attempt: 1, term: 9 }),
                parameters: vec![v1::Parameter {
                    name: "learning_rate".into(),
                    value: Some(v1::Value { kind: Some(v1::value::Kind::Number(1e-4)) }),
                }],
                resume: None,
            }],
            ..Default::default()
        }
    }

    #[test]
    fn an_assignment_arrives_complete() {
        let FromCoordinator::Assign(assignment) = assignment(given()).unwrap() else {
            panic!("not assigned")
        };
        assert_eq!(assignment.lease.term, Term(9));
        assert_eq!(assignment.arguments.learning_rate, 1e-4);
        assert_eq!(assignment.dataset.limit.train, Some(7));
        assert!(assignment.maximize);
    }

    #[test]
    fn a_point_that_cannot_be_trained_names_its_lease() {
        let mut wrong = given();
        wrong.lanes[0].parameters[0].name = "learning_rte".into();
        let FromCoordinator::Unusable(lease, Ended::BadPoint(message)) = assignment(wrong).unwrap() else {
            panic!("usable")
        };
        assert_eq!(lease.term, Term(9));
        assert!(message.contains("did you mean `learning_rate`?"), "{message}");
    }

    #[test]
    fn a_missing_field_is_named() {
        let wrong = v1::Assignment { dataset: None, ..given() };
        assert_eq!(
            assignment(wrong).unwrap_err().to_string(),
            "field `dataset` of the coordinator's message is missing"
        );
    }
}
