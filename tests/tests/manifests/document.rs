//! Looking into rendered objects. What is missing reads as empty, so that each check says itself what it misses.

use serde_json::{Map, Value};

/// The pods that an object makes.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Pods<'a> {
    /// What makes them.
    pub(crate) owner: &'a Value,
    /// Metadata and spec of one.
    pub(crate) template: &'a Value,
}

impl<'a> Pods<'a> {
    /// Every kind of pods in these objects.
    pub(crate) fn of(objects: &'a [Value]) -> Vec<Self> {
        let template = |owner: &'a Value| match text(owner, "/kind") {
            "Deployment" | "StatefulSet" | "Job" => owner.pointer("/spec/template"),
            "ScaledJob" => owner.pointer("/spec/jobTargetRef/template"),
            _ => None,
        };
        objects.iter().filter_map(|owner| Some(Self { owner, template: template(owner)? })).collect()
    }

    /// What they are for: the name by which everything selects them.
    pub(crate) fn role(&self) -> &'a str {
        text(self.template, "/metadata/labels/app.kubernetes.io~1name")
    }

    pub(crate) fn labels(&self) -> &'a Map<String, Value> {
        map(self.template, "/metadata/labels")
    }

    pub(crate) fn spec(&self) -> &'a Value {
        &self.template["spec"]
    }

    pub(crate) fn containers(&self) -> impl Iterator<Item = Container<'a>> + use<'a> {
        let pods = *self;
        ["/initContainers", "/containers"]
            .into_iter()
            .flat_map(move |list| items(pods.spec(), list))
            .map(move |spec| Container { pods, spec })
    }

    /// Volumes with their names, those of claims that each pod gets for itself among them.
    pub(crate) fn volumes(&self) -> impl Iterator<Item = (&'a str, &'a Value)> + use<'a> {
        let claimed = items(self.owner, "/spec/volumeClaimTemplates");
        let named = items(self.spec(), "/volumes").iter().map(|volume| (text(volume, "/name"), volume));
        named.chain(claimed.iter().map(|claim| (text(claim, "/metadata/name"), claim)))
    }

    pub(crate) fn seconds_to_end(&self) -> u64 {
        self.spec()["terminationGracePeriodSeconds"].as_u64().unwrap_or(30)
    }
}

/// A container of some pods.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Container<'a> {
    pub(crate) pods: Pods<'a>,
    pub(crate) spec: &'a Value,
}

impl<'a> Container<'a> {
    pub(crate) fn image(&self) -> &'a str {
        text(self.spec, "/image")
    }

    /// The image's name without registry and tag.
    pub(crate) fn program(&self) -> &'a str {
        let name = self.image().rsplit('/').next().unwrap_or_default();
        name.split([':', '@']).next().unwrap_or_default()
    }

    pub(crate) fn is_worker(&self) -> bool {
        self.program().starts_with("distilsweep-worker-")
    }

    /// Its ports with their names.
    pub(crate) fn ports(&self) -> impl Iterator<Item = (&'a str, u64)> + use<'a> {
        let ports = items(self.spec, "/ports").iter();
        ports.map(|port| (text(port, "/name"), port["containerPort"].as_u64().unwrap_or_default()))
    }

    /// The number of a port that is given by number or name, where the container has it.
    pub(crate) fn port(&self, port: &Value) -> Option<u64> {
        self.ports()
            .find(|(name, number)| port.as_str() == Some(name) || port.as_u64() == Some(*number))
            .map(|(_, number)| number)
    }

    /// The mount that a path lies below.
    pub(crate) fn mount(&self, path: &str) -> Option<&'a Value> {
        let below =
            |at: &str| path.strip_prefix(at).is_some_and(|rest| rest.is_empty() || rest.starts_with('/'));
        items(self.spec, "/volumeMounts").iter().find(|mount| below(text(mount, "/mountPath")))
    }

    /// The volume that a path lies on.
    pub(crate) fn volume(&self, path: &str) -> Option<&'a Value> {
        let name = text(self.mount(path)?, "/name");
        self.pods.volumes().find(|(volume, _)| *volume == name).map(|(_, volume)| volume)
    }
}

impl std::fmt::Display for Pods<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(&id(self.owner))
    }
}

impl std::fmt::Display for Container<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{} container {}", self.pods, text(self.spec, "/name"))
    }
}

/// `Kind/name`, for people and to find one.
pub(crate) fn id(object: &Value) -> String {
    format!("{}/{}", text(object, "/kind"), text(object, "/metadata/name"))
}

pub(crate) fn of_kind<'a>(objects: &'a [Value], kind: &str) -> impl Iterator<Item = &'a Value> {
    objects.iter().filter(move |object| text(object, "/kind") == kind)
}

pub(crate) fn named<'a>(objects: &'a [Value], kind: &str, name: &str) -> Option<&'a Value> {
    of_kind(objects, kind).find(|object| text(object, "/metadata/name") == name)
}

pub(crate) fn text<'a>(value: &'a Value, pointer: &str) -> &'a str {
    value.pointer(pointer).and_then(Value::as_str).unwrap_or_default()
}

pub(crate) fn items<'a>(value: &'a Value, pointer: &str) -> &'a [Value] {
    value.pointer(pointer).and_then(Value::as_array).map_or(&[], Vec::as_slice)
}

pub(crate) fn map<'a>(value: &'a Value, pointer: &str) -> &'a Map<String, Value> {
    static NONE: std::sync::LazyLock<Map<String, Value>> = std::sync::LazyLock::new(Map::new);
    value.pointer(pointer).and_then(Value::as_object).unwrap_or(&NONE)
}

/// Whether a label selector takes something with these labels. An empty one takes everything.
pub(crate) fn selects(selector: &Value, labels: &Map<String, Value>) -> bool {
    let equal = map(selector, "/matchLabels").iter().all(|(key, value)| labels.get(key) == Some(value));
    let expressed = items(selector, "/matchExpressions").iter().all(|expression| {
        let label = labels.get(text(expression, "/key"));
        let among = label.is_some_and(|label| items(expression, "/values").contains(label));
        match text(expression, "/operator") {
            "In" => among,
            "NotIn" => !among,
            "Exists" => label.is_some(),
            "DoesNotExist" => label.is_none(),
            _ => false,
        }
    });
    equal && expressed
}
