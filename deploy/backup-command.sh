#!/bin/sh
# A destination of Keyreeve's backups as a program: `kind = "command"` in `[backup.destinations.NAME]`.
#
# This one keeps objects in a directory, which may be what a file server or a FUSE file system offers. It is meant to
# be copied and changed: what talks to the storage is in the five functions below. With rclone, for example:
#
#   put      rclone rcat "$where/.writing-$1" && rclone moveto --immutable "$where/.writing-$1" "$where/$1"
#   get      rclone cat "$where/$1"
#   list     rclone lsf --format sp --separator ' ' --files-only "$where"
#   delete   rclone deletefile "$where/$1"
#
# and credentials in a file that only the server's user can read, named by `environment = { RCLONE_CONFIG = "…" }`.
#
# What is asked for:   put NAME SIZE | replace NAME SIZE | get NAME | list | delete NAME
# How it ends:         0 done and durable, 3 no such object, 4 there is one already (put), anything else: it failed, and
#                      the last line on standard error says why.
# An object is there whole or not at all. When the input breaks off this is killed before the input ends.
set -eu
umask 077
where=$1
verb=$2
name=${3:-}
size=${4:--}
unfinished=$where/.writing-$$-$name

fail() {
    echo "$1" >&2
    exit 1
}

# Reads the object into a file of another name, and makes it durable.
take() {
    trap 'rm -f "$unfinished"' EXIT
    cat > "$unfinished"
    if [ "$size" != - ] && [ "$(wc -c < "$unfinished")" -ne "$size" ]; then
        fail "another number of bytes came than was promised"
    fi
    sync "$unfinished"
}

put() {
    [ ! -e "$where/$name" ] || exit 4
    take
    # A hard link never replaces.
    ln "$unfinished" "$where/$name" 2> /dev/null || { [ ! -e "$where/$name" ] || exit 4; fail "it cannot be written"; }
    sync "$where"
}

replace() {
    take
    mv -f "$unfinished" "$where/$name"
    sync "$where"
}

get() {
    [ -e "$where/$name" ] || exit 3
    cat "$where/$name"
}

list() {
    cd "$where"
    for file in *; do
        [ ! -f "$file" ] || echo "$(wc -c < "$file") $file"
    done
}

delete() {
    rm -f "$where/$name"
    sync "$where"
}

mkdir -p "$where"
# What was killed long ago.
find "$where" -maxdepth 1 -name '.writing-*' -mmin +1440 -delete
case $verb in
    put | replace | get | delete | list) "$verb" ;;
    *) fail "unknown: $verb" ;;
esac
