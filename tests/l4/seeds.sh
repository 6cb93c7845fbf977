#!/bin/sh
# SPDX-License-Identifier: MIT
# Boots images on the perturbing test kernel, with another seed each time: a
# failure is one of the image, and can be repeated.
#
#   seeds.sh KERNEL FIRST COUNT 'IMAGE MIB [MODULE...]'...
#
# Images and modules lie in l4/, as for check.sh, and their drives come as there.
# Each seed takes the next image, so that all have their share. L4_JOBS machines
# run at a time (two for each processor, because some sleep). L4_WORDS are more
# words for the kernel (check=1); L4_SECONDS is what one run may take (120).
here=$(dirname "$0")
. "$here/machine.sh"
kernel=$1
first=$2
count=$3
shift 3
jobs=${L4_JOBS:-$((2 * $(nproc)))}
seconds=${L4_SECONDS:-120}

if ! command -v qemu-system-i386 > /dev/null; then
    echo 'FAIL: nothing was booted: there is no qemu-system-i386'
    echo 'l4-seeds: 0 passed, 1 failed, 0 skipped'
    exit 1
fi
if [ $# -eq 0 ] || ! [ -f "$kernel" ]; then
    echo "FAIL: nothing was booted: no image, or no kernel $kernel"
    echo 'l4-seeds: 0 passed, 1 failed, 0 skipped'
    exit 1
fi
work=$(mktemp -d) || exit 99
trap 'rm -rf "$work"' EXIT

failed()
{
    echo "FAIL: $machine_image with seed $1: $2"
    tr -d '\r' < "$3" | tail -n 12 | sed 's/^/    | /'
    echo "$1" >> "$work/failed"
}

# one SEED IMAGE MIB [WORD...]
one()
{
    seed=$1
    shift
    machine_words "$@"
    log=$work/$seed
    disk=$work/$seed.drives
    if ! machine_disk "$disk" > "$log" 2>&1; then
        failed "$seed" 'no disk' "$log"
        return
    fi
    clocks=$machine_exact
    [ -z "$machine_disk_words" ] || clocks=$machine_drives
    # The kernel knows when the emulator has gone wrong: with another seed then.
    for try in $seed $((seed + 10000)) $((seed + 20000)); do
        # shellcheck disable=SC2086
        machine_run "$log" "$seconds" "$machine_memory" $clocks \
            -kernel "$kernel" -append "perturb=$try ${L4_WORDS-check=1}" \
            -initrd "$machine_files" $machine_disk_words
        grep -aq '^nucleus: EMULATOR' "$log" || break
        echo "$machine_image with seed $try: $(grep -a '^nucleus: EMUL' "$log")"
    done
    if ! grep -aq ' 0 failed, ' "$log" || ! grep -aq 'L4 IMAGE ENDS' "$log" ||
        grep -aqE 'L4 PANIC|KD#' "$log"; then
        failed "$seed" 'it did not pass' "$log"
    elif ! machine_disk_good "$disk" > "$log" 2>&1; then
        failed "$seed" 'what it left on its disk' "$log"
    else
        echo "$machine_image" >> "$work/passed"
    fi
    rm -rf "$log" "$disk"
}

# some SEED END SPEC...: every jobs-th seed of the range.
some()
{
    at=$1
    end=$2
    shift 2
    while [ "$at" -lt "$end" ]; do
        shifts=$((at % $#))
        for words in "$@"; do
            [ $shifts -gt 0 ] || break
            shifts=$((shifts - 1))
        done
        # shellcheck disable=SC2086
        one "$at" $words
        at=$((at + jobs))
    done
}

: > "$work/passed"
: > "$work/failed"
job=0
while [ $job -lt "$jobs" ]; do
    some $((first + job)) $((first + count)) "$@" &
    job=$((job + 1))
done
wait
passed=$(wc -l < "$work/passed")
failed=$(wc -l < "$work/failed")
for words in "$@"; do
    image=${words%% *}
    echo "$image: $(grep -cx "$image" "$work/passed") seeds passed"
    # One that had no seed was not tested.
    if [ "$count" -ge $# ] && ! grep -qx "$image" "$work/passed"; then
        echo "FAIL: $image passed with no seed"
        failed=$((failed + 1))
    fi
done
echo "l4-seeds: $passed passed, $failed failed, 0 skipped"
[ "$failed" -eq 0 ] && [ "$passed" -eq "$count" ]
