#!/bin/sh
# tests/vm/build.sh FROM OUT [box]: what a virtual machine of the tests is made of, from the programs in FROM: OUT/kernel,
# OUT/initrd and OUT/disk, a disk with two slots that hold the same system, and room for its state. Rebuilt when what
# it is made of has changed. With `box`, a machine for Vagrant: not a node yet, and with what Vagrant takes a guest to have.
set -eu
cd "$(dirname "$0")/../.."
from=$1
out=$2
box=${3:-}
tree=target/nodes/tree packages="" slot=100M size=300M
# An etcd of its own takes room: for its program, and for its log.
[ "$box" = box ] && tree=$out/tree packages=openssh-server,sudo slot=160M size=1G
mkdir -p "$out" target/nodes

stamp=$(cat tests/vm/build.sh tests/vm/files/* tests/vm/box/* tests/nodes/tree.sh tests/nodes/files/* packaging/common.sh packaging/deb.sh \
    "$from/pointsman" "$from/fake-update-engine" | sha256sum)
[ "$(cat "$out/made" 2>/dev/null)" = "$stamp" ] && exit 0
rm -f "$out/made"

(flock 9; tests/nodes/tree.sh "$tree" "$packages") 9>"$tree.lock"

# The kernel, unpacked: software emulation takes seconds to unpack it at each boot.
image=$(printf '%s\n' /boot/vmlinuz-* | sort -V | tail -n 1)
kernel=${image#/boot/vmlinuz-}
at=$(LC_ALL=C grep -obUaP '\xfd7zXZ\x00' "$image" | head -n 1 | cut -d: -f1)
tail -c "+$((at + 1))" "$image" | xz -dc --single-stream >"$out/kernel" 2>/dev/null || [ -s "$out/kernel" ]

work=$(mktemp -d /dev/shm/pmvm.XXXXXX)
trap 'umount "$work/root" 2>/dev/null || true; rm -rf "$work"' EXIT

# The system: the tree, with the package installed as users do.
mkdir "$work/upper" "$work/work" "$work/root"
mount -t overlay -o "lowerdir=$tree,upperdir=$work/upper,workdir=$work/work" vm "$work/root"
root=$work/root
install -m 755 "$from/fake-update-engine" "$root/usr/lib/fake-update-engine"
install -m 644 tests/nodes/files/update-engine.service "$root/usr/lib/systemd/system/"
install -m 644 tests/nodes/files/com.coreos.update1.conf "$root/usr/share/dbus-1/system.d/"
chroot "$root" systemctl --quiet enable update-engine.service
if [ "$box" = box ]; then
    tests/vm/box/system.sh "$root"
else
    deb=$(DEB_COMPRESS=none packaging/deb.sh "$from" "$work/deb")
    cp "$deb" "$root/root/pointsman.deb"
    DEBIAN_FRONTEND=noninteractive LC_ALL=C chroot "$root" dpkg -i /root/pointsman.deb >&2
    install -m 644 tests/vm/files/vm-shell.service "$root/usr/lib/systemd/system/"
    chroot "$root" systemctl --quiet enable vm-shell.service pointsman-cloud-config-early.service \
        pointsman-cloud-config.service
    install -D -m 644 tests/vm/files/journald.conf "$root/etc/systemd/journald.conf.d/vm.conf"
    rm -rf "$root/root/pointsman.deb" "$root"/usr/bin/etcd* "$root"/usr/share/perl* "$root"/usr/lib/*/perl*
fi
# What an emulated machine waits for in vain, and what it need not do.
chroot "$root" systemctl --quiet mask getty.target getty@tty1.service serial-getty@ttyS0.service e2scrub_reap.service \
    systemd-pcrphase.service systemd-pcrphase-sysinit.service systemd-binfmt.service systemd-random-seed.service \
    apt-daily.timer apt-daily-upgrade.timer dpkg-db-backup.timer e2scrub_all.timer fstrim.timer \
    systemd-update-utmp.service systemd-update-utmp-runlevel.service proc-sys-fs-binfmt_misc.automount
install -D -m 755 tests/nodes/files/10-image "$root/etc/pointsman/hooks/health.d/10-image"
install -D -m 755 tests/vm/files/10-network "$root/etc/pointsman/hooks/health-cluster.d/10-network"
install -D -m 644 tests/vm/files/vm.conf "$root/etc/systemd/system.conf.d/vm.conf"
rm -rf "$root"/usr/share/doc "$root"/usr/share/man "$root"/usr/share/info "$root"/usr/share/locale \
    "$root"/usr/share/zoneinfo "$root"/var/lib/apt "$root"/var/cache "$root"/usr/lib/udev/hwdb.d
mkdir -p "$root/var/cache"
rm -f "$out/system"
mksquashfs "$root" "$out/system" -comp lz4 -noappend -quiet -no-progress >&2
umount "$work/root"

# The boot loader's part: an initramfs that asks which slot boots.
mkdir -p "$work/initrd/bin" "$work/initrd/modules" "$work/initrd/lib64"
cp /bin/busybox "$work/initrd/bin/"
install -m 755 tests/vm/files/init "$work/initrd/init"
install -m 755 "$from/pointsman" "$work/initrd/bin/"
strip --strip-unneeded "$work/initrd/bin/pointsman"
ldd "$from/pointsman" | grep -o '/[^ ]*' | while read -r lib; do
    install -D "$lib" "$work/initrd/$lib"
done
# Each after those it needs.
for module in virtio_pci virtio_blk loop squashfs crc32c_generic ext4 overlay virtio_net i6300esb isofs; do
    modprobe --set-version "$kernel" --show-depends "$module" | sed -n 's/^insmod \([^ ]*\).*/\1/p'
done | awk '!seen[$0]++' | while read -r file; do
    cp "$file" "$work/initrd/modules/"
    basename "$file" .ko >>"$work/initrd/modules/order"
done
(cd "$work/initrd" && find . | cpio --quiet -o -H newc) >"$out/initrd"

# The disk. A slot's first 4 KiB are what the tests tell images by; the system lies behind.
rm -f "$out/disk"
truncate -s "$size" "$out/disk"
kind=5dfbf5f4-2848-4bac-aa5e-0d9a20b745a6
sgdisk --clear \
    --new "3:2048:+$slot" --typecode 3:$kind --change-name 3:USR-A \
    --new "4:0:+$slot" --typecode 4:$kind --change-name 4:USR-B \
    --new 9:0:0 --change-name 9:STATE "$out/disk" >/dev/null
for number in 3 4; do
    first=$(sgdisk --info "$number" "$out/disk" | sed -n 's/^First sector: \([0-9]*\).*/\1/p')
    dd if="$out/system" of="$out/disk" bs=4096 seek=$((first / 8 + 1)) conv=notrunc,sparse status=none
done
echo "$stamp" >"$out/made"
