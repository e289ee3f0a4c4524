//! Choosing rows of a split by a fixed seed: the validation split that is cut from the training rows, and limits.

use distilsweep_proto::dataset::LimitOrder;

use crate::{
    Split,
    excerpt::{excerpt, listed},
    order,
};

/// One in this many training rows validates when the data has no validation split.
const CUT: usize = 10;
/// Seed of every choice: the same rows for every trial of every sweep.
const SEED: u64 = 0;
/// Classes of fewer rows are named when a validation split is cut.
const SMALL_CLASS: usize = 2 * CUT;

/// Parts a tenth of every class from the training rows, at least one row of a class that has two; both parts keep their
/// order. The note says how many rows there are, and how small classes were split.
pub(crate) fn cut_validation(train: &Split, classes: &[String]) -> (Split, Split, String) {
    let mut validates = vec![false; train.len()];
    let mut small = Vec::new();
    for (class, rows) in rows_by_class(&train.labels, classes.len()).into_iter().enumerate() {
        let share = match rows.len() {
            0 | 1 => 0,
            count => ((count + CUT / 2) / CUT).max(1),
        };
        if (1..SMALL_CLASS).contains(&rows.len()) {
            small.push(format!("{} of {} of \"{}\"", share, rows.len(), excerpt(&classes[class])));
        }
        for chosen in order::shuffled(rows.len(), SEED).into_iter().take(share) {
            validates[rows[chosen as usize]] = true;
        }
    }
    let (rest, validation) = (train.select(|i| !validates[i]), train.select(|i| validates[i]));
    let mut note = format!(
        "there is no validation split: {} of {} training rows were taken for it, a tenth of every class",
        validation.len(),
        train.len()
    );
    if !small.is_empty() {
        note += &format!("; of small classes {}", listed(small));
    }
    (rest, validation, note)
}

/// Keeps at most `limit` rows.
pub(crate) fn limit(split: &mut Split, limit: Option<u64>, order: LimitOrder, classes: usize) {
    let limit = limit.map_or(usize::MAX, |limit| usize::try_from(limit).unwrap_or(usize::MAX));
    if split.len() <= limit {
        return;
    }
    match order {
        LimitOrder::First => *split = split.select(|i| i < limit),
        LimitOrder::Stratified => {
            let chosen = stratified(&split.labels, classes, limit);
            *split = split.select(|i| chosen[i]);
        }
    }
}

/// Which rows a sample of `count` holds in which every class keeps its share, and as far as possible a row.
fn stratified(labels: &[u32], classes: usize, count: usize) -> Vec<bool> {
    let rows = rows_by_class(labels, classes);
    let present = rows.iter().filter(|rows| !rows.is_empty()).count();
    let least = usize::from(count >= present);
    // Whole rows of each class's share, then one more each by the largest remainder, the first class first.
    let exact = |rows: &[usize]| rows.len() as f64 * count as f64 / labels.len().max(1) as f64;
    let mut quotas: Vec<usize> =
        rows.iter().map(|rows| (exact(rows) as usize).max(least).min(rows.len())).collect();
    let mut by_remainder: Vec<usize> = (0..classes).filter(|class| !rows[*class].is_empty()).collect();
    by_remainder.sort_by(|a, b| {
        let remainder = |class: usize| exact(&rows[class]) - quotas[class] as f64;
        remainder(*b).total_cmp(&remainder(*a)).then(a.cmp(b))
    });
    let mut total: usize = quotas.iter().sum();
    for class in by_remainder.iter().copied().cycle().take(2 * classes.max(1)) {
        if total < count && quotas[class] < rows[class].len() {
            quotas[class] += 1;
            total += 1;
        }
    }
    // A row for every class may have cost more than there is: the largest classes give.
    while total > count {
        let largest = (0..classes).max_by_key(|class| (quotas[*class], classes - class)).unwrap_or_default();
        quotas[largest] -= 1;
        total -= 1;
    }
    let mut chosen = vec![false; labels.len()];
    for (rows, quota) in rows.iter().zip(quotas) {
        for i in order::shuffled(rows.len(), SEED).into_iter().take(quota) {
            chosen[rows[i as usize]] = true;
        }
    }
    chosen
}

/// The rows of each class, in order.
fn rows_by_class(labels: &[u32], classes: usize) -> Vec<Vec<usize>> {
    let mut rows = vec![Vec::new(); classes];
    for (i, label) in labels.iter().enumerate() {
        rows[*label as usize].push(i);
    }
    rows
}

#[cfg(test)]
mod tests {
    use super::*;

    fn split(counts: &[usize]) -> Split {
        let labels: Vec<u32> =
            counts.iter().zip(0..).flat_map(|(count, class)| std::iter::repeat_n(class, *count)).collect();
        Split { texts: (0..labels.len()).map(|i| format!("text {i}")).collect(), pairs: Vec::new(), labels }
    }

    fn limited(counts: &[usize], rows: u64, order: LimitOrder) -> Vec<usize> {
        let mut split = split(counts);
        limit(&mut split, Some(rows), order, counts.len());
        assert!(split.texts.is_sorted_by_key(|text| text[5..].parse::<usize>().unwrap()));
        split.class_counts(counts.len())
    }

    #[test]
    fn a_limit_keeps_the_shares_of_the_classes() {
        use LimitOrder::{First, Stratified};
        assert_eq!(limited(&[50, 30, 20], 10, Stratified), [5, 3, 2]);
        assert_eq!(limited(&[980, 15, 5], 100, Stratified), [98, 1, 1]);
        assert_eq!(limited(&[1, 1, 1], 2, Stratified), [1, 1, 0]);
        assert_eq!(limited(&[400, 400, 1, 1, 1], 5, Stratified), [1, 1, 1, 1, 1]);
        assert_eq!(limited(&[3, 0, 3], 4, Stratified), [2, 0, 2]);
        assert_eq!(limited(&[3, 4], 7, Stratified), [3, 4]);
        assert_eq!(limited(&[50, 30, 20], 60, First), [50, 10, 0]);
    }

    #[test]
    fn a_limited_sample_is_as_large_as_asked_for() {
        for (i, rows) in (1..400).zip([3, 17, 64, 99].into_iter().cycle()) {
            let counts = [i, 400 - i, 1 + i / 3, i % 7];
            let total: usize = limited(&counts, rows, LimitOrder::Stratified).iter().sum();
            assert_eq!(total, (rows as usize).min(counts.iter().sum()), "{counts:?} limited to {rows}");
        }
    }

    #[test]
    fn small_classes_validate_with_one_row_and_are_named() {
        let classes = ["common", "rare", "single", "absent"].map(str::to_owned);
        let (train, validation, note) = cut_validation(&split(&[200, 3, 1, 0]), &classes);
        assert_eq!(train.class_counts(4), [180, 2, 1, 0]);
        assert_eq!(validation.class_counts(4), [20, 1, 0, 0]);
        insta::assert_snapshot!(note, @r#"there is no validation split: 21 of 204 training rows were taken for it, a tenth of every class; of small classes 1 of 3 of "rare", 0 of 1 of "single""#);
    }
}
