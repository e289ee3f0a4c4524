//! What holds for every plan, whatever the rows.

use std::collections::{BTreeMap, BTreeSet};

use proptest::prelude::*;

use crate::mlflow::{
    op::{Op, OutboxRow, Point, RunKey, Status},
    plan::{Call, Delivery, Request, plan},
};

fn any_op() -> impl Strategy<Value = Op> {
    let texts = || {
        prop_oneof![Just(3usize), 0..250usize].prop_flat_map(|n| {
            let key = (0..400usize).prop_map(|i| format!("k{i}"));
            prop::collection::btree_map(key, "[01]", 0..=n)
        })
    };
    let points = (prop_oneof![Just(10usize), 0..2500usize], 0..1000i64).prop_map(|(n, first)| {
        let point =
            |i: usize| Point { key: "loss".to_owned(), value: 0.5, timestamp_ms: 1, step: first + i as i64 };
        Op::Metrics((0..n).map(point).collect())
    });
    prop_oneof![
        4 => points,
        2 => texts().prop_map(Op::Params),
        2 => texts().prop_map(Op::Tags),
        1 => Just(Op::Text { path: "x".to_owned(), content: String::new() }),
        1 => Just(Op::Finish { status: Status::Finished, end_ms: 1 }),
    ]
}

fn any_rows() -> impl Strategy<Value = Vec<OutboxRow>> {
    let run = prop::sample::select(vec!["s", "s/0", "s/1"]).prop_map(RunKey::new);
    prop::collection::vec((run, any_op()), 0..30)
        .prop_map(|rows| rows.into_iter().zip(1..).map(|((run, op), id)| OutboxRow { id, run, op }).collect())
}

/// The calls for a run over all waves, in order.
fn calls<'a>(waves: &'a [Vec<Delivery>; 3], run: &'a RunKey) -> impl Iterator<Item = &'a Call> {
    waves.iter().flatten().filter(move |delivery| delivery.run == *run).flat_map(|delivery| &delivery.calls)
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn every_row_is_completed_once_and_in_order(rows in any_rows(), singly: bool) {
        let runs: BTreeSet<RunKey> = rows.iter().map(|row| row.run.clone()).collect();
        let single = if singly { runs.clone() } else { BTreeSet::new() };
        let waves = plan(rows.clone(), &single);
        for run in &runs {
            let given: Vec<i64> = rows.iter().filter(|row| row.run == *run).map(|row| row.id).collect();
            let completed: Vec<i64> = calls(&waves, run).flat_map(|call| call.completes.clone()).collect();
            prop_assert_eq!(completed, given);
        }
        for call in waves.iter().flatten().flat_map(|delivery| &delivery.calls) {
            prop_assert!(call.completes.iter().all(|id| call.rows.contains(id)));
            prop_assert!(!singly || call.rows.len() == 1, "{:?}", call.rows);
        }
    }

    #[test]
    fn every_point_and_text_arrives_and_no_batch_is_too_large(rows in any_rows()) {
        let waves = plan(rows.clone(), &BTreeSet::new());
        for run in rows.iter().map(|row| &row.run) {
            let (mut points, mut tags, mut params) = (Vec::new(), BTreeMap::new(), BTreeSet::new());
            for row in rows.iter().filter(|row| row.run == *run) {
                match &row.op {
                    Op::Metrics(given) => points.extend(given.clone()),
                    Op::Tags(given) => tags.extend(given.clone()),
                    Op::Params(given) => params.extend(given.clone()),
                    Op::CreateRun(_)
                    | Op::Text { .. }
                    | Op::Inputs(_)
                    | Op::Ranking
                    | Op::Models
                    | Op::Finish { .. } => {}
                }
            }
            let (mut sent, mut set, mut told) = (Vec::new(), BTreeMap::new(), BTreeSet::new());
            for call in calls(&waves, run) {
                if let Request::Batch(batch) = &call.request {
                    let (m, p, t) = (batch.metrics.len(), batch.params.len(), batch.tags.len());
                    prop_assert!(m <= 1000 && p <= 100 && t <= 100 && m + p + t <= 1000, "{m} {p} {t}");
                    sent.extend(batch.metrics.clone());
                    set.extend(batch.tags.clone());
                    told.extend(batch.params.clone());
                }
            }
            prop_assert_eq!((sent, set, told), (points, tags, params));
        }
    }
}
