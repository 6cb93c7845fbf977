#!/bin/sh
# SPDX-License-Identifier: MIT
# `make bench-linux` works: in its short form each row is there, as a figure or
# with the reason why it was not run; and so are the lines of a workload. Whether
# a figure holds is not looked at.
name=tests/bench/outofcore
. "$top_srcdir/tests/support/report.sh"

if ! grep -q '^linux_bench_programs' "$top_builddir/Makefile"; then
    skip 'bench-linux' 'this system has no userfaultfd'
    finish
fi

out=$work/out
expect 'make bench-linux ends well' \
    sh -c 'cd "$0" && timeout 120 "$1" -s bench-linux \
        BENCH_FLAGS="--quick $2" > "$3"' \
    "$top_builddir" "${MAKE:-make}" "$work" "$out"

# row NAME: its line is there and well-formed.
row()
{
    awk -v name="$1" '
        index($0, name) == 1 && (/not run: / ||
            ($0 ~ /[0-9][.][0-9][0-9] / && /(holds|FALLS SHORT|-)$/)) { found++ }
        END { exit found != 1 }' "$out"
}

expect 'faults inline' row 'fault, inline against bare SIGBUS'
expect 'faults by pagers' row 'fault, pager against bare handler, pinned'
expect 'faults with nothing pinned' row 'fault, pager, nothing pinned'
expect 'uniform reads' row 'uniform, cached, against the bare loop'
expect 'uniform reads of two' row 'uniform, 2 threads against 1'
expect 'writes of two' row 'read-modify-write, 2 threads against 1'
expect 'straight reading' row 'sequential, cached, against pread'
expect 'resident memory' row 'sequential, resident, against kernel mmap'
expect 'straight past the cache' row 'sequential, O_DIRECT, against'
expect 'prefetch lists' row 'prefetch lists of 32, O_DIRECT'
expect 'the pause of a copy' row 'longest pause in a copy'
expect 'scans' row 'dirty scan, 1 % dirty '
expect 'scans of what the kernel notes' row 'dirty scan, 1 % dirty, wired'
expect 'memory of the library' row 'library memory for a resident page'
expect 'no threads inline' row 'threads started for an inline binding'
[ "$failed" -eq 0 ] || cat "$out"

expect 'a workload is measured' \
    sh -c '"$0/bench/outofcore" --quick --only zipf --side inline "$1" > "$2"' \
    "$top_builddir" "$work" "$out"
expect 'its lines are JSON' awk '
    /^{"workload":"zipf","side":"inline",.*}$/ { lines++ }
    END { exit lines != 8 }' "$out"
finish
