/* SPDX-License-Identifier: MIT */
/*
 * Partition tables: as sfdisk writes them, broken in every way, and random.
 *
 * The images for sfdisk are sparse files in a directory of their own; what it
 * dumps of them is what must be found.
 */
#ifndef _POSIX_C_SOURCE
#define _POSIX_C_SOURCE 200809L
#endif

#include <fcntl.h>
#include <inttypes.h>
#include <stdio.h>
#include <unistd.h>

#include <hurdmm/file.h>
#include <hurdmm/partition.h>

#include "tests/block/device.h"
#include "tests/support/runner.h"

#define SECTORS 4096u
#define MAX 64u

static uint8_t *image; /* of SECTORS sectors */
static struct hurdmm_ramdisk ramdisk;
static struct hurdmm_partition parts[MAX];
static struct hurdmm_partition_table table;
static uint8_t scratch[4096];

static int read_table(struct hurdmm_block *block)
{
    memset(parts, 0xee, sizeof parts);
    table = (struct hurdmm_partition_table){.struct_size = sizeof table};
    return hurdmm_partition_read(block, scratch, sizeof scratch, parts, MAX,
                                 &table);
}

static void begin(void)
{
    image = calloc(SECTORS, 512);
    ck_assert_ptr_nonnull(image);
    ck_assert_int_eq(
        hurdmm_ramdisk_init(&ramdisk, image, SECTORS * 512, 512, 0), 0);
}

static void end(void)
{
    free(image);
}

static void put32(uint8_t *at, uint32_t value)
{
    for (unsigned i = 0; i < 4; i++)
        at[i] = (uint8_t)(value >> 8 * i);
}

static void put64(uint8_t *at, uint64_t value)
{
    put32(at, (uint32_t)value);
    put32(at + 4, (uint32_t)(value >> 32));
}

/* Writes entry `index' of the table in a sector, and signs it. */
static void put_entry(uint64_t sector, unsigned index, uint8_t type,
                      uint32_t start, uint32_t count)
{
    uint8_t *at = image + sector * 512;

    at[510] = 0x55;
    at[511] = 0xaa;
    at += 446 + 16 * index;
    at[4] = type;
    put32(at + 8, start);
    put32(at + 12, count);
}

static void expect_part(unsigned index, unsigned number, uint64_t start,
                        uint64_t count)
{
    ck_assert_uint_lt(index, table.count);
    ck_assert_uint_eq(parts[index].number, number);
    ck_assert_uint_eq(parts[index].start, start * 512);
    ck_assert_uint_eq(parts[index].size, count * 512);
}

/* ---- MBR ---- */

START_TEST(primary_partitions_are_found)
{
    put_entry(0, 0, 0x83, 1, 100);
    put_entry(0, 2, 0x0b, 200, 50);
    image[446] = 0x80;
    ck_assert_int_eq(read_table(&ramdisk.block), 0);
    ck_assert_int_eq(table.scheme, HURDMM_PARTITION_MBR);
    ck_assert_uint_eq(table.count, 2);
    expect_part(0, 1, 1, 100);
    expect_part(1, 3, 200, 50);
    ck_assert_uint_eq(parts[0].type, 0x83);
    ck_assert_uint_eq(parts[0].flags, 0x80);
    ck_assert_uint_eq(parts[1].type, 0x0b);
    ck_assert_str_eq(parts[1].name, "");
}
END_TEST

static void put_chain(void)
{
    put_entry(0, 0, 0x83, 1, 99);
    put_entry(0, 1, 0x0f, 100, 1000);
    put_entry(100, 0, 0x83, 10, 90);
    put_entry(100, 1, 0x05, 200, 400);
    put_entry(300, 0, 0x82, 1, 99);
    put_entry(300, 1, 0x05, 500, 100);
    put_entry(600, 0, 0x07, 2, 98);
}

START_TEST(logical_partitions_are_numbered_from_5)
{
    put_chain();
    ck_assert_int_eq(read_table(&ramdisk.block), 0);
    ck_assert_uint_eq(table.count, 4);
    expect_part(0, 1, 1, 99);
    expect_part(1, 5, 110, 90);
    expect_part(2, 6, 301, 99);
    expect_part(3, 7, 602, 98);
}
END_TEST

START_TEST(only_as_many_as_fit_are_kept)
{
    put_chain();
    table = (struct hurdmm_partition_table){.struct_size = sizeof table};
    memset(parts, 0xee, sizeof parts);
    ck_assert_int_eq(
        hurdmm_partition_read(&ramdisk.block, scratch, 512, parts, 2, &table),
        0);
    ck_assert_uint_eq(table.count, 4);
    expect_part(1, 5, 110, 90);
    ck_assert_uint_eq(parts[2].number, 0xeeeeeeee);
    ck_assert_int_eq(
        hurdmm_partition_read(&ramdisk.block, scratch, 512, NULL, 0, &table),
        0);
    ck_assert_uint_eq(table.count, 4);
}
END_TEST

START_TEST(no_table_is_ENOENT)
{
    ck_assert_int_eq(read_table(&ramdisk.block), ENOENT);
    ramdisk.block.size = 0;
    ck_assert_int_eq(read_table(&ramdisk.block), ENOENT);
}
END_TEST

START_TEST(an_empty_table_has_no_partitions)
{
    put_entry(0, 0, 0, 0, 0);
    ck_assert_int_eq(read_table(&ramdisk.block), 0);
    ck_assert_uint_eq(table.count, 0);
}
END_TEST

START_TEST(a_partition_past_the_end_is_ERANGE)
{
    put_entry(0, 0, 0x83, 4000, 97);
    ck_assert_int_eq(read_table(&ramdisk.block), ERANGE);
    put_entry(0, 0, 0x83, 4000, 96);
    ck_assert_int_eq(read_table(&ramdisk.block), 0);
    put_entry(0, 0, 0x83, 0xffffffff, 0xffffffff);
    ck_assert_int_eq(read_table(&ramdisk.block), ERANGE);
    put_entry(0, 0, 0x05, 4000, 97);
    ck_assert_int_eq(read_table(&ramdisk.block), ERANGE);
}
END_TEST

START_TEST(partitions_that_overlap_are_EBADMSG)
{
    put_entry(0, 0, 0x83, 100, 100);
    put_entry(0, 1, 0x83, 199, 10);
    ck_assert_int_eq(read_table(&ramdisk.block), EBADMSG);
    put_entry(0, 1, 0x83, 50, 51);
    ck_assert_int_eq(read_table(&ramdisk.block), EBADMSG);
    put_entry(0, 1, 0x83, 200, 10);
    ck_assert_int_eq(read_table(&ramdisk.block), 0);
    put_entry(0, 1, 0x05, 150, 100);
    put_entry(150, 0, 0, 0, 0);
    ck_assert_int_eq(read_table(&ramdisk.block), EBADMSG);
}
END_TEST

START_TEST(entries_that_mean_nothing_are_EBADMSG)
{
    put_entry(0, 0, 0x83, 100, 0);
    ck_assert_int_eq(read_table(&ramdisk.block), EBADMSG);
    put_entry(0, 0, 0x83, 0, 100);
    ck_assert_int_eq(read_table(&ramdisk.block), EBADMSG);
    put_entry(0, 0, 0x83, 100, 10);
    image[446] = 0x41; /* the code of a file system's first sector */
    ck_assert_int_eq(read_table(&ramdisk.block), EBADMSG);
    image[446] = 0;
    put_entry(0, 1, 0x05, 200, 10);
    put_entry(0, 2, 0x05, 300, 10);
    ck_assert_int_eq(read_table(&ramdisk.block), EBADMSG);
    put_entry(0, 2, 0, 0, 0);
    ck_assert_int_eq(read_table(&ramdisk.block), EBADMSG); /* not signed */
    put_entry(200, 0, 0, 0, 0);
    ck_assert_int_eq(read_table(&ramdisk.block), 0);
}
END_TEST

START_TEST(a_chain_that_does_not_end_is_ELOOP)
{
    put_entry(0, 0, 0x05, 100, 1000);
    put_entry(100, 1, 0x05, 200, 10);
    put_entry(300, 1, 0x05, 0, 10);
    ck_assert_int_eq(read_table(&ramdisk.block), ELOOP);
    /* With partitions in it the second round overlaps the first. */
    put_entry(300, 0, 0x83, 1, 5);
    ck_assert_int_eq(read_table(&ramdisk.block), EBADMSG);
}
END_TEST

START_TEST(a_chain_stays_in_its_partition)
{
    put_entry(0, 0, 0x05, 100, 1000);
    put_entry(100, 1, 0x05, 1000, 10);
    ck_assert_int_eq(read_table(&ramdisk.block), ERANGE);
    put_entry(100, 1, 0, 0, 0);
    put_entry(100, 0, 0x83, 10, 991);
    ck_assert_int_eq(read_table(&ramdisk.block), ERANGE);
    put_entry(100, 0, 0x83, 10, 990);
    ck_assert_int_eq(read_table(&ramdisk.block), 0);
}
END_TEST

START_TEST(wrong_arguments_are_EINVAL)
{
    struct hurdmm_block *block = &ramdisk.block;

    put_entry(0, 0, 0x83, 1, 1);
    table = (struct hurdmm_partition_table){.struct_size = sizeof table};
    ck_assert_int_eq(
        hurdmm_partition_read(NULL, scratch, 512, parts, 1, &table), EINVAL);
    ck_assert_int_eq(hurdmm_partition_read(block, NULL, 512, parts, 1, &table),
                     EINVAL);
    ck_assert_int_eq(
        hurdmm_partition_read(block, scratch, 511, parts, 1, &table), EINVAL);
    ck_assert_int_eq(
        hurdmm_partition_read(block, scratch, 512, NULL, 1, &table), EINVAL);
    ck_assert_int_eq(hurdmm_partition_read(block, scratch, 512, parts, 1, NULL),
                     EINVAL);
    table.struct_size = 4;
    ck_assert_int_eq(
        hurdmm_partition_read(block, scratch, 512, parts, 1, &table), EINVAL);
}
END_TEST

START_TEST(an_error_of_the_device_is_passed_on)
{
    struct device device;

    device_init(&device, 64, 512);
    device.bad[device.bad_count++] = 0;
    ck_assert_int_eq(read_table(&device.block), EIO);
    device_end(&device);
}
END_TEST

START_TEST(blocks_smaller_than_a_sector)
{
    ramdisk.block.block_size = 64;
    put_entry(0, 0, 0x83, 3, 7);
    ck_assert_int_eq(read_table(&ramdisk.block), 0);
    expect_part(0, 1, 3, 7);
}
END_TEST

/* ---- GPT ---- */

static uint32_t crc(const uint8_t *at, size_t length)
{
    uint32_t sum = 0xffffffff;

    for (size_t i = 0; i < length; i++) {
        sum ^= at[i];
        for (unsigned bit = 0; bit < 8; bit++)
            sum = sum & 1 ? sum >> 1 ^ 0xedb88320 : sum >> 1;
    }
    return ~sum;
}

/* Signs the header in `sector' again, and what it says of its entries. */
static void seal(uint64_t sector, uint64_t entries)
{
    uint8_t *at = image + sector * 512;

    put32(at + 88, crc(image + entries * 512, 128 * 128));
    put32(at + 16, 0);
    put32(at + 16, crc(at, 92));
}

static void put_header(uint64_t sector, uint64_t other, uint64_t entries)
{
    uint8_t *at = image + sector * 512;

    memcpy(at, "EFI PART\0\0\1\0", 12);
    put32(at + 12, 92);
    put64(at + 24, sector);
    put64(at + 32, other);
    put64(at + 40, 34);
    put64(at + 48, SECTORS - 34);
    put64(at + 72, entries);
    put32(at + 80, 128);
    put32(at + 84, 128);
}

static void put_guid(unsigned index, uint64_t first, uint64_t last)
{
    for (unsigned copy = 0; copy < 2; copy++) {
        uint8_t *at =
            image + (copy == 0 ? 2 : SECTORS - 33) * (size_t)512 + 128 * index;

        memset(at, 0x10 + (int)index, 16);
        memset(at + 16, 0x20 + (int)index, 16);
        put64(at + 32, first);
        put64(at + 40, last);
        put64(at + 48, UINT64_C(1) << 63 | 4);
        at[56] = 'h';
        at[58] = 0xe4; /* a umlaut */
        at[60] = 0x3d; /* U+1F600 */
        at[61] = 0xd8;
        at[62] = 0x00;
        at[63] = 0xde;
    }
    seal(1, 2);
    seal(SECTORS - 1, SECTORS - 33);
}

static void put_gpt(void)
{
    put_entry(0, 0, 0xee, 1, SECTORS - 1);
    put_header(1, SECTORS - 1, 2);
    put_header(SECTORS - 1, 1, SECTORS - 33);
    put_guid(0, 40, 99);
    put_guid(5, 2000, SECTORS - 34);
}

static void expect_gpt(int backup)
{
    ck_assert_int_eq(read_table(&ramdisk.block), 0);
    ck_assert_int_eq(table.scheme, HURDMM_PARTITION_GPT);
    ck_assert_int_eq(table.backup, backup);
    ck_assert_uint_eq(table.count, 2);
    expect_part(0, 1, 40, 60);
    expect_part(1, 6, 2000, SECTORS - 33 - 2000);
    ck_assert_uint_eq(parts[1].type_id[15], 0x15);
    ck_assert_uint_eq(parts[1].id[0], 0x25);
    ck_assert_uint_eq(parts[1].flags, UINT64_C(1) << 63 | 4);
    ck_assert_str_eq(parts[1].name, "h\xc3\xa4\xf0\x9f\x98\x80");
}

START_TEST(gpt_partitions_are_found)
{
    put_gpt();
    expect_gpt(0);
}
END_TEST

/* What breaks the first header or its table. */
START_TEST(a_broken_header_gives_way_to_the_backup)
{
    static const unsigned places[] = {0, 9, 17, 24, 40, 50, 72, 80, 88, 1024};
    uint8_t *at = image + 512 + places[_i];

    put_gpt();
    *at ^= 1;
    expect_gpt(1);
    /* The same in the copy: nothing is left. */
    image[(SECTORS - 1) * 512 + 20] ^= 1;
    image[(SECTORS - 1) * 512 + 41] ^= 1;
    ck_assert_int_eq(read_table(&ramdisk.block), EBADMSG);
    *at ^= 1;
    expect_gpt(0);
}
END_TEST

START_TEST(an_unreadable_header_gives_way_to_the_backup)
{
    struct device device;

    put_gpt();
    device_init(&device, SECTORS, 512);
    memcpy(device.now, image, SECTORS * 512);
    device.bad[device.bad_count++] = _i == 0 ? 1 : 5;
    ck_assert_int_eq(read_table(&device.block), 0);
    ck_assert_int_eq(table.backup, 1);
    ck_assert_uint_eq(table.count, 2);
    /* No copy: of the two errors that of the first is told. */
    device.now[(SECTORS - 1) * 512] ^= 1;
    ck_assert_int_eq(read_table(&device.block), EIO);
    device_end(&device);
}
END_TEST

/* A header that is sealed well and says what cannot be. */
START_TEST(a_sealed_lie_is_still_a_lie)
{
    struct {
        unsigned place;
        uint64_t value;
        unsigned bytes;
    } lies[] = {
        {24, 2, 8},          {40, SECTORS, 8},  {48, SECTORS, 8},
        {48, UINT64_MAX, 8}, {72, 1, 8},        {72, SECTORS - 3, 8},
        {72, 100, 8},        {80, 0xffffff, 4}, {84, 64, 4},
        {84, 192, 4},        {84, 0, 4},        {72, UINT64_MAX - 3, 8},
    };
    uint8_t *at = image + 512;

    put_gpt();
    if (lies[_i].bytes == 8)
        put64(at + lies[_i].place, lies[_i].value);
    else
        put32(at + lies[_i].place, (uint32_t)lies[_i].value);
    put32(at + 16, 0);
    put32(at + 16, crc(at, 92));
    expect_gpt(1);
}
END_TEST

START_TEST(gpt_entries_that_cannot_be)
{
    put_gpt();
    put_guid(0, 40, 39);
    ck_assert_int_eq(read_table(&ramdisk.block), EBADMSG);
    put_guid(0, 33, 50);
    ck_assert_int_eq(read_table(&ramdisk.block), EBADMSG);
    put_guid(0, 40, SECTORS - 33);
    ck_assert_int_eq(read_table(&ramdisk.block), EBADMSG);
    put_guid(0, 40, UINT64_MAX);
    ck_assert_int_eq(read_table(&ramdisk.block), ERANGE);
    put_guid(0, 40, 2000);
    ck_assert_int_eq(read_table(&ramdisk.block), EBADMSG);
    put_guid(0, 40, 1999);
    ck_assert_int_eq(read_table(&ramdisk.block), 0);
}
END_TEST

START_TEST(a_long_name_ends)
{
    put_gpt();
    for (unsigned i = 0; i < 36; i++) {
        image[1024 + 56 + 2 * i] = (uint8_t)(_i == 0 ? 0xac : 0x00);
        image[1024 + 57 + 2 * i] = (uint8_t)(_i == 0 ? 0x20 : 0xd8);
    }
    seal(1, 2);
    ck_assert_int_eq(read_table(&ramdisk.block), 0);
    ck_assert_uint_eq(strlen(parts[0].name), 108);
    ck_assert_int_eq(
        memcmp(parts[0].name, _i == 0 ? "\xe2\x82\xac" : "\xef\xbf\xbd", 3), 0);
}
END_TEST

START_TEST(a_truncated_image_is_an_error)
{
    put_gpt();
    ramdisk.block.size = 100 * 512;
    ck_assert_int_eq(read_table(&ramdisk.block), EBADMSG);
}
END_TEST

/* ---- sfdisk ---- */

static char directory[] = "/tmp/hurdmm-XXXXXX";
static char file[64];

/* Runs a command of sfdisk on the file. */
static int sfdisk(const char *arguments, const char *more)
{
    char command[512];

    snprintf(command, sizeof command,
             "PATH=$PATH:/sbin:/usr/sbin sfdisk %s %s %s", arguments, file,
             more);
    return system(command);
}

static bool have_sfdisk(void)
{
    if (system("PATH=$PATH:/sbin:/usr/sbin "
               "sfdisk --version > /dev/null 2>&1") == 0)
        return true;
    test_skip("sfdisk is not installed");
    return false;
}

static const char *const scripts[] = {
    "label: dos\n2048,10000,83,*\n,20000,b\n",
    "label: dos\n2048,1000,c\n4096,100000,E\n8192,2000,83\n12288,3000,82\n"
    "20480,4000,7\n30720,,83\n",
    "label: dos\n",
    "label: gpt\n",
    "label: gpt\nstart=2048,size=4096,type=L,name=\"first\"\n"
    "start=8192,size=100,type=S,name=\"se cond\"\n"
    "type=U,name=\"the rest\",attrs=\"RequiredPartition\"\n",
    "label: gpt\ntable-length: 8\n2048,10\n2058,10\n2068,10\n2078,10\n"
    "2088,10\n2098,10\n2108,10\n2118,10\n",
    "label: gpt\nfirst-lba: 64\n\n64,10\n",
};

#define SCRIPTS (int)(sizeof scripts / sizeof scripts[0])

/* Reads a number behind `key' in a line of a dump; false: it is not there. */
static bool number_of(const char *line, const char *key, uint64_t *number)
{
    const char *at = strstr(line, key);

    return at && sscanf(at + strlen(key), " %" SCNu64, number) == 1;
}

static void expect_line(const char *line, unsigned *found)
{
    const struct hurdmm_partition *part = &parts[*found];
    uint64_t start, size, number;
    unsigned type = 0;
    const char *at;
    char name[128];

    if (!number_of(line, "start=", &start))
        return;
    ck_assert(number_of(line, "size=", &size));
    ck_assert(strncmp(line, file, strlen(file)) == 0);
    number = strtoull(line + strlen(file), NULL, 10);
    at = strstr(line, "type=");
    if (table.scheme == HURDMM_PARTITION_MBR) {
        ck_assert(at && sscanf(at + 5, "%x", &type) == 1);
        if (type == 0x5 || type == 0xf || type == 0x85)
            return;
        ck_assert_uint_eq(part->flags, strstr(line, "bootable") ? 0x80 : 0);
    } else {
        ck_assert(at && sscanf(at + 5, "%x", &type) == 1);
        ck_assert_uint_eq(type, (unsigned)part->type_id[0] |
                                    (unsigned)part->type_id[1] << 8 |
                                    (unsigned)part->type_id[2] << 16 |
                                    (unsigned)part->type_id[3] << 24);
        type = 0;
        at = strstr(line, "name=\"");
        if (at && sscanf(at + 6, "%127[^\"]", name) == 1)
            ck_assert_str_eq(part->name, name);
        ck_assert_uint_eq(part->flags & 1,
                          strstr(line, "RequiredPartition") != NULL);
    }
    ck_assert_uint_eq(part->type, type);
    ck_assert_uint_eq(part->number, number);
    ck_assert_uint_eq(part->start, start * 512);
    ck_assert_uint_eq(part->size, size * 512);
    ++*found;
}

/* Makes the image, and a copy of what sfdisk says of it. */
static int make_image(const char *script)
{
    char path[80];
    FILE *stream;
    int fd;

    memcpy(directory + sizeof directory - 7, "XXXXXX", 6);
    ck_assert_ptr_nonnull(mkdtemp(directory));
    snprintf(file, sizeof file, "%s/image", directory);
    fd = open(file, O_RDWR | O_CREAT | O_EXCL, 0600);
    ck_assert_int_ge(fd, 0);
    ck_assert_int_eq(ftruncate(fd, 64 << 20), 0);
    snprintf(path, sizeof path, "%s/script", directory);
    stream = fopen(path, "w");
    ck_assert_ptr_nonnull(stream);
    fputs(script, stream);
    fclose(stream);
    snprintf(path, sizeof path, "< %s/script > /dev/null 2>&1", directory);
    ck_assert_int_eq(sfdisk("-q --no-reread --no-tell-kernel", path), 0);
    snprintf(path, sizeof path, "> %s/dump 2> /dev/null", directory);
    ck_assert_int_eq(sfdisk("-d", path), 0);
    return fd;
}

static void remove_image(int fd)
{
    char command[64];

    close(fd);
    snprintf(command, sizeof command, "rm -rf %s", directory);
    ck_assert_int_eq(system(command), 0);
}

static void compare_dump(void)
{
    char path[80], line[512];
    unsigned found = 0;
    FILE *stream;

    snprintf(path, sizeof path, "%s/dump", directory);
    stream = fopen(path, "r");
    ck_assert_ptr_nonnull(stream);
    while (fgets(line, sizeof line, stream))
        expect_line(line, &found);
    fclose(stream);
    ck_assert_uint_eq(found, table.count);
}

START_TEST(what_sfdisk_wrote_is_read)
{
    const char *script = scripts[_i];
    struct hurdmm_block *block;
    uint8_t zeros[512] = {0};
    int fd;

    if (!have_sfdisk())
        return;
    fd = make_image(script);
    ck_assert_int_eq(hurdmm_file_block_create(fd, 0, 512, &block), 0);
    ck_assert_int_eq(read_table(block), 0);
    ck_assert_int_eq(table.scheme, strstr(script, "gpt")
                                       ? HURDMM_PARTITION_GPT
                                       : HURDMM_PARTITION_MBR);
    ck_assert_int_eq(table.backup, 0);
    compare_dump();
    if (table.scheme == HURDMM_PARTITION_GPT) {
        ck_assert_int_eq(hurdmm_block_write(block, 512, zeros, 512), 0);
        ck_assert_int_eq(read_table(block), 0);
        ck_assert_int_eq(table.backup, 1);
        compare_dump();
    }
    hurdmm_file_block_destroy(block);
    remove_image(fd);
}
END_TEST

/* ---- Random tables ---- */

static uint64_t seed;

static uint64_t pick(uint64_t below)
{
    seed = seed * UINT64_C(6364136223846793005) + 1442695040888963407u;
    return (seed >> 24) % below;
}

/* Whatever is found lies on the disk and does not overlap. */
static void expect_sane(void)
{
    unsigned count = table.count < MAX ? table.count : MAX;

    for (unsigned i = 0; i < count; i++) {
        ck_assert_uint_gt(parts[i].size, 0);
        ck_assert_uint_gt(parts[i].start, 0);
        ck_assert_uint_le(parts[i].start, SECTORS * 512);
        ck_assert_uint_le(parts[i].size, SECTORS * 512 - parts[i].start);
        for (unsigned j = 0; j < i; j++)
            ck_assert(parts[j].start + parts[j].size <= parts[i].start ||
                      parts[i].start + parts[i].size <= parts[j].start);
        ck_assert_ptr_nonnull(memchr(parts[i].name, 0, sizeof parts[i].name));
    }
}

START_TEST(random_tables_harm_nobody)
{
    unsigned good = 0;

    for (size_t n = test_scaled(1000); n > 0; n--) {
        seed = (uint64_t)_i * 1000000 + n;
        memset(image, 0, 700 * 512);
        memset(image + (SECTORS - 40) * 512, 0, 40 * 512);
        if (_i % 2 == 0)
            put_gpt();
        else
            put_chain();
        for (unsigned i = (unsigned)pick(6); i > 0; i--) {
            static const uint64_t sectors[] = {0,   1,   2,          100,
                                               300, 600, SECTORS - 1};
            uint64_t sector = sectors[pick(7)];

            image[sector * 512 + pick(pick(2) ? 100 : 512)] =
                (uint8_t)(pick(2) ? pick(256) : pick(8));
        }
        for (unsigned i = 0; i < 4 && pick(3) == 0; i++)
            put_entry(pick(2) ? 100 : 0, i, (uint8_t)pick(16),
                      (uint32_t)pick(2 * SECTORS), (uint32_t)pick(SECTORS));
        if (_i % 2 == 0 && pick(2))
            seal(1, 2);
        if (read_table(&ramdisk.block) == 0) {
            expect_sane();
            good++;
        }
    }
    ck_assert_uint_gt(good, 0);
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("partition");
    TCase *mbr = tcase_create("mbr");
    TCase *gpt = tcase_create("gpt");
    TCase *tool = tcase_create("sfdisk");
    TCase *fuzz = tcase_create("random");

    tcase_add_checked_fixture(mbr, begin, end);
    tcase_add_test(mbr, primary_partitions_are_found);
    tcase_add_test(mbr, logical_partitions_are_numbered_from_5);
    tcase_add_test(mbr, only_as_many_as_fit_are_kept);
    tcase_add_test(mbr, no_table_is_ENOENT);
    tcase_add_test(mbr, an_empty_table_has_no_partitions);
    tcase_add_test(mbr, a_partition_past_the_end_is_ERANGE);
    tcase_add_test(mbr, partitions_that_overlap_are_EBADMSG);
    tcase_add_test(mbr, entries_that_mean_nothing_are_EBADMSG);
    tcase_add_test(mbr, a_chain_that_does_not_end_is_ELOOP);
    tcase_add_test(mbr, a_chain_stays_in_its_partition);
    tcase_add_test(mbr, wrong_arguments_are_EINVAL);
    tcase_add_test(mbr, an_error_of_the_device_is_passed_on);
    tcase_add_test(mbr, blocks_smaller_than_a_sector);
    tcase_add_checked_fixture(gpt, begin, end);
    tcase_add_test(gpt, gpt_partitions_are_found);
    tcase_add_loop_test(gpt, a_broken_header_gives_way_to_the_backup, 0, 10);
    tcase_add_loop_test(gpt, an_unreadable_header_gives_way_to_the_backup, 0,
                        2);
    tcase_add_loop_test(gpt, a_sealed_lie_is_still_a_lie, 0, 12);
    tcase_add_test(gpt, gpt_entries_that_cannot_be);
    tcase_add_loop_test(gpt, a_long_name_ends, 0, 2);
    tcase_add_test(gpt, a_truncated_image_is_an_error);
    tcase_add_loop_test(tool, what_sfdisk_wrote_is_read, 0, SCRIPTS);
    tcase_add_checked_fixture(fuzz, begin, end);
    tcase_add_loop_test(fuzz, random_tables_harm_nobody, 0, 4);
    tcase_set_timeout(fuzz, 60);
    suite_add_tcase(suite, mbr);
    suite_add_tcase(suite, gpt);
    suite_add_tcase(suite, tool);
    suite_add_tcase(suite, fuzz);
    return run_suites("tests/block/test-partition", &suite, 1);
}
