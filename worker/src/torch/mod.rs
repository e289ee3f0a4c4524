//! The trainer that trains: from a pack of jobs to saved models through libtorch.
//!
//! It owns the device's memory and, between trials, what many of them share: tokenized data and loaded weights. None
//! of it outlives the process, and none of it changes a result.

mod load;
mod options;

use std::{
    any::Any,
    cell::RefCell,
    collections::BTreeMap,
    fs,
    panic::{AssertUnwindSafe, catch_unwind},
    path::PathBuf,
    rc::Rc,
    sync::Arc,
};

use distilsweep_data::check_metric;
use distilsweep_proto::{
    dataset::DatasetSpec,
    params::{STRUCTURAL, TrainingArguments},
};
use tch::Device;

use self::load::{Kept, check_vocabulary, digest, expand, locate, prepare, told};
pub(crate) use self::load::{find_model, unknown_token};
pub use self::options::{DeviceChoice, Options, Precision, device_name};
use crate::{
    clock,
    devices::Meter,
    model::{self, Config, ModelError, Parameters, Rates, Task, WORD_EMBEDDINGS},
    train::{self, Finished, Identity, Machine, Prepared, Shared, Trial},
    trainer::{Ended, Job, Observer, Phase, Split, Trained, Trainer},
};

/// Trains packs of trials through libtorch.
pub struct TorchTrainer {
    options: Options,
    device: Device,
    data: Kept<(PathBuf, DatasetSpec, usize), Data>,
    models: Kept<(PathBuf, usize, Precision), Loaded>,
}

struct Data {
    prepared: Arc<Prepared>,
    /// Whether a row is a pair of texts.
    pairs: bool,
    /// Of everything in it.
    digest: String,
    /// As trials tell of them.
    splits: Vec<Split>,
}

struct Loaded {
    config: Config,
    parameters: Parameters,
    /// Of the weights.
    digest: String,
}

/// A pack with what its trials share.
struct Pack {
    directory: PathBuf,
    loaded: Rc<Loaded>,
    data: Rc<Data>,
    shared: Shared,
    precision: Precision,
    /// Rows of the checkpoint's word embeddings that the texts use.
    rows: tch::Tensor,
    max_length: usize,
}

impl TorchTrainer {
    /// A trainer on the device of `options`.
    ///
    /// # Errors
    /// The device is not there.
    pub fn new(options: Options) -> Result<Self, Ended> {
        distilsweep_native::keep_freed_memory();
        let device = options.device.open()?;
        if let Some(threads) = options.threads {
            tch::set_num_threads(i32::try_from(threads).unwrap_or(i32::MAX));
        }
        Ok(Self { options, device, data: Kept::default(), models: Kept::default() })
    }

    fn train_pack(
        &mut self,
        jobs: &[Job],
        observers: &mut [&mut dyn Observer],
        told: &RefCell<Vec<bool>>,
    ) -> Result<(), Ended> {
        for observer in &mut *observers {
            observer.progress(Phase::Loading, 0, 0);
        }
        let pack = self.load(jobs)?;
        let began = clock::now();
        let meter = Meter::start(self.device);
        let mut trials = Vec::new();
        for (number, (job, observer)) in jobs.iter().zip(&mut *observers).enumerate() {
            match self.trial(number, job, &pack) {
                Ok(trial) => trials.push(trial),
                Err(why) => {
                    told.borrow_mut()[number] = true;
                    observer.ended(Err(why));
                }
            }
        }
        let count = trials.len() as u64;
        let lane_bytes = || Some(meter.taken()?.div_ceil(count.max(1)));
        let machine = Machine { clock: &|| began.elapsed(), lane_bytes: &lane_bytes };
        train::run(&pack.shared, trials, observers, &machine, &mut |number, finished, observer| {
            let trained = finished.and_then(|finished| self.keep(&jobs[number], &pack, finished));
            told.borrow_mut()[number] = true;
            observer.ended(trained);
        });
        Ok(())
    }

    /// Loads what a pack shares, or finds it loaded.
    fn load(&mut self, jobs: &[Job]) -> Result<Pack, Ended> {
        let Some(job) = jobs.first() else {
            return Err(Ended::Internal("a pack has no trial".to_owned()));
        };
        agree(jobs)?;
        let directory = locate(job)?;
        let config = Config::read(&directory)?;
        let positions = usize::try_from(config.max_position_embeddings).unwrap_or(usize::MAX);
        let mut max_length = job.arguments.max_length;
        if !jobs.iter().any(|job| job.params.contains_key("max_length")) {
            // Nobody asked for the default's length: a model with fewer positions cuts earlier.
            max_length = max_length.min(positions);
        }
        if max_length > positions {
            return Err(Ended::BadPoint(format!(
                "`max_length` is {max_length}, it must be at most {positions}, the positions of {}",
                directory.display()
            )));
        }
        let precision = Precision::of(self.options.precision, job.arguments.bf16, self.device);
        let key = (directory.clone(), job.dataset.clone(), max_length);
        let data = self.data.get(key, |(directory, dataset, length)| {
            let (prepared, pairs) = prepare(directory, dataset, *length)?;
            let (digest, splits) = (prepared.digest(), prepared.splits());
            Ok(Data { prepared: Arc::new(prepared), pairs, digest, splits })
        })?;
        let prepared = &data.prepared;
        check_metric(&prepared.classes, prepared.validation.labels(), !job.selection.maximize)?;
        let key = (directory.clone(), prepared.classes.len(), precision);
        let loaded = self.models.get(key, |(directory, classes, precision)| {
            let config = Config::read(directory)?;
            let parameters = Parameters::load(directory, &config, *classes, 0, precision.storage())?;
            if parameters.has_fresh_weights() {
                tracing::info!(
                    model = %directory.display(),
                    classes,
                    "the checkpoint has no classification head for these classes, a new one was initialised"
                );
            }
            let digest = digest(&parameters)?;
            Ok(Loaded { config, parameters, digest })
        })?;
        check_vocabulary(prepared, &loaded.config, &directory)?;
        let rows: Vec<i64> = prepared.vocabulary.iter().map(|token| i64::from(*token)).collect();
        let shared = Shared {
            padding: config.pad_token_id.and_then(|pad| prepared.place(pad)),
            data: Arc::clone(prepared),
            config,
            device: self.device,
            storage: precision.storage(),
            compute: precision.compute(),
            batched: self.options.batched.unwrap_or_else(|| self.device.is_cuda()) && jobs.len() > 1,
        };
        let rows = tch::Tensor::f_from_slice(&rows)?;
        Ok(Pack { directory, loaded, data, shared, precision, rows, max_length })
    }

    /// A job's trial with weights of its own.
    fn trial(&self, number: usize, job: &Job, pack: &Pack) -> Result<Trial, Ended> {
        let mut arguments = TrainingArguments { max_length: pack.max_length, ..job.arguments.clone() };
        if self.options.log_every_step {
            arguments.logging_steps = 1;
        }
        let own = pack.shared.config.rates;
        let rates = match self.options.dropout {
            Some(rate) => Rates::uniform(rate),
            None => Rates {
                hidden: arguments.dropout.unwrap_or(own.hidden),
                attention: arguments.attention_dropout.unwrap_or(own.attention),
                classifier: arguments.seq_classif_dropout.unwrap_or(own.classifier),
            },
        };
        let mut parameters = pack.loaded.parameters.seeded(arguments.seed, self.device)?;
        let used = pack.loaded.parameters.get(WORD_EMBEDDINGS).f_index_select(0, &pack.rows)?;
        parameters.replace(WORD_EMBEDDINGS, used.f_to_device(self.device)?);
        let text = serde_json::to_string(&arguments)
            .map_err(|error| Ended::Internal(format!("the arguments are no JSON: {error}")))?;
        let identity = Identity::from([
            ("the data set".to_owned(), pack.data.digest.clone()),
            ("the checkpoint to start from".to_owned(), pack.loaded.digest.clone()),
            ("its arguments".to_owned(), text),
            ("dropout".to_owned(), format!("{rates:?}")),
            ("precision".to_owned(), pack.precision.name().to_owned()),
        ]);
        Ok(Trial {
            number,
            parameters,
            arguments,
            rates,
            selection: job.selection,
            maximize: job.maximize,
            checkpoints: job.checkpoints,
            resume: job.resume.clone(),
            identity,
        })
    }

    /// Saves a finished trial's model.
    fn keep(&self, job: &Job, pack: &Pack, finished: Finished) -> Result<Trained, Ended> {
        let Finished {
            mut parameters,
            best,
            confusion,
            test,
            mistakes,
            steps,
            samples,
            stepping,
            seconds,
            decay,
        } = finished;
        expand(&mut parameters, &pack.loaded.parameters, &pack.rows, decay)?;
        let output = job.output.join("model");
        fs::create_dir_all(&output).map_err(|source| ModelError::Write { path: output.clone(), source })?;
        let data = &pack.shared.data;
        let task = Task { classes: &data.classes, pairs: pack.data.pairs };
        model::save(&parameters, &pack.shared.config, Some(task), &pack.directory, &output)?;
        let rate = |count: u64| {
            let seconds = stepping.as_secs_f64();
            if seconds > 0.0 { count as f64 / seconds } else { 0.0 }
        };
        let mut splits = pack.data.splits.clone();
        for split in &mut splits {
            let found = match split.name.as_str() {
                "validation" => Some(&confusion),
                "test" => test.as_ref().map(|report| &report.confusion),
                _ => None,
            };
            split.confusion = found.map(|confusion| confusion.rows().to_vec()).unwrap_or_default();
        }
        Ok(Trained {
            best,
            test: test.map(|report| report.scores()),
            steps,
            seconds: seconds.as_secs_f64(),
            steps_per_second: rate(steps),
            samples_per_second: rate(samples),
            baseline: data.baseline(),
            tags: self.tags(pack.precision),
            classes: data.classes.clone(),
            splits,
            mistakes: told(&pack.directory, data, &mistakes)?,
        })
    }

    fn tags(&self, precision: Precision) -> BTreeMap<String, String> {
        BTreeMap::from([
            ("device".to_owned(), device_name(self.device)),
            ("distilsweep".to_owned(), env!("CARGO_PKG_VERSION").to_owned()),
            ("libtorch".to_owned(), distilsweep_native::torch_version()),
            ("precision".to_owned(), precision.name().to_owned()),
            ("threads".to_owned(), tch::get_num_threads().to_string()),
        ])
    }
}

impl Trainer for TorchTrainer {
    fn train(&mut self, jobs: &[Job], observers: &mut [&mut dyn Observer]) {
        let told = RefCell::new(vec![false; jobs.len()]);
        // tch panics in the operators that have no fallible form; a trial must not take the worker with it.
        let ended = catch_unwind(AssertUnwindSafe(|| self.train_pack(jobs, observers, &told)));
        let why = match ended {
            Ok(Ok(())) => return,
            Ok(Err(why)) => why,
            Err(panic) => Ended::Internal(format!("the trainer panicked: {}", panic_text(panic.as_ref()))),
        };
        for (observer, told) in observers.iter_mut().zip(told.into_inner()) {
            if !told {
                observer.ended(Err(why.clone()));
            }
        }
    }
}

/// Refuses a pack whose trials cannot be computed together, by what they differ in.
fn agree(jobs: &[Job]) -> Result<(), Ended> {
    let Some((first, others)) = jobs.split_first() else { return Ok(()) };
    let arguments = |job: &Job| {
        serde_json::to_value(&job.arguments)
            .map_err(|error| Ended::Internal(format!("the arguments are no JSON: {error}")))
    };
    let expected = arguments(first)?;
    for job in others {
        let places = (&job.model, &job.model_revision, &job.dataset);
        if places != (&first.model, &first.model_revision, &first.dataset) {
            return Err(Ended::BadInput(
                "trials of one pack must have one model and one data set".to_owned(),
            ));
        }
        let found = arguments(job)?;
        if let Some(name) = STRUCTURAL.iter().find(|name| found[**name] != expected[**name]) {
            let (one, another) = (&expected[*name], &found[*name]);
            return Err(Ended::BadPoint(format!(
                "trials of one pack must agree in `{name}`: one has {one}, another {another}"
            )));
        }
    }
    Ok(())
}

fn panic_text(panic: &(dyn Any + Send)) -> &str {
    panic
        .downcast_ref::<String>()
        .map(String::as_str)
        .or_else(|| panic.downcast_ref::<&str>().copied())
        .unwrap_or("without a message")
}
