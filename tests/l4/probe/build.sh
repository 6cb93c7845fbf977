#!/bin/sh
# SPDX-License-Identifier: MIT
# Builds the probe: build.sh OUTPUT, with $L4_CC (gcc) and -m32.  77 when this
# compiler cannot.
top=$(cd "$(dirname "$0")/../../.." && pwd)
cc=${L4_CC:-gcc}
out=$1
objects=$(mktemp -d) || exit 99
trap 'rm -rf "$objects"' EXIT

flags="-m32 -march=i686 -std=c11 -O2 -ffreestanding -fno-pic -fno-pie
    -fno-stack-protector -fno-asynchronous-unwind-tables -fcf-protection=none
    -mgeneral-regs-only -Wall -Wextra -Wshadow -Werror -I$top -I$top/include"

library=$($cc -m32 -print-libgcc-file-name) || exit 77
[ -f "$library" ] || exit 77
port=$top/backends/l4-x86
for file in "$top"/tests/l4/probe/*.c "$port/console.c" "$port/system.S" \
    "$port/start.S"; do
    # shellcheck disable=SC2086
    $cc $flags -c "$file" -o "$objects/$(basename "$file").o" || exit 1
done
$cc -m32 -nostdlib -static -no-pie -Wl,-z,noexecstack -Wl,--build-id=none \
    -Wl,--no-warn-rwx-segments -Wl,-T,"$port/image.ld" -s -o "$out" \
    "$objects"/*.o "$library"
