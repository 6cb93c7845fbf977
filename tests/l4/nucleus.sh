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
seconds=120

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

# For the probe: a disk on each channel, which can say what it is.
truncate -s 1M "$work/disk0" "$work/disk2"
disks=
for index in 0 2; do
    disks="$disks -drive if=ide,index=$index,format=raw,file=$work/disk$index"
done

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

# shellcheck disable=SC2086
on_nucleus "$work/log" 'strict=0 check=1' "$work/probe" $disks
compare "$work/log.text" 'the test kernel answers as the real one'

if [ -n "$L4_DIR" ]; then
    # shellcheck disable=SC2086
    boot "$work/real" -kernel "$L4_DIR/kickstart" \
        -initrd "$L4_DIR/kernel,$L4_DIR/sigma0,$work/probe" $disks
    compare "$work/real.text" 'the real kernel answers as it did'
fi

# rule NUMBER WHO WORDS SAID: a broken rule is seen, and who broke it.
rule()
{
    on_nucleus "$work/rule$1" "$3" "$work/probe rule=$1"
    if ! grep -q "^nucleus: RULE: thread $2: .*$4" "$work/rule$1.text"; then
        tail -n 3 "$work/rule$1.text"
        echo "broken rule $1: '$2: $4' was not said"
        echo "$1" >> "$work/unseen"
    fi
}

# Every jobs-th line of the list, from the one that is given.
some_rules()
{
    sed -n "$1~${jobs}p" "$work/rules" | while read -r number who line; do
        rule "$number" "$who" "${line%% / *}" "${line#* / }"
    done
}

jobs=$(nproc)
: > "$work/unseen"
on_nucleus "$work/list" check=1 "$work/probe rule=999"
sed -n 's/^rule //p' "$work/list.text" > "$work/rules"
job=1
while [ $job -le "$jobs" ]; do
    some_rules $job &
    job=$((job + 1))
done
wait
all=$(wc -l < "$work/rules")
unseen=$(wc -l < "$work/unseen")
passed=$((passed + all - unseen))
failed=$((failed + unseen))

# Each place in the nucleus that minds a rule was reached.
grep -n '[^_]strict("' "$here"/nucleus/*.c |
    sed -n 's|.*/\([a-z0-9]*\.c\):\([0-9]*\):.*|\1|p' | sort > "$work/places"
cat "$work"/rule*.text | sed -n 's/^nucleus: RULE: .*(\(.*\.c:[0-9]*\))$/\1/p' |
    sort -u | sed 's/:.*//' > "$work/reached"
expect 'every rule of the nucleus is broken by a test' \
    cmp "$work/places" "$work/reached"

# A client may do what it likes, and where nothing is strict the root task too.
client=$((all - 1))
on_nucleus "$work/client" check=1 "$work/probe rule=$client"
expect 'a client may break rules' grep -q 'nobody minded' "$work/client.text"
on_nucleus "$work/lax" 'check=1 strict=0' "$work/probe rule=998"
expect 'a kernel that forgives stays whole' \
    grep -q 'nobody minded' "$work/lax.text"

for run in one two; do
    on_nucleus "$work/$run" 'perturb=7 strict=0' "$work/probe"
done
expect 'a seed repeats' cmp "$work/one.text" "$work/two.text"
finish
