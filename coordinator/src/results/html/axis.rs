//! Axes: where a value goes, and which round values are written beside it.

/// A range of values laid over a range of the picture.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct Axis {
    low: f64,
    high: f64,
    from: f64,
    to: f64,
    log: bool,
    /// Its values are whole numbers, and so are those written beside it.
    whole: bool,
}

impl Axis {
    /// An axis for `values`, from the picture's `from` to its `to`. Positive values that span more than a factor of 20
    /// get a logarithmic one where that is `allowed`. Without a spread it gets some around.
    pub(super) fn over(values: impl Iterator<Item = f64> + Clone, from: f64, to: f64, allowed: bool) -> Self {
        let finite = values.clone().filter(|value| value.is_finite());
        let low = finite.clone().fold(f64::INFINITY, f64::min);
        let high = finite.fold(f64::NEG_INFINITY, f64::max);
        let (low, high) = if low <= high { (low, high) } else { (0.0, 1.0) };
        let log = allowed && low > 0.0 && high / low >= 20.0;
        let (mut a, mut b) = if log { (low.log10(), high.log10()) } else { (low, high) };
        if b - a < f64::EPSILON * a.abs().max(1.0) {
            let some = if a == 0.0 { 1.0 } else { a.abs() * 0.1 };
            (a, b) = (a - some, b + some);
        }
        let room = (b - a) * 0.05;
        let whole = values.clone().all(|value| value.fract() == 0.0);
        Self { low: a - room, high: b + room, from, to, log, whole }
    }

    /// The values at its ends, and whether it is logarithmic.
    pub(super) fn range(self) -> (f64, f64, bool) {
        let value = |place: f64| if self.log { 10f64.powf(place) } else { place };
        (value(self.low), value(self.high), self.log)
    }

    /// Where a value goes.
    pub(super) fn at(self, value: f64) -> f64 {
        let value = if self.log { value.log10() } else { value };
        self.from + (value - self.low) / (self.high - self.low) * (self.to - self.from)
    }

    /// Round values within the axis, at most some seven, with their texts.
    pub(super) fn ticks(self) -> Vec<(f64, String)> {
        if self.log {
            let decades = self.low.ceil() as i32..=self.high.floor() as i32;
            let each: &[f64] = if decades.clone().count() > 2 { &[1.0] } else { &[1.0, 2.0, 5.0] };
            let decades = (self.low.floor() as i32)..=(self.high.ceil() as i32);
            return decades
                .flat_map(|decade| each.iter().map(move |digit| digit * 10f64.powi(decade)))
                .filter(|value| (self.low..=self.high).contains(&value.log10()))
                .map(|value| (value, written(value)))
                .collect();
        }
        let rough = (self.high - self.low) / 5.0;
        let power = 10f64.powf(rough.log10().floor());
        let step =
            [1.0, 2.0, 5.0, 10.0].map(|digit| digit * power).into_iter().find(|step| *step >= 0.7 * rough);
        let step = step.unwrap_or(rough).max(if self.whole { 1.0 } else { 0.0 });
        let first = (self.low / step).ceil() as i64;
        let last = (self.high / step).floor() as i64;
        let decimals = (-step.log10().floor()).clamp(0.0, 12.0) as usize;
        (first..=last)
            .map(|count| count as f64 * step)
            .map(|value| {
                let text = if value == 0.0 || value.abs() >= 1e6 || step < 1e-4 {
                    written(value)
                } else {
                    format!("{value:.decimals$}")
                };
                (value, text)
            })
            .collect()
    }
}

/// A number as short as it is: `0.001`, `2e-5`, `64`.
pub(super) fn written(value: f64) -> String {
    let rounded: f64 = format!("{value:.6e}").parse().unwrap_or(value);
    if rounded == 0.0 || (1e-3..1e6).contains(&rounded.abs()) {
        rounded.to_string()
    } else {
        format!("{rounded:e}")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn texts(values: &[f64], log: bool) -> String {
        let axis = Axis::over(values.iter().copied(), 0.0, 100.0, log);
        axis.ticks().into_iter().map(|(_, text)| text).collect::<Vec<_>>().join(" ")
    }

    #[test]
    fn ticks_are_round_whatever_the_range() {
        assert_eq!(texts(&[0.61, 0.7021], true), "0.62 0.64 0.66 0.68 0.70");
        assert_eq!(texts(&[0.0, 154.0], true), "0 50 100 150");
        assert_eq!(texts(&[1e-5, 5e-4], true), "1e-5 2e-5 5e-5 1e-4 2e-4 5e-4");
        assert_eq!(texts(&[1e-6, 1.0], true), "1e-6 1e-5 1e-4 0.001 0.01 0.1 1");
        assert_eq!(texts(&[1e-5, 5e-5], true), "1e-5 2e-5 3e-5 4e-5 5e-5");
        assert_eq!(texts(&[-3.0, 3.0], true), "-3 -2 -1 0 1 2 3");
    }

    #[test]
    fn whole_numbers_have_whole_ticks() {
        assert_eq!(texts(&[1.0, 4.0], false), "1 2 3 4");
        assert_eq!(texts(&[1.0, 2.0], false), "1 2");
    }

    #[test]
    fn one_value_stands_in_the_middle_and_nothing_finite_is_no_trouble() {
        assert_eq!(Axis::over([5.0].into_iter(), 0.0, 100.0, true).at(5.0).round(), 50.0);
        assert!(!texts(&[f64::NAN], true).is_empty());
        assert!(!texts(&[], true).is_empty());
    }
}
