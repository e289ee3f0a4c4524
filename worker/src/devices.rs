//! Where training can be done on this machine, and how much memory it takes there.

use serde::Serialize;
use tch::Device;

use crate::{machine, torch::device_name};

/// A device that trials can be trained on.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Found {
    /// "cpu" or "cuda:N".
    pub name: String,
    /// Its maker's name, empty where it does not say.
    pub model: String,
    /// All its memory that this process may use, 0 where it does not say.
    pub memory_bytes: u64,
    /// What of it is free now.
    pub free_bytes: u64,
    /// Arithmetic that it has instructions for. Any other works too, slowly.
    pub precisions: Vec<&'static str>,
}

/// What this machine and its libtorch can do.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Survey {
    /// Version of libtorch.
    pub libtorch: String,
    /// Threads of its operators on the processor.
    pub threads: usize,
    /// The processor and every CUDA device.
    pub devices: Vec<Found>,
    /// Why there is no CUDA device, where there is none.
    pub no_cuda: Option<String>,
}

impl Survey {
    /// Looks for devices; to be asked before anything else of libtorch.
    pub fn take() -> Self {
        let mut devices = vec![Found::describe(Device::Cpu)];
        let no_cuda = match distilsweep_native::load_cuda() {
            Err(error) => Some(format!("libtorch's CUDA libraries are not on the library path: {error}")),
            Ok(()) => match usize::try_from(tch::Cuda::device_count()).unwrap_or(0) {
                0 => Some("libtorch's CUDA libraries are there, but find no device with a driver".to_owned()),
                count => {
                    devices.extend((0..count).map(|number| Found::describe(Device::Cuda(number))));
                    None
                }
            },
        };
        Self {
            libtorch: distilsweep_native::torch_version(),
            threads: usize::try_from(tch::get_num_threads()).unwrap_or(0),
            devices,
            no_cuda,
        }
    }
}

impl Found {
    /// What a device says of itself.
    pub fn describe(device: Device) -> Self {
        let name = device_name(device);
        match device {
            Device::Cuda(number) => {
                let model = distilsweep_native::cuda_model(number).ok();
                let mut precisions = vec!["fp32", "fp64"];
                // Compute capability 8.0, Ampere, is the first with bfloat16.
                if model.as_ref().is_some_and(|model| model.capability >= (8, 0)) {
                    precisions.push("bf16");
                }
                let (memory_bytes, free_bytes) = distilsweep_native::cuda_memory(number)
                    .map_or((0, 0), |memory| (memory.total, memory.free));
                let model = model.map_or_else(String::new, |model| model.name);
                Self { name, model, memory_bytes, free_bytes, precisions }
            }
            Device::Cpu | Device::Mps | Device::Vulkan => {
                let (processor, memory) = (machine::processor(), machine::memory());
                let mut precisions = vec!["fp32", "fp64"];
                if processor.bfloat16 {
                    precisions.push("bf16");
                }
                Self {
                    name,
                    model: processor.model,
                    memory_bytes: memory.total,
                    free_bytes: memory.available,
                    precisions,
                }
            }
        }
    }
}

/// Measures what a training takes of a device's memory.
#[derive(Debug)]
pub struct Meter {
    device: Device,
    /// Used already when it was started, in bytes.
    before: Option<u64>,
}

impl Meter {
    /// Starts before the training has its first tensor. Of two on one device only the last one started is right.
    pub fn start(device: Device) -> Self {
        let before = match device {
            Device::Cuda(number) => distilsweep_native::cuda_forget_peak(number)
                .and_then(|()| distilsweep_native::cuda_memory(number))
                .map(|memory| memory.used)
                .ok(),
            Device::Cpu | Device::Mps | Device::Vulkan => machine::resident().map(|(held, _)| held),
        };
        Self { device, before }
    }

    /// The most that was in use since the start, besides what was before, in bytes. On a processor, where the system
    /// counts the most of the whole process's life, it can be more than was taken, never less. None where the device
    /// does not say.
    pub fn taken(&self) -> Option<u64> {
        let most = match self.device {
            Device::Cuda(number) => distilsweep_native::cuda_memory(number).ok()?.peak,
            Device::Cpu | Device::Mps | Device::Vulkan => machine::resident()?.1,
        };
        Some(most.saturating_sub(self.before?))
    }
}

#[cfg(test)]
mod tests {
    use tch::{Kind, Tensor};

    use super::*;

    #[test]
    fn the_processor_is_always_found_and_a_lack_of_cuda_has_its_reason() {
        let survey = Survey::take();
        assert_eq!(survey.devices[0].name, "cpu");
        assert!(survey.devices[0].memory_bytes > 0);
        assert!(survey.threads > 0);
        assert_eq!(survey.devices.len() == 1, survey.no_cuda.is_some(), "{survey:?}");
    }

    #[test]
    fn a_meter_counts_what_was_taken_and_given_back() {
        let meter = Meter::start(Device::Cpu);
        drop(Tensor::ones([64 << 20], (Kind::Uint8, Device::Cpu)));
        let taken = meter.taken().unwrap();
        // Other tests of this process may free some meanwhile.
        assert!(taken > 32 << 20, "{taken}");
    }
}
