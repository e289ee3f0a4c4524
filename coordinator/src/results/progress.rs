//! A running sweep for people: a line a trial and one for the sweep, or one line an event where nobody watches.

use std::collections::BTreeMap;

use distilsweep_proto::params::Params;

use super::{labels, pace::Pace};

/// Cells of a trial's bar.
const BAR: usize = 12;

/// A sweep at one moment.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct ProgressView {
    /// Its name.
    pub sweep: String,
    /// The metric that ranks.
    pub metric: String,
    /// Names of the hyperparameters that differ, in the order of the file.
    pub varied: Vec<String>,
    /// Points in the space.
    pub total: u64,
    /// Trials with a result.
    pub completed: u64,
    /// Trials that ended without one, the diverged ones included.
    pub failed: u64,
    /// Trials that others made end early.
    pub early_stopped: u64,
    /// Trials that had ended when [`ProgressView::elapsed`] began to count.
    pub ended_before: u64,
    /// The trials that are trained now.
    pub running: Vec<RunningView>,
    /// The best trial so far and its value.
    pub best: Option<(u64, f64)>,
    /// Seconds since this command began to watch.
    pub elapsed: f64,
    /// What the journal says of the sweep's pace.
    pub pace: Pace,
    /// Devices of the workers that are there, by name, and how many of each.
    pub devices: BTreeMap<String, u64>,
    /// Workers that are there.
    pub workers: u64,
    /// Messages that MLflow has still to be told, and those that it refused.
    pub outbox: (u64, u64),
    /// Why nothing new is heard, where nothing is.
    pub lost: Option<String>,
}

/// A trial in training at one moment.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct RunningView {
    /// Index of its point.
    pub trial: u64,
    /// Which try it is, from 1.
    pub attempt: u32,
    /// Its hyperparameters; only the varied ones are shown.
    pub params: Params,
    /// Optimizer steps done.
    pub step: u64,
    /// Optimizer steps in all; 0 while unknown.
    pub total_steps: u64,
    /// Training loss at the last logged step.
    pub loss: Option<f64>,
    /// Best value of the metric so far.
    pub best_metric: Option<f64>,
    /// Optimizer steps a second; 0 while unknown.
    pub steps_per_second: f64,
    /// What it is doing: loading, training, evaluating, finishing.
    pub phase: String,
    /// Who trains it.
    pub worker: String,
}

impl RunningView {
    /// The part that is done, from 0 to 1.
    fn share(&self) -> f64 {
        if self.total_steps == 0 { 0.0 } else { (self.step as f64 / self.total_steps as f64).min(1.0) }
    }

    /// Seconds that the remaining steps take at the present pace; nothing while that is unknown.
    pub fn seconds_left(&self) -> Option<f64> {
        let remaining = self.total_steps.checked_sub(self.step)?;
        (self.total_steps > 0 && self.steps_per_second > 0.0)
            .then(|| remaining as f64 / self.steps_per_second)
    }
}

impl ProgressView {
    fn ended(&self) -> u64 {
        self.completed + self.failed + self.early_stopped
    }

    /// Seconds until the sweep ends at its pace since [`ProgressView::elapsed`] counts, evaluations included; nothing
    /// before a twentieth of a trial is done.
    pub fn seconds_left(&self) -> Option<f64> {
        let running: f64 = self.running.iter().map(RunningView::share).sum();
        let done = self.ended().saturating_sub(self.ended_before) as f64 + running;
        let left = (self.total.saturating_sub(self.ended()) as f64 - running).max(0.0);
        (done >= 0.05 && self.elapsed > 0.0).then(|| left * self.elapsed / done)
    }
}

/// The lines of a terminal of `width` columns and `height` rows: what the sweep has reached, how it goes on, then one for
/// each running trial by index, as many as there is room for. Each fits, losing what is least asked for at its end.
pub fn lines(view: &ProgressView, width: usize, height: usize) -> Vec<String> {
    let mut lines = vec![sweep_line(view)];
    lines.extend(pace_lines(view, width));
    lines.extend(view.lost.iter().map(|why| format!("  not heard of: {why}; trying again")));
    let mut running: Vec<&RunningView> = view.running.iter().collect();
    running.sort_by_key(|trial| trial.trial);
    // One row is the cursor's.
    let room = height.saturating_sub(lines.len() + 1);
    let shown = if running.len() > room { room.saturating_sub(1) } else { running.len() };
    let more = running.len() - shown;
    lines.extend(running.into_iter().take(shown).map(|trial| {
        let line = trial_line(view, trial, true);
        // The bar says nothing that the numbers do not.
        if line.chars().count() <= width { line } else { trial_line(view, trial, false) }
    }));
    if more > 0 {
        lines.push(format!("{more} more run"));
    }
    lines.into_iter().map(|line| labels::cut(line, width)).collect()
}

fn sweep_line(view: &ProgressView) -> String {
    let mut parts = vec![format!("{}  {}/{} trials", view.sweep, view.ended(), view.total)];
    if view.failed > 0 {
        parts.push(format!("{} without a result", view.failed));
    }
    if view.early_stopped > 0 {
        parts.push(format!("{} stopped early", view.early_stopped));
    }
    if let Some((trial, value)) = view.best {
        let title = labels::metric_title(&view.metric);
        parts.push(format!("best {title} {} (trial {trial})", labels::metric(value)));
    }
    parts.join("  ")
}

/// How it goes on, in as many lines as that takes: pace, time left, who works, what waits.
fn pace_lines(view: &ProgressView, width: usize) -> Vec<String> {
    let mut parts = vec![format!("{} gone", labels::duration(view.elapsed))];
    if let Some(seconds) = view.seconds_left() {
        let running: f64 = view.running.iter().map(RunningView::share).sum();
        let left = (view.total.saturating_sub(view.ended()) as f64 - running).max(0.0);
        let spread = view.pace.spread(left, view.running.len() as f64);
        // Less than a second is not worth a figure that changes each second.
        let spread = spread.filter(|spread| *spread >= 1.0);
        let spread = spread.map(|spread| format!(" ±{}", labels::duration(spread))).unwrap_or_default();
        parts.push(format!("{}{spread} left", labels::duration(seconds)));
    }
    let ended = view.ended().saturating_sub(view.ended_before);
    if ended > 0 && view.elapsed > 0.0 {
        parts.push(format!("{:.1} trials/min", ended as f64 * 60.0 / view.elapsed));
    }
    let steps: f64 = view.running.iter().map(|trial| trial.steps_per_second).sum();
    if steps > 0.0 {
        parts.push(format!("{steps:.1} steps/s"));
    }
    let devices: Vec<String> = view
        .devices
        .iter()
        .map(|(name, count)| if *count > 1 { format!("{count} × {name}") } else { name.clone() })
        .collect();
    let devices = if devices.is_empty() { String::new() } else { format!(" ({})", devices.join(", ")) };
    parts.push(format!("{}{devices}", labels::counted(view.workers, "worker")));
    let (waiting, refused) = view.outbox;
    if waiting > 0 {
        parts.push(format!("{} for MLflow", labels::counted(waiting, "message")));
    }
    if refused > 0 {
        parts.push(format!("{refused} refused by MLflow"));
    }
    let mut lines = vec![String::new()];
    for part in parts {
        let line = lines.last_mut().expect("there is always a line");
        if !line.is_empty() && line.chars().count() + 2 + part.chars().count() > width {
            lines.push(format!("  {part}"));
        } else {
            line.push_str("  ");
            line.push_str(&part);
        }
    }
    lines
}

fn trial_line(view: &ProgressView, trial: &RunningView, bar: bool) -> String {
    let training = trial.phase == "training" && trial.total_steps > 0;
    let mut parts = vec![format!("trial {:<3}", trial.trial)];
    if bar {
        let full = (trial.share() * BAR as f64) as usize;
        parts.push(format!("{}{}", "█".repeat(full), "░".repeat(BAR - full)));
    }
    if trial.total_steps > 0 {
        let total = trial.total_steps.to_string();
        parts.push(format!("{:>width$}/{total}", trial.step, width = total.len()));
    }
    if !training {
        parts.push(trial.phase.clone());
    }
    if let Some(loss) = trial.loss {
        parts.push(format!("loss {}", labels::metric(loss)));
    }
    if let Some(best) = trial.best_metric {
        parts.push(format!("{} {}", labels::metric_title(&view.metric), labels::metric(best)));
    }
    if let Some(seconds) = trial.seconds_left()
        && training
    {
        parts.push(format!("{} left", labels::duration(seconds)));
    }
    let varied = varied(view, trial);
    if !varied.is_empty() {
        parts.push(varied);
    }
    if trial.attempt > 1 {
        parts.push(format!("attempt {}", trial.attempt));
    }
    parts.push(trial.worker.clone());
    parts.join("  ")
}

fn varied(view: &ProgressView, trial: &RunningView) -> String {
    labels::listed(view.varied.iter().filter_map(|name| Some((name.as_str(), trial.params.get(name)?))))
}

#[cfg(test)]
mod tests {
    use distilsweep_proto::params::Value;

    use super::*;

    fn trial(trial: u64, step: u64) -> RunningView {
        RunningView {
            trial,
            attempt: 1,
            params: Params::from([
                ("learning_rate".to_owned(), Value::Number(5e-5)),
                ("seed".to_owned(), Value::Integer(trial as i64)),
                ("max_steps".to_owned(), Value::Integer(100)),
            ]),
            step,
            total_steps: 100,
            loss: Some(0.91234),
            best_metric: None,
            steps_per_second: 2.0,
            phase: "training".to_owned(),
            worker: "box-1".to_owned(),
        }
    }

    fn view() -> ProgressView {
        let evaluating = RunningView {
            phase: "evaluating".to_owned(),
            best_metric: Some(0.61),
            attempt: 2,
            worker: "box-2".to_owned(),
            ..trial(2, 100)
        };
        let loading = RunningView {
            phase: "loading".to_owned(),
            total_steps: 0,
            loss: None,
            steps_per_second: 0.0,
            ..trial(11, 0)
        };
        ProgressView {
            sweep: "sentiment".to_owned(),
            metric: "best_validation_f1".to_owned(),
            varied: vec!["learning_rate".to_owned(), "seed".to_owned()],
            total: 12,
            completed: 3,
            failed: 1,
            early_stopped: 0,
            ended_before: 2,
            running: vec![loading, trial(1, 40), evaluating],
            best: Some((0, 0.70214)),
            elapsed: 68.0,
            pace: Pace::default(),
            devices: BTreeMap::from([("cpu".to_owned(), 2)]),
            workers: 2,
            outbox: (34, 0),
            lost: None,
        }
    }

    #[test]
    fn each_running_trial_has_a_line_under_the_sweep_s() {
        insta::assert_snapshot!(lines(&view(), 200, 40).join("\n"), @"
        sentiment  4/12 trials  1 without a result  best val F1 0.7021 (trial 0)
          1m 08s gone  2m 12s left  1.8 trials/min  4.0 steps/s  2 workers (2 × cpu)  34 messages for MLflow
        trial 1    ████░░░░░░░░   40/100  loss 0.9123  30s left  lr 5e-05, seed 1  box-1
        trial 2    ████████████  100/100  evaluating  loss 0.9123  val F1 0.6100  lr 5e-05, seed 2  attempt 2  box-2
        trial 11   ░░░░░░░░░░░░  loading  lr 5e-05, seed 11  box-1
        ");
    }

    #[test]
    fn trials_that_ended_early_are_behind_it_too() {
        let line = sweep_line(&ProgressView { early_stopped: 5, ..view() });
        assert!(line.starts_with("sentiment  9/12 trials  1 without a result  5 stopped early"), "{line}");
    }

    #[test]
    fn lines_are_cut_to_the_terminal() {
        insta::assert_snapshot!(lines(&view(), 60, 40).join("\n"), @"
        sentiment  4/12 trials  1 without a result  best val F1 0.7…
          1m 08s gone  2m 12s left  1.8 trials/min  4.0 steps/s
          2 workers (2 × cpu)  34 messages for MLflow
        trial 1     40/100  loss 0.9123  30s left  lr 5e-05, seed 1…
        trial 2    100/100  evaluating  loss 0.9123  val F1 0.6100…
        trial 11   ░░░░░░░░░░░░  loading  lr 5e-05, seed 11  box-1
        ");
        for width in 1..120 {
            assert!(lines(&view(), width, 40).iter().all(|line| line.chars().count() <= width), "{width}");
        }
    }

    #[test]
    fn what_the_terminal_has_no_rows_for_is_counted() {
        let few = lines(&view(), 200, 5);
        assert_eq!(few.len(), 4, "{few:?}");
        assert_eq!(few.last().unwrap(), "2 more run");
        assert!(lines(&view(), 200, 6).iter().all(|line| !line.contains("more")));
    }

    #[test]
    fn time_left_has_its_spread_and_what_is_wrong_is_said() {
        let mut pace = Pace::default();
        for (trial, took) in [(0, 20_000), (1, 26_000), (2, 23_000)] {
            pace.hear("leased", trial, 0);
            pace.hear("completed", trial, took);
        }
        let lost = Some("connection refused".to_owned());
        let text = lines(&ProgressView { pace, lost, outbox: (0, 3), ..view() }, 200, 40).join("\n");
        assert!(text.contains("2m 12s ±4.6s left"), "{text}");
        assert!(text.contains("3 refused by MLflow"), "{text}");
        assert!(text.contains("not heard of: connection refused; trying again"), "{text}");
    }

    #[test]
    fn time_left_follows_from_the_pace() {
        assert_eq!(trial(0, 40).seconds_left(), Some(30.0));
        assert_eq!(RunningView { steps_per_second: 0.0, ..trial(0, 40) }.seconds_left(), None);
        assert_eq!(RunningView { total_steps: 0, ..trial(0, 0) }.seconds_left(), None);
        // Two trials ended and 1.4 were trained in 68 s; 6.6 of the 12 are left.
        let left = view().seconds_left().unwrap();
        assert!((left - 6.6 * 68.0 / 3.4).abs() < 1e-9, "{left}");
        let fresh = ProgressView { ended_before: 4, running: Vec::new(), ..view() };
        assert_eq!(fresh.seconds_left(), None);
    }
}
