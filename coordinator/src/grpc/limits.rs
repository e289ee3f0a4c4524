//! How large a worker's messages may be, and where its files may lie. Pure.
//!
//! What is wrong with a greeting or a heartbeat closes the stream; what is wrong with a report ends its lease as
//! `internal`, for a worker would send the same report again after a reconnect, for ever.

use distilsweep_proto::{
    ids::Lease,
    limits::{
        CLASSES, DEVICES, FILE_BYTES, ID_BYTES, LEASES, MISTAKES, NAME_BYTES, PATH_BYTES, POINTS, PRECISIONS,
        RESULT_ENTRIES, ROW_BYTES, SLOTS, SPLITS, TEXT_BYTES,
    },
    manifest::CHECKPOINT,
    v1,
};
use tonic::Status;

use crate::scheduler::{AttemptEnd, Report, ReportBody, StoredFiles};

/// Bytes of the name of an experiment.
const EXPERIMENT_BYTES: usize = 500;

/// What is wrong with a message.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Unacceptable {
    /// A text is too long or empty, or has characters that a name cannot have.
    #[error("field `{field}` must have 1 to {most} characters, all of which can be printed")]
    Text {
        /// Which one.
        field: &'static str,
        /// Bytes at most.
        most: usize,
    },
    /// There are too many of something.
    #[error("field `{field}` has {count} entries, it may have {most}")]
    Many {
        /// Of what.
        field: &'static str,
        /// How many there are.
        count: usize,
        /// How many there may be.
        most: usize,
    },
    /// Files where the lease has none.
    #[error("`{url}` is not where its lease publishes: it must be {expected}")]
    Elsewhere {
        /// As reported.
        url: String,
        /// What is right.
        expected: String,
    },
    /// A digest that is none.
    #[error("a SHA-256 must have at most 64 hexadecimal digits")]
    Digest,
}

impl From<Unacceptable> for Status {
    fn from(what: Unacceptable) -> Self {
        Status::invalid_argument(what.to_string())
    }
}

/// Looks at the name or id of a sweep in a client's call; empty stands for the latest.
///
/// # Errors
/// What is wrong with it.
pub fn sweep(sweep: &str) -> Result<(), Unacceptable> {
    optional("sweep", sweep, ID_BYTES)
}

/// Looks at a sweep file that is handed in.
///
/// # Errors
/// What is wrong with it.
pub fn submission(request: &v1::SubmitSweepRequest) -> Result<(), Unacceptable> {
    if request.source.len() > FILE_BYTES {
        return Err(Unacceptable::Text { field: "source", most: FILE_BYTES });
    }
    optional("file_name", &request.file_name, PATH_BYTES)?;
    optional("base_directory", &request.base_directory, PATH_BYTES)?;
    optional("home_directory", &request.home_directory, PATH_BYTES)?;
    optional("user", &request.user, NAME_BYTES)?;
    // MLflow's limit.
    optional("experiment", &request.experiment, EXPERIMENT_BYTES)?;
    optional("default_experiment", &request.default_experiment, EXPERIMENT_BYTES)?;
    for resource in &request.resources {
        let v1::Resource { kind: _, id, commit, license, page, files } = resource;
        let fields = [("resources.id", id), ("resources.commit", commit), ("resources.license", license)];
        for (field, text) in fields.into_iter().chain([("resources.page", page)]) {
            optional(field, text, PATH_BYTES)?;
        }
        count("resources.files", files.len(), RESULT_ENTRIES)?;
        for file in files {
            optional("resources.files.path", &file.path, PATH_BYTES)?;
            digest(&file.sha256)?;
        }
    }
    count("resources", request.resources.len(), RESULT_ENTRIES)?;
    count("run_tags", request.run_tags.len(), RESULT_ENTRIES)?;
    for (key, value) in &request.run_tags {
        name("run_tags", key)?;
        if value.len() > TEXT_BYTES {
            return Err(Unacceptable::Text { field: "run_tags", most: TEXT_BYTES });
        }
    }
    Ok(())
}

/// Looks at a greeting.
///
/// # Errors
/// What is wrong with it.
pub fn hello(hello: &v1::Hello) -> Result<(), Unacceptable> {
    required("hello.worker", &hello.worker, ID_BYTES)?;
    optional("hello.hostname", &hello.hostname, NAME_BYTES)?;
    optional("hello.version", &hello.version, NAME_BYTES)?;
    count("hello.slots", usize::try_from(hello.slots).unwrap_or(usize::MAX), SLOTS as usize)?;
    count("hello.held", hello.held.len(), LEASES)?;
    for lease in &hello.held {
        required("hello.held.sweep", &lease.sweep, ID_BYTES)?;
    }
    count("hello.devices", hello.devices.len(), DEVICES)?;
    for device in &hello.devices {
        optional("hello.devices.name", &device.name, NAME_BYTES)?;
        optional("hello.devices.model", &device.model, NAME_BYTES)?;
        count("hello.devices.precisions", device.precisions.len(), PRECISIONS)?;
        for precision in &device.precisions {
            optional("hello.devices.precisions", precision, NAME_BYTES)?;
        }
    }
    Ok(())
}

/// Looks at a heartbeat.
///
/// # Errors
/// What is wrong with it.
pub fn heartbeat(heartbeat: &v1::Heartbeat) -> Result<(), Unacceptable> {
    count("heartbeat.progress", heartbeat.progress.len(), LEASES)?;
    for progress in &heartbeat.progress {
        optional("heartbeat.progress.phase", &progress.phase, NAME_BYTES)?;
        if let Some(lease) = &progress.lease {
            required("heartbeat.progress.lease.sweep", &lease.sweep, ID_BYTES)?;
        }
    }
    Ok(())
}

/// Looks at the lease that a report quotes.
///
/// # Errors
/// What is wrong with it.
pub fn lease(lease: &Lease) -> Result<(), Unacceptable> {
    required("report.lease.sweep", lease.trial.sweep.as_str(), ID_BYTES)
}

/// Looks at a report, its files among it: they lie below `store_url`, at the place of its lease.
///
/// # Errors
/// What is wrong with it.
pub fn report(report: &Report, store_url: &str) -> Result<(), Unacceptable> {
    match &report.body {
        ReportBody::Metrics(points) => {
            count("metrics.points", points.len(), POINTS)?;
            points.iter().try_for_each(|point| name("metrics.points.key", &point.key))
        }
        ReportBody::Checkpoint(files) => {
            let own = format!("{}{CHECKPOINT}{}", prefix(store_url, &report.lease), files.step);
            stored(files, own)
        }
        ReportBody::Ended(AttemptEnd::Completed(result)) => {
            for (field, keys) in
                [("completed.metrics", &result.metrics), ("completed.baseline", &result.baseline)]
            {
                count(field, keys.len(), RESULT_ENTRIES)?;
                keys.keys().try_for_each(|key| name(field, key))?;
            }
            count("completed.tags", result.tags.len(), RESULT_ENTRIES)?;
            for (key, value) in &result.tags {
                name("completed.tags", key)?;
                if value.len() > TEXT_BYTES {
                    return Err(Unacceptable::Text { field: "completed.tags", most: TEXT_BYTES });
                }
            }
            count("completed.classes", result.classes.len(), CLASSES)?;
            if result.classes.iter().any(|class| class.len() > TEXT_BYTES) {
                return Err(Unacceptable::Text { field: "completed.classes", most: TEXT_BYTES });
            }
            count("completed.splits", result.splits.len(), SPLITS)?;
            for split in &result.splits {
                name("completed.splits.name", &split.name)?;
                digest(&split.sha256)?;
            }
            count("completed.mistakes", result.mistakes.len(), MISTAKES)?;
            if result.mistakes.iter().any(|mistake| mistake.text.len() > ROW_BYTES) {
                return Err(Unacceptable::Text { field: "completed.mistakes.text", most: ROW_BYTES });
            }
            let own = |files: &StoredFiles| format!("{}{}", prefix(store_url, &report.lease), files.step);
            result.model.as_ref().map_or(Ok(()), |files| stored(files, own(files)))
        }
        // Long words are shortened where they are converted.
        ReportBody::Ended(AttemptEnd::Failed(_) | AttemptEnd::Stopped | AttemptEnd::Paused) => Ok(()),
    }
}

/// Where a lease publishes: see the worker's store.
fn prefix(store_url: &str, lease: &Lease) -> String {
    format!(
        "{}/{}/{}/{}/",
        store_url.trim_end_matches('/'),
        lease.trial.sweep,
        lease.trial.index,
        lease.term.0
    )
}

/// The one URL that the lease has for these files: nothing is parsed, so nothing can be encoded around it.
fn stored(files: &StoredFiles, own: String) -> Result<(), Unacceptable> {
    if files.url.trim_end_matches('/') != own {
        let mut url = files.url.clone();
        url.truncate(url.floor_char_boundary(PATH_BYTES));
        return Err(Unacceptable::Elsewhere { url, expected: own });
    }
    digest(&files.manifest_sha256)
}

fn digest(digest: &str) -> Result<(), Unacceptable> {
    if digest.len() > 64 || !digest.bytes().all(|byte| byte.is_ascii_hexdigit()) {
        return Err(Unacceptable::Digest);
    }
    Ok(())
}

fn count(field: &'static str, count: usize, most: usize) -> Result<(), Unacceptable> {
    if count > most { Err(Unacceptable::Many { field, count, most }) } else { Ok(()) }
}

fn optional(field: &'static str, text: &str, most: usize) -> Result<(), Unacceptable> {
    if text.len() > most || text.chars().any(char::is_control) {
        return Err(Unacceptable::Text { field, most });
    }
    Ok(())
}

fn required(field: &'static str, text: &str, most: usize) -> Result<(), Unacceptable> {
    if text.is_empty() { Err(Unacceptable::Text { field, most }) } else { optional(field, text, most) }
}

/// The name of a metric or tag: MLflow takes these characters, and would refuse the whole block for another.
fn name(field: &'static str, name: &str) -> Result<(), Unacceptable> {
    let sound = (1..=NAME_BYTES).contains(&name.len())
        && name.chars().all(|c| c.is_alphanumeric() || "_-. :/".contains(c))
        && !name.starts_with('/')
        && !name.split('/').any(|part| part == "..");
    if sound { Ok(()) } else { Err(Unacceptable::Text { field, most: NAME_BYTES }) }
}

#[cfg(test)]
mod tests {
    use distilsweep_proto::ids::{SweepId, Term, TrialId};

    use super::*;
    use crate::scheduler::{Failure, FailureKind, Point, TrialResult};

    const STORE: &str = "s3://bucket/trials/";

    fn lease() -> Lease {
        Lease { trial: TrialId { sweep: SweepId::new("demo-00ff00"), index: 7 }, attempt: 2, term: Term(41) }
    }

    fn said(body: ReportBody) -> Result<(), Unacceptable> {
        report(&Report { lease: lease(), sequence: 1, body }, STORE)
    }

    fn files(url: &str) -> StoredFiles {
        StoredFiles { url: url.to_owned(), step: 20, manifest_sha256: "ab".repeat(32) }
    }

    fn checkpoint(url: &str) -> Result<(), Unacceptable> {
        said(ReportBody::Checkpoint(files(url)))
    }

    fn model(url: &str) -> Result<(), Unacceptable> {
        let result = TrialResult { model: Some(files(url)), ..TrialResult::default() };
        said(ReportBody::Ended(AttemptEnd::Completed(result)))
    }

    #[test]
    fn files_lie_where_the_lease_publishes() {
        assert_eq!(checkpoint("s3://bucket/trials/demo-00ff00/7/41/checkpoint-20"), Ok(()));
        assert_eq!(model("s3://bucket/trials/demo-00ff00/7/41/20"), Ok(()));
        assert_eq!(model("s3://bucket/trials/demo-00ff00/7/41/20/"), Ok(()));
    }

    #[test]
    fn files_of_anybody_else_are_refused() {
        for url in [
            "s3://bucket/trials/demo-00ff00/7/40/20",            // another lease
            "s3://bucket/trials/demo-00ff00/8/41/20",            // another trial
            "s3://bucket/trials/other/7/41/20",                  // another sweep
            "s3://bucket/trials/demo-00ff00/7/41/21",            // another step
            "s3://bucket/trials/demo-00ff00/7/41/checkpoint-20", // a checkpoint for a model
            "s3://bucket/trials/demo-00ff00/7/41/../40/20",
            "s3://bucket/trials/demo-00ff00/7/41/%2e%2e/40/20",
            "s3://bucket/trials/demo-00ff00/7/41/20?x=y",
            "s3://bucket/trials/demo-00ff00/7/41/20#x",
            "s3://other/trials/demo-00ff00/7/41/20",
            "s3://bucket@other/trials/demo-00ff00/7/41/20",
            "gs://bucket/trials/demo-00ff00/7/41/20",
            "file:///etc/passwd",
            "S3://BUCKET/trials/demo-00ff00/7/41/20",
            "",
        ] {
            let Err(Unacceptable::Elsewhere { expected, .. }) = model(url) else { panic!("{url} was taken") };
            assert_eq!(expected, "s3://bucket/trials/demo-00ff00/7/41/20");
            assert!(checkpoint("s3://bucket/trials/demo-00ff00/7/41/20").is_err());
        }
    }

    #[test]
    fn a_digest_is_hexadecimal() {
        let url = "s3://bucket/trials/demo-00ff00/7/41/checkpoint-20";
        let wrong = StoredFiles { manifest_sha256: "../x".into(), ..files(url) };
        assert_eq!(said(ReportBody::Checkpoint(wrong)), Err(Unacceptable::Digest));
    }

    #[test]
    fn names_that_mlflow_refuses_are_refused_first() {
        let key = |key: &str| {
            let point = Point { key: key.to_owned(), value: 0.5, timestamp_ms: 1, step: 1 };
            said(ReportBody::Metrics(vec![point]))
        };
        for sound in ["loss", "eval/f1 score", "a.b-c_d:e"] {
            assert_eq!(key(sound), Ok(()), "{sound}");
        }
        for wrong in ["", "a\nb", "/a", "a/../b", "a$b", &"x".repeat(NAME_BYTES + 1)] {
            assert!(key(wrong).is_err(), "{wrong}");
        }
    }

    #[test]
    fn a_report_has_so_many_points_and_no_more() {
        let points = |count| {
            let point = Point { key: "loss".to_owned(), value: 0.5, timestamp_ms: 1, step: 1 };
            said(ReportBody::Metrics(vec![point; count]))
        };
        assert_eq!(points(POINTS), Ok(()));
        let error = points(POINTS + 1).unwrap_err().to_string();
        assert_eq!(error, "field `metrics.points` has 10001 entries, it may have 10000");
    }

    #[test]
    fn a_failure_is_always_heard() {
        let failure = Failure { kind: FailureKind::Internal, message: "x".repeat(1 << 20) };
        assert_eq!(said(ReportBody::Ended(AttemptEnd::Failed(failure))), Ok(()));
        assert_eq!(said(ReportBody::Ended(AttemptEnd::Stopped)), Ok(()));
    }

    #[test]
    fn a_greeting_is_bounded_in_every_field() {
        let sound = || v1::Hello { worker: "w".into(), ..v1::Hello::default() };
        assert_eq!(hello(&sound()), Ok(()));
        let long = "x".repeat(NAME_BYTES + 1);
        let device = |device: v1::Device, count| v1::Hello { devices: vec![device; count], ..sound() };
        let held = |sweep: &str, count| {
            let lease = v1::Lease { sweep: sweep.to_owned(), ..v1::Lease::default() };
            v1::Hello { held: vec![lease; count], ..sound() }
        };
        for wrong in [
            v1::Hello { worker: String::new(), ..sound() },
            v1::Hello { worker: long.clone(), ..sound() },
            v1::Hello { worker: "a\nb".into(), ..sound() },
            v1::Hello { hostname: long.clone(), ..sound() },
            v1::Hello { version: long.clone(), ..sound() },
            v1::Hello { slots: SLOTS + 1, ..sound() },
            held("s", LEASES + 1),
            held(&long, 1),
            held("", 1),
            device(v1::Device::default(), DEVICES + 1),
            device(v1::Device { name: long.clone(), ..v1::Device::default() }, 1),
            device(
                v1::Device { precisions: vec!["fp32".into(); PRECISIONS + 1], ..v1::Device::default() },
                1,
            ),
        ] {
            assert!(hello(&wrong).is_err(), "{wrong:?}");
        }
    }

    #[test]
    fn a_heartbeat_is_bounded_in_every_field() {
        let lease = |sweep: &str| Some(v1::Lease { sweep: sweep.to_owned(), ..v1::Lease::default() });
        let beat = |progress, count| heartbeat(&v1::Heartbeat { progress: vec![progress; count] });
        let sound = v1::Progress { lease: lease("s"), phase: "training".into(), ..v1::Progress::default() };
        assert_eq!(beat(sound.clone(), LEASES), Ok(()));
        assert!(beat(sound.clone(), LEASES + 1).is_err());
        assert!(beat(v1::Progress { phase: "x".repeat(NAME_BYTES + 1), ..sound.clone() }, 1).is_err());
        assert!(beat(v1::Progress { lease: lease(&"x".repeat(ID_BYTES + 1)), ..sound }, 1).is_err());
    }
}
