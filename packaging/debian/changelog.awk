# Makes Debian's changelog (deb-changelog(5)) of CHANGELOG.md: one entry a release. Variables: `version` and `date` of the newest entry,
# whose heading may be "Unreleased", and `maintainer`.
function release_date(day,  command, text) {
    command = "date -u -R -d " day
    command | getline text
    close(command)
    return text
}
# Prints the item read last, in lines of at most 79 characters; of links their text.
function flush_item(  words, count, i, line, rest) {
    if (item == "") return
    rest = item
    item = ""
    while (match(rest, /\]\([^)]*\)/)) {
        line = substr(rest, 1, RSTART - 1)
        rest = substr(rest, RSTART + RLENGTH)
        sub(/\[[^[]*$/, "&\n", line)
        sub(/\[/, "", line)
        sub(/\n/, "", line)
        item = item line
    }
    count = split(item rest, words, " ")
    item = ""
    line = "  *"
    for (i = 1; i <= count; i++) {
        if (length(line) + 1 + length(words[i]) > 79) { print line; line = "   " }
        line = line " " words[i]
    }
    print line
}
function finish() {
    flush_item()
    if (entries) printf "\n -- %s  %s\n\n", maintainer, when
}
/^## \[/ {
    finish()
    number = $2
    gsub(/[][]/, "", number)
    when = $4 ~ /^[0-9-]+$/ ? release_date($4) : date
    if (!entries++) { number = version; when = date }
    printf "pointsman (%s) unstable; urgency=medium\n", number
    next
}
!entries { next }
/^$/ { flush_item(); next }
/^### / { flush_item(); printf "\n  [ %s ]\n", substr($0, 5); next }
/^- / { flush_item(); item = substr($0, 3); next }
{ item = item " " $0 }
END { finish() }
