#!/bin/sh
# SPDX-License-Identifier: MIT
# hello-pager computes what it looks at and no more.
name=hello
. "$top_srcdir/tests/support/report.sh"

if timeout 60 "$top_builddir/examples/hello-pager" > "$work/out"; then
    pass
else
    fail 'hello-pager runs'
fi
expect 'a product' grep -qx '12345 \* 54321 = 670592745' "$work/out"
expect 'a sum over pages that come and go' \
    grep -qx '0^2 + 64^2 + ... + 65472^2 = 1463868719104' "$work/out"
expect 'each page was computed once' \
    grep -q '^1025 faults, 1025 pages computed' "$work/out"
expect 'no more than the budget was in memory' awk '
    / in memory$/ { for (i = 1; i < NF; i++)
                        if ($i == "most") peak = $(i + 1) }
    END { exit !(peak > 0 && peak <= 256) }' "$work/out"
finish
