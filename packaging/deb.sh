#!/bin/sh
# packaging/deb.sh FOLDER OUT: makes OUT/pointsman_VERSION_ARCH.deb of FOLDER/pointsman and what FOLDER/pointsman-pages
# writes, and OUT/pointsman-dbgsym_VERSION_ARCH.deb of its debug information. Needs dpkg-deb (Debian's dpkg) and binutils.
set -eu
cd "$(dirname "$0")/.."
from=$1
out=$2

version=$(sed -n 's/^version = "\(.*\)"/\1/p' Cargo.toml | head -n 1)
# A package of its own version, as the tests of upgrades make it.
version=${DEB_VERSION:-$version}
arch=$(dpkg --print-architecture)
mkdir -p "$out"
tree=$(mktemp -d "$out/tree.XXXXXX")
trap 'rm -rf "$tree"' EXIT
chmod 755 "$tree"

put() { install -D -m "$1" "$2" "$tree/$3"; }
packaging/tree.sh "$from/pointsman" "$tree"
# What `make build` has split already stands beside the program.
if [ -e "$from/pointsman.debug" ]; then
    cp "$from/pointsman.debug" "$tree/usr/bin/pointsman.debug"
fi
packaging/split-debug.sh "$tree/usr/bin/pointsman"
debug=$(mktemp -d "$out/debug.XXXXXX")
trap 'rm -rf "$tree" "$debug"' EXIT
chmod 755 "$debug"
id=$(readelf -n "$tree/usr/bin/pointsman" | sed -n 's/^ *Build ID: //p')
# Where gdb, systemd-coredump and perf look for it.
symbols=usr/lib/debug/.build-id/$(printf %.2s "$id")/${id#??}.debug
install -D -m 644 "$tree/usr/bin/pointsman.debug" "$debug/$symbols"
rm "$tree/usr/bin/pointsman.debug"
put 644 systemd/pointsman.preset usr/lib/systemd/system-preset/50-pointsman.preset
for kind in may-reboot pre-reboot post-boot health health-cluster health-wanted; do
    install -d "$tree/etc/pointsman/hooks/$kind.d"
done
install -d "$tree/etc/pointsman/config.d"
# As they lie here, so that links from page to page lead somewhere.
for page in README.md docs/*.md docs/*.png docs/*/*; do
    put 644 "$page" "usr/share/doc/pointsman/$page"
done
put 644 packaging/debian/copyright usr/share/doc/pointsman/copyright
"$from/pointsman-pages" "$tree"
gzip -9n "$tree"/usr/share/man/man?/*

# The program needs the C library alone, of the newest version that one of its symbols asks for.
libc=$(readelf -V "$tree/usr/bin/pointsman" | grep -o 'GLIBC_[0-9.]*' | sed 's/GLIBC_//' | sort -uV | tail -n 1)
size=$(du -sk "$tree" | cut -f 1)
mkdir "$tree/DEBIAN"
sed -e "s/@VERSION@/$version/" -e "s/@ARCH@/$arch/" -e "s/@LIBC@/$libc/" -e "s/@SIZE@/$size/" \
    packaging/debian/control >"$tree/DEBIAN/control"
for script in postinst prerm postrm; do
    install -m 755 "packaging/debian/$script" "$tree/DEBIAN/$script"
done
(cd "$tree" && find usr -type f -print0 | sort -z | xargs -0 md5sum >DEBIAN/md5sums)
dpkg-deb --root-owner-group ${DEB_COMPRESS:+-Z"$DEB_COMPRESS"} --build "$tree" "$out/pointsman_${version}_$arch.deb" >&2
mkdir "$debug/DEBIAN"
cat >"$debug/DEBIAN/control" <<CONTROL
Package: pointsman-dbgsym
Version: $version
Architecture: $arch
Maintainer: The pointsman authors <pointsman@localhost>
Installed-Size: $(du -sk "$debug" | cut -f 1)
Depends: pointsman (= $version)
Section: debug
Priority: optional
Build-Ids: $id
Description: debug symbols for pointsman
CONTROL
dpkg-deb --root-owner-group ${DEB_COMPRESS:+-Z"$DEB_COMPRESS"} --build "$debug" "$out/pointsman-dbgsym_${version}_$arch.deb" >&2
echo "$out/pointsman_${version}_$arch.deb"
