#!/bin/sh
# SPDX-License-Identifier: MIT
# `make bench` works: in its short form each figure is printed, in the form that
# bench/report.h promises. Whether a figure holds is not looked at: it depends
# on what else the machine does.
name=tests/bench/figures
. "$top_srcdir/tests/support/report.sh"

out=$work/out
expect 'make bench ends well' \
    sh -c 'cd "$0" && timeout 300 "$1" -s bench BENCH_FLAGS=--quick > "$2"' \
    "$top_builddir" "${MAKE:-make}" "$out"

# figure NAME [LEAST]: its line is there and well-formed; usually 0 will not do.
# Names may have blanks.
figure()
{
    awk -v name="$1 " -v least="${2:-0.01}" '
        index($0, name) == 1 {
            value = substr($0, length(name))
            sub(/^ +/, "", value)
            if (value ~ /^[0-9]+[.][0-9]+ / && value + 0 >= least + 0 &&
                ($NF == "holds" || $NF == "SHORT" || $NF == "-"))
                found++
        }
        END { exit found != 1 }' "$out"
}

for kind in resident soft upgrade; do
    expect "the cost of faults, $kind" figure "posix.fault.$kind.free"
done
for pattern in sequential random isolated; do
    expect "memory a page, $pattern" figure "memory.page.$pattern"
done
expect 'memory of a terabyte' figure memory.terabyte
for machine in sim.inline sim.pager posix; do
    expect "faults among many regions, $machine" figure "regions.$machine"
done
for figure in 'copy of 1 GiB, 1 % writable' 'copy of 1 GiB, all pages writable' \
    'break of a copied page' 'release of 1 GiB of all kinds, per page' \
    'copy of 1 TiB of absent pages' 'allocate or free a run, 10^6 frames'; do
    expect "a copy: $figure" figure "$figure"
done
# A writer who was not on a processor meanwhile has seen no pause.
for pages in '1 %' 'all pages'; do
    expect "the pause of a copy, $pages" figure "longest pause, $pages writable" 0
done
expect 'sorting in little memory' figure sort.128K
for figure in pair.1 pair.2 churn.1 common.1 memory; do
    expect "an object of a slab store, $figure" figure "slab.$figure"
done
for kind in slab discardable; do
    expect "a cache of objects, $kind" figure "cache.$kind"
done
case " $HMM_MODULES " in *' lz4 '*)
    expect 'pages out of memory, compressed' figure compressed.out
    expect 'and in again' figure compressed.in
    ;;
esac
case " $HMM_MODULES " in *' zstd '*)
    expect 'random reads of a compressed file' figure zstd.first1000
    ;;
esac
[ "$failed" -eq 0 ] || cat "$out"
finish
