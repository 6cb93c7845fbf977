#!/bin/sh
# SPDX-License-Identifier: MIT
# What leaves the library: hurdmm_* with a version from the shared object, all
# of it declared in a public header, and no other prefix but hmm_ in the static
# one.
name=symbols
. "$top_srcdir/tests/support/report.sh"

shared=$top_builddir/.libs/libhurd-mm.so
static=$top_builddir/.libs/libhurd-mm.a

headers()
{
    for header in $HMM_PUBLIC_HEADERS; do
        echo "#include <${header#include/}>"
    done
}

# Sanitizers and coverage define names of their own.
own_names()
{
    grep -Ev '^(__asan|__odr_asan|__tsan|__ubsan|_?_?gcov|\.)'
}

exported()
{
    $NM -D --defined-only "$shared" | awk '$2 != "A" { print $3 }' | own_names
}

none_left()
{
    if [ -s "$1" ]; then
        cat "$1"
        return 1
    fi
}

# Taking the address of each in C is an error where no header declares it.
all_declared()
{
    {
        headers
        echo 'int main(void) {'
        sed 's/.*/    (void)\&&;/' "$work/names"
        echo 'return 0; }'
    } > "$work/declared.c"
    $CC -std=c11 -Wall -Werror -fsyntax-only -I "$top_srcdir/include" \
        "$work/declared.c"
}

# What only the library for L4 has is in hurdmm/l4.h. A type is no function.
all_defined()
{
    headers > "$work/headers.c"
    $CC -std=c11 -E -P -I "$top_srcdir/include" "$work/headers.c" |
        grep -v '^ *typedef ' |
        grep -oE '\bhurdmm_[a-z0-9_]+ ?\(' | tr -d ' (' | sort -u |
        grep -v '^hurdmm_l4_' |
        comm -23 - "$work/names" > "$work/undefined"
    none_left "$work/undefined"
}

if [ -f "$shared" ]; then
    exported > "$work/all"
    sed 's/@.*//' "$work/all" | sort -u > "$work/names"
    grep -v '^hurdmm_[a-z0-9_]*@@HURDMM_[0-9]*$' "$work/all" > "$work/strange"
    expect 'something is exported' test -s "$work/names"
    expect 'only versioned hurdmm_ names are exported' \
        none_left "$work/strange"
    expect 'each exported name is declared' all_declared
    expect 'each declared function is exported' all_defined
    shared_built=yes
else
    shared_built=
    skip 'exported names' 'no shared library was built'
fi

# A module has what its header declares, and the library nothing of it.
# module NAME HEADER
module()
{
    shared=$top_builddir/.libs/libhurd-mm-$1.so
    HMM_PUBLIC_HEADERS=include/hurdmm/$2.h
    case " $HMM_MODULES " in
    *" $1 "*) [ -n "$shared_built" ] || return ;;
    *) return ;;
    esac
    expect "the $1 module is shared" test -f "$shared"
    exported > "$work/all"
    sed 's/@.*//' "$work/all" | sort -u > "$work/names"
    grep -v "^hurdmm_$2_[a-z0-9_]*@@HURDMM_[0-9]*\$" "$work/all" \
        > "$work/strange"
    expect "$1 exports something" test -s "$work/names"
    expect "$1 exports its own names only" none_left "$work/strange"
    expect "each name of $1 is declared" all_declared
    $CC -std=c11 -E -P -I "$top_srcdir/include" -include "hurdmm/$2.h" \
        -x c /dev/null | grep -oE "\bhurdmm_$2_[a-z0-9_]+ ?\(" |
        tr -d ' (' | sort -u | comm -23 - "$work/names" > "$work/undefined"
    expect "each function of $1 is exported" none_left "$work/undefined"
    $NM -u "$top_builddir/.libs/libhurd-mm.so" | grep -E "$3" > "$work/needed"
    expect "the library needs nothing of $1" none_left "$work/needed"
}
module lz4 compressed ' LZ4_'
module xxhash xxhash ' XXH'
module zstd zstd ' ZSTD_'
module nbd nbd ' nbd_'

if [ -f "$static" ]; then
    $NM -g --defined-only "$static" | awk 'NF == 3 { print $3 }' | own_names |
        grep -Ev '^(hurdmm|hmm)_' > "$work/strange"
    expect 'the static library keeps to its prefixes' \
        none_left "$work/strange"
    for module in $HMM_MODULES; do
        $NM -g --defined-only "${static%.a}-$module.a" |
            awk 'NF == 3 { print $3 }' | own_names |
            grep -Ev '^(hurdmm|hmm)_' > "$work/strange"
        expect "the static $module module keeps to its prefixes" \
            none_left "$work/strange"
    done
else
    skip 'prefixes' 'no static library was built'
fi
finish
