#!/bin/sh
# packaging/split-debug.sh PROGRAM: takes what a debugger needs out of PROGRAM into PROGRAM.debug. What is left names that
# file by the link in .gnu_debuglink, and by its build id. Does nothing where that is done. Needs binutils.
set -eu
program=$1
if ! readelf -S "$program" | grep -q '\.debug_line'; then
    exit 0
fi
objcopy --only-keep-debug --compress-debug-sections "$program" "$program.debug.new"
strip --strip-all --remove-section=.comment "$program"
mv "$program.debug.new" "$program.debug"
objcopy --add-gnu-debuglink="$program.debug" "$program"
