//! The lanes' examples as the tensors of one pass, and the lanes' losses.
//!
//! Linear layers see a grid of rows [lanes, width, …], where the shorter lanes end in rows of zeros at first. Nothing
//! reads what becomes of these, so that they get no gradient; they stay finite as long as their lane's weights are.
//! Attention sees the examples of all lanes, one after another.

use distilsweep_native::{
    DropoutKey, LaneDropout, dropout_lane_attention, dropout_lane_rows, dropout_threshold, gather_rows,
    scatter_rows,
};
use tch::{Device, Kind, Tensor};

use super::{LaneBatch, Shape};
use crate::model::{config::Rates, distilbert::Site, error::TorchError};

/// Rows of which some places are taken.
#[derive(Debug)]
pub(super) struct Grid {
    height: i64,
    width: i64,
    /// Of each packed row its place, row by row; None where they fill the grid.
    places: Option<Tensor>,
}

impl Grid {
    /// Packed rows [n, dim] at their places, [height, width, dim] with zeros elsewhere.
    pub(super) fn place(&self, packed: &Tensor) -> Result<Tensor, TorchError> {
        let rows = match &self.places {
            Some(places) => scatter_rows(packed, places, self.height * self.width)?,
            None => packed.shallow_clone(),
        };
        Ok(rows.f_reshape([self.height, self.width, -1])?)
    }

    /// The packed rows [n, dim] of [height, width, dim].
    pub(super) fn take(&self, grid: &Tensor) -> Result<Tensor, TorchError> {
        let rows = grid.f_reshape([self.height * self.width, -1])?;
        match &self.places {
            Some(places) => Ok(gather_rows(&rows, places)?),
            None => Ok(rows),
        }
    }

    pub(super) fn height(&self) -> i64 {
        self.height
    }

    pub(super) fn width(&self) -> i64 {
        self.width
    }
}

/// Keys and rates of dropout, where a site drops anything.
#[derive(Debug)]
struct Dropouts {
    /// [sites, lanes], the sites as [`row_sites`] lists them.
    rows: Tensor,
    /// [blocks, examples].
    attention: Tensor,
    hidden: Option<[Tensor; 2]>,
    classifier: Option<[Tensor; 2]>,
    /// Of each example.
    probabilities: Option<[Tensor; 2]>,
}

/// Which rows of a pass a dropout drops from.
#[derive(Clone, Copy)]
pub(super) enum Which {
    /// Every token's.
    Tokens,
    /// The first tokens'.
    First,
}

/// A pass's examples on the device.
#[derive(Debug)]
pub(super) struct Rows {
    /// Of each token, lane by lane: rows of all lanes' word and position embeddings.
    pub(super) words: Tensor,
    pub(super) positions: Tensor,
    /// Where linear layers see the tokens: a row of the grid a lane.
    pub(super) tokens: Grid,
    /// Where attention sees them: a row of the grid an example.
    pub(super) slots: Grid,
    /// Row of each example's first token in the grid of tokens, and where linear layers see these rows alone.
    pub(super) first_rows: Tensor,
    pub(super) first: Grid,
    /// [examples, 1, 1, slots' width]: 0 for a token, minus infinity for padding. None where nothing is padded.
    pub(super) mask: Option<Tensor>,
    /// Example and position of each place in the grid of tokens; the same of the first tokens.
    token_keys: [Tensor; 2],
    first_keys: [Tensor; 2],
    /// Number of each example.
    examples: Tensor,
    dropouts: Dropouts,
    /// [lanes, first's width]; weight 0 where no example is.
    labels: Tensor,
    weights: Tensor,
    /// [lanes, 1].
    smoothing: Tensor,
}

fn row_sites(blocks: usize) -> impl Iterator<Item = Site> {
    let blocks = 0..blocks as u64;
    [Site::Embeddings, Site::Classifier].into_iter().chain(blocks.map(Site::FeedForward))
}

impl Rows {
    /// Lays out the lanes' examples; None where there is none.
    ///
    /// On CUDA nothing waits for the device: all numbers go over in two copies, which it makes in its turn.
    pub(super) fn new(batches: &[LaneBatch], shape: &Shape) -> Result<Option<Self>, TorchError> {
        let lanes = batches.len();
        let count: usize = batches.iter().map(|batch| batch.examples.len()).sum();
        if count == 0 {
            return Ok(None);
        }
        let examples = || batches.iter().flat_map(|batch| &batch.examples);
        let total: usize = examples().map(|example| example.tokens.len()).sum();
        let tokens_of = |batch: &LaneBatch| batch.examples.iter().map(|example| example.tokens.len()).sum();
        let width: usize = batches.iter().map(tokens_of).max().unwrap_or(0);
        let first_width = batches.iter().map(|batch| batch.examples.len()).max().unwrap_or(0);
        let length = examples().map(|example| example.tokens.len()).max().unwrap_or(0);

        let (mut words, mut positions) = (Vec::with_capacity(total), Vec::with_capacity(total));
        let (mut places, mut slots) = (Vec::with_capacity(total), Vec::with_capacity(total));
        let (mut first_rows, mut first_places) = (Vec::with_capacity(count), Vec::with_capacity(count));
        let mut numbers = Vec::with_capacity(count);
        let mut token_keys = [vec![0; lanes * width], vec![0; lanes * width]];
        let mut first_numbers = vec![0; lanes * first_width];
        let mut labels = vec![0; lanes * first_width];
        let mut weights = vec![0.0; lanes * first_width];
        let mut mask = vec![f64::NEG_INFINITY; count * length];
        for (lane, batch) in batches.iter().enumerate() {
            debug_assert_eq!(batch.examples.len(), batch.weights.len(), "a weight for each example");
            let mut row = lane * width;
            for (i, (example, weight)) in batch.examples.iter().zip(&batch.weights).enumerate() {
                let (number, place) = ((batch.offset + i) as i64, lane * first_width + i);
                first_rows.push(row as i64);
                first_places.push(place as i64);
                first_numbers[place] = number;
                labels[place] = i64::from(example.label);
                weights[place] = *weight;
                for (position, token) in example.tokens.iter().enumerate() {
                    let slot = numbers.len() * length + position;
                    words.push(lane as i64 * shape.words + i64::from(*token));
                    positions.push(lane as i64 * shape.positions + position as i64);
                    places.push(row as i64);
                    slots.push(slot as i64);
                    mask[slot] = 0.0;
                    token_keys[0][row] = number;
                    token_keys[1][row] = position as i64;
                    row += 1;
                }
                numbers.push(number);
            }
        }

        let rates =
            |batch: &LaneBatch| batch.dropout.map_or_else(|| Rates::uniform(0.0), |dropout| dropout.rates);
        let stream = |batch: &LaneBatch, site| {
            let none = DropoutKey { seed: 0, site: 0, step: 0 };
            batch.dropout.as_ref().map_or(none, |dropout| dropout.key(site)).stream()
        };
        let each_example = || batches.iter().flat_map(|batch| batch.examples.iter().map(move |_| batch));
        let row_streams: Vec<i64> = row_sites(shape.blocks)
            .flat_map(|site| batches.iter().map(move |batch| stream(batch, site)))
            .collect();
        let attention_streams: Vec<i64> = (0..shape.blocks as u64)
            .flat_map(|block| each_example().map(move |batch| stream(batch, Site::Attention(block))))
            .collect();
        let hidden = Limits::new(batches.iter().map(|batch| rates(batch).hidden))?;
        let classifier = Limits::new(batches.iter().map(|batch| rates(batch).classifier))?;
        let probabilities = Limits::new(each_example().map(|batch| rates(batch).attention))?;

        let padded = total < count * length;
        let mut whole = Packed::default();
        let lists = [
            words,
            positions,
            places,
            slots,
            first_rows,
            first_places,
            numbers,
            first_numbers,
            vec![0; lanes * first_width],
            labels,
            row_streams,
            attention_streams,
        ]
        .map(|list| whole.push(&list));
        let token_keys = token_keys.map(|list| whole.push(&list));
        let thresholds = [&hidden, &classifier, &probabilities].map(|limits| whole.push(&limits.thresholds));
        let mut real = Packed::default();
        let smoothing: Vec<f64> = batches.iter().map(|batch| batch.smoothing).collect();
        let (weights, smoothing) = (real.push(&weights), real.push(&smoothing));
        let scales = [&hidden, &classifier, &probabilities].map(|limits| real.push(&limits.scales));
        let mask = padded.then(|| real.push(&mask));

        let whole = whole.sent(shape.device, Kind::Int64)?;
        let real = real.sent(shape.device, shape.kind)?;
        let list = |i: usize| whole.get(lists[i]);
        let (n, w) = (lanes as i64, width as i64);
        let (f, c, l) = (first_width as i64, count as i64, length as i64);
        let grid = |height, width, full: bool, i| -> Result<Grid, TorchError> {
            let places = if full { None } else { Some(list(i)?) };
            Ok(Grid { height, width, places })
        };
        let limits = |i: usize, limits: &Limits| -> Result<Option<[Tensor; 2]>, TorchError> {
            if !limits.any {
                return Ok(None);
            }
            Ok(Some([whole.get(thresholds[i])?.f_to_kind(Kind::Int)?, real.get(scales[i])?]))
        };
        Ok(Some(Self {
            words: list(0)?,
            positions: list(1)?,
            tokens: grid(n, w, total == lanes * width, 2)?,
            slots: grid(c, l, !padded, 3)?,
            first_rows: list(4)?,
            first: grid(n, f, count == lanes * first_width, 5)?,
            mask: mask
                .map(|mask| real.get(mask)?.f_reshape([c, 1, 1, l])?.f_to_kind(shape.compute))
                .transpose()?,
            examples: list(6)?,
            first_keys: [list(7)?.f_reshape([n, f])?, list(8)?.f_reshape([n, f])?],
            token_keys: [
                whole.get(token_keys[0])?.f_reshape([n, w])?,
                whole.get(token_keys[1])?.f_reshape([n, w])?,
            ],
            dropouts: Dropouts {
                rows: list(10)?.f_reshape([-1, n])?,
                attention: list(11)?.f_reshape([-1, c])?,
                hidden: limits(0, &hidden)?,
                classifier: limits(1, &classifier)?,
                probabilities: limits(2, &probabilities)?,
            },
            labels: list(9)?.f_reshape([n, f])?,
            weights: real.get(weights)?.f_reshape([n, f])?,
            smoothing: real.get(smoothing)?.f_reshape([n, 1])?,
        }))
    }

    /// Drops units of the rows [lanes, width, dim] of a site.
    pub(super) fn dropped(&self, rows: Tensor, which: Which, site: Site) -> Result<Tensor, TorchError> {
        let limits = match site {
            Site::Classifier => &self.dropouts.classifier,
            Site::Embeddings | Site::Attention(_) | Site::FeedForward(_) => &self.dropouts.hidden,
        };
        let Some([thresholds, scales]) = limits else { return Ok(rows) };
        let number = match site {
            Site::Embeddings => 0,
            Site::Classifier => 1,
            Site::Attention(block) | Site::FeedForward(block) => 2 + block as i64,
        };
        let [examples, positions] = match which {
            Which::Tokens => &self.token_keys,
            Which::First => &self.first_keys,
        };
        let streams = self.dropouts.rows.f_get(number)?;
        let lanes = LaneDropout { streams: &streams, thresholds, scales };
        Ok(dropout_lane_rows(&rows, examples, positions, &lanes)?)
    }

    /// Whether attention's probabilities of any lane are dropped.
    pub(super) fn drops_attention(&self) -> bool {
        self.dropouts.probabilities.is_some()
    }

    /// Drops attention probabilities [examples, heads, queries, keys] of a block.
    pub(super) fn dropped_attention(&self, weights: Tensor, block: u64) -> Result<Tensor, TorchError> {
        let Some([thresholds, scales]) = &self.dropouts.probabilities else { return Ok(weights) };
        let streams = self.dropouts.attention.f_get(block as i64)?;
        let lanes = LaneDropout { streams: &streams, thresholds, scales };
        Ok(dropout_lane_attention(&weights, &self.examples, &lanes)?)
    }

    /// Each lane's loss [lanes] from logits [lanes, first's width, classes].
    pub(super) fn losses(&self, logits: &Tensor) -> Result<Tensor, TorchError> {
        let surprise = logits.f_log_softmax(-1, None::<Kind>)?.f_neg()?;
        let own = surprise.f_gather(-1, &self.labels.f_unsqueeze(-1)?, false)?.f_squeeze_dim(-1)?;
        let all = surprise.f_mean_dim([-1i64].as_slice(), false, None::<Kind>)?;
        let losses = own.f_lerp_tensor(&all, &self.smoothing)?.f_mul(&self.weights)?;
        Ok(losses.f_sum_dim_intlist([-1i64].as_slice(), false, None::<Kind>)?)
    }
}

/// Rates as dropout takes them.
struct Limits {
    thresholds: Vec<i64>,
    scales: Vec<f64>,
    any: bool,
}

impl Limits {
    fn new(rates: impl Iterator<Item = f64>) -> Result<Self, TorchError> {
        let mut limits = Self { thresholds: vec![], scales: vec![], any: false };
        for rate in rates {
            let (threshold, scale) = dropout_threshold(rate)?;
            limits.thresholds.push(threshold);
            limits.scales.push(scale);
            limits.any |= rate > 0.0;
        }
        Ok(limits)
    }
}

/// Lists that go to the device in one copy.
struct Packed<T> {
    values: Vec<T>,
}

impl<T> Default for Packed<T> {
    fn default() -> Self {
        Self { values: Vec::new() }
    }
}

/// Where a list is among the others.
#[derive(Clone, Copy)]
struct Part {
    offset: i64,
    length: i64,
}

impl<T: Copy + tch::kind::Element> Packed<T> {
    fn push(&mut self, list: &[T]) -> Part {
        let part = Part { offset: self.values.len() as i64, length: list.len() as i64 };
        self.values.extend_from_slice(list);
        part
    }

    fn sent(self, device: Device, kind: Kind) -> Result<Sent, TorchError> {
        let values = Tensor::f_from_slice(&self.values)?.f_to_kind(kind)?;
        Ok(Sent(values.f_to_device_(device, kind, true, false)?))
    }
}

struct Sent(Tensor);

impl Sent {
    fn get(&self, part: Part) -> Result<Tensor, tch::TchError> {
        self.0.f_narrow(0, part.offset, part.length)
    }
}
