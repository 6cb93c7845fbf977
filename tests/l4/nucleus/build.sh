#!/bin/sh
# SPDX-License-Identifier: MIT
# Builds the nucleus: build.sh OUTPUT, with $CC (gcc) and -m32.  77 when this
# compiler cannot.
here=$(cd "$(dirname "$0")" && pwd)
cc=${L4_CC:-gcc}
out=$1
objects=$(mktemp -d) || exit 99
trap 'rm -rf "$objects"' EXIT

flags="-m32 -march=i686 -std=c11 -O2 -g -ffreestanding -fno-pic -fno-pie
    -fno-stack-protector -fno-asynchronous-unwind-tables -fcf-protection=none
    -mgeneral-regs-only -Wall -Wextra -Wshadow -Werror"

library=$($cc -m32 -print-libgcc-file-name) || exit 77
[ -f "$library" ] || exit 77
for file in "$here"/*.c "$here"/entry.S; do
    # shellcheck disable=SC2086
    $cc $flags -c "$file" -o "$objects/$(basename "$file").o" || exit 1
done
$cc -m32 -nostdlib -static -no-pie -Wl,-z,noexecstack -Wl,--no-warn-rwx-segments -Wl,--build-id=none \
    -Wl,-T,"$here/nucleus.ld" -o "$out" "$objects"/*.o "$library"
