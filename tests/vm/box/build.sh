#!/bin/sh
# tests/vm/box/build.sh FROM OUT: OUT/pointsman.box, Vagrant's box of the tests' machine: image 1 in A, proven, and nothing
# that boots in B.
set -eu
cd "$(dirname "$0")/../../.."
from=$1
out=$2
tests/vm/build.sh "$from" "$out" box

disk=$out/box.raw
cp --sparse=always "$out/disk" "$disk"
first() { sgdisk --info "$1" "$disk" | sed -n 's/^First sector: \([0-9]*\).*/\1/p'; }
for number in 3 4; do
    printf hsqs | dd of="$disk" bs=512 seek="$(first $number)" conv=notrunc status=none
    printf %s $((4 - number)) | dd of="$disk" bs=512 seek=$(($(first $number) + 1)) conv=notrunc status=none
done
cgpt add -i 3 -P 1 -T 0 -S 1 "$disk"
cgpt add -i 4 -P 0 -T 0 -S 0 "$disk"
mke2fs -q -t ext4 -E offset=$(($(first 9) * 512)) "$disk" 700M 2>/dev/null
qemu-img convert -O qcow2 "$disk" "$out/box.img"
rm "$disk"
echo '{"provider": "libvirt", "format": "qcow2", "virtual_size": 1}' >"$out/metadata.json"
cp tests/vm/box/Vagrantfile "$out/Vagrantfile"
tar -C "$out" -cf "$out/pointsman.box" metadata.json Vagrantfile box.img kernel initrd
