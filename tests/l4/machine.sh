# SPDX-License-Identifier: MIT
# For the scripts here: one emulated machine, from its start to its last line.

machine_ended='L4 IMAGE ENDS|L4 PANIC|KD#|--- KD|ASSERTION|unhandled page ?fault|nobody minded'

# All clocks count instructions: a run repeats, and idle time takes none.
machine_exact='-icount shift=0,sleep=off -rtc clock=vm'
# The same for a machine with drives.  They take the host's time, during which an
# idle processor must not let its own run away: it sleeps.
machine_drives='-icount shift=0 -rtc clock=vm'

# machine_run LOG SECONDS MIB QEMU-ARGUMENT...: returns as soon as a line has
# ended the run, or the machine has, or its time is over.
machine_run()
{
    run_log=$1
    run_seconds=$2
    run_memory=$3
    shift 3
    rm -f "$run_log.pipe"
    mkfifo "$run_log.pipe" || return
    timeout -k 5 "$run_seconds" qemu-system-i386 -m "$run_memory" \
        -display none -nodefaults -serial stdio -monitor none -no-reboot "$@" \
        < /dev/null > "$run_log.pipe" 2>&1 &
    run_pid=$!
    sed -u -E "/$machine_ended/q" < "$run_log.pipe" > "$run_log"
    kill $run_pid 2> /dev/null
    wait $run_pid 2> /dev/null
    rm -f "$run_log.pipe"
}

# machine_words IMAGE MIB [MODULE...]: sets what the words mean: machine_image,
# machine_memory and machine_files.
machine_words()
{
    machine_image=$1
    machine_memory=$2
    machine_files=l4/$1
    shift 2
    for machine_word in "$@"; do
        machine_files=$machine_files,l4/$machine_word
    done
}

# machine_disk DIRECTORY: fresh drives for the image, if it has any, in files
# there; machine_disk_words are then what the emulator must be told of them.
machine_disk()
{
    mkdir -p "$1"
    machine_disk_words=$(l4/drives make "$machine_image" "$1")
}

# machine_disk_good DIRECTORY: whether they hold what the image must have left
# there; how much was looked at is the last line.
machine_disk_good()
{
    l4/drives check "$machine_image" "$1"
}
