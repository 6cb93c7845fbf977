#!/bin/sh
# SPDX-License-Identifier: MIT
# hurdmm-zst: its files are those of zstd and its own, damage is found, and an
# output is there wholly or not at all, even if the tool is killed.
name=tests/modules/zst
. "$top_srcdir/tests/support/report.sh"

tool=$top_builddir/hurdmm-zst
if ! [ -x "$tool" ]; then
    skip 'hurdmm-zst' "$HMM_BUILT_ZSTD"
    finish
fi
cd "$work" || exit 99

run()
{
    timeout 60 "$tool" "$@" > out 2>&1
}

# status N ARGUMENT... : the tool ends so.
status()
{
    wanted=$1
    shift
    run "$@"
    [ $? -eq "$wanted" ] && return 0
    cat out
    return 1
}

# change FILE OFFSET BYTE
change()
{
    printf "$3" | dd of="$1" bs=1 seek="$2" conv=notrunc 2> dd
}

awk 'BEGIN { for (i = 0; i < 40000; i++) print i, i * i, "a line of text" }' \
    > plain
size=$(wc -c < plain)

expect 'a file is compressed' status 0 compress plain packed
expect 'it says how well' grep -q "^$size bytes in " out
expect 'it is smaller' [ "$(wc -c < packed)" -lt $((size / 2)) ]
expect 'it is sound' status 0 verify packed
expect 'its own tool reads it' status 0 decompress packed again
expect 'and finds the same' cmp plain again
if command -v zstd > zstd; then
    expect 'zstd reads it' sh -c 'zstd -q -d -c packed | cmp plain -'
    zstd -q plain -o foreign.zst
    expect 'a file without a table is refused' status 2 verify foreign.zst
    expect 'and why' grep -q 'not a seekable file' out
else
    skip 'zstd reads it' 'zstd is not installed'
fi

status 0 list packed
expect 'list has a line for each frame of 64 KiB' \
    [ "$(grep -vc '^#' out)" -eq $(((size + 65535) / 65536)) ]
at=$(awk '$1 == 2 { print $4 + 30 }' out)
expect 'level and frame size are chosen' \
    status 0 compress -l 19 -f 16 plain small
status 0 list small
expect 'smaller frames are more' \
    [ "$(grep -vc '^#' out)" -eq $(((size + 16383) / 16384)) ]

cp packed bad
change bad "$at" '\377\0\377'
expect 'a damaged frame is found' status 1 verify bad
expect 'and named' grep -q '^frame 2 at 131072: ' out
expect 'nothing is made of a damaged file' status 2 decompress bad none
expect 'no output, no rest of one' [ -z "$(ls none* 2> ls)" ]
head -c 1000 packed > cut
expect 'a file that was cut is refused' status 2 verify cut
: > empty
expect 'an empty file is none' status 2 list empty
expect 'nothing can be compressed' status 0 compress empty packed.empty
expect 'and is sound' status 0 verify packed.empty

for arguments in '' 'compress' 'compress plain' 'compress -f 0 plain x' \
    'compress -l 99 plain x' 'compress -f 5x plain x' 'compress -z plain x' \
    'list' 'frobnicate x'; do
    # shellcheck disable=SC2086
    expect "wrong arguments: $arguments" status 2 $arguments
done
expect 'no input' status 2 compress none x
expect 'no place for the output' status 2 compress plain none/x
if [ -w /dev/full ]; then
    expect 'a full disk is told' \
        sh -c '"$0" list packed > /dev/full 2> out; [ $? -eq 2 ]' "$tool"
fi

# Killed at any moment: there is the old file, whole, or the new one.
echo old > target
mkfifo fifo
killed=0
for i in 1 2 3 4 5 6; do
    "$tool" compress fifo target > out 2>&1 &
    pid=$!
    # It has read some and waits for more when it is killed.
    {
        cat plain
        kill -9 $pid
        cat plain
    } > fifo 2> cat
    wait $pid 2> wait
    [ "$(cat target)" = old ] && killed=$((killed + 1))
done
expect 'a killed tool leaves the old file' [ $killed -eq 6 ]
rm -f target.*
expect 'the next run replaces it' status 0 compress plain target
expect 'wholly' status 0 verify target
finish
