#!/bin/sh
# SPDX-License-Identifier: MIT
# The test kernel behaves as the real one was seen to (tests/l4/probe/expected),
# stops who breaks a rule, and repeats itself by its seed. Without -m32 or QEMU
# nothing is booted, and that is a skip. With L4_DIR (kernel, sigma0, kickstart)
# the real kernel is asked again.
name=nucleus
. "$top_srcdir/tests/support/report.sh"

here=$top_srcdir/tests/l4
. "$here/machine.sh"
rules=21
seconds=60

build()
{
    sh "$here/$1/build.sh" "$work/$1" 2> "$work/errors"
    status=$?
    if [ $status -eq 77 ]; then
        skip 'the test kernel' 'no compiler with -m32'
        finish
    elif [ $status -ne 0 ]; then
        cat "$work/errors"
        fail "$1 builds"
        finish
    fi
    pass
}

# boot LOG QEMU-ARGUMENT...: until the image ends, or time is over.
boot()
{
    log=$1
    shift
    machine_run "$log" $seconds 64 "$@"
    tr -d '\r' < "$log" > "$log.text"
}

on_nucleus()
{
    log=$1
    words=$2
    image=$3
    shift 3
    # shellcheck disable=SC2086
    boot "$log" $machine_exact -kernel "$work/nucleus" -append "$words" \
        -initrd "$image" "$@"
}

answers()
{
    sed -n '/^PROBE BEGINS/,/^L4 IMAGE ENDS/p' "$1" |
        grep -av '^differs: \|^PROBE\|^L4 IMAGE'
}

# compare LOG WHAT: the answers are those that are recorded.
compare()
{
    answers "$1" > "$work/answers"
    if diff "$here/probe/expected" "$work/answers" > "$work/diff"; then
        pass
    else
        head -n 20 "$work/diff"
        tail -n 5 "$1"
        fail "$2"
    fi
}

if ! command -v qemu-system-i386 > /dev/null; then
    skip 'the test kernel' 'no qemu-system-i386'
    finish
fi
build nucleus
build probe

on_nucleus "$work/log" 'strict=0 check=1' "$work/probe"
compare "$work/log.text" 'the test kernel answers as the real one'

if [ -n "$L4_DIR" ]; then
    boot "$work/real" -kernel "$L4_DIR/kickstart" \
        -initrd "$L4_DIR/kernel,$L4_DIR/sigma0,$work/probe"
    compare "$work/real.text" 'the real kernel answers as it did'
fi

# Two machines at a time.
rule=0
while [ $rule -le $rules ]; do
    for one in $rule $((rule + 1)); do
        on_nucleus "$work/rule$one" check=1 "$work/probe rule=$one" &
    done
    wait
    for one in $rule $((rule + 1)); do
        if grep -q '^nucleus: RULE: thread c8001: ' "$work/rule$one.text"; then
            pass
        else
            tail -n 3 "$work/rule$one.text"
            fail "broken rule $one is seen"
        fi
    done
    rule=$((rule + 2))
done

for run in one two; do
    on_nucleus "$work/$run" 'perturb=7 strict=0' "$work/probe"
done
expect 'a seed repeats' cmp "$work/one.text" "$work/two.text"
finish
