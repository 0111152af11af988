#!/bin/sh
# packaging/dist.sh OUT: makes all that a release consists of, in the new folder OUT: Debian's packages, the static program, the image
# for systemd-sysext, the bill of materials, and SHA256SUMS of these. Builds for minutes. Needs what `tests/setup.sh release` installs.
set -eu
cd "$(dirname "$0")/.."
out=$1
# shellcheck source=packaging/common.sh
. packaging/common.sh

machine=$(uname -m)
mkdir -p "$(dirname "$out")"
mkdir "$out"
built=$(packaging/build.sh release)
static=$(packaging/build.sh release "$machine-unknown-linux-musl")
packaging/deb.sh "$built" "$out" >&2
packaging/sysext.sh "$built" "$out" >&2
mv "$out/pointsman.conf" "$out/pointsman.sysupdate.conf"
PAGES=$built/pointsman-pages packaging/static.sh "$static" "$out" >&2
# Of a panic in the static program, a debugger finds the lines with it; the other one has its package.
install -m 644 "$static/pointsman.debug" "$out/pointsman-$version-$machine-linux-static.debug"
packaging/sbom.sh "$out/pointsman-$version.cdx.json"
sums=$(cd "$out" && sha256sum -- *)
printf '%s\n' "$sums" >"$out/SHA256SUMS"
(cd "$out" && sha256sum --check --quiet SHA256SUMS)
echo "$out"
