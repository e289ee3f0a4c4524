//! Searches that learn: which points they lease, whatever happens to the coordinator in between.

use std::collections::BTreeMap;

use distilsweep_proto::params::Params;

use super::*;
use crate::{
    grpc,
    scheduler::{AttemptEnd, Failure, FailureKind, Pack, TrialResult},
    store::Reader,
};

const SEARCH: &str = "\
name: demo
model: ./model
dataset: {train: train.csv, validation: validation.csv}
method: bayes
run_cap: 16
parameters:
  learning_rate: {distribution: log_uniform_values, min: 1e-6, max: 1e-2}
  lr_scheduler_type: {values: [linear, cosine]}
";

/// A coordinator with its state, and one worker that trains what it is given.
struct Life {
    directory: TempDir,
    engine: Engine,
    stream: u64,
    messages: mpsc::UnboundedReceiver<ToWorker>,
    /// Points as they were sent, by trial.
    sent: BTreeMap<u64, Params>,
}

impl Life {
    fn begin(source: &str) -> Self {
        let directory = tempfile::tempdir().unwrap();
        let engine = engine(&directory);
        let (_, messages) = mpsc::unbounded_channel();
        let mut life = Self { directory, engine, stream: 0, messages, sent: BTreeMap::new() };
        life.take(vec![submit_source(source, false).0]);
        life
    }

    fn take(&mut self, commands: Vec<Command>) {
        let (writes, acts) = batch(&mut self.engine, commands);
        self.engine.store.commit(Time(1), &writes).unwrap();
        acts.into_iter().for_each(Engine::act);
    }

    fn join(&mut self, held: Vec<Lease>) {
        self.stream += 1;
        let (command, messages) = join(self.stream, held);
        self.messages = messages;
        self.take(vec![command]);
    }

    /// The lease that was sent, if any was.
    fn leased(&mut self) -> Option<Lease> {
        let mut leases = Vec::new();
        while let Ok(message) = self.messages.try_recv() {
            let ToWorker::Assign { lanes, .. } = message else { continue };
            for (lane, params) in lanes {
                let before = self.sent.insert(lane.lease.trial.index, params.clone());
                assert!(before.is_none_or(|before| before == params), "a trial keeps its point");
                leases.push(lane.lease);
            }
        }
        leases.pop()
    }

    fn report(&mut self, lease: Lease, body: ReportBody) {
        let report = Report { lease, sequence: 1, body };
        self.take(vec![Command::Report(WorkerId::new("w"), report)]);
    }

    /// Trains a trial to its end: the third diverges, others have a value by their point.
    fn train(&mut self, lease: Lease) {
        let point = &self.sent[&lease.trial.index];
        let rate = point["learning_rate"].as_number().unwrap();
        let value = 1.0 - (rate.log10() + 4.0).powi(2) / 9.0;
        let body = if lease.trial.index == 2 {
            ReportBody::Ended(AttemptEnd::Failed(Failure {
                kind: FailureKind::Diverged,
                message: "the loss is NaN".into(),
            }))
        } else {
            let metrics = BTreeMap::from([("best_validation_f1".to_owned(), value)]);
            ReportBody::Ended(AttemptEnd::Completed(TrialResult { metrics, ..TrialResult::default() }))
        };
        self.report(lease, body);
    }

    /// The coordinator is killed and started again; its worker too, which forgets what it had.
    fn crash(&mut self) {
        let (_, unused) = mpsc::unbounded_channel();
        self.messages = unused;
        let elsewhere = tempfile::tempdir().unwrap();
        // The lock of the state goes with its engine.
        drop(std::mem::replace(&mut self.engine, engine(&elsewhere)));
        self.engine = engine(&self.directory);
    }

    /// The points as whoever reads the store finds them.
    fn read(&self) -> BTreeMap<u64, Params> {
        let reader = Reader::open(self.directory.path()).unwrap();
        let sweep = reader.find("").unwrap().unwrap();
        let results = grpc::results::whole(&reader, &sweep, "").unwrap();
        let summary = crate::results::convert::summary(results, 0);
        summary.trials.into_iter().map(|trial| (trial.trial, trial.params)).collect()
    }
}

/// The points of a search that crashes before each of these trials, and once more while it is trained.
fn points(source: &str, crashes: &[u64]) -> BTreeMap<u64, Params> {
    let mut life = Life::begin(source);
    life.join(Vec::new());
    let mut crashed = 0;
    while let Some(lease) = life.leased() {
        if crashes.contains(&lease.trial.index) && lease.attempt == 1 {
            crashed += 1;
            life.crash();
            life.join(Vec::new());
            continue;
        }
        life.train(lease);
    }
    assert_eq!(crashed, crashes.len());
    assert_eq!(life.read(), life.sent, "whoever reads the store finds the points that were trained");
    life.sent
}

#[test]
fn a_search_leases_the_same_points_again_whenever_its_coordinator_is_killed() {
    let undisturbed = points(SEARCH, &[]);
    assert_eq!(undisturbed.len(), 16);
    let near = |index: u64| (undisturbed[&index]["learning_rate"].as_number().unwrap().log10() + 4.0).abs();
    let late: f64 = (8..16).map(near).sum::<f64>() / 8.0;
    assert!(late < 0.7, "it learns where it is good: {late} orders of magnitude off");
    assert_eq!(points(SEARCH, &[]), undisturbed);
    assert_eq!(points(SEARCH, &[0, 3, 7, 8, 15]), undisturbed);
    assert_ne!(points(&format!("{SEARCH}seed: 1\n"), &[]), undisturbed);
}

#[test]
fn the_seeds_of_a_draw_share_its_proposal_and_are_read_back_with_it() {
    let source = format!("{SEARCH}repeats: 2\n").replace("run_cap: 16", "run_cap: 8");
    let sent = points(&source, &[4, 9]);
    assert_eq!(sent.len(), 16);
    for draw in 0..8 {
        let [mut one, mut other] = [&sent[&(2 * draw)], &sent[&(2 * draw + 1)]].map(Params::clone);
        assert_ne!(one.remove("seed"), other.remove("seed"));
        assert_eq!(one, other);
    }
}

#[test]
fn a_proposal_is_made_with_the_first_lease_of_its_draw_and_never_again() {
    let mut life = Life::begin(SEARCH);
    let (command, _messages) = join(1, Vec::new());
    let (writes, _) = batch(&mut life.engine, vec![command]);
    let granted = |write: &Write| matches!(write, Write::Record(Record::LeaseGranted(..), _));
    let proposed = |write: &Write| matches!(write, Write::Proposed { .. });
    let at = |what: &dyn Fn(&Write) -> bool| writes.iter().position(what);
    assert!(at(&granted) < at(&proposed), "its row is there: {writes:?}");
    assert_eq!(writes.iter().filter(|write| proposed(write)).count(), 1);
    let lease = Lease {
        trial: distilsweep_proto::ids::TrialId { sweep: SweepId::new("demo-000007"), index: 0 },
        attempt: 2,
        term: Term(9),
    };
    let again = Record::LeaseGranted(lease, WorkerId::new("w"), Pack { first: Term(9), lanes: 1 });
    assert_eq!(life.engine.learn(&again), None);
}

#[test]
fn a_trial_that_is_stopped_before_it_began_has_no_point_until_it_gets_another_chance() {
    let mut life = Life::begin(SEARCH);
    let order = |order| {
        let (reply, _) = oneshot::channel();
        let (sweep, by) = (SweepId::new("demo-000007"), "ada".to_owned());
        Command::Order { sweep, order, by, reply }
    };
    life.take(vec![order(Ordered::Ready(Order::Stop(0)))]);
    assert_eq!(life.read()[&0], Params::new());
    let left_out = life.engine.histories.clone();
    life.crash();
    assert_eq!(life.engine.histories, left_out);
    life.take(vec![order(Ordered::Retry(Chosen { trials: vec![0], ..Chosen::default() }))]);
    life.join(Vec::new());
    assert_eq!(life.leased().unwrap().trial.index, 0);
    assert_eq!(life.sent[&0].len(), 2);
}
