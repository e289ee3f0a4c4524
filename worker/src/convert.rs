//! Where protobuf ends on the worker's side.

use distilsweep_proto::{
    convert::{params, present},
    dataset::DatasetSpec,
    ids::Lease,
    limits,
    names::Selection,
    params::TrainingArguments,
    v1,
};

use crate::{
    trainer::{Ended, Mistake, Split},
    wire::{Assignment, FromCoordinator, Pause, Point, Progress, Published, Report, ReportBody},
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
    if given.lanes.is_empty() {
        return Err(WireError { field: "lanes", problem: "empty".to_owned() });
    }
    let metric = given.metric.ok_or_else(|| missing("metric"))?;
    let dataset: DatasetSpec = given.dataset.ok_or_else(|| missing("dataset"))?.into();
    let (mut lanes, mut unusable) = (Vec::new(), Vec::new());
    for lane in given.lanes {
        let lease: Lease = lane.lease.ok_or_else(|| missing("lease"))?.into();
        let params = params(lane.parameters);
        let arguments = match TrainingArguments::from_params(&params) {
            Ok(arguments) => arguments,
            Err(error) => {
                unusable.push((lease, Ended::BadPoint(error.to_string())));
                continue;
            }
        };
        let Some(selection) = Selection::named(&metric.name) else {
            let problem = format!("no evaluation measures metric `{}`", metric.name);
            unusable.push((lease, Ended::BadInput(problem)));
            continue;
        };
        lanes.push(Assignment {
            lease,
            model: given.model.clone(),
            model_revision: present(given.model_revision.clone()),
            dataset: dataset.clone(),
            selection,
            maximize: metric.goal == v1::Goal::Maximize as i32,
            store_url: given.store_url.clone(),
            resume: lane.resume.map(published),
            pause: lane.pause.and_then(pause),
            params,
            arguments,
        });
    }
    Ok(FromCoordinator::Assign { lanes, unusable })
}

/// One that says nothing is none.
fn pause(given: v1::Pause) -> Option<Pause> {
    use v1::pause::At;
    Some(match given.at? {
        At::Epochs(epochs) => Pause::Epochs(epochs),
        At::Steps(steps) => Pause::Steps(steps),
    })
}

fn published(files: v1::StoredFiles) -> Published {
    let step = u64::try_from(files.step).unwrap_or_default();
    Published { url: files.url, step, manifest_sha256: files.manifest_sha256 }
}

fn stored_files(published: Published) -> v1::StoredFiles {
    v1::StoredFiles {
        url: published.url,
        step: published.step.cast_signed(),
        manifest_sha256: published.manifest_sha256,
    }
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
            ReportBody::Checkpoint(published) => Body::Checkpoint(stored_files(published)),
            ReportBody::Completed(completed) => Body::Completed(v1::Completed {
                metrics: completed.metrics.into_iter().collect(),
                model: Some(stored_files(completed.model)),
                train_seconds: completed.trained.seconds,
                steps: completed.trained.steps.cast_signed(),
                steps_per_second: completed.trained.steps_per_second,
                baseline: completed.trained.baseline.into_iter().collect(),
                tags: completed.trained.tags.into_iter().collect(),
                splits: completed.trained.splits.into_iter().map(split).collect(),
                mistakes: completed.trained.mistakes.into_iter().map(mistake).collect(),
                classes: completed
                    .trained
                    .classes
                    .into_iter()
                    .take(limits::CLASSES)
                    .map(limits::shortened)
                    .collect(),
            }),
            ReportBody::Stopped => Body::Stopped(v1::Stopped {}),
            ReportBody::Paused => Body::Paused(v1::Paused {}),
            ReportBody::Failed(ended) => Body::Failed(failure(&ended)),
        };
        Self { lease: Some(report.lease.into()), sequence: report.sequence, body: Some(body) }
    }
}

/// Reports that wait on this machine's disk come back this way: all but a lease's last.
impl TryFrom<v1::Report> for Report {
    type Error = WireError;

    fn try_from(report: v1::Report) -> Result<Self, WireError> {
        use v1::report::Body;
        let body = match report.body.ok_or_else(|| missing("body"))? {
            Body::Metrics(block) => ReportBody::Metrics(
                block
                    .points
                    .into_iter()
                    .map(|point| Point {
                        key: point.key,
                        value: point.value,
                        step: point.step.cast_unsigned(),
                        timestamp_ms: point.timestamp_ms,
                    })
                    .collect(),
            ),
            Body::Checkpoint(files) => ReportBody::Checkpoint(published(files)),
            Body::Completed(_) | Body::Failed(_) | Body::Stopped(_) | Body::Paused(_) => {
                return Err(WireError { field: "body", problem: "a last report".to_owned() });
            }
        };
        let lease = report.lease.ok_or_else(|| missing("lease"))?.into();
        Ok(Self { lease, sequence: report.sequence, body })
    }
}

fn mistake(mistake: Mistake) -> v1::Mistake {
    let Mistake { text, truth, taken, probability } = mistake;
    v1::Mistake { text, truth, taken, probability }
}

fn split(split: Split) -> v1::Split {
    // Of more classes nobody looks at every pair.
    let shown = split.confusion.len() <= limits::CLASSES;
    let confusion = split.confusion.into_iter().filter(|_| shown).flatten().collect();
    v1::Split { name: split.name, rows: split.rows, sha256: split.sha256, confusion }
}

fn failure(ended: &Ended) -> v1::Failure {
    let kind = match ended {
        Ended::Stopped | Ended::Paused => v1::FailureKind::Preempted,
        Ended::Diverged(_) => v1::FailureKind::Diverged,
        Ended::BadInput(_) => v1::FailureKind::BadInput,
        Ended::BadPoint(_) => v1::FailureKind::BadPoint,
        Ended::OutOfMemory(_) => v1::FailureKind::OutOfMemory,
        Ended::Internal(_) => v1::FailureKind::Internal,
    };
    v1::Failure { kind: kind.into(), message: limits::shortened(ended.to_string()) }
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
            lane_bytes: progress.lane_bytes.unwrap_or_default(),
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
            dataset: Some(v1::Dataset {
                train: vec!["train.csv".into()],
                train_limit: 7,
                ..Default::default()
            }),
            metric: Some(v1::Metric { name: "best_validation_f1".into(), goal: v1::Goal::Maximize.into() }),
            lanes: vec![v1::Lane {
                lease: Some(v1::Lease { sweep: "s".into(), trial: 3, attempt: 1, term: 9 }),
                parameters: vec![v1::Parameter {
                    name: "learning_rate".into(),
                    value: Some(v1::Value { kind: Some(v1::value::Kind::Number(1e-4)) }),
                }],
                ..Default::default()
            }],
            ..Default::default()
        }
    }

    fn assigned(given: v1::Assignment) -> (Vec<Assignment>, Vec<(Lease, Ended)>) {
        match assignment(given).unwrap() {
            FromCoordinator::Assign { lanes, unusable } => (lanes, unusable),
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn an_assignment_arrives_complete() {
        let mut given = given();
        let resume = v1::StoredFiles { url: "file:///c".into(), step: 40, manifest_sha256: "ab".into() };
        given.lanes[0].resume = Some(resume.clone());
        given.lanes[0].pause = Some(v1::Pause { at: Some(v1::pause::At::Epochs(2.0)) });
        let (lanes, unusable) = assigned(given);
        assert_eq!((lanes.len(), unusable), (1, Vec::new()));
        assert_eq!(lanes[0].lease.term, Term(9));
        assert_eq!(lanes[0].arguments.learning_rate, 1e-4);
        assert_eq!(lanes[0].pause, Some(Pause::Epochs(2.0)));
        assert_eq!(lanes[0].dataset.limit.train, Some(7));
        assert!(lanes[0].maximize);
        assert_eq!(lanes[0].resume.clone().map(stored_files), Some(resume));
    }

    #[test]
    fn a_lane_that_cannot_be_trained_names_its_lease_and_leaves_the_others() {
        let mut wrong = given();
        let sound = wrong.lanes[0].clone();
        wrong.lanes[0].parameters[0].name = "learning_rte".into();
        wrong.lanes.push(v1::Lane {
            lease: Some(v1::Lease { sweep: "s".into(), trial: 4, attempt: 1, term: 10 }),
            ..sound
        });
        let (lanes, unusable) = assigned(wrong);
        assert_eq!(lanes.iter().map(|lane| lane.lease.term).collect::<Vec<_>>(), [Term(10)]);
        let [(lease, Ended::BadPoint(message))] = &unusable[..] else { panic!("{unusable:?}") };
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
