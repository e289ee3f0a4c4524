//! The order in which an epoch visits the training rows: a function of the seed and the epoch.

use distilsweep_data::shuffled;
use distilsweep_proto::params::TrainingArguments;

use super::data::Tokenized;

/// Rows of `train` in the order of `epoch`, the tail that is dropped included.
pub(super) fn order(train: &Tokenized, arguments: &TrainingArguments, epoch: u64) -> Vec<u32> {
    let seed = arguments.data_seed.unwrap_or(arguments.seed);
    let order = shuffled(train.len(), seed.wrapping_add(epoch));
    if !arguments.group_by_length {
        return order;
    }
    let window = arguments.per_device_train_batch_size.saturating_mul(arguments.gradient_accumulation_steps);
    grouped(order, window, |row| train.example(row as usize).tokens.len())
}

/// Sorts by length, longest first, inside mega-batches of up to 50 windows, and puts the longest text of all first, so
/// that a lack of memory shows at once.
///
/// Source: `get_length_grouped_indices` of transformers 4.57. Trainer shuffles with torch's global generator there, which
/// everything before it has advanced; here the order before grouping is that of an epoch without it.
fn grouped(order: Vec<u32>, window: usize, length: impl Fn(u32) -> usize) -> Vec<u32> {
    let size = (order.len() / window.saturating_mul(4)).clamp(1, 50).saturating_mul(window);
    let mut groups: Vec<Vec<u32>> = order.chunks(size).map(<[u32]>::to_vec).collect();
    for group in &mut groups {
        group.sort_by_key(|row| std::cmp::Reverse(length(*row)));
    }
    let mut longest = 0;
    for (i, group) in groups.iter().enumerate() {
        if length(group[0]) > length(groups[longest][0]) {
            longest = i;
        }
    }
    if longest > 0 {
        let (first, others) = groups.split_at_mut(longest);
        std::mem::swap(&mut first[0][0], &mut others[0][0]);
    }
    groups.concat()
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Recorded with transformers 4.57.6: `get_length_grouped_indices(lengths, 2, generator=manual_seed(0))` with
    /// lengths i * 7 % 11 + 1 of 20 rows.
    #[test]
    fn grouped_order_is_that_of_transformers() {
        let recorded = [14, 13, 5, 19, 4, 3, 6, 7, 17, 9, 2, 11, 12, 18, 10, 16, 1, 15, 8, 0];
        let order = grouped(shuffled(20, 0), 2, |row| row as usize * 7 % 11 + 1);
        assert_eq!(order, recorded);
    }

    #[test]
    fn every_row_comes_once_whatever_the_window() {
        for window in [1, 3, 50, 1000] {
            let mut order = grouped(shuffled(101, 5), window, |row| row as usize % 13);
            order.sort_unstable();
            assert!(order.iter().copied().eq(0..101), "window {window}");
        }
    }

    #[test]
    fn the_longest_text_comes_first() {
        let order = grouped(shuffled(400, 9), 2, |row| if row == 77 { 99 } else { 5 });
        assert_eq!(order[0], 77);
    }
}
