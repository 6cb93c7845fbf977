# SPDX-License-Identifier: MIT
# What the shell tests share: `pass WHAT`, `fail WHAT`, `skip WHAT REASON`, and
# `finish`, which prints the line that tools/check counts and exits. A test
# sets `name` first. `work` is a directory of its own, removed at the end.

passed=0
failed=0
skipped=0
work=$(mktemp -d) || exit 99
trap 'rm -rf "$work"' EXIT

pass()
{
    passed=$((passed + 1))
}

fail()
{
    echo "FAIL: $1"
    failed=$((failed + 1))
}

skip()
{
    echo "SKIP: $1: $2"
    skipped=$((skipped + 1))
}

# Runs a command: the first word names what it proves.
expect()
{
    expect_what=$1
    shift
    if "$@"; then
        pass
    else
        fail "$expect_what"
    fi
}

# host_ports PROGRAM: the ports that programs can have here; PROGRAM tries.
host_ports()
{
    echo posix
    if "$1" linux > "$work/ports" 2>&1; then
        echo linux
    elif ! grep -q 'No such\|not supported' "$work/ports"; then
        echo linux # it must be seen failing
    fi
}

finish()
{
    echo "$name: $passed passed, $failed failed, $skipped skipped"
    [ "$failed" -eq 0 ] || exit 1
    [ "$passed" -gt 0 ] || exit 77
    exit 0
}
