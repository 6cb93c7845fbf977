#!/bin/sh
# SPDX-License-Identifier: MIT
# Boots images on the perturbing test kernel, with another seed each time: a
# failure is one of the image, and can be repeated.
#
#   seeds.sh KERNEL FIRST COUNT 'IMAGE MIB [MODULE...]'...
#
# Images and modules lie in l4/, as for check.sh. Each seed takes the next image;
# two machines run at a time. L4_WORDS are more words for the kernel (check=1).
kernel=$1
first=$2
count=$3
shift 3
work=$(mktemp -d) || exit 99
trap 'rm -rf "$work"' EXIT
seconds=${L4_SECONDS:-60}
ended='L4 IMAGE ENDS|L4 PANIC|KD#'

# one SEED IMAGE MIB [MODULE...]
one()
{
    seed=$1
    image=$2
    memory=$3
    shift 3
    files=l4/$image
    for module in "$@"; do
        files=$files,l4/$module
    done
    log=$work/$seed
    : > "$log"
    timeout "$seconds" qemu-system-i386 -m "$memory" -display none \
        -nodefaults -serial "file:$log" -monitor none -no-reboot \
        -icount shift=0,sleep=off -rtc clock=vm -kernel "$kernel" \
        -append "perturb=$seed ${L4_WORDS-check=1}" -initrd "$files" \
        < /dev/null > /dev/null 2>&1 &
    qemu=$!
    while kill -0 $qemu 2> /dev/null && ! grep -aqE "$ended" "$log"; do
        sleep 0.1
    done
    sleep 0.1
    kill $qemu 2> /dev/null
    wait $qemu 2> /dev/null
    if grep -aq ' 0 failed, ' "$log" && grep -aq 'L4 IMAGE ENDS' "$log" &&
        ! grep -aqE 'L4 PANIC|KD#' "$log"; then
        echo pass >> "$work/passed"
    else
        echo "FAIL: $image with seed $seed"
        tr -d '\r' < "$log" | tail -n 12 | sed 's/^/    | /'
        echo fail >> "$work/failed"
    fi
    rm -f "$log"
}

# Every second seed of the range, from the one that is given.
some()
{
    seed=$1
    end=$2
    shift 2
    while [ "$seed" -lt "$end" ]; do
        shifts=$((seed % $#))
        for words in "$@"; do
            [ $shifts -gt 0 ] || break
            shifts=$((shifts - 1))
        done
        next=$((seed + 2))
        # shellcheck disable=SC2086
        one "$seed" $words
        seed=$next
    done
}

: > "$work/passed"
: > "$work/failed"
end=$((first + count))
some "$first" $end "$@" &
some $((first + 1)) $end "$@"
wait
passed=$(wc -l < "$work/passed")
failed=$(wc -l < "$work/failed")
echo "l4-seeds: $passed passed, $failed failed, 0 skipped"
[ "$failed" -eq 0 ] && [ "$passed" -gt 0 ]
