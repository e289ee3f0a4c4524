//! How busy this machine is, under the names of MLflow's system metrics.
//!
//! Source of names and units: `mlflow.system_metrics` of MLflow 3.17; megabytes are millions of bytes, traffic counts
//! from the start.

use std::{path::Path, process::Command, time::Duration};

use tokio::{
    sync::mpsc::{self, Receiver},
    time::{MissedTickBehavior, interval},
};

use crate::{machine, store::blocking};

/// Names with values at one moment.
pub type Sample = Vec<(String, f64)>;

const MEGABYTE: f64 = 1e6;

/// Takes a sample at each interval, on a task that ends with its receiver.
pub fn watch(period: Duration, disk: &Path) -> Receiver<Sample> {
    let (sender, receiver) = mpsc::channel(1);
    let disk = disk.to_owned();
    tokio::spawn(async move {
        let mut ticker = interval(period);
        ticker.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let mut vitals = Vitals::default();
        // The first only says where counting starts.
        ticker.tick().await;
        vitals.cpu = processor_times(&read("/proc/stat"));
        vitals.network = traffic(&read("/proc/net/dev"));
        loop {
            ticker.tick().await;
            let disk = disk.clone();
            let sample;
            (vitals, sample) = blocking(move || {
                let sample = vitals.sample(&disk);
                (vitals, sample)
            })
            .await;
            if sender.send(sample).await.is_err() {
                return;
            }
        }
    });
    receiver
}

/// What the next sample is compared with.
#[derive(Debug, Default)]
struct Vitals {
    cpu: (u64, u64),
    network: (u64, u64),
    /// Once the program for it was missing it stays so.
    no_gpu: bool,
}

impl Vitals {
    fn sample(&mut self, disk: &Path) -> Sample {
        let mut sample = Vec::new();
        let mut add = |name: &str, value: f64| sample.push((format!("system/{name}"), value));
        let (busy, all) = processor_times(&read("/proc/stat"));
        let passed = all.saturating_sub(self.cpu.1);
        if passed > 0 {
            let share = busy.saturating_sub(self.cpu.0) as f64 / passed as f64;
            add("cpu_utilization_percentage", 100.0 * share);
        }
        self.cpu = (busy, all);
        let memory = machine::memory();
        if memory.total > 0 {
            let used = memory.total.saturating_sub(memory.available) as f64;
            add("system_memory_usage_megabytes", used / MEGABYTE);
            add("system_memory_usage_percentage", 100.0 * used / memory.total as f64);
        }
        if let Ok(space) = rustix::fs::statvfs(disk) {
            let bytes = |blocks: u64| (blocks.saturating_mul(space.f_frsize)) as f64;
            let used = bytes(space.f_blocks.saturating_sub(space.f_bfree));
            let free = bytes(space.f_bavail);
            add("disk_usage_megabytes", used / MEGABYTE);
            add("disk_available_megabytes", free / MEGABYTE);
            if used + free > 0.0 {
                add("disk_usage_percentage", 100.0 * used / (used + free));
            }
        }
        let (received, sent) = traffic(&read("/proc/net/dev"));
        add("network_receive_megabytes", received.saturating_sub(self.network.0) as f64 / MEGABYTE);
        add("network_transmit_megabytes", sent.saturating_sub(self.network.1) as f64 / MEGABYTE);
        if !self.no_gpu {
            match gpus() {
                Some(text) => sample.extend(graphics(&text)),
                None => self.no_gpu = true,
            }
        }
        sample
    }
}

fn read(path: &str) -> String {
    std::fs::read_to_string(path).unwrap_or_default()
}

/// Ticks in which a processor was busy, and all of them, from `/proc/stat`.
fn processor_times(text: &str) -> (u64, u64) {
    let line = text.lines().find(|line| line.starts_with("cpu ")).unwrap_or_default();
    // user, nice, system, idle, iowait, irq, softirq, steal; time of guests is in user's.
    let times: Vec<u64> =
        line.split_whitespace().skip(1).take(8).filter_map(|text| text.parse().ok()).collect();
    let all: u64 = times.iter().sum();
    let idle: u64 = times.iter().skip(3).take(2).sum();
    (all - idle, all)
}

/// Bytes received and sent over all interfaces but the loopback, from `/proc/net/dev`.
fn traffic(text: &str) -> (u64, u64) {
    text.lines()
        .filter_map(|line| line.split_once(':'))
        .filter(|(name, _)| name.trim() != "lo")
        .map(|(_, counts)| {
            let counts: Vec<u64> = counts.split_whitespace().map(|text| text.parse().unwrap_or(0)).collect();
            (counts.first().copied().unwrap_or(0), counts.get(8).copied().unwrap_or(0))
        })
        .fold((0, 0), |(received, sent), (r, s)| (received + r, sent + s))
}

/// What `nvidia-smi` says of each GPU, a line each.
fn gpus() -> Option<String> {
    let fields = "utilization.gpu,memory.used,memory.total,power.draw,power.limit";
    let output = Command::new("nvidia-smi")
        .arg(format!("--query-gpu={fields}"))
        .arg("--format=csv,noheader,nounits")
        .output()
        .ok()?;
    output.status.success().then(|| String::from_utf8_lossy(&output.stdout).into_owned())
}

/// Reads its lines; a field that a GPU does not tell (`[N/A]`) is left out.
fn graphics(text: &str) -> Sample {
    // It counts memory in units of 2^20 bytes.
    const MEBIBYTE: f64 = (1 << 20) as f64;
    let mut sample = Vec::new();
    for (number, line) in text.lines().filter(|line| !line.trim().is_empty()).enumerate() {
        let values: Vec<Option<f64>> = line.split(',').map(|field| field.trim().parse().ok()).collect();
        let value = |place: usize| values.get(place).copied().flatten();
        let mut add = |name: &str, value: Option<f64>| {
            sample.extend(value.map(|value| (format!("system/gpu_{number}_{name}"), value)));
        };
        let share = |part: Option<f64>, whole: Option<f64>| {
            part.zip(whole).filter(|(_, whole)| *whole > 0.0).map(|(part, whole)| 100.0 * part / whole)
        };
        add("utilization_percentage", value(0));
        add("memory_usage_megabytes", value(1).map(|used| used * MEBIBYTE / MEGABYTE));
        add("memory_usage_percentage", share(value(1), value(2)));
        add("power_usage_watts", value(3));
        add("power_usage_percentage", share(value(3), value(4)));
    }
    sample
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn linux_s_counters_are_read() {
        let stat = "cpu  100 5 50 800 40 3 2 0 7 0\ncpu0 1 2 3 4 5 6 7 8\n";
        assert_eq!(processor_times(stat), (160, 1000));
        let net = "Inter-| Receive | Transmit\n face |bytes packets\n    lo: 9 1 0 0 0 0 0 0 9 1\n  eth0: 1000 2 0 0 0 0 0 0 300 4\n eth1:7 0 0 0 0 0 0 0 5 0\n";
        assert_eq!(traffic(net), (1007, 305));
    }

    /// As printed for an H100 and for a card that does not tell its power.
    #[test]
    fn a_gpu_s_line_becomes_mlflow_s_names() {
        let text = "37, 1024, 81559, 121.50, 700.00\n0, 512, 2048, [N/A], [N/A]\n";
        let sample = graphics(text);
        let lines: Vec<String> = sample.iter().map(|(name, value)| format!("{name} {value:.2}")).collect();
        insta::assert_snapshot!(lines.join("\n"), @r"
        system/gpu_0_utilization_percentage 37.00
        system/gpu_0_memory_usage_megabytes 1073.74
        system/gpu_0_memory_usage_percentage 1.26
        system/gpu_0_power_usage_watts 121.50
        system/gpu_0_power_usage_percentage 17.36
        system/gpu_1_utilization_percentage 0.00
        system/gpu_1_memory_usage_megabytes 536.87
        system/gpu_1_memory_usage_percentage 25.00
        ");
    }

    #[tokio::test]
    async fn a_sample_has_mlflow_s_names_and_sensible_values() {
        let mut samples = watch(Duration::from_millis(50), Path::new("/"));
        let sample = samples.recv().await.unwrap();
        let value = |name: &str| {
            let found = sample.iter().find(|(key, _)| key == &format!("system/{name}"));
            found.unwrap_or_else(|| panic!("{name} is not among {sample:?}")).1
        };
        for share in ["system_memory_usage_percentage", "disk_usage_percentage"] {
            assert!((0.0..=100.0).contains(&value(share)), "{sample:?}");
        }
        assert!(value("system_memory_usage_megabytes") > 10.0 && value("disk_available_megabytes") > 1.0);
        assert!(value("network_receive_megabytes") >= 0.0);
    }
}
