//! Copies of rendered objects, each broken in one way, and the check that must find it.

use serde_json::{Value, json};

use crate::document::id;

/// One way to break something.
pub(crate) struct Break {
    /// What somebody has done.
    pub(crate) what: &'static str,
    /// Name of the check that finds it; `schemas` for kubernetes-validate's and ours.
    pub(crate) check: &'static str,
    /// The object, as `Kind/name`.
    object: &'static str,
    /// Where in it.
    at: &'static str,
    edit: Edit,
}

enum Edit {
    /// Another value, or one where there was none.
    Set(Value),
    /// Text within a value that is another.
    Say(&'static str, &'static str),
    Remove,
    /// One more in a list.
    Push(Value),
    /// The object goes.
    Drop,
    /// Another object comes.
    Add(Value),
}

use Edit::{Add, Drop, Push, Remove, Say, Set};

impl Break {
    /// Breaks these.
    ///
    /// # Panics
    /// Nothing changes: then the break tests nothing.
    pub(crate) fn apply(&self, objects: &[Value]) -> Vec<Value> {
        let mut broken = objects.to_vec();
        if let Add(object) = &self.edit {
            broken.push(object.clone());
            return broken;
        }
        let found = broken.iter().position(|object| id(object).starts_with(self.object));
        let found = found.unwrap_or_else(|| panic!("{}: there is no {}", self.what, self.object));
        if matches!(self.edit, Drop) {
            broken.remove(found);
            return broken;
        }
        let (parent, key) = self.at.rsplit_once('/').expect("a pointer");
        let key = key.replace("~1", "/");
        let parent =
            broken[found].pointer_mut(parent).unwrap_or_else(|| panic!("{}: no {parent}", self.what));
        let before = parent.clone();
        match (&self.edit, &mut *parent) {
            (Set(value), Value::Object(map)) => drop(map.insert(key, value.clone())),
            (Set(value), Value::Array(list)) => list[place(&key)] = value.clone(),
            (Remove, Value::Object(map)) => drop(map.remove(&key)),
            (Remove, Value::Array(list)) => drop(list.remove(place(&key))),
            (Push(value), parent) => parent[&key].as_array_mut().expect("a list").push(value.clone()),
            (Say(old, new), parent) => {
                let text = parent.to_string().replace(old, new);
                *parent = serde_json::from_str(&text).expect("what was JSON still is");
            }
            (Set(_) | Remove, _) | (Drop | Add(_), _) => panic!("{}: cannot be done", self.what),
        }
        assert_ne!(*parent, before, "{}: nothing has changed", self.what);
        broken
    }
}

fn place(key: &str) -> usize {
    key.parse().expect("a place in a list")
}

const POD: &str = "/spec/template/spec";

/// All that is broken, of everything at once with workers as a Deployment, or as jobs.
pub(crate) fn breaks(with_jobs: bool) -> Vec<Break> {
    if with_jobs { of_jobs() } else { of_deployment() }
}

fn one(what: &'static str, check: &'static str, object: &'static str, at: &'static str, edit: Edit) -> Break {
    Break { what, check, object, at, edit }
}

#[rustfmt::skip]
fn of_deployment() -> Vec<Break> {
    let (worker, coordinator, mlflow) = ("Deployment/worker", "StatefulSet/coordinator", "Deployment/mlflow");
    let container = "/spec/template/spec/containers/0";
    let at = |path: &str| -> &'static str { format!("{container}{path}").leak() };
    let pod = |path: &str| -> &'static str { format!("{POD}{path}").leak() };
    vec![
        one("a Deployment that selects other pods", "selectors", worker, "/spec/selector/matchLabels/app.kubernetes.io~1name", Set(json!("workers"))),
        one("a Service that selects nothing", "selectors", "Service/coordinator", "/spec/selector/app.kubernetes.io~1name", Set(json!("coordinatr"))),
        one("a budget that selects nothing", "selectors", "PodDisruptionBudget/worker", "/spec/selector/matchLabels/app.kubernetes.io~1name", Set(json!("workr"))),
        one("a policy whose peer is nobody", "selectors", "NetworkPolicy/worker", "/spec/egress/0/to/0/podSelector/matchLabels/app.kubernetes.io~1name", Set(json!("coord"))),
        one("spread over the coordinator's nodes", "selectors", worker, pod("/topologySpreadConstraints/0/labelSelector/matchLabels/app.kubernetes.io~1name"), Set(json!("coordinator"))),
        one("a mount of no volume", "mounts", worker, at("/volumeMounts/0/name"), Set(json!("scratsh"))),
        one("two mounts at one place", "mounts", worker, at("/volumeMounts/0/mountPath"), Set(json!("/scratch"))),
        one("a volume that nothing mounts", "mounts", worker, pod("/volumes"), Push(json!({"name": "spare", "emptyDir": {"sizeLimit": "1Gi"}}))),
        one("a claim that is not there", "references", mlflow, pod("/volumes/0/persistentVolumeClaim/claimName"), Set(json!("mlflow-data"))),
        one("settings under their old name", "references", worker, at("/envFrom/0/configMapRef/name"), Set(json!("worker-settings-000"))),
        one("a Secret that nobody makes", "references", worker, at("/env"), Push(json!({"name": "HF_TOKEN", "valueFrom": {"secretKeyRef": {"name": "hub", "key": "token"}}}))),
        one("a key that the Secret has not", "references", coordinator, pod("/volumes"), Say("\"key\":\"clients\"", "\"key\":\"client\"")),
        one("a Service of no such port", "ports", "Service/coordinator", "/spec/ports/0/targetPort", Set(json!("rpc"))),
        one("a monitor of no such port", "ports", "PodMonitor/coordinator", "/spec/podMetricsEndpoints/0/port", Set(json!("metrics"))),
        one("a policy for no such port", "ports", "NetworkPolicy/coordinator", "/spec/ingress/0/ports/0/port", Set(json!(7077))),
        one("two ports of one name", "ports", coordinator, at("/ports/0/name"), Set(json!("http"))),
        one("memory in no unit", "quantities", worker, at("/resources/requests/memory"), Set(json!("16GB"))),
        one("a request beyond its limit", "quantities", worker, at("/resources/requests/memory"), Set(json!("17Gi"))),
        one("memory without a bound", "quantities", coordinator, at("/resources/limits/memory"), Remove),
        one("a worker that requests no processor", "quantities", worker, at("/resources/requests/cpu"), Remove),
        one("a claim without a size", "quantities", "PersistentVolumeClaim/mlflow", "/spec/resources/requests/storage", Set(json!("much"))),
        one("half a GPU", "gpu", worker, at("/resources"), Say("\"nvidia.com/gpu\":\"1\"", "\"nvidia.com/gpu\":\"0.5\"")),
        one("a GPU that is requested and not bounded", "gpu", worker, at("/resources/limits/nvidia.com~1gpu"), Remove),
        one("more GPUs than requested", "gpu", worker, at("/resources/limits/nvidia.com~1gpu"), Set(json!("2"))),
        one("tolerations of spot nodes in place of a GPU's", "gpu", worker, pod("/tolerations/0"), Remove),
        one("shared memory on a disk", "gpu", worker, pod("/volumes"), Say("\"medium\":\"Memory\",", "")),
        one("shared memory without a bound", "gpu", worker, pod("/volumes"), Say("\"sizeLimit\":\"2Gi\"", "\"sizeLimit\":null")),
        one("shared memory larger than the limit", "gpu", worker, pod("/volumes"), Say("\"sizeLimit\":\"2Gi\"", "\"sizeLimit\":\"20Gi\"")),
        one("GPUs chosen in the manifest", "gpu", worker, at("/env"), Push(json!({"name": "NVIDIA_VISIBLE_DEVICES", "value": "all"}))),
        one("the CPU image on a GPU", "gpu", worker, at("/image"), Set(json!("distilsweep-worker-cpu:0.1.0"))),
        one("a directory that keeps its node", "local disks", worker, "/spec/template/metadata/annotations/cluster-autoscaler.kubernetes.io~1safe-to-evict-local-volumes", Set(json!("cache,shm"))),
        one("a directory without a bound", "local disks", coordinator, pod("/volumes"), Say("{\"sizeLimit\":\"1Gi\"}", "{}")),
        one("directories beyond the limit", "local disks", worker, at("/resources/limits/ephemeral-storage"), Set(json!("20Gi"))),
        one("a patch for a misspelt container", "containers", worker, pod("/containers"), Push(json!({"name": "wroker", "image": "distilsweep-worker-cuda:0.1.0"}))),
        one("another release's image", "images", worker, at("/image"), Set(json!("distilsweep-worker-cuda:0.2.0"))),
        one("whatever image is newest", "images", mlflow, at("/image"), Set(json!("ghcr.io/mlflow/mlflow:latest"))),
        one("a misspelt flag", "arguments", worker, at("/args"), Say("--grace=", "--gracee=")),
        one("a variable that nothing sets", "arguments", worker, at("/args"), Say("$(GRACE_SECONDS)", "$(GRACE)")),
        one("a value that is none", "arguments", "ConfigMap/worker-settings", "/data/GRACE_SECONDS", Set(json!("a minute"))),
        one("a cloud that gives no notice", "arguments", "ConfigMap/worker-settings", "/data/SPOT_NOTICE", Set(json!("aws-east"))),
        one("a store that is none", "arguments", "ConfigMap/coordinator-settings", "/data/STORE_URL", Set(json!("ftp://host/trials"))),
        one("an address of the pod alone", "arguments", coordinator, at("/args"), Say("--listen=0.0.0.0:", "--listen=127.0.0.1:")),
        one("a port that is said and not opened", "arguments", worker, at("/ports/0/containerPort"), Set(json!(7072))),
        one("another command", "arguments", worker, at("/args/0"), Set(json!("devices"))),
        one("state on no volume", "paths", coordinator, at("/args"), Say("--state=/state", "--state=/var/state")),
        one("scratch that cannot be written", "paths", worker, at("/volumeMounts"), Say("\"mountPath\":\"/scratch\"", "\"mountPath\":\"/scratch\",\"readOnly\":true")),
        one("a token in another file", "paths", worker, at("/args"), Say("/tokens/worker", "/tokens/token")),
        one("a grace beyond the pod's end", "grace", worker, pod("/terminationGracePeriodSeconds"), Set(json!(30))),
        one("a coordinator that sleeps until it is killed", "grace", coordinator, at("/lifecycle/preStop/sleep/seconds"), Set(json!(40))),
        one("a drain longer than a spot node stays", "grace", "ConfigMap/worker-settings", "/data/GRACE_SECONDS", Set(json!("60"))),
        one("a worker that is killed when its coordinator is away", "probes", worker, at("/livenessProbe/httpGet/path"), Set(json!("/readyz"))),
        one("a coordinator that is never asked", "probes", coordinator, at("/readinessProbe"), Remove),
        one("a probe where TLS is", "probes", coordinator, at("/livenessProbe/httpGet/port"), Set(json!("grpc"))),
        one("a probe by gRPC", "probes", worker, at("/livenessProbe"), Set(json!({"grpc": {"port": 7071}}))),
        one("a probe at no port", "probes", worker, at("/readinessProbe/httpGet/port"), Set(json!("health"))),
        one("an MLflow on a disk", "settings", "ConfigMap/coordinator-settings", "/data/MLFLOW_TRACKING_URI", Set(json!("sqlite:///mlflow.db"))),
        one("an MLflow at another port", "settings", "ConfigMap/coordinator-settings", "/data/MLFLOW_TRACKING_URI", Set(json!("http://mlflow:5001"))),
        one("an MLflow that refuses its Service's name", "settings", mlflow, at("/args"), Say("mlflow,mlflow:*,mlflow.*.svc*,", "")),
        one("a coordinator that is no Service", "settings", "ConfigMap/worker-settings", "/data/COORDINATOR_URL", Set(json!("https://distilsweep:7070"))),
        one("a key that nobody reads", "settings", "ConfigMap/worker-settings", "/data/GRACE_SECOND", Set(json!("30"))),
        one("a bucket that workers cannot reach", "settings", worker, at("/env/0"), Remove),
        one("a sweep file that makes no sense", "settings", "ConfigMap/coordinator-settings", "/data/sweep.yaml", Set(json!("name: x\nparameters: {learning_rat: {value: 1e-5}}\n"))),
        one("a worker in the clear", "encryption", "ConfigMap/worker-settings", "/data/COORDINATOR_URL", Set(json!("http://coordinator:7070"))),
        one("a coordinator that says it is insecure and is not", "encryption", coordinator, at("/args"), Push(json!("--insecure"))),
        one("a certificate for another name", "encryption", "Certificate/coordinator", "/spec/dnsNames", Set(json!(["localhost"]))),
        one("certificates that nobody issues", "encryption", "Certificate/worker", "/spec/issuerRef/name", Set(json!("letsencrypt"))),
        one("a pod that may become root", "pod security", worker, pod("/securityContext/runAsNonRoot"), Remove),
        one("a pod without seccomp", "pod security", mlflow, pod("/securityContext/seccompProfile"), Remove),
        one("privileges that grow", "pod security", worker, at("/securityContext/allowPrivilegeEscalation"), Set(json!(true))),
        one("capabilities that stay", "pod security", coordinator, at("/securityContext/capabilities/drop"), Set(json!(["NET_RAW"]))),
        one("a root file system that is written to", "pod security", mlflow, at("/securityContext/readOnlyRootFilesystem"), Set(json!(false))),
        one("a directory of the node", "pod security", worker, pod("/volumes/0"), Set(json!({"name": "shm", "hostPath": {"path": "/dev/shm"}}))),
        one("a namespace that lets more in", "pod security", "Namespace/distilsweep", "/metadata/labels/pod-security.kubernetes.io~1enforce", Set(json!("baseline"))),
        one("a token of the cluster", "rights", worker, pod("/automountServiceAccountToken"), Remove),
        one("rights in the cluster", "rights", "", "", Add(json!({"apiVersion": "rbac.authorization.k8s.io/v1", "kind": "RoleBinding", "metadata": {"name": "worker", "namespace": "distilsweep"}}))),
        one("a Secret in the manifests", "secrets", "", "", Add(json!({"apiVersion": "v1", "kind": "Secret", "metadata": {"name": "distilsweep-tokens", "namespace": "distilsweep"}}))),
        one("a token in the manifests", "secrets", worker, at("/env"), Push(json!({"name": "DISTILSWEEP_TOKEN", "value": "0123456789abcdef"}))),
        one("workers that hold the clients' token", "secrets", worker, pod("/volumes"), Say("{\"key\":\"worker\",\"path\":\"worker\"}", "{\"key\":\"worker\",\"path\":\"worker\"},{\"key\":\"clients\",\"path\":\"clients\"}")),
        one("no word about what is not allowed", "network", "NetworkPolicy/default-deny", "", Drop),
        one("an MLflow for everybody here", "network", "NetworkPolicy/mlflow", "/spec/ingress/0/from/0/podSelector", Set(json!({}))),
        one("workers that reach all networks", "network", "NetworkPolicy/internet", "/spec/egress/0/to/0/ipBlock/except", Remove),
        one("pods that find no names", "network", "NetworkPolicy/names", "", Drop),
        one("a coordinator for everybody", "network", "NetworkPolicy/coordinator", "/spec/ingress/0/from", Remove),
        one("workers that may not speak to the coordinator", "network", "NetworkPolicy/worker", "", Drop),
        one("metrics that nobody may read", "network", "NetworkPolicy/monitoring", "/spec/ingress/0/from/0/namespaceSelector/matchLabels/kubernetes.io~1metadata.name", Set(json!("prometheus"))),
        one("a notice that cannot be asked for", "network", "NetworkPolicy/spot-notice", "", Drop),
        one("two coordinators", "state", coordinator, "/spec/replicas", Set(json!(2))),
        one("state that two pods may mount", "state", coordinator, "/spec/volumeClaimTemplates/0/spec/accessModes", Set(json!(["ReadWriteOnce"]))),
        one("a coordinator as a Deployment", "state", coordinator, "/kind", Set(json!("Deployment"))),
        one("a name for pods that are ready alone", "state", "Service/coordinator-pods", "/spec/publishNotReadyAddresses", Remove),
        one("a second MLflow beside the first", "state", mlflow, "/spec/strategy/type", Set(json!("RollingUpdate"))),
        one("a budget that lets no node drain", "state", "PodDisruptionBudget/worker", "/spec/maxUnavailable", Set(json!(0))),
        one("all workers on one node", "state", worker, pod("/topologySpreadConstraints"), Remove),
        one("a kind that nobody thought about", "names", "", "", Add(json!({"apiVersion": "v1", "kind": "LimitRange", "metadata": {"name": "x", "namespace": "distilsweep"}}))),
        one("an object of another namespace", "names", "Service/mlflow", "/metadata/namespace", Set(json!("default"))),
        one("an object twice", "names", "", "", Add(json!({"apiVersion": "v1", "kind": "Service", "metadata": {"name": "mlflow", "namespace": "distilsweep"}}))),
        one("a field that Kubernetes does not know", "schemas", worker, pod("/terminationGracePeriod"), Set(json!(90))),
        one("a number as text", "schemas", coordinator, "/spec/replicas", Set(json!("1"))),
        one("a usage that no certificate has", "schemas", "Certificate/worker", "/spec/usages/1", Set(json!("clients auth"))),
        one("a monitor by a misspelt field", "schemas", "PodMonitor/coordinator", "/spec/podMetricsEndpoint", Set(json!([]))),
        one("a queue without a ClusterQueue", "schemas", "LocalQueue/workers", "/spec/clusterQueue", Remove),
    ]
}

#[rustfmt::skip]
fn of_jobs() -> Vec<Break> {
    let job = "ScaledJob/worker";
    vec![
        one("jobs that Kubernetes starts again by itself", "jobs", job, "/spec/jobTargetRef/template/spec/restartPolicy", Set(json!("OnFailure"))),
        one("a lost node that counts as a failure", "jobs", job, "/spec/jobTargetRef/podFailurePolicy", Remove),
        one("a condition without its status", "jobs", job, "/spec/jobTargetRef/podFailurePolicy/rules/0/onPodConditions/0/status", Remove),
        one("an edit that ends running jobs", "jobs", job, "/spec/rollout/strategy", Set(json!("default"))),
        one("workers that stay without work", "jobs", job, "/spec/minReplicaCount", Set(json!(1))),
        one("a scaler that should push", "jobs", job, "/spec/triggers/0/type", Set(json!("external-push"))),
        one("a scaler's name that KEDA does not find", "jobs", job, "/spec/triggers/0/metadata/scalerAddress", Set(json!("coordinator:7072"))),
        one("a scaler at the workers' port", "jobs", job, "/spec/triggers/0/metadata/scalerAddress", Set(json!("coordinator.distilsweep:7070"))),
        one("a target that the scaler does not read", "jobs", job, "/spec/triggers/0/metadata/trialsPerJob", Set(json!("4"))),
        one("no trials a worker", "jobs", job, "/spec/triggers/0/metadata/trialsPerWorker", Set(json!("0"))),
        one("a job that never ends", "jobs", job, "/spec/jobTargetRef/template/spec/containers/0/args", Say("--exit-when-idle=$(IDLE_SECONDS)", "--lanes=2")),
        one("a queue that is not there", "jobs", job, "/metadata/labels/kueue.x-k8s.io~1queue-name", Set(json!("gpus"))),
        one("a budget for jobs", "state", "", "", Add(json!({"apiVersion": "policy/v1", "kind": "PodDisruptionBudget", "metadata": {"name": "worker", "namespace": "distilsweep"}}))),
        one("a scaler for everybody", "network", "NetworkPolicy/scaler", "/spec/ingress/0/from/0/namespaceSelector", Set(json!({}))),
        one("a scaler that nobody may ask", "network", "NetworkPolicy/scaler", "", Drop),
        one("a trigger by a misspelt field", "schemas", job, "/spec/trigger", Set(json!([]))),
        one("a number of replicas as text", "schemas", job, "/spec/maxReplicaCount", Set(json!("8"))),
        one("a pod of a job with a misspelt field", "schemas", job, "/spec/jobTargetRef/template/spec/restartPolcy", Set(json!("Never"))),
    ]
}
