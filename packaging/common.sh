# packaging/common.sh: sourced by the scripts that make packages, from the repository's folder. Two runs over the same commit make the
# same bytes, whatever the umask, the locale and the time (packaging/reproducible.sh compares them).
# shellcheck shell=sh
umask 022
export LC_ALL=C TZ=UTC

# shellcheck disable=SC2034
version=$(sed -n 's/^version = "\(.*\)"/\1/p' Cargo.toml | head -n 1)

# The time of everything in a package (https://reproducible-builds.org/specs/source-date-epoch/): the commit's, and where the source is
# not in git the day of the newest release.
if [ -z "${SOURCE_DATE_EPOCH:-}" ]; then
    if [ -e .git ] && SOURCE_DATE_EPOCH=$(git -c safe.directory="$PWD" log -1 --format=%ct 2>/dev/null); then :; else
        day=$(sed -n 's/^## \[[0-9].*\] - \(.*\)/\1/p' CHANGELOG.md | head -n 1)
        SOURCE_DATE_EPOCH=$(date -u -d "$day" +%s)
    fi
fi
export SOURCE_DATE_EPOCH
