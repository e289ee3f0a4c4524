//! A running sweep for people: a line a trial and one for the sweep, or one line an event where nobody watches.

use std::collections::BTreeSet;

use distilsweep_proto::params::Params;

use super::labels;

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
    /// Trials that had ended when [`ProgressView::elapsed`] began to count.
    pub ended_before: u64,
    /// The trials that are trained now.
    pub running: Vec<RunningView>,
    /// The best trial so far and its value.
    pub best: Option<(u64, f64)>,
    /// Seconds since this command began to watch.
    pub elapsed: f64,
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
        self.completed + self.failed
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

/// The lines of a terminal of `width` columns: one for the sweep, then one for each running trial by index. Each
/// fits, losing what is least asked for at its end.
pub fn lines(view: &ProgressView, width: usize) -> Vec<String> {
    let mut lines = vec![sweep_line(view)];
    let mut running: Vec<&RunningView> = view.running.iter().collect();
    running.sort_by_key(|trial| trial.trial);
    lines.extend(running.into_iter().map(|trial| {
        let line = trial_line(view, trial, true);
        // The bar says nothing that the numbers do not.
        if line.chars().count() <= width { line } else { trial_line(view, trial, false) }
    }));
    lines.into_iter().map(|line| labels::cut(line, width)).collect()
}

fn sweep_line(view: &ProgressView) -> String {
    let mut parts = vec![format!("{}  {}/{} trials", view.sweep, view.ended(), view.total)];
    if view.failed > 0 {
        parts.push(format!("{} failed", view.failed));
    }
    if let Some((trial, value)) = view.best {
        let title = labels::metric_title(&view.metric);
        parts.push(format!("best {title} {} (trial {trial})", labels::metric(value)));
    }
    parts.push(format!("{} gone", labels::duration(view.elapsed)));
    if let Some(seconds) = view.seconds_left() {
        parts.push(format!("{} left", labels::duration(seconds)));
    }
    parts.join("  ")
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

/// What happened between two moments, a line each: trials that began, ended, or lost their worker. `before` is nothing
/// at the first look.
pub fn events(before: Option<&ProgressView>, now: &ProgressView) -> Vec<String> {
    let tries = |view: &ProgressView| -> BTreeSet<(u64, u32)> {
        view.running.iter().map(|trial| (trial.trial, trial.attempt)).collect()
    };
    let known = before.map(tries).unwrap_or_default();
    let present = tries(now);
    let mut lines = Vec::new();

    let mut gone: Vec<&RunningView> = before
        .iter()
        .flat_map(|view| &view.running)
        .filter(|trial| !present.contains(&(trial.trial, trial.attempt)))
        .collect();
    // Only counts say how many have ended: those that were nearest to their last step did.
    gone.sort_by(|a, b| b.share().total_cmp(&a.share()).then(a.trial.cmp(&b.trial)));
    let again: BTreeSet<u64> = now.running.iter().map(|trial| trial.trial).collect();
    let mut ended = now.ended().saturating_sub(before.map_or(0, ProgressView::ended));
    for trial in gone {
        let at = match trial.total_steps {
            0 => String::new(),
            total => format!(" at step {} of {total}", trial.step),
        };
        if ended > 0 && !again.contains(&trial.trial) {
            ended -= 1;
            let metric = trial
                .best_metric
                .map(|best| format!(", {} {}", labels::metric_title(&now.metric), labels::metric(best)))
                .unwrap_or_default();
            lines.push(format!("trial {} ended{at}{metric}; {}", trial.trial, tally(now)));
        } else {
            lines.push(format!("trial {} left {}{at}, it goes on elsewhere", trial.trial, trial.worker));
        }
    }
    let mut begun: Vec<&RunningView> =
        now.running.iter().filter(|trial| !known.contains(&(trial.trial, trial.attempt))).collect();
    begun.sort_by_key(|trial| trial.trial);
    for trial in begun {
        let verb =
            if trial.attempt > 1 { format!("starts attempt {}", trial.attempt) } else { "starts".to_owned() };
        let varied = varied(now, trial);
        let colon = if varied.is_empty() { "" } else { ": " };
        lines.push(format!("trial {} {verb} on {}{colon}{varied}", trial.trial, trial.worker));
    }
    lines
}

fn tally(view: &ProgressView) -> String {
    let failed = if view.failed > 0 { format!(", {} failed", view.failed) } else { String::new() };
    format!("{} of {} trials done{failed}", view.ended(), view.total)
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
            ended_before: 2,
            running: vec![loading, trial(1, 40), evaluating],
            best: Some((0, 0.70214)),
            elapsed: 68.0,
        }
    }

    #[test]
    fn each_running_trial_has_a_line_under_the_sweep_s() {
        insta::assert_snapshot!(lines(&view(), 200).join("\n"), @r"
        sentiment  4/12 trials  1 failed  best val F1 0.7021 (trial 0)  1m 08s gone  2m 12s left
        trial 1    ████░░░░░░░░   40/100  loss 0.9123  30s left  lr 5e-05, seed 1  box-1
        trial 2    ████████████  100/100  evaluating  loss 0.9123  val F1 0.6100  lr 5e-05, seed 2  attempt 2  box-2
        trial 11   ░░░░░░░░░░░░  loading  lr 5e-05, seed 11  box-1
        ");
    }

    #[test]
    fn lines_are_cut_to_the_terminal() {
        insta::assert_snapshot!(lines(&view(), 60).join("\n"), @r"
        sentiment  4/12 trials  1 failed  best val F1 0.7021 (trial…
        trial 1     40/100  loss 0.9123  30s left  lr 5e-05, seed 1…
        trial 2    100/100  evaluating  loss 0.9123  val F1 0.6100…
        trial 11   ░░░░░░░░░░░░  loading  lr 5e-05, seed 11  box-1
        ");
        for width in 1..120 {
            assert!(lines(&view(), width).iter().all(|line| line.chars().count() <= width), "{width}");
        }
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

    #[test]
    fn events_tell_what_began_ended_and_lost_its_worker() {
        let before = view();
        let ended = ProgressView { completed: 4, running: vec![trial(1, 60), trial(4, 0)], ..view() };
        let moved = ProgressView {
            running: vec![
                RunningView { attempt: 2, worker: "box-3".to_owned(), ..trial(1, 40) },
                trial(4, 10),
            ],
            ..ended.clone()
        };
        let mut told = events(None, &before);
        told.push("--".to_owned());
        told.extend(events(Some(&before), &ended));
        told.push("--".to_owned());
        told.extend(events(Some(&ended), &moved));
        assert_eq!(events(Some(&moved), &moved), Vec::<String>::new());
        insta::assert_snapshot!(told.join("\n"), @r"
        trial 1 starts on box-1: lr 5e-05, seed 1
        trial 2 starts attempt 2 on box-2: lr 5e-05, seed 2
        trial 11 starts on box-1: lr 5e-05, seed 11
        --
        trial 2 ended at step 100 of 100, val F1 0.6100; 5 of 12 trials done, 1 failed
        trial 11 left box-1, it goes on elsewhere
        trial 4 starts on box-1: lr 5e-05, seed 4
        --
        trial 1 left box-1 at step 60 of 100, it goes on elsewhere
        trial 1 starts attempt 2 on box-3: lr 5e-05, seed 1
        ");
    }
}
