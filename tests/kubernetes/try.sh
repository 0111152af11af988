#!/bin/sh
# tests/kubernetes/try.sh: the hook kubernetes against a real API server and controller manager, with the rights that
# docs/reference/hooks.md gives it. There is no kubelet: nodes and pods are objects, and what a kubelet would say of them is written here.
set -eu
cd "$(dirname "$0")/../.."
hook=$PWD/packaging/hooks/kubernetes
bin=$(tests/kubernetes/build.sh)
dir=$(mktemp -d)
pids='' pid=''
trap 'for pid in $pids; do kill "$pid" 2>/dev/null || true; done; wait; rm -rf "$dir"' EXIT
trap 'exit 143' TERM INT HUP

say() { echo "k8s-test: $*" >&2; }
fail() { say "FAILED: $*"; tail -n 20 "$dir"/*.log "$dir/said" >&2; exit 1; }
start() {
    name=$1
    shift
    "$@" >"$dir/$name.log" 2>&1 &
    pids="$! $pids"
}
# What comes to be true within a minute.
until_true() {
    left=300
    until "$@" >/dev/null 2>&1; do
        left=$((left - 1))
        [ "$left" -gt 0 ] || fail "not in time: $*"
        sleep 0.2
    done
}
# Three ports in a row below those that the kernel gives out.
port=$((20000 + $$ % 10000))
client=http://127.0.0.1:$port peer=http://127.0.0.1:$((port + 1)) server=https://127.0.0.1:$((port + 2))

openssl genrsa -out "$dir/sa.key" 2048 2>/dev/null
printf 'admin,admin,1,system:masters\npointsman,pointsman,2\nnobody,nobody,3\n' >"$dir/tokens"
for user in admin pointsman nobody; do
    cat >"$dir/$user" <<CONFIG
{apiVersion: v1, kind: Config, current-context: c, contexts: [{name: c, context: {cluster: c, user: u}}],
 clusters: [{name: c, cluster: {server: "$server", insecure-skip-tls-verify: true}}], users: [{name: u, user: {token: $user}}]}
CONFIG
done
start etcd etcd --data-dir "$dir/etcd" --listen-client-urls "$client" --advertise-client-urls "$client" \
    --listen-peer-urls "$peer" --initial-advertise-peer-urls "$peer" --initial-cluster "default=$peer"
start apiserver "$bin/kube-apiserver" --etcd-servers="$client" --bind-address=127.0.0.1 --secure-port=$((port + 2)) \
    --cert-dir="$dir/certs" --token-auth-file="$dir/tokens" --authorization-mode=RBAC --service-cluster-ip-range=10.0.0.0/24 \
    --disable-admission-plugins=ServiceAccount --service-account-issuer=https://localhost \
    --service-account-signing-key-file="$dir/sa.key" --service-account-key-file="$dir/sa.key"
export HOME="$dir/home"
k() { kubectl --kubeconfig "$dir/admin" --request-timeout=10s "$@"; }
# An object in braces is JSON to kubectl, unless something is before it.
yaml() { { echo ---; cat; } | k "$1" -f - >/dev/null; }
until_true k get --raw /readyz
start controllers "$bin/kube-controller-manager" --kubeconfig="$dir/admin" --controllers=disruption,replicaset,garbagecollector \
    --leader-elect=false --port=0 --secure-port=0
until_true k get namespace default

# What a kubelet would say of an object.
report() {
    curl -fsSk -o /dev/null -X PATCH -H 'Authorization: Bearer admin' -H 'Content-Type: application/merge-patch+json' \
        -d "{\"status\":$2}" "$server/api/v1/$1/status"
}
ready='{"conditions":[{"type":"Ready","status":"True"}],"phase":"Running"}'
for node in node-1 node-2 node-3; do
    yaml create <<NODE
{apiVersion: v1, kind: Node, metadata: {name: $node}}
NODE
    report "nodes/$node" '{"conditions":[{"type":"Ready","status":"True"}],"nodeInfo":{"bootID":"of-before"}}'
done
# The rights in the documentation.
sed -n '/^apiVersion: rbac/,/^```/p' docs/reference/hooks.md | grep -v '^```' | k apply -f - >/dev/null
k create clusterrolebinding pointsman --clusterrole=pointsman --user=pointsman >/dev/null

# Two web servers, one on node-1 and one on node-2, of which the budget wants so many.
budget() {
    yaml apply <<BUDGET
{apiVersion: policy/v1beta1, kind: PodDisruptionBudget, metadata: {name: web},
 spec: {minAvailable: $1, selector: {matchLabels: {app: web}}}}
BUDGET
    until_true allows "$2"
}
allows() { [ "$(k get pdb web -o jsonpath='{.status.disruptionsAllowed}')" = "$1" ]; }
pods() { k get pods -l app=web --field-selector "spec.nodeName=$1" -o jsonpath='{.items[*].metadata.name}'; }
bind() {
    k create -f - --raw "/api/v1/namespaces/default/pods/$1/binding" >/dev/null <<BINDING
{"apiVersion":"v1","kind":"Binding","metadata":{"name":"$1"},"target":{"apiVersion":"v1","kind":"Node","name":"$2"}}
BINDING
    report "namespaces/default/pods/$1" "$ready"
}
yaml create <<WEB
{apiVersion: apps/v1, kind: ReplicaSet, metadata: {name: web}, spec: {replicas: 2, selector: {matchLabels: {app: web}},
 template: {metadata: {labels: {app: web}},
            spec: {terminationGracePeriodSeconds: 0, containers: [{name: web, image: web}]}}}}
WEB
two() { [ "$(pods '' | wc -w)" = 2 ]; }
until_true two
node=1
for pod in $(pods ''); do
    bind "$pod" "node-$node"
    node=$((node + 1))
done
# A daemon set's, and one of a file on the node.
yaml create <<DAEMON
{apiVersion: apps/v1, kind: DaemonSet, metadata: {name: logs}, spec: {selector: {matchLabels: {app: logs}},
 template: {metadata: {labels: {app: logs}}, spec: {containers: [{name: logs, image: logs}]}}}}
DAEMON
uid=$(k get ds logs -o jsonpath='{.metadata.uid}')
yaml create <<PODS
{apiVersion: v1, kind: List, items: [
 {apiVersion: v1, kind: Pod, metadata: {name: logs-1, ownerReferences: [{apiVersion: apps/v1, kind: DaemonSet, name: logs, uid: $uid,
  controller: true}]}, spec: {nodeName: node-1, containers: [{name: logs, image: logs}]}},
 {apiVersion: v1, kind: Pod, metadata: {name: proxy-node-1, annotations: {kubernetes.io/config.mirror: x}},
  spec: {nodeName: node-1, containers: [{name: proxy, image: proxy}]}}]}
PODS

conf=$dir/conf
settings() { printf 'KUBECONFIG=%s\n%s\n' "$dir/${2:-pointsman}" "$1" >"$conf"; }
# Runs the hook in a stage; it must end with this code and say this.
expect() {
    stage=$1 code=$2 says=$3 found=0
    POINTSMAN_STAGE=$stage POINTSMAN_NODE=0123456789abcdef0123456789abcdef POINTSMAN_HOSTNAME=node-1 \
        POINTSMAN_HOOK_CONF=$conf POINTSMAN_HOOK_STATE=$dir/state "$hook" >"$dir/said" 2>&1 || found=$?
    [ "$found" = "$code" ] || fail "$stage ended with $found, expected $code"
    [ -z "$says" ] || grep -qF -- "$says" "$dir/said" || fail "$stage does not say: $says"
}
cordon() { k get node node-1 -o jsonpath='{.spec.unschedulable} {.metadata.annotations.pointsman\.org/cordoned}'; }
is() { [ "$(cordon)" = "$1" ] || fail "node-1 is \"$(cordon)\", expected \"$1\""; }
ours='true 0123456789abcdef0123456789abcdef'
free=' '

say "a budget that allows nothing: abort, proceed"
budget 2 0
settings 'TIMEOUT=3'
expect pre-reboot 1 "node-1 is not drained after 3 s"
grep -q "disruption budget" "$dir/said" || fail "no budget has refused"
is "$ours"
expect post-boot 0 "node-1 is uncordoned"
is "$free"
settings 'TIMEOUT=3
ON_TIMEOUT=proceed'
expect pre-reboot 0 "it reboots all the same"
expect post-boot 0 "node-1 is uncordoned"
is "$free"

say "a hook that is killed while the budget refuses"
settings 'TIMEOUT=60'
POINTSMAN_STAGE=pre-reboot POINTSMAN_NODE=0123456789abcdef0123456789abcdef POINTSMAN_HOSTNAME=node-1 \
    POINTSMAN_HOOK_CONF=$conf POINTSMAN_HOOK_STATE=$dir/state setsid "$hook" >"$dir/said" 2>&1 &
killed=$!
until_true grep -q "disruption budget" "$dir/said"
kill -s KILL -- "-$killed"
wait "$killed" || true
is "$ours"
expect post-boot 0 "node-1 is uncordoned"
is "$free"

say "a budget that opens while the drain waits"
(
    sleep 2
    budget 1 1
) &
expect pre-reboot 0 "node-1 is drained"
[ -z "$(pods node-1)" ] || fail "still on node-1: $(pods node-1)"
[ "$(k get pods --field-selector spec.nodeName=node-1 -o name | wc -l)" = 2 ] || fail "the daemon set's or the mirror pod is gone"
is "$ours"
expect may-reboot 0 ""
expect post-boot 0 "node-1 is uncordoned"
is "$free"

say "cordons of somebody else"
k cordon node-2 >/dev/null
expect may-reboot 75 "the node node-2 is cordoned, and not by pointsman"
k annotate node node-2 pointsman.org/cordoned=x >/dev/null
expect may-reboot 0 ""
report nodes/node-3 '{"conditions":[{"type":"Ready","status":"Unknown"}]}'
expect may-reboot 75 "the node node-3 is not ready"
k cordon node-1 >/dev/null
expect pre-reboot 0 "is cordoned by somebody else"
expect post-boot 0 ""
is 'true '
k uncordon node-1 >/dev/null
# What the hook counts on: a change of what was not read is refused.
! k patch node node-1 --type=merge -p '{"metadata":{"resourceVersion":"1"},"spec":{"unschedulable":true}}' >"$dir/said" 2>&1 ||
    fail "a change from an old version is taken"
grep -q "the object has been modified" "$dir/said" || fail "another reason"

say "readiness of this boot"
expect health-cluster 1 "has not reported this boot"
report nodes/node-1 "{\"nodeInfo\":{\"bootID\":\"$(cat /proc/sys/kernel/random/boot_id)\"}}"
expect health-cluster 0 ""
report nodes/node-1 '{"conditions":[{"type":"Ready","status":"False"}]}'
expect health-cluster 1 "is not ready"

say "a user without rights, and a token that nobody has"
settings 'ON_TIMEOUT=proceed' nobody
expect may-reboot 1 "cannot be listed"
expect pre-reboot 1 "forbidden"
sed 's/token: nobody/token: gone/' "$dir/nobody" >"$dir/gone"
settings '' gone
expect pre-reboot 1 "Unauthorized"
is "$free"
say "ok"
