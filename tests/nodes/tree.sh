#!/bin/sh
# tests/nodes/tree.sh FOLDER [PACKAGES]: the system that all nodes of the tests are laid over, and these packages, made
# once and never changed. Rebuilt when what it is made of has changed.
set -eu
tree=$1
with=systemd,systemd-sysv,dbus,libpam-systemd,iproute2,etcd-server,busybox,socat,nftables,udev${2:+,$2}
made="bookworm $with"
[ "$(cat "$tree.made" 2>/dev/null)" = "$made" ] && exit 0
new="$tree.new"
rm -rf "$new" "$tree" "$tree.made"
mkdir -p "$(dirname "$tree")"
# The hooks are scripts of their own: `$1` is theirs.
# shellcheck disable=SC2016
mmdebstrap --quiet --variant=minbase --include="$with" \
    --customize-hook='rm -f "$1/etc/machine-id" "$1/var/lib/dbus/machine-id"; : >"$1/etc/machine-id"' \
    --customize-hook='mkdir -p "$1/var/log/journal"; chroot "$1" systemctl disable etcd.service' \
    bookworm "$new" >&2
mv "$new" "$tree"
echo "$made" >"$tree.made"
