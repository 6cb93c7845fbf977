#!/bin/sh
# SPDX-License-Identifier: MIT
# The installed library serves a program outside the tree, in C and in C++, and
# each public header stands alone in both.
name=install
. "$top_srcdir/tests/support/report.sh"

strict='-Wall -Wextra -Wshadow -Wconversion -Werror -pedantic'

# The jobs of the make that runs us are none of ours.
unset MAKEFLAGS MFLAGS MAKELEVEL TESTS
prefix=$work/usr
if ! $MAKE -C "$top_builddir" install prefix="$prefix" \
    > "$work/install.log" 2>&1; then
    cat "$work/install.log"
    fail 'make install'
    finish
fi
pass

PKG_CONFIG_PATH=$(dirname "$(find "$prefix" -name hurdmm.pc)")
export PKG_CONFIG_PATH
LD_LIBRARY_PATH=$(dirname "$(find "$prefix" -name 'libhurd-mm.la')")
export LD_LIBRARY_PATH

cat > "$work/x.c" << 'END'
#include <hurdmm/hurdmm.h>

int main(void)
{
    return hurdmm_version() >> 16 == HURDMM_VERSION_MAJOR ? 0 : 1;
}
END

# outside COMPILER PKG-CONFIG-OPTION... : builds and runs x.c
outside()
{
    compiler=$1
    shift
    $compiler "$work/x.c" -o "$work/x" $HMM_LDFLAGS \
        $(pkg-config --define-prefix --cflags --libs "$@" hurdmm) &&
        "$work/x"
}

alone()
{
    echo "#include <$1>" > "$work/alone.$3"
    $2 $strict -I "$prefix/include" -c "$work/alone.$3" -o "$work/alone.o"
}

expect 'pkg-config knows the version' \
    test "$(pkg-config --modversion hurdmm)" = "$PACKAGE_VERSION"
expect 'a C program' outside "$CC"
expect 'a C++ program' outside "$CXX -x c++"
if ls "$LD_LIBRARY_PATH"/*.a > /dev/null 2>&1; then
    case $HMM_LDFLAGS in
    '') expect 'a static C program' outside "$CC -static" --static ;;
    esac
fi
for header in $HMM_PUBLIC_HEADERS; do
    header=${header#include/}
    expect "$header alone in C" alone "$header" "$CC -std=c11" c
    expect "$header alone in C++" alone "$header" "$CXX -std=c++11" cc
done

$MAKE -C "$top_builddir" uninstall prefix="$prefix" > /dev/null 2>&1
expect 'uninstall leaves no file' \
    test -z "$(find "$prefix" -type f -o -type l)"
finish
