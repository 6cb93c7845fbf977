#!/bin/sh
# SPDX-License-Identifier: MIT
# Boots images and judges what they say on the serial line.
#
#   check.sh [--silence SECONDS] --kernel DIRECTORY
#            'IMAGE MIB [MODULE...]'...
#
# DIRECTORY holds kernel, sigma0 and kickstart; or kernel alone, if sigma0 is in
# it.  Images and modules lie in l4/ of the current directory, logs go beside
# them.  An image has passed when it has counted no failure, said that it ends
# and every line of l4/IMAGE.expected if there is one, and nothing panicked: "L4
# PANIC", the kernel's debugger, or silence.  `l4/drives' makes the drives of an
# image that has some, before each run, and says afterwards whether the image
# left on them what it should (tests/l4/drives.c).  L4_JOBS machines run at a
# time, usually one for each processor.
. "$(dirname "$0")/machine.sh"
silence=60
jobs=${L4_JOBS:-$(nproc)}
kernel=
while :; do
    case $1 in
    --silence) silence=$2 ;;
    --kernel) kernel=$2 ;;
    *) break ;;
    esac
    shift 2
done
passed=0
failed=0
skipped=0

boot()
{
    if [ -f "$kernel/kickstart" ]; then
        set -- -kernel "$kernel/kickstart" \
            -initrd "$kernel/kernel,$kernel/sigma0,$machine_files"
    else
        set -- -kernel "$kernel/kernel" -initrd "$machine_files"
    fi
    # shellcheck disable=SC2086
    exec qemu-system-i386 -m "$machine_memory" -display none -nodefaults \
        -serial stdio -monitor none -no-reboot $L4_QEMU $machine_disk_words \
        "$@" < /dev/null
}

# Waits until the log says how it ended, or says nothing for too long.
watch()
{
    size=0
    quiet=0
    while kill -0 "$1" 2> /dev/null; do
        if grep -aqE "$machine_ended" "$2"; then
            sleep 0.2
            return 0
        fi
        now=$(wc -c < "$2")
        [ "$now" -eq "$size" ] || quiet=0
        size=$now
        quiet=$((quiet + 1))
        [ "$quiet" -le $((silence * 5)) ] || return 1
        sleep 0.2
    done
    return 0
}

fail()
{
    echo "FAIL: $1: $2"
    tr -d '\r' < "$3" | tail -n 15 | sed 's/^/    | /'
    failed=$((failed + 1))
}

# Whether every line of the one file is in the other.
says()
{
    tr -d '\r' < "$2" > "$2.lines"
    while read -r line; do
        grep -aqxF "$line" "$2.lines" || return 1
    done < "$1"
}

judge()
{
    sums=$(tr -d '\r' < "$2" | sed -nE \
        's/^[^ ]+: ([0-9]+) passed, ([0-9]+) failed, ([0-9]+) skipped$/\1 \2 \3/p' |
        tail -n 1)
    if grep -aqE 'L4 PANIC|KD#|--- KD|ASSERTION|unhandled page ?fault' "$2"; then
        fail "$1" 'it panicked' "$2"
    elif ! grep -aq 'L4 IMAGE ENDS' "$2"; then
        fail "$1" 'it did not end' "$2"
    elif [ -z "$sums" ]; then
        fail "$1" 'it counted nothing' "$2"
    elif [ -f "l4/$1.expected" ] && ! says "l4/$1.expected" "$2"; then
        fail "$1" 'it did not say what the simulated machine says' "$2"
    elif ! machine_disk_good "l4/$1.drives" >> "$2" 2>&1; then
        fail "$1" 'what it left on its disk' "$2"
    else
        drives=$(sed -n 's/^drives: \([0-9]*\) passed$/\1/p' "$2")
        set -- "$1" "$2" $sums
        passed=$((passed + $3 + ${drives:-0}))
        failed=$((failed + $4))
        skipped=$((skipped + $5))
        echo "$1: $3 passed, $4 failed, $5 skipped" \
            "${drives:+and $drives on its drives}"
        tr -d '\r' < "$2" | grep -a '^SKIP: '
    fi
}

run()
{
    machine_words "$@"
    image=$machine_image
    log=l4/$image.log
    if ! machine_disk "l4/$image.drives" > "$log" 2>&1; then
        fail "$image" 'no disk' "$log"
        return
    fi
    (boot) > "$log" 2>&1 &
    pid=$!
    if watch $pid "$log"; then
        kill $pid 2> /dev/null
        wait $pid 2> /dev/null
        judge "$image" "$log"
    else
        kill -KILL $pid 2> /dev/null
        wait $pid 2> /dev/null
        fail "$image" "silent for $silence s" "$log"
    fi
}

if [ -z "$kernel" ]; then
    echo 'SKIP: nothing was booted: there is no kernel (L4_DIR)'
    echo 'l4: 0 passed, 0 failed, 1 skipped'
    exit 77
fi
if ! command -v qemu-system-i386 > /dev/null; then
    echo 'SKIP: nothing was booted: there is no qemu-system-i386'
    echo 'l4: 0 passed, 0 failed, 1 skipped'
    exit 77
fi
if ! [ -f "$kernel/kernel" ]; then
    echo "There is no kernel in $kernel"
    echo 'l4: 0 passed, 1 failed, 0 skipped'
    exit 1
fi

# some JOB IMAGE...: every jobs-th image.
some()
{
    turn=$1
    shift
    for spec in "$@"; do
        # shellcheck disable=SC2086
        [ $((turn % jobs)) -ne 0 ] || run $spec
        turn=$((turn + 1))
    done
}

work=$(mktemp -d) || exit 99
trap 'rm -rf "$work"' EXIT
job=0
while [ $job -lt "$jobs" ]; do
    (
        some $job "$@"
        echo "$passed $failed $skipped" > "$work/$job"
    ) &
    job=$((job + 1))
done
wait
while [ $job -gt 0 ]; do
    job=$((job - 1))
    # One that left nothing did not end.
    set -- $(cat "$work/$job") 0 1 0
    passed=$((passed + $1))
    failed=$((failed + $2))
    skipped=$((skipped + $3))
done
echo "l4: $passed passed, $failed failed, $skipped skipped"
[ $failed -eq 0 ] && [ $passed -gt 0 ]
