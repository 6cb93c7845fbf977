#!/bin/sh
# SPDX-License-Identifier: MIT
# live-snapshot's files are of one instant, while its writers go on.
name=snapshot
. "$top_srcdir/tests/support/report.sh"

program=$top_builddir/examples/live-snapshot
seconds=$(( (${HMM_TEST_PERCENT:-100} + 40) / 50 ))

for port in $(host_ports "$top_builddir/examples/hello-pager"); do
    expect "bank of 4 MiB, three writers, $port" timeout 120 "$program" \
        --size 4M --seconds "$seconds" --port $port --output "$work/file" \
        > "$work/out"
    expect "there were snapshots, $port" \
        grep -q '^[1-9][0-9]* snapshots of 4 MiB' "$work/out"
    expect "writers wrote meanwhile, $port" \
        grep -q 'during [1-9][0-9]* transfers' "$work/out"
    expect "the file has the size, $port" \
        test "$(wc -c < "$work/file")" -eq 4194304
    expect "one writer, the smallest bank, $port" timeout 120 "$program" \
        --size 64K --seconds 0 --threads 1 --port $port --output "$work/file"
done
"$program" --size 4M --seconds 0 --port none --output "$work/file" \
    2> "$work/log"
expect 'a port that there is not' test $? -eq 2
"$program" --size 2> "$work/log"
expect 'a bad option' test $? -eq 2
"$program" --size 1M --seconds 0 --port posix --output "$work/no/file" \
    2> "$work/log"
expect 'a file that cannot be written' test $? -eq 2
finish
