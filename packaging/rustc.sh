#!/bin/sh
# packaging/rustc.sh RUSTC ARGUMENT…: what packaging/build.sh names as RUSTC_WRAPPER. Programs and their debug information name the
# source by paths that are the same on every machine. In RUSTFLAGS these flags would be part of the hashes in Cargo's own names.
set -eu
: "${REMAP_SOURCE:?}" "${REMAP_TARGET:?}" "${REMAP_CARGO:?}" "${REMAP_REGISTRY:?}"
# Of several that match, the last one counts.
exec "$@" --remap-path-prefix="$REMAP_SOURCE=/usr/src/pointsman" --remap-path-prefix="$REMAP_TARGET=/usr/src/pointsman/target" \
    --remap-path-prefix="$REMAP_CARGO=/usr/src/cargo" --remap-path-prefix="$REMAP_REGISTRY=/usr/src/cargo/registry"
