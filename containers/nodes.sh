#!/bin/sh
# Three Debian nodes, n1 to n3, as containers of systemd-nspawn on this machine: each has systemd, the newest package of target/deb (or
# NODES_PACKAGE), and one member of the same etcd. docs/tutorial/three-nodes.md uses them. Needs root, systemd-container, mmdebstrap and iproute2.
#
# containers/nodes.sh up                  makes and boots them; a reboot inside boots one again
# containers/nodes.sh on NODE COMMAND…    runs a command on a node
# containers/nodes.sh wait                waits until nobody holds or waits for the reboot lock, and all nodes are up
# containers/nodes.sh down                removes all of it
#
# Everything it makes has the name in NODES_NAME (pointsman-nodes): files in NODES_DIR (/dev/shm/NAME), network namespaces, control groups;
# and a bridge pointsman0 with 10.77.0.1, where the nodes are 10.77.0.11 to 13.
set -eu
here=$(cd "$(dirname "$0")/.." && pwd)
name=${NODES_NAME:-pointsman-nodes}
dir=${NODES_DIR:-/dev/shm/$name}
nodes="n1 n2 n3"
members="n1=10.77.0.11 n2=10.77.0.12 n3=10.77.0.13"

usage() {
    sed -n 's/^# containers/usage: containers/p' "$0" >&2
    exit 2
}
fail() {
    echo "nodes.sh: $*" >&2
    exit 1
}
[ "$(id -u)" = 0 ] || fail "found user $(id -un), expected root: containers and networks are made"

address() { echo "10.77.0.1${1#n}"; }

# The first process inside.
leader() {
    nspawn=$(cat "$dir/$1.pid") && cut -d ' ' -f 1 "/proc/$nspawn/task/$nspawn/children"
}

on() {
    node=$1
    shift
    # Variables of this machine are none of the node's.
    nsenter --target "$(leader "$node")" --mount --uts --ipc --net --pid --root --wd -- \
        env -i "PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin" "TERM=${TERM:-dumb}" "$@"
}

# Waits up to three minutes for what a command says.
until_so() {
    tries=0
    until "$@" >/dev/null 2>&1; do
        tries=$((tries + 1))
        [ "$tries" -lt 360 ] || fail "not in time: $*"
        sleep 0.5
    done
}

# Lays a root over others: lay NAME LOWER.
lay() {
    mkdir -p "$dir/$1" "$dir/$1.upper" "$dir/$1.work"
    mount -t overlay -o "lowerdir=$2,upperdir=$dir/$1.upper,workdir=$dir/$1.work" "$name-$1" "$dir/$1"
}

# What a boot loader does: starts the system, and starts it again when it has rebooted.
boot() {
    cat >"$dir/$1.boot" <<END
for tree in /sys/fs/cgroup/unified /sys/fs/cgroup/systemd /sys/fs/cgroup; do
    [ -e \$tree/cgroup.procs ] || continue
    mkdir -p \$tree/$name-$1 && echo \$\$ >\$tree/$name-$1/cgroup.procs
done
echo \$\$ >$dir/$1.pid
exec systemd-nspawn --quiet --directory=$dir/$1 --machine=$1 --register=no --keep-unit --capability=CAP_NET_ADMIN --link-journal=no \\
    --resolv-conf=off --timezone=off --network-namespace-path=/run/netns/$name-$1 --console=read-only --boot
END
    # systemd-nspawn ends with 133 when the system inside reboots.
    setsid sh -c "while sh '$dir/$1.boot'; [ \$? = 133 ]; do :; done" >"$dir/$1.console" 2>&1 </dev/null &
}

up() {
    newest=$(find "$here/target/deb" -name 'pointsman_*.deb' -printf '%T@ %p\n' 2>/dev/null | sort -n | tail -n 1 | cut -d ' ' -f 2)
    package=${NODES_PACKAGE:-$newest}
    [ -n "$package" ] || fail "found no package in target/deb; make it first: make deb PROFILE=dev"
    [ ! -e "$dir" ] || fail "$dir is there already; remove it first: containers/nodes.sh down"
    "$here/tests/nodes/tree.sh" "$here/target/nodes/tree"
    mkdir -p "$dir"
    ip link add pointsman0 type bridge
    ip addr add 10.77.0.1/24 dev pointsman0
    ip link set pointsman0 up

    # What all three have: the package, before the system runs.
    lay image "$here/target/nodes/tree"
    cp "$package" "$dir/image/root/pointsman.deb"
    chroot "$dir/image" env DEBIAN_FRONTEND=noninteractive LC_ALL=C dpkg -i /root/pointsman.deb >/dev/null
    chroot "$dir/image" systemctl --quiet enable etcd
    umount "$dir/image"

    for node in $nodes; do
        lay "$node" "$dir/image.upper:$here/target/nodes/tree"
        od -An -N16 -tx1 /dev/urandom | tr -d ' \n' >"$dir/$node/etc/machine-id"
        echo >>"$dir/$node/etc/machine-id"
        echo "$node" >"$dir/$node/etc/hostname"
        "$here/vagrant/provision.sh" --root "$dir/$node" --name "$node" --address "$(address "$node")" --members "$members"
        ip netns add "$name-$node"
        ip -n "$name-$node" link set lo up
        ip link add "pm-$node" type veth peer name host0 netns "$name-$node"
        ip link set "pm-$node" master pointsman0 up
        ip -n "$name-$node" addr add "$(address "$node")/24" dev host0
        ip -n "$name-$node" link set host0 up
        boot "$node"
    done
    for node in $nodes; do
        until_so on "$node" systemctl is-active --quiet etcd pointsman
    done
    echo "n1, n2 and n3 run; their etcd: http://10.77.0.11:2379,http://10.77.0.12:2379,http://10.77.0.13:2379"
}

# Whether nobody holds or waits, and every agent runs and has nothing to do.
quiet() {
    for node in $nodes; do
        state=$(on "$node" busctl get-property org.pointsman.Agent1 /org/pointsman/Agent1 org.pointsman.Agent1 State)
        [ "$state" = 's "idle"' ] || return 1
        ! on "$node" test -e /run/reboot-required || return 1
    done
    status=$(on n1 pointsman status)
    ! printf '%s\n' "$status" | grep -Eq '^(HOLDER|QUEUE) '
}

down() {
    for group in /sys/fs/cgroup/*/"$name"-n? /sys/fs/cgroup/"$name"-n?; do
        [ -d "$group" ] || continue
        find "$group" -name cgroup.procs -exec cat {} + 2>/dev/null | while read -r process; do kill -9 "$process" 2>/dev/null || true; done
    done
    awk -v dir="$dir/" 'index($2, dir) == 1 { print $2 }' /proc/mounts | sort -r | while read -r mount; do umount -l "$mount"; done
    for node in $nodes; do
        ip netns delete "$name-$node" 2>/dev/null || true
    done
    ip link delete pointsman0 2>/dev/null || true
    for group in /sys/fs/cgroup/*/"$name"-n? /sys/fs/cgroup/"$name"-n?; do
        [ -d "$group" ] || continue
        until_so find "$group" -depth -type d -exec rmdir {} +
    done
    rm -rf "$dir"
}

case ${1:-} in
up) up ;;
on)
    [ $# -ge 3 ] || usage
    shift
    on "$@"
    ;;
wait) until_so quiet ;;
down) down ;;
*) usage ;;
esac
