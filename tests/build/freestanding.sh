#!/bin/sh
# SPDX-License-Identifier: MIT
# lib/ needs no C library: it compiles with the compiler's own headers only,
# and asks for nothing but four functions of memory.
name=freestanding
. "$top_srcdir/tests/support/report.sh"

# What a compiler may call on its own account where the machine's words are
# shorter than 64 bits.
helpers='__udivdi3|__umoddi3|__divdi3|__moddi3|__udivmoddi4|__divmoddi4'
helpers="$helpers|__popcountdi2|__ctzdi2|__clzdi2|__ffsdi2|__bswapdi2"
helpers="$helpers|__ashldi3|__ashrdi3|__lshrdi3|__muldi3"
allowed="^(memcpy|memset|memmove|memcmp|_GLOBAL_OFFSET_TABLE_|$helpers)\$"

# gcc's <limits.h> ends by asking for the C library's.
mkdir "$work/empty"
: > "$work/empty/limits.h"

# Where tests are to be short, that it compiles will do.
level=-O2
[ "${HMM_TEST_PERCENT:-100}" -ge 10 ] || level=-O0

compile()
{
    $CC $1 -std=c11 $level -Wall -Wextra -Wshadow -Wconversion -Werror \
        -ffreestanding -fbuiltin -fno-pic -fno-stack-protector \
        -nostdinc -isystem "$($CC -print-file-name=include)" \
        -idirafter "$work/empty" \
        -I "$top_srcdir/include" -I "$top_srcdir" $HMM_CPPFLAGS \
        -c "$top_srcdir/$2" -o "$3"
}

can_compile()
{
    echo 'int main(void) { return 0; }' > "$work/try.c"
    $CC $1 -o "$work/try" "$work/try.c" 2> "$work/try.log"
}

prove()
{
    objects=
    for source in $HMM_CORE_SOURCES; do
        case $source in *.c) ;; *) continue ;; esac
        object=$work/$(echo "$source$1" | tr / -).o
        expect "$source compiles freestanding $1" \
            compile "$1" "$source" "$object"
        [ ! -f "$object" ] || objects="$objects $object"
    done
    expect "lib/ links $1" \
        $CC $1 -nostdlib -r -o "$work/all.o" $objects
    $NM -u "$work/all.o" | awk '{ print $NF }' |
        grep -Ev "$allowed" > "$work/undefined"
    if [ -s "$work/undefined" ]; then
        cat "$work/undefined"
        fail "lib/ $1 asks for nothing else"
    else
        pass
    fi
}

prove ""
if can_compile -m32; then
    prove -m32
else
    skip "lib/ with -m32" "$CC cannot link 32-bit programs here"
fi
finish
