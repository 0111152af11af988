#!/bin/sh
# packaging/sbom.sh OUT: writes the software bill of materials of the program, for what it is built for on Linux, to the file OUT, in
# CycloneDX's JSON. Needs cargo-cyclonedx (tests/setup.sh release) and jq.
set -eu
cd "$(dirname "$0")/.."
out=$1
# shellcheck source=packaging/common.sh
. packaging/common.sh

# cargo-cyclonedx writes a file beside each manifest: it gets a copy of the workspace.
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
tar -c --exclude=./target --exclude=./.git --exclude=./fuzz . | tar -x -C "$work"
PATH="$PWD/target/cyclonedx/bin:$PATH" cargo cyclonedx --quiet --manifest-path "$work/Cargo.toml" --format json --spec-version 1.5 \
    --target "$(uname -m)-unknown-linux-gnu" --no-build-deps --override-filename bom >&2
# References name the folder of the copy.
sed "s|file://$work|file:///usr/src/pointsman|g" "$work/bom.json" >"$out"
jq -e '.bomFormat == "CycloneDX" and .metadata.component.name == "pointsman" and (.components | length > 100)' "$out" >/dev/null
