//! The trainer that trains: from a job to a saved model through libtorch.
//!
//! It owns the device's memory and, between trials, what many of them share: tokenized data and loaded weights. None
//! of it outlives the process, and none of it changes a result.

use std::{
    any::Any,
    collections::BTreeMap,
    fs,
    panic::{AssertUnwindSafe, catch_unwind},
    path::{Path, PathBuf},
    rc::Rc,
    str::FromStr,
};

use distilsweep_data::{DataError, Split, TextTokenizer};
use distilsweep_proto::dataset::DatasetSpec;
use tch::{Device, Kind};

use crate::{
    clock,
    model::{
        self, Config, DistilBertForSequenceClassification, ModelError, Parameters, Rates, WORD_EMBEDDINGS,
    },
    train::{self, Prepared, Tokenized, Trial},
    trainer::{Ended, Job, Observer, Phase, Trained, Trainer},
};

/// How many data sets, and how many models, are kept between trials.
const KEPT: usize = 2;

/// Arithmetic of a training.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Precision {
    /// Single precision.
    #[default]
    Fp32,
    /// Linear layers and attention in bfloat16, weights and everything else in single precision.
    Bf16,
    /// Double precision, to compare trajectories.
    Fp64,
}

impl Precision {
    fn storage(self) -> Kind {
        match self {
            Self::Fp32 | Self::Bf16 => Kind::Float,
            Self::Fp64 => Kind::Double,
        }
    }

    fn compute(self) -> Kind {
        match self {
            Self::Fp32 => Kind::Float,
            Self::Bf16 => Kind::BFloat16,
            Self::Fp64 => Kind::Double,
        }
    }

    fn name(self) -> &'static str {
        match self {
            Self::Fp32 => "fp32",
            Self::Bf16 => "bf16",
            Self::Fp64 => "fp64",
        }
    }
}

impl FromStr for Precision {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        match text {
            "fp32" => Ok(Self::Fp32),
            "bf16" => Ok(Self::Bf16),
            "fp64" => Ok(Self::Fp64),
            _ => Err("it must be fp32, bf16 or fp64".to_owned()),
        }
    }
}

/// Where trials are trained.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum DeviceChoice {
    /// The first CUDA device where libtorch has one, else the processor.
    Auto,
    /// The processor.
    #[default]
    Cpu,
    /// A CUDA device by number.
    Cuda(usize),
}

impl DeviceChoice {
    /// The device itself, to be asked for before anything else of libtorch.
    ///
    /// CUDA was tried as far as a machine without a GPU allows: libtorch's CUDA half loads, and finds no device.
    /// Training has not been run on one.
    ///
    /// # Errors
    /// A CUDA device was named that is not there.
    pub fn open(self) -> Result<Device, Ended> {
        match self {
            Self::Auto => Ok(cuda(0).unwrap_or_else(|error| {
                tracing::debug!(reason = %error, "training on the processor");
                Device::Cpu
            })),
            Self::Cpu => Ok(Device::Cpu),
            Self::Cuda(number) => cuda(number),
        }
    }
}

impl FromStr for DeviceChoice {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        match text.split_once(':') {
            None if text == "auto" => Ok(Self::Auto),
            None if text == "cpu" => Ok(Self::Cpu),
            None if text == "cuda" => Ok(Self::Cuda(0)),
            Some(("cuda", number)) => {
                number.parse().map(Self::Cuda).map_err(|_| format!("{number} is no device number"))
            }
            _ => Err("it must be auto, cpu, cuda or cuda:NUMBER".to_owned()),
        }
    }
}

/// A device as the coordinator knows it: "cpu" or "cuda:N".
pub fn device_name(device: Device) -> String {
    match device {
        Device::Cuda(number) => format!("cuda:{number}"),
        Device::Cpu => "cpu".to_owned(),
        // No choice opens these.
        Device::Mps | Device::Vulkan => format!("{device:?}").to_lowercase(),
    }
}

/// How a [`TorchTrainer`] trains, whatever the trial.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Options {
    /// Where.
    pub device: DeviceChoice,
    /// With which arithmetic.
    pub precision: Precision,
    /// Threads of libtorch's operators; libtorch's choice when left out.
    pub threads: Option<usize>,
    /// Dropout rate of all sites; the checkpoint's configuration when left out.
    pub dropout: Option<f64>,
    /// Log every step, whatever `logging_steps` says.
    pub log_every_step: bool,
}

/// Trains trials through libtorch.
pub struct TorchTrainer {
    options: Options,
    device: Device,
    data: Kept<(PathBuf, DatasetSpec, usize), Prepared>,
    models: Kept<(PathBuf, usize), Loaded>,
}

struct Loaded {
    config: Config,
    parameters: Parameters,
}

impl TorchTrainer {
    /// A trainer on the device of `options`.
    ///
    /// # Errors
    /// The device is not there.
    pub fn new(options: Options) -> Result<Self, Ended> {
        let device = options.device.open()?;
        if let Some(threads) = options.threads {
            tch::set_num_threads(i32::try_from(threads).unwrap_or(i32::MAX));
        }
        Ok(Self { options, device, data: Kept::default(), models: Kept::default() })
    }

    fn trained(&mut self, job: &Job, observer: &mut dyn Observer) -> Result<Trained, Ended> {
        observer.progress(Phase::Loading, 0, 0);
        let directory = locate(job)?;
        let mut arguments = job.arguments.clone();
        if self.options.log_every_step {
            arguments.logging_steps = 1;
        }
        let mut config = Config::read(&directory)?;
        let positions = usize::try_from(config.max_position_embeddings).unwrap_or(usize::MAX);
        if !job.params.contains_key("max_length") {
            // Nobody asked for the default's length: a model with fewer positions cuts earlier.
            arguments.max_length = arguments.max_length.min(positions);
        }
        if arguments.max_length > positions {
            return Err(Ended::BadPoint(format!(
                "`max_length` is {}, it must be at most {positions}, the positions of {}",
                arguments.max_length,
                directory.display()
            )));
        }
        if let Some(rate) = self.options.dropout {
            config.rates = Rates::uniform(rate);
        }
        let key = (directory.clone(), job.dataset.clone(), arguments.max_length);
        let data = self.data.get(key, |(directory, dataset, length)| prepare(directory, dataset, *length))?;
        let (precision, classes) = (self.options.precision, data.classes.len());
        let loaded = self.models.get((directory.clone(), classes), |(directory, classes)| {
            let config = Config::read(directory)?;
            let parameters = Parameters::load(directory, &config, *classes, 0, precision.storage())?;
            Ok(Loaded { config, parameters })
        })?;
        check_vocabulary(&data, &loaded.config, &directory)?;

        let began = clock::now();
        let clock = || began.elapsed();
        let mut parameters = loaded.parameters.seeded(arguments.seed, self.device)?;
        let rows: Vec<i64> = data.vocabulary.iter().map(|token| i64::from(*token)).collect();
        let rows = tch::Tensor::f_from_slice(&rows)?;
        let used =
            loaded.parameters.get(WORD_EMBEDDINGS).f_index_select(0, &rows)?.f_to_device(self.device)?;
        parameters.replace(WORD_EMBEDDINGS, used);
        let padding = config.pad_token_id.and_then(|pad| data.place(pad));
        let network =
            DistilBertForSequenceClassification::load(&parameters, &config, padding, precision.compute());
        let mut trial = Trial {
            model: &network,
            parameters: &mut parameters,
            data: &data,
            arguments: &arguments,
            rates: config.rates,
            selection: job.selection,
            maximize: job.maximize,
            device: self.device,
            kind: precision.storage(),
        };
        let outcome = train::run(&mut trial, &clock, observer)?;
        let seconds = clock().as_secs_f64();

        expand(&mut parameters, &loaded.parameters, &rows, outcome.decay)?;
        let output = job.output.join("model");
        fs::create_dir_all(&output).map_err(|source| ModelError::Write { path: output.clone(), source })?;
        model::save(&parameters, &config, &data.classes, &directory, &output)?;
        let stepping = outcome.stepping.as_secs_f64();
        let rate = |count: u64| if stepping > 0.0 { count as f64 / stepping } else { 0.0 };
        Ok(Trained {
            best: outcome.best,
            test: outcome.test,
            steps: outcome.steps,
            seconds,
            steps_per_second: rate(outcome.steps),
            samples_per_second: rate(outcome.samples),
            baseline: data.baseline(),
            tags: self.tags(),
        })
    }

    fn tags(&self) -> BTreeMap<String, String> {
        BTreeMap::from([
            ("device".to_owned(), device_name(self.device)),
            ("libtorch".to_owned(), distilsweep_native::torch_version()),
            ("precision".to_owned(), self.options.precision.name().to_owned()),
            ("threads".to_owned(), tch::get_num_threads().to_string()),
        ])
    }
}

impl Trainer for TorchTrainer {
    fn train(&mut self, jobs: &[Job], observers: &mut [&mut dyn Observer]) {
        for (job, observer) in jobs.iter().zip(observers) {
            // tch panics in the operators that have no fallible form; a trial must not take the worker with it.
            let ended =
                catch_unwind(AssertUnwindSafe(|| self.trained(job, *observer))).unwrap_or_else(|panic| {
                    Err(Ended::Internal(format!("the trainer panicked: {}", panic_text(panic.as_ref()))))
                });
            observer.ended(ended);
        }
    }
}

fn panic_text(panic: &(dyn Any + Send)) -> &str {
    panic
        .downcast_ref::<String>()
        .map(String::as_str)
        .or_else(|| panic.downcast_ref::<&str>().copied())
        .unwrap_or("without a message")
}

/// Opens a CUDA device. That it is not there is this machine's fault, not that of a sweep.
fn cuda(number: usize) -> Result<Device, Ended> {
    distilsweep_native::load_cuda().map_err(|error| {
        Ended::Internal(format!(
            "device cuda:{number} needs libtorch's CUDA libraries on the library path: {error}"
        ))
    })?;
    let count = tch::Cuda::device_count();
    if i64::try_from(number).unwrap_or(i64::MAX) >= count {
        return Err(Ended::Internal(format!("device cuda:{number} is not there: {count} CUDA devices are")));
    }
    Ok(Device::Cuda(number))
}

/// The local directory of a job's checkpoint.
fn locate(job: &Job) -> Result<PathBuf, Ended> {
    let directory = Path::new(&job.model);
    if directory.join("pytorch_model.bin").is_file() && !directory.join("model.safetensors").is_file() {
        return Err(ModelError::Pickle { directory: directory.to_owned() }.into());
    }
    Ok(distilsweep_data::model_directory(&job.model, job.model_revision.as_deref())?)
}

fn prepare(directory: &Path, dataset: &DatasetSpec, max_length: usize) -> Result<Prepared, Ended> {
    let dataset = distilsweep_data::load(dataset)?;
    let tokenizer = TextTokenizer::from_directory(directory)?;
    let tokenized = |split: &Split| -> Result<Tokenized, DataError> {
        let encoded = tokenizer.encode(&split.texts, max_length)?;
        let mut tokenized = Tokenized::default();
        for (i, label) in split.labels.iter().enumerate() {
            tokenized.push(encoded.example(i), *label);
        }
        Ok(tokenized)
    };
    let majority = dataset.train.majority_class(dataset.classes.len());
    let (train, validation) = (tokenized(&dataset.train)?, tokenized(&dataset.validation)?);
    let test = dataset.test.as_ref().map(tokenized).transpose()?;
    Ok(Prepared::new(dataset.classes, majority, train, validation, test))
}

fn check_vocabulary(data: &Prepared, config: &Config, directory: &Path) -> Result<(), Ended> {
    match data.vocabulary.last() {
        Some(largest) if i64::from(*largest) >= config.vocab_size => Err(Ended::BadInput(format!(
            "{} yields token {largest}, but `vocab_size` in its config.json is {}",
            directory.join("tokenizer.json").display(),
            config.vocab_size
        ))),
        _ => Ok(()),
    }
}

/// Puts the trained word embeddings, `rows` of the checkpoint's, back among the others. No gradient reached those:
/// AdamW only decayed them.
fn expand(
    parameters: &mut Parameters,
    start: &Parameters,
    rows: &tch::Tensor,
    decay: f64,
) -> Result<(), Ended> {
    let _guard = tch::no_grad_guard();
    let trained = parameters.get(WORD_EMBEDDINGS).f_detach()?.f_to_device(Device::Cpu)?;
    let mut all = start.get(WORD_EMBEDDINGS).f_mul_scalar(decay)?;
    let _same = all.f_index_copy_(0, rows, &trained)?;
    parameters.replace(WORD_EMBEDDINGS, all);
    Ok(())
}

impl From<DataError> for Ended {
    fn from(error: DataError) -> Self {
        match error {
            DataError::MaxLength { .. } => Self::BadPoint(error.to_string()),
            _ if error.is_retryable() => Self::Internal(error.to_string()),
            _ => Self::BadInput(error.to_string()),
        }
    }
}

impl From<ModelError> for Ended {
    fn from(error: ModelError) -> Self {
        match error {
            ModelError::Torch(error) => error.into(),
            ModelError::Write { .. } => Self::Internal(error.to_string()),
            ModelError::Read { .. }
            | ModelError::Format { .. }
            | ModelError::Unsupported { .. }
            | ModelError::Pickle { .. }
            | ModelError::MissingTensor { .. }
            | ModelError::Shape { .. }
            | ModelError::Kind { .. } => Self::BadInput(error.to_string()),
        }
    }
}

/// The last few values made, by key.
struct Kept<K, V>(Vec<(K, Rc<V>)>);

impl<K, V> Default for Kept<K, V> {
    fn default() -> Self {
        Self(Vec::new())
    }
}

impl<K: PartialEq, V> Kept<K, V> {
    fn get(&mut self, key: K, make: impl FnOnce(&K) -> Result<V, Ended>) -> Result<Rc<V>, Ended> {
        if let Some((_, value)) = self.0.iter().find(|(k, _)| *k == key) {
            return Ok(Rc::clone(value));
        }
        // Room first: two large models need not be in memory beside a third.
        if self.0.len() >= KEPT {
            self.0.remove(0);
        }
        let value = Rc::new(make(&key)?);
        self.0.push((key, Rc::clone(&value)));
        Ok(value)
    }
}
