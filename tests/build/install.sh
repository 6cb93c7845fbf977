#!/bin/sh
# SPDX-License-Identifier: MIT
# The installed library serves a program outside the tree, in C and in C++, and
# each public header stands alone in both.
name=install
. "$top_srcdir/tests/support/report.sh"

strict='-Wall -Wextra -Wshadow -Wconversion -Werror -pedantic'

# The jobs of the make that runs us are none of ours.
unset MAKEFLAGS MFLAGS MAKELEVEL TESTS
root=$work/root
if ! $MAKE -C "$top_builddir" install DESTDIR="$root" \
    > "$work/install.log" 2>&1; then
    cat "$work/install.log"
    fail 'make install'
    finish
fi
pass

PKG_CONFIG_PATH=$(dirname "$(find "$root" -name hurdmm.pc)")
export PKG_CONFIG_PATH
LD_LIBRARY_PATH=$(dirname "$(find "$root" -name 'libhurd-mm.la')")
prefix=$(dirname "$LD_LIBRARY_PATH")
export LD_LIBRARY_PATH

cat > "$work/x.c" << 'END'
#include <hurdmm/hurdmm.h>

int main(void)
{
    return hurdmm_version() >> 16 == HURDMM_VERSION_MAJOR ? 0 : 1;
}
END

# Whoever links libraries that are not shared must name what those need.
flags='--define-prefix --cflags --libs'
if ! ls "$LD_LIBRARY_PATH"/*.so > /dev/null 2>&1; then
    flags="$flags --static"
fi

# outside COMPILER PACKAGE [PKG-CONFIG-OPTION...]: builds and runs x.c
outside()
{
    compiler=$1
    shift
    $compiler "$work/x.c" -x none -o "$work/x" $HMM_LDFLAGS \
        $(pkg-config $flags "$@") && "$work/x"
}

alone()
{
    echo "#include <$1>" > "$work/alone.$3"
    $2 $strict -I "$prefix/include" -c "$work/alone.$3" -o "$work/alone.o"
}

expect 'pkg-config knows the version' \
    test "$(pkg-config --modversion hurdmm)" = "$PACKAGE_VERSION"
expect 'a C program' outside "$CC" hurdmm
expect 'a C++ program' outside "$CXX -x c++" hurdmm
if ls "$LD_LIBRARY_PATH"/*.a > /dev/null 2>&1; then
    case $HMM_LDFLAGS in
    '') expect 'a static C program' outside "$CC -static" hurdmm --static ;;
    esac
fi
for header in $HMM_PUBLIC_HEADERS; do
    header=${header#include/}
    expect "$header alone in C" alone "$header" "$CC -std=c11" c
    expect "$header alone in C++" alone "$header" "$CXX -std=c++11" cc
done

# module NAME HEADER CALL : a program with the module, whose call is as it should
# be (22 is EINVAL), and one without knows nothing of it.
module()
{
    case " $HMM_MODULES " in *" $1 "*) ;; *) return ;; esac
    printf '#include <hurdmm/hurdmm.h>\n#include <hurdmm/%s.h>\n' "$2" \
        > "$work/x.c"
    printf 'int main(void) { return %s ? 0 : 1; }\n' "$3" >> "$work/x.c"
    for compiler in "$CC" "$CXX -x c++"; do
        expect "a program with the $1 module, $compiler" \
            outside "$compiler" "hurdmm-$1"
    done
    expect "hurdmm/$2.h alone in C" alone "hurdmm/$2.h" "$CC -std=c11" c
    expect "hurdmm/$2.h alone in C++" alone "hurdmm/$2.h" "$CXX -std=c++11" cc
    find "$LD_LIBRARY_PATH" -name 'libhurd-mm.so' \
        -exec ldd {} + > "$work/needs" 2>&1
    expect "the library does without the $1 module's package" \
        sh -c '! grep -E "lib$0[.]" "$1"' "$1" "$work/needs"
}

module lz4 compressed 'hurdmm_compressed_create(NULL, NULL, 0, 0, NULL) == 22'
module xxhash xxhash \
    'hurdmm_xxhash_checksum("a", 1) != hurdmm_xxhash_checksum("b", 1)'
module zstd zstd 'hurdmm_zstd_create(NULL, 0, NULL, 0, NULL) == 22'
module nbd nbd 'hurdmm_nbd_create(NULL, NULL) == 22'

$MAKE -C "$top_builddir" uninstall DESTDIR="$root" > /dev/null 2>&1
expect 'uninstall leaves no file' \
    test -z "$(find "$root" -type f -o -type l)"
finish
