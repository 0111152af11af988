//! Kubernetes' API server as a client sees it: nodes, pods, evictions that budgets refuse, versions of objects. What it
//! answers was recorded from kube-apiserver 1.20 and 1.32.

use std::sync::{Arc, Mutex, MutexGuard};

use pointsman_testbed::web::{Reply, Request, Web};
use serde_json::{Value, json};

/// What it has, and how it misbehaves.
#[derive(Default)]
pub(super) struct Cluster {
    pub(super) nodes: Vec<Value>,
    pub(super) pods: Vec<Value>,
    version: u64,
    /// How many evictions are still refused by a budget.
    pub(super) budget_refuses: usize,
    /// What somebody does to a node just before the next change of it, which then comes too late.
    race: Option<Value>,
    /// The status of every answer, where there is only one.
    pub(super) only: Option<u16>,
    /// Requests whose path has this are not answered at all.
    pub(super) stalls: Option<&'static str>,
    /// The versions of evictions; the oldest clusters have `v1beta1` alone.
    pub(super) evictions: &'static str,
}

pub(super) struct ApiServer {
    pub(super) web: Web,
    cluster: Arc<Mutex<Cluster>>,
}

impl ApiServer {
    /// One with the nodes node-1 to node-3, all ready.
    pub(super) async fn start() -> Self {
        let nodes = ["node-1", "node-2", "node-3"].map(node).into();
        let cluster = Arc::new(Mutex::new(Cluster {
            nodes,
            version: 100,
            evictions: "v1",
            ..Cluster::default()
        }));
        let behind = Arc::clone(&cluster);
        let answer = move |request: &Request, _: usize| behind.lock().unwrap().answer(request);
        Self {
            web: Web::serve(answer).await,
            cluster,
        }
    }

    pub(super) fn cluster(&self) -> MutexGuard<'_, Cluster> {
        self.cluster.lock().unwrap()
    }

    /// A configuration that leads kubectl to it.
    pub(super) fn kubeconfig(&self) -> String {
        json!({
            "apiVersion": "v1", "kind": "Config", "current-context": "c",
            "clusters": [{"name": "c", "cluster": {"server": self.web.url()}}],
            "contexts": [{"name": "c", "context": {"cluster": "c", "user": "u"}}],
            "users": [{"name": "u", "user": {"token": "t"}}],
        })
        .to_string()
    }

    /// The methods and paths of what was changed, in order.
    pub(super) fn changes(&self) -> Vec<String> {
        let seen = self.web.seen().into_iter();
        seen.filter(|request| request.method != "GET")
            .map(|request| {
                let path = request.path.split('?').next().unwrap_or_default();
                format!("{} {path}", request.method)
            })
            .collect()
    }
}

fn node(name: &str) -> Value {
    json!({
        "apiVersion": "v1", "kind": "Node",
        "metadata": {"name": name, "uid": format!("uid-{name}"), "resourceVersion": "1", "annotations": {"volumes": "x"}},
        "spec": {},
        "status": {
            "conditions": [{"type": "MemoryPressure", "status": "False"}, {"type": "Ready", "status": "True"}],
            "nodeInfo": {"bootID": "another-boot"},
        },
    })
}

/// A pod on node-1 that this owns; nothing owns a pod by hand, the node itself a mirror pod.
pub(super) fn pod(name: &str, owner: &str) -> Value {
    let mut pod = json!({
        "apiVersion": "v1", "kind": "Pod",
        "metadata": {"name": name, "namespace": "default", "uid": format!("uid-{name}"), "resourceVersion": "1"},
        "spec": {"nodeName": "node-1", "containers": [{"name": "c", "image": "i"}]},
        "status": {"phase": "Running", "conditions": [{"type": "Ready", "status": "True"}]},
    });
    let metadata = &mut pod["metadata"];
    if owner == "Node" {
        metadata["annotations"] = json!({"kubernetes.io/config.mirror": "x"});
    }
    if !owner.is_empty() {
        metadata["ownerReferences"] = json!([{
            "apiVersion": "apps/v1", "kind": owner, "name": "owner", "uid": "uid-owner", "controller": true,
        }]);
    }
    pod
}

fn status(code: u16, reason: &str, message: &str) -> Reply {
    let body = json!({
        "kind": "Status", "apiVersion": "v1", "metadata": {}, "status": "Failure",
        "message": message, "reason": reason, "details": {}, "code": code,
    });
    Reply::Json(code, body.to_string().into())
}

fn ok(value: &Value) -> Reply {
    Reply::Json(200, value.to_string().into())
}

/// A merge patch (RFC 7386).
fn merge(into: &mut Value, patch: &Value) {
    let Value::Object(patch) = patch else {
        *into = patch.clone();
        return;
    };
    if !into.is_object() {
        *into = json!({});
    }
    let map = into.as_object_mut().unwrap();
    for (key, value) in patch {
        match value {
            Value::Null => drop(map.remove(key)),
            value => merge(map.entry(key).or_insert(Value::Null), value),
        }
    }
}

impl Cluster {
    pub(super) fn node(&mut self, name: &str) -> Option<&mut Value> {
        let mut nodes = self.nodes.iter_mut();
        nodes.find(|node| node["metadata"]["name"] == name)
    }

    /// Somebody changes a node.
    pub(super) fn change(&mut self, name: &str, patch: &Value) {
        self.version += 1;
        let version = self.version.to_string();
        let node = self.node(name).unwrap();
        merge(node, patch);
        node["metadata"]["resourceVersion"] = json!(version);
    }

    /// A node that nobody has cordoned yet; somebody changes it so just before the next one who does.
    pub(super) fn race(&mut self, name: &str, race: Value) {
        self.change(name, &json!({"spec": {"unschedulable": null}}));
        self.race = Some(race);
    }

    /// Whether a node is cordoned, and the mark on it.
    pub(super) fn cordon(&mut self, name: &str) -> (bool, Option<String>) {
        let node = self.node(name).unwrap();
        let mark = &node["metadata"]["annotations"]["pointsman.org/cordoned"];
        (
            node["spec"]["unschedulable"] == true,
            mark.as_str().map(str::to_owned),
        )
    }

    fn answer(&mut self, request: &Request) -> Reply {
        let path = request.path.split('?').next().unwrap_or_default();
        if self.stalls.is_some_and(|part| path.contains(part)) {
            return Reply::Stall;
        }
        match self.only {
            Some(401) => return status(401, "Unauthorized", "Unauthorized"),
            Some(code) => return status(code, "", "the server is ill"),
            None => {}
        }
        let parts: Vec<&str> = path.trim_matches('/').split('/').collect();
        match (request.method.as_str(), &parts[..]) {
            ("GET", ["api"]) => ok(&json!({"kind": "APIVersions", "versions": ["v1"]})),
            ("GET", ["apis"]) => ok(&groups(self.evictions)),
            ("GET", ["api", "v1"]) => ok(&resources(
                "v1",
                &json!([
                    {"name": "nodes", "singularName": "node", "namespaced": false, "kind": "Node", "verbs": ["get", "list", "patch"]},
                    {"name": "pods", "singularName": "pod", "namespaced": true, "kind": "Pod", "verbs": ["get", "list", "delete"]},
                    {"name": "pods/eviction", "singularName": "", "namespaced": true, "group": "policy", "version": self.evictions,
                     "kind": "Eviction", "verbs": ["create"]},
                ]),
            )),
            ("GET", ["apis", "apps", "v1"]) => ok(&resources(
                "apps/v1",
                &json!([{"name": "daemonsets", "singularName": "daemonset", "namespaced": true, "kind": "DaemonSet", "verbs": ["get"]}]),
            )),
            ("GET", ["apis", "policy", version]) if *version == self.evictions => {
                ok(&resources(&format!("policy/{version}"), &json!([])))
            }
            ("GET", ["apis", "apps", "v1", "namespaces", _, "daemonsets", name]) => ok(&json!({
                "apiVersion": "apps/v1", "kind": "DaemonSet", "metadata": {"name": name, "namespace": "default", "uid": "uid-owner"},
            })),
            ("GET", ["api", "v1", "nodes"]) => ok(&json!({
                "apiVersion": "v1", "kind": "NodeList", "metadata": {"resourceVersion": "1"}, "items": self.nodes,
            })),
            ("GET", ["api", "v1", "nodes", name]) => match self.node(name) {
                Some(node) => ok(node),
                None => missing("nodes", name),
            },
            ("PATCH", ["api", "v1", "nodes", name]) => self.patch(name, &request.body),
            ("GET", ["api", "v1", "pods"]) => {
                assert!(request.path.contains("spec.nodeName%3Dnode-1"), "{path}");
                ok(&json!({
                    "apiVersion": "v1", "kind": "PodList", "metadata": {"resourceVersion": "1"}, "items": self.pods,
                }))
            }
            ("GET", ["api", "v1", "namespaces", _, "pods", name]) => self.look_at(name),
            ("POST", ["api", "v1", "namespaces", _, "pods", name, "eviction"]) => {
                self.evict(name, &request.body)
            }
            _ => status(
                404,
                "NotFound",
                "the server could not find the requested resource",
            ),
        }
    }

    fn patch(&mut self, name: &str, body: &[u8]) -> Reply {
        let patch: Value = serde_json::from_slice(body).unwrap();
        if let Some(race) = self.race.take() {
            self.change(name, &race);
        }
        let Some(node) = self.node(name) else {
            return missing("nodes", name);
        };
        let read = &patch["metadata"]["resourceVersion"];
        if !read.is_null() && *read != node["metadata"]["resourceVersion"] {
            return status(
                409,
                "Conflict",
                &format!(
                    "Operation cannot be fulfilled on nodes \"{name}\": the object has been modified; please apply your \
                     changes to the latest version and try again"
                ),
            );
        }
        self.change(name, &patch);
        ok(self.node(name).unwrap())
    }

    fn pod(&self, name: &str) -> Option<usize> {
        let mut pods = self.pods.iter();
        pods.position(|pod| pod["metadata"]["name"] == name)
    }

    /// A pod as it is now. One that ends is gone a moment later.
    fn look_at(&mut self, name: &str) -> Reply {
        let Some(at) = self.pod(name) else {
            return missing("pods", name);
        };
        let reply = ok(&self.pods[at]);
        if !self.pods[at]["metadata"]["deletionTimestamp"].is_null() {
            self.pods.remove(at);
        }
        reply
    }

    fn evict(&mut self, name: &str, body: &[u8]) -> Reply {
        let eviction: Value = serde_json::from_slice(body).unwrap();
        // Those that have v1 take v1beta1 as well, also where nothing else of that version is left.
        let version = eviction["apiVersion"].as_str().unwrap_or_default();
        if version != "policy/v1beta1" && version != format!("policy/{}", self.evictions) {
            return status(
                400,
                "BadRequest",
                "no kind Eviction is registered for this version",
            );
        }
        let Some(at) = self.pod(name) else {
            return missing("pods", name);
        };
        if self.budget_refuses > 0 {
            self.budget_refuses -= 1;
            return status(
                429,
                "TooManyRequests",
                "Cannot evict pod as it would violate the pod's disruption budget.",
            );
        }
        self.pods[at]["metadata"]["deletionTimestamp"] = json!("2026-11-30T12:00:00Z");
        let done = json!({"kind": "Status", "apiVersion": "v1", "metadata": {}, "status": "Success", "code": 201});
        Reply::Json(201, done.to_string().into())
    }
}

fn missing(kind: &str, name: &str) -> Reply {
    status(404, "NotFound", &format!("{kind} \"{name}\" not found"))
}

fn groups(evictions: &str) -> Value {
    let group = |name: &str, version: &str| {
        let version = json!({"groupVersion": format!("{name}/{version}"), "version": version});
        json!({"name": name, "versions": [version], "preferredVersion": version})
    };
    json!({"kind": "APIGroupList", "apiVersion": "v1", "groups": [group("apps", "v1"), group("policy", evictions)]})
}

fn resources(version: &str, resources: &Value) -> Value {
    json!({"kind": "APIResourceList", "apiVersion": "v1", "groupVersion": version, "resources": resources})
}
