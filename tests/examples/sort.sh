#!/bin/sh
# SPDX-License-Identifier: MIT
# hurdmm-sort sorts as sort(1) does in the C locale, byte for byte, in budgets
# smaller than the text, and says what went wrong where it cannot.
name=sort
. "$top_srcdir/tests/support/report.sh"

program=$top_builddir/examples/hurdmm-sort
unset TMPDIR
mkdir "$work/dir"
cd "$work/dir" || exit 99

# random BYTES SEED: bytes that are the same each time.
random()
{
    LC_ALL=C awk -v n="$1" -v seed="$2" 'BEGIN {
        srand(seed)
        for (i = 0; i < 256; i++)
            char[i] = sprintf("%c", i)
        while (n > 0) {
            line = ""
            for (k = int(rand() * 60); k >= 0; k--)
                line = line char[33 + int(rand() * 90)]
            print line
            n -= length(line) + 1
        }
    }'
}

sorts()
{
    LC_ALL=C sort in > expected &&
        timeout 60 "$program" --memory "$1" $port in out 2> log &&
        cmp expected out
}
port=

# all_budgets WHAT: the file `in' is sorted in budgets small and large.
all_budgets()
{
    for budget in 64K 256K 1M 32M; do
        expect "$1 in $budget" sorts $budget
    done
}

: > in
all_budgets 'an empty file'
printf 'one line\n' > in
all_budgets 'one line'
printf '\n' > in
all_budgets 'one empty line'
printf 'b\na' > in
all_budgets 'a last line without newline'
printf 'a\0b\na\na\0a\n\0\n\na\0\n\0\0\na\0a\n' > in
all_budgets 'lines with NULs'
random 300000 1 > in
all_budgets 'random lines'
random 200000 2 | cut -c1-2 > in
all_budgets 'many duplicates'
random 200000 3 | sed 's/^/the same beginning of all lines, /' > in
all_budgets 'lines that begin alike'
yes 'all lines are the same and longer than a key' | head -n 20000 > in
all_budgets 'equal lines'
yes '' | head -n 50000 > in
all_budgets 'empty lines'
random 400000 4 | tr '!-@' '\200-\237' > in
all_budgets 'bytes above 127'
random 300000 5 | LC_ALL=C sort > in
all_budgets 'sorted lines'
random 300000 5 | LC_ALL=C sort -r > in
all_budgets 'lines sorted backwards'

# Lines of up to 300,000 bytes, more than the smallest budgets.
random 2000000 6 | awk '{ printf "%s", $0; if (NR % (1 + NR % 9973) == 0)
    print "" }' > in
all_budgets 'long lines'
random 400000 7 | tr -d '\n' > in
random 400000 7 | tr -d '\n' | sed 's/$/x/' >> in
printf '\n' >> in
all_budgets 'lines longer than the budget'

random 8388608 8 > in
expect '8 MiB in 1 MiB' sorts 1M
expect 'the summary names faults, evictions, write-backs and frames' \
    grep -q 'faults .*evictions .*write-backs' log
expect 'memory stays in the budget' \
    sh -c 'peak=$(sed -n "s/.*peak \([0-9]*\) frames of \([0-9]*\).*/\1 \2/p" log)
        set -- $peak; [ $(($1 * $2)) -le 1048576 ]'
for name_of in $(host_ports "$top_builddir/examples/hello-pager"); do
    port="--port $name_of"
    expect "8 MiB in 1 MiB on $name_of" sorts 1M
done
port=
expect 'no progress is shown where nobody looks' \
    sh -c '! grep -q "%" log'

# The input as the output; what is there is replaced; a link stays a link.
in_place()
{
    cp in both && timeout 60 "$program" --memory 1M both both 2> log &&
        cmp expected both
}
expect 'the input can be the output' in_place
through_link()
{
    : > target && chmod 640 target && ln -s target link &&
        timeout 60 "$program" in link 2> log && [ -L link ] &&
        cmp expected target && [ "$(stat -c %a target)" = 640 ]
}
expect 'an output that is a link stays one, and keeps its mode' through_link

# fails PATTERN ARGUMENT...: exit code 2, a message, and nothing left behind.
fails()
{
    pattern=$1
    shift
    ls -A > before
    timeout 60 "$program" "$@" > log 2>&1
    code=$?
    ls -A > after
    if [ $code -eq 2 ] && grep -q -- "$pattern" log && cmp -s before after; then
        return 0
    fi
    echo "exit $code"
    cat log
    diff before after
    return 1
}

: > before
: > after
rm -f out both link target
expect 'no arguments' fails usage
expect 'one argument' fails usage in
expect 'an unknown option' fails usage --what in out
expect 'no input' fails 'absent: No such file' absent out
expect 'an input that is a directory' fails '/: Is a directory' / out
expect 'an input that is no file' fails '/dev/null: ' /dev/null out
expect 'an output that is a directory' fails '/: Is a directory' in /
expect 'an output that is no file' fails '/dev/full: ' in /dev/full
expect 'an output in a place that is none' fails 'in/out: Not a dir' in in/out
expect 'an output in no directory' fails 'none/out: No such file' in none/out
expect 'no memory at all' fails '--memory: ' --memory 0 in out
expect 'too little memory' fails '--memory: ' --memory 1 in out
expect 'memory that is no size' fails '--memory: ' --memory 32X in out
expect 'negative memory' fails '--memory: ' --memory -5M in out
expect 'too much memory' fails '--memory: ' --memory 99999999999999G in out
expect 'an unknown port' fails 'none: ' --port none in out
expect 'a port without addresses' fails 'sim: ' --port sim in out
export TMPDIR="$work/none"
expect 'no place for the swap file' fails "$work/none/" in out
unset TMPDIR
(
    # In blocks of 512 bytes, of any file: the output becomes too large.
    ulimit -f 8192 && fails 'out: File too large' --memory 1M in out
)
expect 'an output larger than files may be' [ $? -eq 0 ]

# A file system of its own that is too small for the output, for the swap file.
if unshare -rm mount -t tmpfs none "$work" 2> log; then
    on_small_disk()
    {
        mkdir -p "$work/small" && unshare -rm sh -c '
            mount -t tmpfs -o size=3m none "$1" &&
            TMPDIR=$2 timeout 60 "$3" --memory 1M in "$4"
            code=$?; ls -A "$1"; exit $code' sh \
            "$work/small" "$1" "$program" "$2" > listing 2> log
        [ $? -eq 2 ] && [ ! -s listing ] && grep -q "$3.*No space left" log &&
            return 0
        cat log listing
        return 1
    }
    expect 'a full disk under the output' \
        on_small_disk "$work" "$work/small/out" "$work/small/out"
    expect 'a full disk under the swap file' \
        on_small_disk "$work/small" "$work/dir/out" 'swap file'
    rm -f out
else
    skip 'full disks' 'no file system can be mounted here'
fi

interrupted()
{
    rm -f out
    timeout 60 "$program" --memory 64K in out 2> log &
    pid=$!
    tries=0
    while [ -z "$(ls -A | grep '^out\.')" ] && [ $tries -lt 200 ]; do
        sleep 0.02
        tries=$((tries + 1))
    done
    kill -TERM $pid
    wait $pid 2> wait.log
    [ $? -ne 0 ] && [ -z "$(ls -A | grep '^out')" ]
}
expect 'nothing is left when it is interrupted' interrupted

finish
