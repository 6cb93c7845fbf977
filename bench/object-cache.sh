#!/bin/sh
# SPDX-License-Identifier: MIT
# examples/object-cache: reads a second of a cache of rendered objects in a
# quarter of the memory that all of them need, in a slab store and in a
# discardable one, against the same in anonymous memory with a swap file.
#
#   bench/object-cache.sh [--quick]
#
# Each run does all three; the medians of the runs' ratios count.
: "${top_builddir:=.}"
cache=$top_builddir/examples/object-cache
runs='1 2 3'
[ "$1" != --quick ] || runs=1

work=$(mktemp -d "${TMPDIR:-/var/tmp}/hurdmm-bench.XXXXXX") || exit 1
trap 'rm -rf "$work"' EXIT
trap 'exit 1' HUP INT TERM

for run in $runs; do
    "$cache" $1 "$work" > "$work/$run" || {
        echo 'object-cache.sh: object-cache failed' >&2
        exit 1
    }
done

# median KIND UNIT: of the third word before " UNIT" on the lines of KIND
median()
{
    cat "$work"/[1-3] | awk -v kind="$1" -v unit="$2" '
        $1 == kind && $3 == unit { print $2 }' | sort -n |
        awk '{ v[NR] = $1 } END { print v[int((NR + 1) / 2)] }'
}

for kind in slab discardable; do
    echo "$(median $kind reads/s,) $(median $kind x)" | awk -v kind=$kind '{
        verdict = ($2 >= 2) ? "holds" : "FALLS SHORT"
        printf "%-34s %10.2f %-10s %6.2f x  %-14s %s\n", "cache." kind, $1,
            "reads/s", $2, ">= 2.00 x", verdict
    }'
done
