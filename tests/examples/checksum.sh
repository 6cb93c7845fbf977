#!/bin/sh
# SPDX-License-Identifier: MIT
# checksummed-store believes what it wrote, and refuses what was changed behind
# its back: by a return value and by a signal.
name=checksum
. "$top_srcdir/tests/support/report.sh"

program=$top_builddir/examples/checksummed-store
file=$work/file

run()
{
    timeout 60 "$program" "$@" > "$work/out" 2>&1
}

# verify CODE PATTERN
verify()
{
    run verify "$file"
    [ $? -eq "$1" ] && grep -q "$2" "$work/out" && return 0
    cat "$work/out"
    return 1
}

# change OFFSET BYTE
change()
{
    printf "$2" | dd of="$file" bs=1 seek="$1" conv=notrunc 2> "$work/dd"
}

expect 'a store is made' run create "$file" 600
page=$(($(wc -c < "$file") / 600))
expect 'each block has a checksum' \
    [ "$(wc -c < "$file.sums")" -eq $((600 * 8)) ]
expect 'a new store is sound' verify 0 '^600 blocks, 0 corrupt'
expect 'text is written' run write "$file" $((page - 2)) 'four'
expect 'text crosses into the next block' \
    [ "$(dd if="$file" bs=1 skip=$((page - 2)) count=4 2> "$work/dd")" = four ]
expect 'its checksums go with it' verify 0 '^600 blocks, 0 corrupt'

change $((page * 37 + 11)) x
expect 'a changed byte is found' verify 1 '^600 blocks, 1 corrupt'
expect 'a call and a load both end with the error' verify 1 \
    '^block 37: hurdmm_read: Input/output error; load: Input/output error'
expect 'the other blocks of a corrupt store can be written' \
    run write "$file" 0 text
run write "$file" $((page * 37)) text
expect 'a corrupt block cannot be written in part' [ $? -eq 2 ]
change $((page * 37 + 11)) '\0'
expect 'a block that is mended is believed' verify 0 '^600 blocks, 0 corrupt'

change $((page * 599)) x
expect 'the last block counts' verify 1 '^block 599: '
run verify "$work/none"
expect 'a store that is not there' [ $? -eq 2 ]
run
expect 'no arguments' [ $? -eq 2 ]
finish
