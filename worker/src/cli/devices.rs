//! `distilsweep-worker devices`: where training can be done on this machine.

use clap::Args;
use distilsweep_proto::{
    examples,
    exit::Exit,
    json::{self, Json},
};

use super::CliError;
use crate::devices::Survey;

/// Arguments of `devices`.
#[derive(Debug, Args)]
#[command(after_help = examples![
    "distilsweep-worker devices",
    "distilsweep-worker devices --json",
])]
pub(super) struct Devices {
    #[command(flatten)]
    json: Json,
}

impl Devices {
    /// Runs the command.
    ///
    /// # Errors
    /// One sentence for the terminal, with its exit code.
    pub(super) fn run(self) -> Result<Exit, CliError> {
        let survey = Survey::take();
        if self.json.json {
            println!("{}", json::document(&survey));
        } else {
            print!("{}", rendered(&survey));
        }
        Ok(Exit::Success)
    }
}

/// A line a device, and what libtorch is.
fn rendered(survey: &Survey) -> String {
    let width =
        survey.devices.iter().map(|device| device.name.len()).max().unwrap_or(0).max("libtorch".len());
    let line = |name: &str, facts: &[String]| {
        let facts: Vec<&str> = facts.iter().map(String::as_str).filter(|fact| !fact.is_empty()).collect();
        format!("{name:<width$}  {}\n", facts.join(", "))
    };
    let threads = match survey.threads {
        1 => "1 thread".to_owned(),
        count => format!("{count} threads"),
    };
    let mut text = line("libtorch", &[survey.libtorch.clone(), format!("{threads} on the processor")]);
    for device in &survey.devices {
        let memory = match device.memory_bytes {
            0 => String::new(),
            bytes => format!("{:.1} of {:.1} GiB free", gibibytes(device.free_bytes), gibibytes(bytes)),
        };
        let precisions = match device.precisions.contains(&"bf16") {
            true => device.precisions.join(" "),
            false => format!("{} (bf16 without instructions for it)", device.precisions.join(" ")),
        };
        text += &line(&device.name, &[device.model.clone(), memory, precisions]);
    }
    if let Some(reason) = &survey.no_cuda {
        text += &line("cuda", &[format!("not there: {reason}")]);
    }
    text
}

fn gibibytes(bytes: u64) -> f64 {
    bytes as f64 / f64::from(1 << 30)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::devices::Found;

    fn found(name: &str, model: &str, memory_bytes: u64, precisions: &[&'static str]) -> Found {
        Found {
            name: name.to_owned(),
            model: model.to_owned(),
            memory_bytes,
            free_bytes: memory_bytes / 2,
            precisions: precisions.to_vec(),
        }
    }

    #[test]
    fn each_device_has_a_line_and_so_has_the_lack_of_one() {
        let processor = found("cpu", "AMD EPYC", 25_276_502_016, &["fp32", "fp64"]);
        let alone = Survey {
            libtorch: "2.11.0".to_owned(),
            threads: 1,
            devices: vec![processor.clone()],
            no_cuda: Some("libtorch_cuda.so: cannot open shared object file".to_owned()),
        };
        let card = found("cuda:0", "NVIDIA H100 80GB HBM3", 85_017_231_360, &["fp32", "fp64", "bf16"]);
        let both = Survey { devices: vec![processor, card], threads: 16, no_cuda: None, ..alone.clone() };
        insta::assert_snapshot!(format!("{}\n{}", rendered(&alone), rendered(&both)), @"
        libtorch  2.11.0, 1 thread on the processor
        cpu       AMD EPYC, 11.8 of 23.5 GiB free, fp32 fp64 (bf16 without instructions for it)
        cuda      not there: libtorch_cuda.so: cannot open shared object file

        libtorch  2.11.0, 16 threads on the processor
        cpu       AMD EPYC, 11.8 of 23.5 GiB free, fp32 fp64 (bf16 without instructions for it)
        cuda:0    NVIDIA H100 80GB HBM3, 39.6 of 79.2 GiB free, fp32 fp64 bf16
        ");
    }
}
