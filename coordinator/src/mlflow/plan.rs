//! From rows to calls, decided purely: which rows share one call, and which runs go first.
//!
//! MLflow takes at most 1000 metrics, 100 parameters, 100 tags and 1000 of all in one `log-batch`; hosted ones also at
//! most 1 MB. A batch is stored wholly or not at all.

use std::collections::{BTreeMap, BTreeSet};

use super::{
    op::{Input, NewRun, Op, OutboxRow, Point, RunKey, Status},
    wire,
};

const METRICS: usize = 1000;
const PARAMS: usize = 100;
const TAGS: usize = 100;
const TOTAL: usize = 1000;
const BYTES: usize = 900_000;

/// The calls for one run, in order.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Delivery {
    pub(super) run: RunKey,
    pub(super) calls: Vec<Call>,
}

/// One call. A row with many points may be spread over several.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Call {
    /// Rows of which a part is sent.
    pub(super) rows: Vec<i64>,
    /// Those that are told completely once this call has succeeded.
    pub(super) completes: Vec<i64>,
    pub(super) request: Request,
}

#[derive(Clone, Debug, PartialEq)]
pub(super) enum Request {
    Create(NewRun),
    Batch(Batch),
    Text { path: String, content: String },
    Inputs(Vec<Input>),
    Ranking,
    Models,
    Finish { status: Status, end_ms: i64 },
}

impl Request {
    /// Whether it sums up the trials of a sweep, which are told before it.
    fn is_of_the_end(&self) -> bool {
        matches!(self, Self::Ranking | Self::Models | Self::Finish { .. })
    }
}

/// What one `log-batch` carries.
#[derive(Clone, Debug, Default, PartialEq)]
pub(super) struct Batch {
    pub(super) metrics: Vec<Point>,
    pub(super) params: BTreeMap<String, String>,
    pub(super) tags: BTreeMap<String, String>,
}

impl Batch {
    pub(super) fn is_empty(&self) -> bool {
        self.total() == 0
    }

    fn total(&self) -> usize {
        self.metrics.len() + self.params.len() + self.tags.len()
    }
}

/// Plans rows, given by growing id, as waves to be sent one after the other; the runs of a wave do not depend on each
/// other. First come the sweeps' runs without their end, then those of trials, then the ends of sweeps: parents exist
/// before their children and end after them.
///
/// The rows of a run in `single` do not share calls: one of them was refused, and it has to be found.
pub(super) fn plan(rows: Vec<OutboxRow>, single: &BTreeSet<RunKey>) -> [Vec<Delivery>; 3] {
    let mut by_run: BTreeMap<RunKey, Vec<(i64, Op)>> = BTreeMap::new();
    let mut order = Vec::new();
    for row in rows {
        by_run
            .entry(row.run)
            .or_insert_with_key(|run| {
                order.push(run.clone());
                Vec::new()
            })
            .push((row.id, row.op));
    }
    let mut waves = [Vec::new(), Vec::new(), Vec::new()];
    for run in order {
        let mut calls = calls(by_run.remove(&run).unwrap_or_default(), single.contains(&run));
        if run.parent().is_some() {
            waves[1].push(Delivery { run, calls });
            continue;
        }
        let open = calls.iter().take_while(|call| !call.request.is_of_the_end()).count();
        let end = calls.split_off(open);
        for (wave, calls) in [(0, calls), (2, end)] {
            if !calls.is_empty() {
                waves[wave].push(Delivery { run: run.clone(), calls });
            }
        }
    }
    waves
}

fn calls(rows: Vec<(i64, Op)>, single: bool) -> Vec<Call> {
    let mut filling = Filling::default();
    for (id, op) in rows {
        let request = match op {
            Op::Params(params) => {
                params.into_iter().for_each(|(key, value)| filling.param(id, key, value));
                filling.end_row(id, single);
                continue;
            }
            Op::Metrics(points) => {
                points.into_iter().for_each(|point| filling.metric(id, point));
                filling.end_row(id, single);
                continue;
            }
            Op::Tags(tags) => {
                tags.into_iter().for_each(|(key, value)| filling.tag(id, key, value));
                filling.end_row(id, single);
                continue;
            }
            Op::CreateRun(run) => Request::Create(run),
            Op::Text { path, content } => Request::Text { path, content },
            Op::Inputs(inputs) => Request::Inputs(inputs),
            Op::Ranking => Request::Ranking,
            Op::Models => Request::Models,
            Op::Finish { status, end_ms } => Request::Finish { status, end_ms },
        };
        filling.close();
        filling.calls.push(Call { rows: vec![id], completes: vec![id], request });
    }
    filling.close();
    filling.calls
}

/// Calls so far, and the batch that still takes items.
#[derive(Default)]
struct Filling {
    calls: Vec<Call>,
    batch: Batch,
    bytes: usize,
    rows: Vec<i64>,
    completes: Vec<i64>,
}

impl Filling {
    fn close(&mut self) {
        if self.rows.is_empty() {
            return;
        }
        self.bytes = 0;
        self.calls.push(Call {
            rows: std::mem::take(&mut self.rows),
            completes: std::mem::take(&mut self.completes),
            request: Request::Batch(std::mem::take(&mut self.batch)),
        });
    }

    /// Makes room for an item of `row`.
    fn room(&mut self, row: i64, bytes: usize, fits: bool) {
        if !fits || self.batch.total() == TOTAL || (!self.batch.is_empty() && self.bytes + bytes > BYTES) {
            self.close();
        }
        self.bytes += bytes;
        self.touch(row);
    }

    fn touch(&mut self, row: i64) {
        if self.rows.last() != Some(&row) {
            self.rows.push(row);
        }
    }

    fn metric(&mut self, row: i64, point: Point) {
        self.room(row, wire::metric_bytes(&point), self.batch.metrics.len() < METRICS);
        self.batch.metrics.push(point);
    }

    fn param(&mut self, row: i64, key: String, value: String) {
        // A name twice in one batch is refused, even with the same value. Another value is refused anyway, but then
        // it has to be that row which is.
        let fits = match self.batch.params.get(&key) {
            Some(held) if *held == value => return self.touch(row),
            Some(_) => false,
            None => self.batch.params.len() < PARAMS,
        };
        self.room(row, wire::pair_bytes(&key, &value), fits);
        self.batch.params.insert(key, value);
    }

    fn tag(&mut self, row: i64, key: String, value: String) {
        let fits = self.batch.tags.len() < TAGS || self.batch.tags.contains_key(&key);
        self.room(row, wire::pair_bytes(&key, &value), fits);
        self.batch.tags.insert(key, value);
    }

    fn end_row(&mut self, row: i64, single: bool) {
        self.touch(row);
        self.completes.push(row);
        if single {
            self.close();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn texts(names: impl IntoIterator<Item = String>, value: &str) -> BTreeMap<String, String> {
        names.into_iter().map(|name| (name, value.to_owned())).collect()
    }

    fn points(n: usize) -> Op {
        Op::Metrics(
            (0..n)
                .map(|i| Point { key: "loss".into(), value: 0.5, timestamp_ms: 1, step: i as i64 })
                .collect(),
        )
    }

    fn create(parent: Option<&str>) -> Op {
        Op::CreateRun(NewRun {
            experiment: "e".into(),
            identity: "i".into(),
            name: "n".into(),
            start_ms: 1,
            user: "u".into(),
            tags: BTreeMap::new(),
            parent: parent.map(RunKey::new),
        })
    }

    const END: Op = Op::Finish { status: Status::Finished, end_ms: 9 };

    fn rows(ops: impl IntoIterator<Item = (&'static str, Op)>) -> Vec<OutboxRow> {
        ops.into_iter().zip(1..).map(|((run, op), id)| OutboxRow { id, run: RunKey::new(run), op }).collect()
    }

    /// "run: what(rows>completed rows) …", a line a delivery, waves parted by a dash.
    fn shown(waves: &[Vec<Delivery>; 3]) -> String {
        let call = |call: &Call| {
            let what = match &call.request {
                Request::Create(_) => "create".to_owned(),
                Request::Batch(b) => {
                    format!("batch {}m {}p {}t", b.metrics.len(), b.params.len(), b.tags.len())
                }
                Request::Text { path, .. } => path.clone(),
                Request::Inputs(inputs) => format!("{} inputs", inputs.len()),
                Request::Ranking => "ranking".to_owned(),
                Request::Models => "models".to_owned(),
                Request::Finish { .. } => "finish".to_owned(),
            };
            format!("{what} {:?}>{:?}", call.rows, call.completes)
        };
        let line =
            |d: &Delivery| format!("{}: {}", d.run, d.calls.iter().map(call).collect::<Vec<_>>().join(", "));
        waves
            .iter()
            .map(|wave| wave.iter().map(line).collect::<Vec<_>>().join("\n"))
            .collect::<Vec<_>>()
            .join("\n-\n")
    }

    fn planned(ops: impl IntoIterator<Item = (&'static str, Op)>) -> String {
        shown(&plan(rows(ops), &BTreeSet::new()))
    }

    #[test]
    fn parents_begin_before_their_children_and_end_after_them() {
        let plan = planned([
            ("s/0", points(1)),
            ("s", create(None)),
            ("s", Op::Text { path: "sweep.yaml".into(), content: String::new() }),
            ("s/1", create(Some("s"))),
            ("s", END),
            ("s/1", END),
        ]);
        insta::assert_snapshot!(plan, @r"
        s: create [2]>[2], sweep.yaml [3]>[3]
        -
        s/0: batch 1m 0p 0t [1]>[1]
        s/1: create [4]>[4], finish [6]>[6]
        -
        s: finish [5]>[5]
        ");
    }

    #[test]
    fn neighbouring_rows_of_a_run_share_a_call_and_others_part_them() {
        let plan = planned([
            ("s/0", Op::Params(texts(["a".into()], "1"))),
            ("s/1", points(2)),
            ("s/0", Op::Tags(texts(["t".into()], "1"))),
            ("s/0", points(3)),
            ("s/0", Op::Text { path: "x".into(), content: String::new() }),
            ("s/0", points(4)),
            ("s/0", END),
        ]);
        insta::assert_snapshot!(plan, @r"

        -
        s/0: batch 3m 1p 1t [1, 3, 4]>[1, 3, 4], x [5]>[5], batch 4m 0p 0t [6]>[6], finish [7]>[7]
        s/1: batch 2m 0p 0t [2]>[2]
        -
        ");
    }

    #[test]
    fn limits_split_rows_and_a_row_is_complete_with_its_last_part() {
        let many = |n: usize| texts((0..n).map(|i| format!("k{i}")), "v");
        let plan = planned([
            ("s/0", points(2500)),
            ("s/0", Op::Params(many(150))),
            ("s/0", Op::Tags(many(101))),
            ("s/0", points(0)),
        ]);
        insta::assert_snapshot!(plan, @r"

        -
        s/0: batch 1000m 0p 0t [1]>[], batch 1000m 0p 0t [1]>[], batch 500m 100p 0t [1, 2]>[1], batch 0m 50p 100t [2, 3]>[2], batch 0m 0p 1t [3, 4]>[3, 4]
        -
        ");
    }

    #[test]
    fn a_batch_stays_below_a_megabyte_whatever_its_items_weigh() {
        let tags: Vec<_> =
            (0..80).map(|i| ("s/0", Op::Tags(texts([format!("k{i}")], &"\u{1}".repeat(5000))))).collect();
        let [_, trials, _] = plan(rows(tags), &BTreeSet::new());
        let run = super::super::op::RunIds { experiment_id: "1".into(), run_id: "r".into() };
        let sizes: Vec<usize> = trials[0]
            .calls
            .iter()
            .map(|call| {
                let Request::Batch(batch) = &call.request else { panic!("{call:?}") };
                serde_json::to_vec(&wire::LogBatch::new(&run, batch)).unwrap().len()
            })
            .collect();
        assert!(sizes.len() == 3 && sizes.iter().all(|size| *size < 1_000_000), "{sizes:?}");
    }

    #[test]
    fn a_parameter_told_twice_is_sent_once_and_another_value_goes_by_itself() {
        let told = |value: &str| ("s/0", Op::Params(texts(["a".into(), "b".into()], value)));
        insta::assert_snapshot!(planned([told("1"), told("1"), told("2")]), @r"

        -
        s/0: batch 0m 2p 0t [1, 2]>[1, 2], batch 0m 2p 0t [3]>[3]
        -
        ");
    }

    #[test]
    fn the_last_value_of_a_tag_stays() {
        let told = |value: &str| ("s/0", Op::Tags(texts(["worker".into()], value)));
        let [_, trials, _] = plan(rows([told("w1"), told("w2")]), &BTreeSet::new());
        let Request::Batch(batch) = &trials[0].calls[0].request else { panic!("{trials:?}") };
        assert_eq!(batch.tags["worker"], "w2");
    }

    #[test]
    fn rows_of_a_run_with_a_refusal_go_one_by_one() {
        let single = BTreeSet::from([RunKey::new("s/0")]);
        let told = rows([("s/0", points(1)), ("s/0", points(1001)), ("s/1", points(1)), ("s/1", points(1))]);
        insta::assert_snapshot!(shown(&plan(told, &single)), @r"

        -
        s/0: batch 1m 0p 0t [1]>[1], batch 1000m 0p 0t [2]>[], batch 1m 0p 0t [2]>[2]
        s/1: batch 2m 0p 0t [3, 4]>[3, 4]
        -
        ");
    }
}
