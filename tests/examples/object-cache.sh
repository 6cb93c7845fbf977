#!/bin/sh
# SPDX-License-Identifier: MIT
# object-cache reads the same objects out of all three kinds of memory, and what
# is discardable is not written; the program itself looks at each object.
name=object-cache
. "$top_srcdir/tests/support/report.sh"

program=$top_builddir/examples/object-cache

# cache PORT: runs, and looks at what it says.
cache()
{
    timeout 100 "$program" --quick --port "$1" "$work" > "$work/out" 2>&1 ||
        return 1
    [ "$(grep -c ' reads/s, ' "$work/out")" -eq 3 ]
}

# written KIND: pages
written()
{
    awk -v kind="$1" '$1 == kind && / pages written$/ { print $(NF - 2) }' \
        "$work/out"
}

for port in posix linux; do
    if ! cache $port && [ $port = linux ] &&
        grep -q 'a port: ' "$work/out"; then
        skip "object-cache on linux" "no userfaultfd for this user"
        continue
    fi
    expect "all caches give the same on $port" cache $port
    expect "the swap file is used on $port" [ "$(written swapped)" -gt 256 ]
    expect "what is discardable is never written on $port" \
        [ "$(written discardable)" -eq 0 ]
done
timeout 10 "$program" --nothing > "$work/out" 2>&1
expect 'wrong options are refused' [ $? -eq 2 ]
[ "$failed" -eq 0 ] || cat "$work/out"
finish
