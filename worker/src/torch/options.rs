//! How and where a worker trains, whatever the trial.

use std::str::FromStr;

use tch::{Device, Kind};

use crate::trainer::Ended;

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
    /// The arithmetic of a trial.
    pub(super) fn of(chosen: Option<Self>, bf16: Option<bool>, device: Device) -> Self {
        let asked = bf16.unwrap_or_else(|| device.is_cuda());
        chosen.unwrap_or(if asked { Self::Bf16 } else { Self::Fp32 })
    }

    pub(crate) fn storage(self) -> Kind {
        match self {
            Self::Fp32 | Self::Bf16 => Kind::Float,
            Self::Fp64 => Kind::Double,
        }
    }

    pub(crate) fn compute(self) -> Kind {
        match self {
            Self::Fp32 => Kind::Float,
            Self::Bf16 => Kind::BFloat16,
            Self::Fp64 => Kind::Double,
        }
    }

    pub(super) fn name(self) -> &'static str {
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
    /// With which arithmetic, whatever a trial says; when left out its `bf16` decides, and without one bf16 on CUDA and
    /// fp32 elsewhere.
    pub precision: Option<Precision>,
    /// Whether one pass computes a pack's lanes together; when left out on CUDA alone, where it is faster.
    pub batched: Option<bool>,
    /// Threads of libtorch's operators; libtorch's choice when left out.
    pub threads: Option<usize>,
    /// Dropout rate of all sites; the checkpoint's configuration when left out.
    pub dropout: Option<f64>,
    /// Log every step, whatever `logging_steps` says.
    pub log_every_step: bool,
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
