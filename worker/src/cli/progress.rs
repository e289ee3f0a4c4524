//! How far a training is, for people, on standard error: a bar a lane on a terminal, plain lines elsewhere.

use std::{fmt, rc::Rc, time::Duration};

use distilsweep_proto::terminal;
use indicatif::{MultiProgress, ProgressBar, ProgressDrawTarget, ProgressState, ProgressStyle};

use crate::trainer::{EvaluationRecord, Phase, StepRecord};

/// How often a bar is drawn when nothing happens, so that its clock goes on.
const TICK: Duration = Duration::from_millis(500);

/// The bar takes what the rest of the line leaves. Colours go where NO_COLOR is set.
const STEPPING: &str = "{prefix}{msg} {wide_bar:.cyan/dim} {pos}/{len} {speed} {eta_precise:.dim}";
/// What cannot say how much of it is done.
const WAITING: &str = "{prefix}{spinner} {msg} {elapsed:.dim}";

/// The progress of a pack's lanes, in their order: on a terminal their bars lie one below the other. Plain lines tell of
/// every `every`-th step.
pub(super) fn lanes(count: usize, every: u64) -> Vec<LaneProgress> {
    let target = terminal::draws().then(ProgressDrawTarget::stderr);
    drawn(count, every, target, Rc::new(|line: &str| terminal::note(line)))
}

/// [`lanes`] where the edge is an argument: where bars are drawn, if anywhere, and what takes plain lines.
fn drawn(
    count: usize,
    every: u64,
    target: Option<ProgressDrawTarget>,
    say: Rc<dyn Fn(&str)>,
) -> Vec<LaneProgress> {
    let bars = target.map(MultiProgress::with_draw_target);
    (0..count)
        .map(|number| {
            let name = if count > 1 { format!("lane {number}: ") } else { String::new() };
            let shown = match &bars {
                Some(bars) => Shown::Bar(bars.clone(), bar(bars, &name)),
                None => Shown::Lines(Rc::clone(&say)),
            };
            LaneProgress { name, every: every.max(1), shown, phase: None, total: 0, loss: None, f1: None }
        })
        .collect()
}

fn bar(bars: &MultiProgress, name: &str) -> ProgressBar {
    let bar = bars.add(ProgressBar::new(0));
    bar.set_prefix(name.to_owned());
    bar
}

fn style(template: &str) -> ProgressStyle {
    // The templates are constants, which a test draws: the default is never seen.
    ProgressStyle::with_template(template)
        .unwrap_or_else(|_| ProgressStyle::default_bar())
        .progress_chars("━━╌")
        .with_key("speed", |state: &ProgressState, out: &mut dyn fmt::Write| {
            // A field of a line in a terminal: there is nobody to tell that it was not written.
            let _ = out.write_str(&speed(state.per_sec()));
        })
}

/// Steps by second, or seconds by step where those are the larger number.
fn speed(steps_per_second: f64) -> String {
    match steps_per_second {
        // Nothing was measured yet.
        rate if rate <= 0.0 => "- steps/s".to_owned(),
        rate if rate < 1.0 => format!("{:.1} s/step", 1.0 / rate),
        rate => format!("{rate:.1} steps/s"),
    }
}

/// The progress of one lane.
pub(super) struct LaneProgress {
    /// Before each of its lines; empty where there is one lane.
    name: String,
    every: u64,
    shown: Shown,
    phase: Option<Phase>,
    total: u64,
    /// Of the last record.
    loss: Option<f64>,
    /// Of the last evaluation.
    f1: Option<f64>,
}

enum Shown {
    /// The pack's bars, above which lines that stay are written, and the lane's own.
    Bar(MultiProgress, ProgressBar),
    Lines(Rc<dyn Fn(&str)>),
}

impl LaneProgress {
    /// The lane came to a phase, or a step further.
    pub(super) fn at(&mut self, phase: Phase, step: u64, total: u64) {
        self.total = total;
        let entered = self.phase.replace(phase) != Some(phase);
        match &self.shown {
            Shown::Bar(_, bar) => {
                if entered {
                    let steps = phase == Phase::Training;
                    bar.set_style(style(if steps { STEPPING } else { WAITING }));
                    bar.set_message(self.message());
                    // Time that other phases took is no step's, nor are the steps of an earlier process.
                    bar.set_length(total);
                    bar.set_position(step);
                    bar.reset_eta();
                    bar.enable_steady_tick(TICK);
                }
                bar.set_position(step);
            }
            Shown::Lines(_) if entered && phase != Phase::Training => self.say(word(phase)),
            Shown::Lines(_) => {}
        }
    }

    /// A point of the loss curve.
    pub(super) fn logged(&mut self, record: &StepRecord) {
        self.loss = Some(record.loss);
        match &self.shown {
            Shown::Bar(_, bar) => bar.set_message(self.message()),
            Shown::Lines(_) if record.step.is_multiple_of(self.every) || record.step == self.total => {
                self.say(&format!("step {}/{} loss {:.4}", record.step, self.total, record.loss));
            }
            Shown::Lines(_) => {}
        }
    }

    /// An evaluation on the validation split: a line that stays.
    pub(super) fn evaluated(&mut self, record: &EvaluationRecord) {
        self.f1 = Some(record.scores.f1_score);
        self.say(&format!(
            "epoch {:.2} eval_loss {:.4} eval_f1_score {:.4}",
            record.epoch, record.scores.loss, record.scores.f1_score
        ));
        if let Shown::Bar(_, bar) = &self.shown {
            bar.set_message(self.message());
        }
    }

    /// The lane is done or has failed: its bar goes.
    pub(super) fn ended(&mut self) {
        if let Shown::Bar(bars, bar) = &self.shown {
            bar.finish_and_clear();
            bars.remove(bar);
        }
    }

    /// A line that stays, above all bars.
    fn say(&self, text: &str) {
        let line = format!("{}{text}", self.name);
        match &self.shown {
            // Where the terminal is gone, nobody reads it.
            Shown::Bar(bars, _) => _ = bars.println(line),
            Shown::Lines(say) => say(&line),
        }
    }

    fn message(&self) -> String {
        match self.phase {
            Some(Phase::Training) => {
                let loss = self.loss.map_or_else(|| "training".to_owned(), |loss| format!("loss {loss:.4}"));
                loss + &self.f1.map_or_else(String::new, |f1| format!("  val F1 {f1:.4}"))
            }
            phase => phase.map_or("", word).to_owned(),
        }
    }
}

fn word(phase: Phase) -> &'static str {
    match phase {
        Phase::Loading => "loading",
        Phase::Training => "training",
        Phase::Evaluating => "evaluating",
        Phase::Finishing => "finishing",
    }
}

#[cfg(test)]
mod tests {
    use std::cell::RefCell;

    use indicatif::InMemoryTerm;

    use super::*;
    use crate::trainer::Scores;

    /// A short training of two epochs; `look` is called after each event.
    fn train(lane: &mut LaneProgress, mut look: impl FnMut(&str)) {
        let scores = Scores { loss: 0.5, f1_score: 0.625, ..Scores::default() };
        lane.at(Phase::Loading, 0, 0);
        look("loading");
        for step in 1..=6 {
            lane.at(Phase::Training, step, 6);
            let loss = 1.0 / step as f64;
            lane.logged(&StepRecord { step, loss, grad_norm: 1.0, learning_rate: 1e-3 });
            look("step");
            if step % 3 == 0 {
                lane.at(Phase::Evaluating, step, 6);
                look("evaluating");
                lane.evaluated(&EvaluationRecord { step, epoch: step as f64 / 3.0, scores });
            }
        }
        lane.at(Phase::Finishing, 6, 6);
        lane.ended();
    }

    #[test]
    fn elsewhere_lines_tell_of_phases_some_steps_and_evaluations() {
        let said = Rc::new(RefCell::new(Vec::new()));
        let sink = Rc::clone(&said);
        let say: Rc<dyn Fn(&str)> = Rc::new(move |line: &str| sink.borrow_mut().push(line.to_owned()));
        train(&mut drawn(1, 2, None, Rc::clone(&say))[0], |_| {});
        train(&mut drawn(3, 4, None, say)[2], |_| {});
        insta::assert_snapshot!(said.borrow().join("\n"), @"
        loading
        step 2/6 loss 0.5000
        evaluating
        epoch 1.00 eval_loss 0.5000 eval_f1_score 0.6250
        step 4/6 loss 0.2500
        step 6/6 loss 0.1667
        evaluating
        epoch 2.00 eval_loss 0.5000 eval_f1_score 0.6250
        finishing
        lane 2: loading
        lane 2: evaluating
        lane 2: epoch 1.00 eval_loss 0.5000 eval_f1_score 0.6250
        lane 2: step 4/6 loss 0.2500
        lane 2: step 6/6 loss 0.1667
        lane 2: evaluating
        lane 2: epoch 2.00 eval_loss 0.5000 eval_f1_score 0.6250
        lane 2: finishing
        ");
    }

    #[test]
    fn a_speed_is_told_by_the_larger_number() {
        let told = [0.0, 0.026, 0.5, 1.0, 12.34].map(speed);
        assert_eq!(told, ["- steps/s", "38.5 s/step", "2.0 s/step", "1.0 steps/s", "12.3 steps/s"]);
    }

    /// Rates and times are left out: they are the machine's.
    #[test]
    fn on_a_terminal_each_lane_has_a_bar_and_evaluations_stay_above() {
        for columns in [80, 120] {
            let terminal = InMemoryTerm::new(12, columns);
            let target = ProgressDrawTarget::term_like_with_hz(Box::new(terminal.clone()), 255);
            let mut lanes = drawn(2, 10, Some(target), Rc::new(|line: &str| panic!("a plain line: {line}")));
            lanes[1].at(Phase::Training, 1, 40);
            let mut bars = Vec::new();
            train(&mut lanes[0], |event| {
                // Drawing has a rate: what was not drawn at once comes with the next tick.
                let drawn = || event != "step" || terminal.contents().contains("lane 0: loss ");
                let looks = (0..1000).take_while(|_| !drawn()).map(|_| std::thread::sleep(TICK / 100));
                assert!(looks.count() < 1000, "{}", terminal.contents());
                bars.push((event.to_owned(), terminal.contents()));
            });
            let widest = bars.iter().flat_map(|(_, screen)| screen.lines()).map(|line| line.chars().count());
            assert!(widest.max() <= Some(usize::from(columns)));
            let (_, last) = bars.iter().rfind(|(event, _)| event == "step").unwrap();
            assert!(last.contains("lane 0: epoch 1.00 eval_loss 0.5000 eval_f1_score 0.6250"), "{last}");
            let bar = last.lines().find(|line| line.starts_with("lane 0: loss ")).unwrap_or_default();
            assert!(bar.contains("val F1 0.6250") && bar.contains("━"), "{last}");
            assert!(last.contains("lane 1: training"), "{last}");
            let left = terminal.contents();
            assert!(!left.contains("lane 0: loss") && left.contains("lane 0: epoch 2.00"), "{left}");
        }
    }
}
