#!/bin/sh
# SPDX-License-Identifier: MIT
# Which optional modules were built here: what was not is skipped, with the
# reason that configure found, and cannot be found in the build tree.
name=tests/modules/built
. "$top_srcdir/tests/support/report.sh"

# module NAME BUILT
module()
{
    library=$(find "$top_builddir" -maxdepth 1 -name "libhurd-mm-$1.la")
    case $2 in
    yes) expect "the $1 module is there" test -n "$library" ;;
    *)
        skip "the $1 module" "$2"
        expect "no $1 module is there" test -z "$library"
        ;;
    esac
}

module lz4 "$HMM_BUILT_LZ4"
module zstd "$HMM_BUILT_ZSTD"
module nbd "$HMM_BUILT_NBD"
module xxhash "$HMM_BUILT_XXHASH"
finish
