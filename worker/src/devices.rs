//! Where training can be done on this machine, and how much memory it takes there.

use std::fs;

use serde::Serialize;
use tch::Device;

use crate::torch::device_name;

/// A device that trials can be trained on.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Found {
    /// "cpu" or "cuda:N".
    pub name: String,
    /// Its maker's name, empty where it does not say.
    pub model: String,
    /// All its memory that this process may use, 0 where it does not say.
    pub memory_bytes: u64,
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
                let memory_bytes = distilsweep_native::cuda_memory(number).map_or(0, |memory| memory.total);
                Self {
                    name,
                    model: model.map_or_else(String::new, |model| model.name),
                    memory_bytes,
                    precisions,
                }
            }
            Device::Cpu | Device::Mps | Device::Vulkan => {
                let read = |path| fs::read_to_string(path).unwrap_or_default();
                let processor = Processor::parse(&read("/proc/cpuinfo"));
                let mut precisions = vec!["fp32", "fp64"];
                if processor.bfloat16 {
                    precisions.push("bf16");
                }
                let installed = kibibytes(&read("/proc/meminfo"), "MemTotal:").unwrap_or(0);
                // A container's share; "max" where it has no bound.
                let allowed = read("/sys/fs/cgroup/memory.max").trim().parse().unwrap_or(u64::MAX);
                Self { name, model: processor.model, memory_bytes: installed.min(allowed), precisions }
            }
        }
    }
}

/// Memory of `device` that this process holds now, in bytes: on a processor its resident set, on a CUDA device what
/// libtorch has taken of it, which stays at the most that was needed so far. None where the system does not say.
pub fn memory_in_use(device: Device) -> Option<u64> {
    match device {
        Device::Cuda(number) => distilsweep_native::cuda_memory(number).ok().map(|memory| memory.held),
        Device::Cpu => kibibytes(&fs::read_to_string("/proc/self/status").ok()?, "VmRSS:"),
        Device::Mps | Device::Vulkan => None,
    }
}

/// What `/proc/cpuinfo` says of the first processor.
#[derive(Debug, PartialEq, Eq)]
struct Processor {
    model: String,
    bfloat16: bool,
}

impl Processor {
    fn parse(text: &str) -> Self {
        let value = |keys: &[&str]| {
            text.lines()
                .filter_map(|line| line.split_once(':'))
                .find(|(key, _)| keys.contains(&key.trim()))
                .map_or("", |(_, value)| value.trim())
        };
        // On x86 and on Arm.
        let flags = value(&["flags", "Features"]);
        let bfloat16 =
            flags.split_whitespace().any(|flag| ["avx512_bf16", "amx_bf16", "bf16"].contains(&flag));
        Self { model: value(&["model name"]).to_owned(), bfloat16 }
    }
}

/// The number after `key` in a list of such numbers, in bytes.
fn kibibytes(text: &str, key: &str) -> Option<u64> {
    let rest = text.lines().find_map(|line| line.strip_prefix(key))?;
    rest.trim().strip_suffix(" kB")?.trim().parse::<u64>().ok().map(|count| count * 1024)
}

#[cfg(test)]
mod tests {
    use tch::{Kind, Tensor};

    use super::*;

    #[test]
    fn a_processor_s_name_and_bfloat16_come_from_its_flags() {
        let x86 =
            "processor\t: 0\nmodel name\t: AMD EPYC\nflags\t\t: fpu avx512_bf16 sse\n\nprocessor\t: 1\n";
        assert_eq!(Processor::parse(x86), Processor { model: "AMD EPYC".to_owned(), bfloat16: true });
        let arm = "processor\t: 0\nFeatures\t: fp asimd i8mm bf16\nCPU part\t: 0xd40\n";
        assert_eq!(Processor::parse(arm), Processor { model: String::new(), bfloat16: true });
        let older = "model name\t: Xeon\nflags\t\t: fpu avx2\n";
        assert!(!Processor::parse(older).bfloat16);
    }

    #[test]
    fn sizes_are_read_by_name() {
        let text = "MemTotal:       24684084 kB\nMemFree:        13490580 kB\n";
        assert_eq!(kibibytes(text, "MemFree:"), Some(13_490_580 * 1024));
        assert_eq!(kibibytes(text, "Swap:"), None);
    }

    #[test]
    fn memory_in_use_grows_with_what_is_held() {
        let before = memory_in_use(Device::Cpu).unwrap();
        let held = Tensor::ones([64 << 20], (Kind::Uint8, Device::Cpu));
        let after = memory_in_use(Device::Cpu).unwrap();
        // Other tests of this process may free some meanwhile.
        assert!(after > before + (48 << 20), "{before} before, {after} with {:?} more", held.size());
    }

    #[test]
    fn the_processor_is_always_found_and_a_lack_of_cuda_has_its_reason() {
        let survey = Survey::take();
        assert_eq!(survey.devices[0].name, "cpu");
        assert!(survey.devices[0].memory_bytes > 0);
        assert!(survey.threads > 0);
        assert_eq!(survey.devices.len() == 1, survey.no_cuda.is_some(), "{survey:?}");
    }
}
