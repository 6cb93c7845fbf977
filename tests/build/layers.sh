#!/bin/sh
# SPDX-License-Identifier: MIT
# Each folder includes only what stands above it: base, physmem, mm, policy;
# stores, block devices, modules and examples use the public headers alone.
name=layers
. "$top_srcdir/tests/support/report.sh"

# only FOLDER PATTERN: all that FOLDER includes matches PATTERN.  Programs for L4
# (folders named l4) are their own C library and stand on their backend.
only()
{
    [ -d "$top_srcdir/$1" ] || return 0
    grep -rhoE '^[[:space:]]*#[[:space:]]*include[[:space:]]+[<"][^>"]+' \
        --include='*.[ch]' --exclude-dir=l4 "$top_srcdir/$1" |
        sed 's/.*[<"]//' | sort -u | grep -Ev "$2" > "$work/strange"
    if [ -s "$work/strange" ]; then
        sed "s|^|$1 includes |" "$work/strange"
        fail "$1 stays in its layer"
    else
        pass
    fi
}

free='(stddef|stdint|stdbool|stdatomic|limits|stdarg)\.h|hurdmm/[a-z0-9_-]+\.h'
only lib/base "^($free|lib/base/[^/]+)$"
only lib/physmem "^($free|lib/(base|physmem)/[^/]+)$"
only lib/mm "^($free|lib/(base|physmem|mm)/[^/]+)$"
only lib/policy "^($free|lib/(base|physmem|mm|policy)/[^/]+)$"
only lib/stores "^($free|lib/stores/[^/]+)$"
only lib/block "^($free|lib/block/[^/]+)$"
only modules/lz4 "^($free|string\.h|lz4\.h|modules/lz4/[^/]+)$"
host='[a-z]+\.h|sys/[a-z]+\.h'
only modules/zstd "^($host|hurdmm/[a-z]+\.h|modules/zstd/[^/]+)$"
only modules/xxhash "^(xxhash\.h|hurdmm/xxhash\.h)$"
only modules/nbd "^($host|hurdmm/[a-z]+\.h|modules/nbd/[^/]+)$"
only examples '^([^/]+|(sys|hurdmm)/[a-z0-9_-]+)\.h$'

if grep -rnE '^[[:space:]]*#[[:space:]]*(if|ifdef|elif).*(__linux|__APPLE|_WIN32|__unix|__L4)' \
    --include='*.[ch]' "$top_srcdir/lib" "$top_srcdir/include"; then
    fail 'no #ifdef by platform outside backends/'
else
    pass
fi
finish
