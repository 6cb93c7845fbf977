#!/bin/sh
# SPDX-License-Identifier: MIT
# hurdmm-sort in a budget of 32 MiB against the same with a budget larger than
# everything: wall time, and the output compared with sort(1).
#
#   bench/sort.sh [--quick | TEXT]
#
# TEXT is a file to sort; usually 256 MiB are made up (bench/text.c), which
# takes up to 1.3 GiB in TMPDIR. Runs alternate; the medians count. --quick
# sorts 1 MiB in 128 KiB and compares nothing but outputs.
: "${top_builddir:=.}"
sort=$top_builddir/examples/hurdmm-sort
small=32M
large=2G
runs='1 2 3'
mib=256
text=

case $1 in
--quick)
    small=128K large=64M runs=1 mib=1
    ;;
?*)
    text=$1
    ;;
esac

work=$(mktemp -d "${TMPDIR:-/var/tmp}/hurdmm-bench.XXXXXX") || exit 1
trap 'rm -rf "$work"' EXIT
trap 'exit 1' HUP INT TERM

die()
{
    echo "sort.sh: $1" >&2
    exit 1
}

# once BUDGET LIST: sorts, and adds the seconds to the list.
once()
{
    began=$(date +%s.%N)
    "$sort" --memory "$1" "$text" "$work/output" 2> "$work/log" ||
        die "hurdmm-sort --memory $1: $(cat "$work/log")"
    ended=$(date +%s.%N)
    echo "$began $ended" | awk '{ printf "%.3f\n", $2 - $1 }' >> "$work/$2"
    [ -f "$work/expected" ] || LC_ALL=C sort -o "$work/expected" "$text" ||
        die 'sort(1) failed'
    cmp "$work/output" "$work/expected" || die 'the output is wrong'
}

median()
{
    sort -n "$work/$1" | awk '{ v[NR] = $1 } END { print v[int((NR + 1) / 2)] }'
}

if [ -z "$text" ]; then
    text=$work/input
    "$top_builddir/bench/text" "$mib" > "$text" || die 'no text'
fi
for run in $runs; do
    once "$large" large
    once "$small" small
done
echo "$(median small) $(median large)" | awk '{
    ratio = $2 > 0 ? $1 / $2 : 0
    printf "%-34s %10.2f %-10s %6.2f x  %-14s %s\n", "sort.'"$small"'", $1,
        "s", ratio, "<= 3.00 x", ratio <= 3 ? "holds" : "FALLS SHORT"
}'
