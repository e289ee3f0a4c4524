//! `tests/gpu/run.sh` where there is no GPU: it says so and is no failure.

use std::{process::Command, time::Duration};

use distilsweep_tests::{fleet::Scene, process::Process, sweep::parity};

#[test]
fn without_a_gpu_the_measurements_are_skipped_with_the_reason() -> anyhow::Result<()> {
    if Command::new("nvidia-smi").arg("-L").output().is_ok() {
        eprintln!("skipped: this machine has nvidia-smi, and what follows would take an hour");
        return Ok(());
    }
    let scene = Scene::new()?;
    for arguments in [&[][..], &["--device", "cuda:1"][..]] {
        let mut command = Command::new("bash");
        command.arg(parity().with_file_name("gpu").join("run.sh")).args(arguments);
        let ended = Process::start("gpu", command, &scene.path("logs"))?.wait(Duration::from_secs(60))?;
        assert_eq!(ended.code, Some(0), "{ended:?}");
        assert!(ended.out.starts_with("skipped: there is no nvidia-smi"), "{ended:?}");
    }
    Ok(())
}
