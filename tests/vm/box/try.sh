#!/bin/sh
# tests/vm/box/try.sh FROM: three emulated nodes (or POINTSMAN_NODES of them) by `vagrant up`, from the box of the tests'
# machine and the package, both of the programs in FROM; and on them a roll-out, a way back by hand and a bad image, as
# docs/how-to/vagrant.md tells. In namespaces of its own: with them the networks, libvirt and the nodes are gone. As root.
set -eu
cd "$(dirname "$0")/../../.."

if [ "${2:-}" != inside ]; then
    tests/vm/box/build.sh "$1" target/vagrant
    packaging/deb.sh "$1" target/vagrant/deb
    exec unshare --net --mount --pid --fork --kill-child --mount-proc "$0" "$1" inside
fi

mount -t sysfs sysfs /sys
ip link set lo up
for folder in /etc/libvirt /run/libvirt /var/lib/libvirt /var/cache/libvirt /var/log/libvirt; do
    mkdir -p "$folder"
    mount -t tmpfs tmpfs "$folder"
done
cat >/etc/libvirt/qemu.conf <<END
user = "root"
group = "root"
security_driver = "none"
cgroup_controllers = []
stdio_handler = "file"
namespaces = []
dynamic_ownership = 0
END
mkdir /var/lib/libvirt/images
libvirtd >/var/log/libvirt/libvirtd.log 2>&1 &
until virsh --quiet list >/dev/null 2>&1; do sleep 0.2; done

home=/var/lib/libvirt/vagrant
mkdir "$home"
export HOME=$home VAGRANT_HOME=$home/home VAGRANT_DOTFILE_PATH=$home/dot VAGRANT_CWD="$PWD/vagrant"
export VAGRANT_NO_COLOR=1 VAGRANT_CHECKPOINT_DISABLE=1
# The names are ours, and the newest is wanted.
# shellcheck disable=SC2012
POINTSMAN_DEB=$(ls -t "$PWD"/target/vagrant/deb/*.deb | head -n 1)
POINTSMAN_NODES=${POINTSMAN_NODES:-3}
export POINTSMAN_BOX=pointsman POINTSMAN_DRIVER=qemu POINTSMAN_DEB POINTSMAN_NODES
nodes=$(seq -f 'n%g' "$POINTSMAN_NODES")

on() { ssh -nF "$home/ssh" -o ConnectTimeout=20 -o ServerAliveInterval=20 "$@"; }
# A command as a person gives it, on the first of these nodes that can be reached, and what it says.
shown() {
    command=$1
    shift
    for node in "$@"; do
        if said=$(on "$node" "$command"); then
            printf '\n$ vagrant ssh %s -c "%s"\n%s\n' "$node" "$command" "$said"
            return
        fi
    done
    echo "none of $* says: $command" >&2
    exit 1
}
# Waits until the group is known to be so, on any of the nodes. Emulated, three beside each other, a reboot takes minutes.
until_group() {
    limit=$(($(date +%s) + 2700))
    while :; do
        for node in $nodes; do
            on "$node" sudo pointsman status --json 2>/dev/null | python3 -c '
import json, sys
status = json.load(sys.stdin)
group = status["groups"][0]
runs = [node["version"] for node in sorted(group["nodes"], key=lambda node: node["hostname"])]
rests = not group["holders"] and not group["queue"]
all_run = lambda version: rests and runs == [version] * int(sys.argv[2])
sys.exit(not eval(sys.argv[1]))' "$1" "$POINTSMAN_NODES" 2>/dev/null && return
        done
        [ "$(date +%s)" -lt $limit ] || { echo "not in time: $1" >&2; on n1 sudo pointsman status >&2; exit 1; }
        sleep 1
    done
}
# update_engine's part, on all of them.
stage() {
    for node in $nodes; do
        printf '\n(on %s update_engine stages %s)\n' "$node" "$1"
        on "$node" sudo busctl call com.coreos.update1 /com/coreos/update1 com.coreos.update1.Test Stage s "$1"
    done
}
# For 45 s update_engine, which has just been let in, would undo it: until then it is refused, with 3.
back() {
    until said=$(on n1 sudo pointsman rollback --reboot); do [ $? = 3 ] || exit 1; sleep 2; done
    printf '\n$ vagrant ssh n1 -c "sudo pointsman rollback --reboot"\n%s\n' "$said"
}

echo '$ vagrant up'
vagrant box add --name pointsman target/vagrant/pointsman.box
# One after the other: emulated, three systems that start at once take longer than ssh waits.
vagrant up --provider libvirt --no-parallel
vagrant ssh-config >"$home/ssh"
until_group 'all_run("1")'
shown "sudo pointsman status" n1
shown "sudo pointsman cloud-config history" n1

stage 2
# A cluster of one has nobody to tell of it meanwhile.
if [ "$POINTSMAN_NODES" != 1 ]; then
    until_group 'group["holders"] and len(group["queue"]) == len(runs) - 1 or all_run("2")'
    # shellcheck disable=SC2086
    shown "sudo pointsman status" $nodes
fi
until_group 'all_run("2")'
shown "sudo pointsman status" n1
shown "sudo pointsman slots" n1

back
until_group 'rests and runs[0] == "1"'
shown "sudo pointsman slots" n1
back
until_group 'all_run("2")'

stage 3-bad
until_group 'all_run("2") and status["quarantine"]'
shown "sudo pointsman quarantine" n1
shown "sudo pointsman status" n1
echo "All went as it should."
