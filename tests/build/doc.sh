#!/bin/sh
# SPDX-License-Identifier: MIT
# The code in doc/stores.md: the programs compile, in C with all warnings, and
# end well; the fragments compile inside a function.
name=doc
. "$top_srcdir/tests/support/report.sh"

strict='-std=c11 -Wall -Wextra -Wshadow -Werror'
include="-I $top_srcdir/include"

# Each program goes to a file of its name, the fragments to one function each.
awk -v work="$work" '
    /^```c program / { out = work "/" $3 ".c"; inside = 1; next }
    /^```c fragment/ {
        out = work "/fragments"; inside = 1; number++
        print "BEGIN(" number ")" > out
        next
    }
    /^```/ { if (inside && out ~ /fragments$/) print "END" > out
             inside = 0; next }
    inside { print > out }' "$top_srcdir/doc/stores.md"

cat > "$work/fragments.c" << 'END'
#include <hurdmm/discardable.h>
#include <hurdmm/file.h>
#include <hurdmm/hurdmm.h>
#include <hurdmm/slab.h>

struct fragment_things {
    struct hurdmm *manager;
    struct hurdmm_block *block;
    struct hurdmm_grant *grant;
    struct hurdmm_store *base, *other, *store;
    size_t page;
    int fd;
};
int computed_fill(void *hook, uint64_t offset, void *buffer, size_t length);
int discardable_fill(void *hook, uint64_t offset, void *buffer, size_t length,
                     int discarded);
#define JOIN(a, b) a##b
#define BEGIN(number)                                                          \
    int JOIN(fragment, number)(struct fragment_things *things);                \
    int JOIN(fragment, number)(struct fragment_things *things)                 \
    {                                                                          \
        struct hurdmm *manager = things->manager;                              \
        struct hurdmm_block *block = things->block;                            \
        struct hurdmm_grant *grant = things->grant;                            \
        struct hurdmm_store *base = things->base, *other = things->other;      \
        struct hurdmm_store *store = things->store;                            \
        size_t page = things->page;                                            \
        int fd = things->fd, error = 0;                                        \
        (void)manager, (void)block, (void)grant, (void)base, (void)other;      \
        (void)store, (void)page, (void)fd, (void)error;
#define END                                                                    \
    return error;                                                              \
    }
END
cat "$work/fragments" >> "$work/fragments.c"

# C++ would know the headers too, but not designated initialisers.
expect 'the fragments compile' \
    $CC $strict -Wno-unused-but-set-variable $include -c \
    "$work/fragments.c" -o "$work/fragments.o"
expect 'there are fragments' grep -q 'BEGIN(8)' "$work/fragments"

# The library as it is in the build tree, by way of libtool.
for program in notebook oracle veil; do
    if $CC $strict $include -pthread -c "$work/$program.c" \
        -o "$work/$program.o" &&
        $SHELL "$top_builddir/libtool" --quiet --tag=CC --mode=link $CC \
            $HMM_LDFLAGS -pthread -o "$work/$program" "$work/$program.o" \
            "$top_builddir/libhurd-mm.la"; then
        pass
    else
        fail "$program compiles"
        continue
    fi
    expect "$program runs" timeout 60 "$work/$program"
done
finish
