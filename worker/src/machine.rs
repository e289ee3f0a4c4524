//! What Linux says of this machine: its processor, its memory and this process's share of it.

use std::fs;

/// The processor, as `/proc/cpuinfo` has the first of them.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Processor {
    /// Its maker's name, empty where it does not say.
    pub model: String,
    /// Whether it has instructions for bfloat16.
    pub bfloat16: bool,
}

/// Memory that processes here may use, in bytes; a container's bound where there is one. 0 where nothing says.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Memory {
    /// All of it.
    pub total: u64,
    /// What can be had without swapping.
    pub available: u64,
}

/// The processor of this machine.
pub fn processor() -> Processor {
    Processor::parse(&read("/proc/cpuinfo"))
}

/// The memory of this machine, or of this container.
pub fn memory() -> Memory {
    let text = read("/proc/meminfo");
    let of = |key| kibibytes(&text, key).unwrap_or(0);
    // The bound is "max" where there is none.
    let bound: u64 = read("/sys/fs/cgroup/memory.max").trim().parse().unwrap_or(u64::MAX);
    let used: u64 = read("/sys/fs/cgroup/memory.current").trim().parse().unwrap_or(0);
    Memory {
        total: of("MemTotal:").min(bound),
        available: of("MemAvailable:").min(bound.saturating_sub(used)),
    }
}

/// Memory that this process holds, its resident set, and the most that it ever held, in bytes. None where the system
/// does not say.
pub fn resident() -> Option<(u64, u64)> {
    let text = read("/proc/self/status");
    Some((kibibytes(&text, "VmRSS:")?, kibibytes(&text, "VmHWM:")?))
}

fn read(path: &str) -> String {
    fs::read_to_string(path).unwrap_or_default()
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
    fn what_is_available_is_part_of_the_whole_and_holds_this_process() {
        let memory = memory();
        assert!(memory.available > 0 && memory.available <= memory.total, "{memory:?}");
        let (held, most) = resident().unwrap();
        assert!(held > 0 && held < memory.total && most >= held, "{held} {most} {memory:?}");
    }

    #[test]
    fn the_resident_set_grows_with_what_is_held() {
        let (before, _) = resident().unwrap();
        let held = vec![1u8; 64 << 20];
        let (after, _) = resident().unwrap();
        // Other tests of this process may free some meanwhile.
        assert!(after > before + (32 << 20), "{before} before, {after} with {} more", held.len());
    }
}
