#!/bin/sh
# packaging/build.sh PROFILE [TARGET]: builds the program, and the one that writes its pages, with this profile of Cargo, and prints
# the folder they are in. With a TARGET, such as x86_64-unknown-linux-musl, only the program, for that one. A release build is
# reproducible, with no path of this machine in it; what a debugger needs is split off, into pointsman.debug beside it.
set -eu
cd "$(dirname "$0")/.."
cd "$(pwd -P)"
profile=$1
target=${2:-}
cargo=${CARGO:-cargo}
folder=$profile
[ "$profile" != dev ] || folder=debug
built=$("$cargo" metadata --format-version 1 --no-deps | sed 's/.*"target_directory":"\([^"]*\)".*/\1/')

if [ "$profile" = release ]; then
    RUSTC_WRAPPER=$PWD/packaging/rustc.sh
    REMAP_SOURCE=$PWD
    REMAP_TARGET=$built
    REMAP_CARGO=${CARGO_HOME:-$HOME/.cargo}
    # A compiler that runs in a folder of the registry names it without symbolic links.
    REMAP_REGISTRY=$(realpath -m "$REMAP_CARGO/registry")
    # What libraries have in C.
    CFLAGS="${CFLAGS:-} -ffile-prefix-map=$REMAP_SOURCE=/usr/src/pointsman -ffile-prefix-map=$REMAP_TARGET=/usr/src/pointsman/target"
    CFLAGS="$CFLAGS -ffile-prefix-map=$REMAP_CARGO=/usr/src/cargo -ffile-prefix-map=$REMAP_REGISTRY=/usr/src/cargo/registry"
    export RUSTC_WRAPPER REMAP_SOURCE REMAP_TARGET REMAP_CARGO REMAP_REGISTRY CFLAGS
fi
if [ -n "$target" ]; then
    "$cargo" build --locked --profile "$profile" --target "$target" -p pointsman --bin pointsman >&2
    built=$built/$target
else
    "$cargo" build --locked --profile "$profile" -p pointsman -p pointsman-pages --bin pointsman --bin pointsman-pages >&2
fi
if [ "$profile" = release ]; then
    packaging/split-debug.sh "$built/release/pointsman"
fi
echo "$built/$folder"
