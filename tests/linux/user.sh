#!/bin/sh
# SPDX-License-Identifier: MIT
# The examples, run by an ordinary user, on each port and on the default one.
name=user
. "$top_srcdir/tests/support/report.sh"

as_user()
{
    (
        cd "$work/dir" || exit 99
        timeout 60 setpriv --reuid=65534 --regid=65534 --clear-groups \
            --inh-caps=-all "$@"
    )
}

if [ "$(id -u)" -ne 0 ]; then
    as_user()
    {
        (cd "$work/dir" && timeout 60 "$@")
    }
elif ! command -v setpriv > /dev/null; then
    skip 'an ordinary user' 'there is no setpriv'
    finish
fi
mkdir "$work/dir"
chmod 755 "$work"
chmod 777 "$work/dir"
if ! as_user test -x "$top_builddir/examples/hello-pager"; then
    skip 'an ordinary user' 'other users cannot reach the programs'
    finish
fi

awk 'BEGIN { srand(1); for (i = 0; i < 50000; i++) print rand() }' \
    > "$work/dir/in"
LC_ALL=C sort "$work/dir/in" > "$work/dir/expected"
sorts()
{
    as_user "$top_builddir/examples/hurdmm-sort" --memory 256K "$@" in out &&
        cmp "$work/dir/expected" "$work/dir/out"
}

expect 'hello-pager' as_user "$top_builddir/examples/hello-pager" \
    > "$work/out"
expect 'which says so' grep -q '= 670592745' "$work/out"
expect 'sort' sorts
for port in $(host_ports "$top_builddir/examples/hello-pager"); do
    expect "hello-pager on $port" \
        as_user "$top_builddir/examples/hello-pager" $port > "$work/out"
    expect "sort on $port" sorts --port $port
    expect "live-snapshot on $port" \
        as_user "$top_builddir/examples/live-snapshot" --size 1M --seconds 0 \
        --port $port --output file
done
finish
