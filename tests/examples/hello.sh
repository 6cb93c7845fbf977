#!/bin/sh
# SPDX-License-Identifier: MIT
# hello-pager computes what it looks at and no more, on every port.
name=hello
. "$top_srcdir/tests/support/report.sh"

program=$top_builddir/examples/hello-pager

# says WHERE: what hello-pager has printed.
says()
{
    expect "a product, $1" grep -qx '12345 \* 54321 = 670592745' "$work/out"
    expect "a sum over pages that come and go, $1" \
        grep -qx '0^2 + 64^2 + ... + 65472^2 = 1463868719104' "$work/out"
    expect "each page was computed once, $1" \
        grep -q '^1025 faults, 1025 pages computed' "$work/out"
    expect "no more than the budget was in memory, $1" awk '
        / in memory$/ { for (i = 1; i < NF; i++)
                            if ($i == "most") peak = $(i + 1) }
        END { exit !(peak > 0 && peak <= 256) }' "$work/out"
}

expect 'hello-pager runs' timeout 60 "$program" > "$work/out"
says 'by default'
for port in $(host_ports "$program"); do
    expect "hello-pager runs on $port" timeout 60 "$program" $port \
        > "$work/out"
    says "on $port"
done
"$program" none 2> "$work/log"
expect 'a port that there is not' test $? -eq 2
finish
