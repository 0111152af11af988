#!/bin/sh
# packaging/sysext.sh FOLDER OUT: makes OUT/pointsman-VERSION-ARCH.raw of FOLDER/pointsman, an image for systemd-sysext(8) that brings
# the program to systems whose /usr is read-only; beside it OUT/pointsman.conf for systemd-sysupdate, and OUT/pointsman-reload.service
# for older systems. Needs mksquashfs (squashfs-tools) and binutils. SYSEXT_VERSION: another version than Cargo.toml's, as the test of
# an upgrade makes it.
set -eu
cd "$(dirname "$0")/.."
from=$1
out=$2

# shellcheck source=packaging/common.sh
. packaging/common.sh

version=${SYSEXT_VERSION:-$version}
# As ARCHITECTURE= of os-release(5) and %a of systemd.unit(5) have it.
case $(uname -m) in
x86_64) arch=x86-64 ;;
aarch64) arch=arm64 ;;
*) arch=$(uname -m) ;;
esac
mkdir -p "$out"
tree=$(mktemp -d "$out/sysext.XXXXXX")
trap 'rm -rf "$tree"' EXIT
chmod 755 "$tree"

packaging/tree.sh "$from/pointsman" "$tree"
# A release is split already, and has the same bytes as in the package.
[ -e "$from/pointsman.debug" ] || strip "$tree/usr/bin/pointsman"
# A merged image enables nothing: systemd starts the unit because the target upholds it (systemd 249 and later). Without [Install] it
# counts as static, which is enabled for the drop-in of update-engine.service, as for everybody who asks.
sed -i '/^\[Install\]/,$d' "$tree/usr/lib/systemd/system/pointsman.service"
install -D -m 644 packaging/sysext/upholds.conf "$tree/usr/lib/systemd/system/multi-user.target.d/10-pointsman.conf"
# Under these names it is what the scripts of locksmith and of coreos-cloudinit call.
for name in locksmithctl locksmithd coreos-cloudinit; do
    ln -s pointsman "$tree/usr/bin/$name"
done
# Any system: the program needs the C library alone, and nothing of the version of the system.
install -d "$tree/usr/lib/extension-release.d"
printf 'ID=_any\nARCHITECTURE=%s\nEXTENSION_RELOAD_MANAGER=1\nIMAGE_ID=pointsman\nIMAGE_VERSION=%s\n' "$arch" "$version" \
    >"$tree/usr/lib/extension-release.d/extension-release.pointsman"
# The name of the image is the extension's, and with a version the file in it is not looked for: see `pointsman.conf`. mksquashfs takes
# the times from SOURCE_DATE_EPOCH.
image=$out/pointsman-$version-$arch.raw
rm -f "$image"
mksquashfs "$tree" "$image" -all-root -noappend -quiet -no-progress -comp zstd >&2
cp packaging/sysext/pointsman.conf packaging/sysext/pointsman-reload.service "$out/"
echo "$image"
