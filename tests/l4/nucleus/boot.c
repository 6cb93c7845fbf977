/* SPDX-License-Identifier: MIT */
/* From the boot loader to the first instruction of the root task: what a boot
 * loader for L4, the kernel and sigma0 do elsewhere.
 *
 * The modules: any called kernel or sigma0 are passed over, the next is the
 * root task, an ELF file that is loaded at its physical addresses; the others
 * stay where they are and are described to the root task.
 */
#include "nucleus.h"

#define BOOT_PAGES 2u
#define KERNEL_MEMORY 0x1000000u /* at least; else a sixteenth */
#define IMAGE_NAME_MAX 512u

struct multiboot {
    uint32_t flags, lower, upper, device, line, modules, module_at;
    uint32_t symbols[4], map_length, map_at;
};
struct module {
    uint32_t start, end, line, unused;
};
struct map_entry {
    uint32_t size, base, base_high, length, length_high, type;
} __attribute__((packed));

struct elf_header {
    uint8_t magic[16];
    uint16_t type, machine;
    uint32_t version, entry, programs, sections, flags;
    uint16_t size, program_size, program_count;
};
struct elf_program {
    uint32_t type, offset, address, physical, in_file, in_memory, flags, align;
};

extern uint8_t image_start[], image_end[];
extern uint8_t gate_ipc[], gate_lipc[], gate_unmap[], gate_exchange_registers[],
    gate_system_clock[], gate_thread_switch[], gate_schedule[],
    gate_thread_control[], gate_space_control[], gate_processor_control[],
    gate_memory_control[];

/* The boot information and the multiboot structure for the root task. */
static uint8_t boot_pages[BOOT_PAGES * PAGE] __attribute__((aligned(4096)));
static struct module modules[32];
static unsigned module_count;
static uint32_t memory_end, root_start = ~0u, root_end, root_entry;
static uint32_t descriptor_count;

/* ---- The kernel interface page ----------------------------------------------- */

static void describe(uint32_t type, uint32_t start, uint32_t end)
{
    uint32_t *at = &kip[KIP_DESCRIPTORS / 4 + 2 * descriptor_count];
    if (++descriptor_count > KIP_DESCRIPTORS_MAX)
        stop("too many memory descriptors");
    at[0] = (start & ~0x3ffu) | type;
    at[1] = (end - 1) & ~0x3ffu;
}

/* The type of the page at an address: the last descriptor says it. */
unsigned kip_kind(uint32_t address)
{
    unsigned kind = 0;
    for (uint32_t i = 0; i < descriptor_count; i++) {
        const uint32_t *at = &kip[KIP_DESCRIPTORS / 4 + 2 * i];
        if (!(at[0] & 0x200) && (at[0] & ~(PAGE - 1)) <= address &&
            (at[1] | 0x3ff) >= address)
            kind = at[0] & 0xf;
    }
    return kind;
}

static void describe_memory(const struct multiboot *info)
{
    uint32_t at = info->map_at, pool;
    describe(4, 0, 0);
    while (at < info->map_at + info->map_length) {
        const struct map_entry *entry = from_physical(at);
        uint32_t end = entry->base + entry->length;
        at += entry->size + 4;
        if (entry->base_high != 0)
            continue;
        if (entry->type == 1 && end > memory_end)
            memory_end = end > 0x3f000000u ? 0x3f000000u : end;
        describe(entry->type == 1 ? 0x11 : 0x2f, entry->base, end);
    }
    pool = memory_end / 16 > KERNEL_MEMORY ? memory_end / 16 : KERNEL_MEMORY;
    pool = (memory_end - pool) & ~(LARGE - 1);
    describe(2, pool, memory_end);
    describe(4, 0xa0000, 0xc0000);
    describe(4, 0xc0000, 0xf0000);
    describe(2, to_physical(image_start), to_physical(image_end));
    describe(0x1e, to_physical(boot_pages),
             to_physical(boot_pages + sizeof boot_pages));
    describe(0x2e, root_start, root_end);
    for (unsigned i = 1; i < module_count; i++)
        describe(0x3e, modules[i].start, modules[i].end);
    describe(0x201, 0, USER_END);
    pages_init(pool, memory_end);
}

static void set_gates(void)
{
    static const struct {
        unsigned offset;
        const uint8_t *gate;
    } gates[] = {
        {0xd0, gate_space_control},
        {0xd4, gate_thread_control},
        {0xd8, gate_processor_control},
        {0xdc, gate_memory_control},
        {0xe0, gate_ipc},
        {0xe4, gate_lipc},
        {0xe8, gate_unmap},
        {0xec, gate_exchange_registers},
        {0xf0, gate_system_clock},
        {0xf4, gate_thread_switch},
        {0xf8, gate_schedule},
    };
    for (unsigned i = 0; i < sizeof gates / sizeof *gates; i++)
        kip[gates[i].offset / 4] =
            (uint32_t)(gates[i].gate - (const uint8_t *)kip);
}

/* Kernel id, date, version, supplier, then strings until an empty one. */
static void set_features(void)
{
    static const char with[] = "nucleus, a test kernel\0pagerexregs\0"
                               "ioflexpages\0";
    static const char without[] = "nucleus, a test kernel\0pagerexregs\0";
    kip[0x130 / 4] = 0x7f000000;
    kip[0x134 / 4] = 26u << 9 | 1u << 5 | 1;
    kip[0x138 / 4] = 0x00010000;
    memcpy(&kip[0x13c / 4], "HMM ", 4);
    if (options.ports)
        memcpy(&kip[0x140 / 4], with, sizeof with);
    else
        memcpy(&kip[0x140 / 4], without, sizeof without);
}

static void make_kip(void)
{
    memcpy(kip, "L4\346K", 4);
    kip[1] = 0x84050000;
    kip[3] = 0x130;
    kip[0x44 / 4] = root_entry;
    kip[0x48 / 4] = root_start;
    kip[0x4c / 4] = root_end;
    kip[0x54 / 4] = KIP_DESCRIPTORS << 16 | descriptor_count;
    kip[0xa8 / 4] = 1 | 9u << 10 | 12u << 16;
    kip[0xac / 4] = 12;
    kip[0xb8 / 4] = to_physical(boot_pages);
    kip[0xbc / 4] = 0x120;
    kip[0xc4 / 4] = 17 | SYSTEM_BASE << 8 | USER_BASE << 20;
    kip[0xc8 / 4] = READ | WRITE | (PAGE | LARGE);
    kip[0xcc / 4] = 4u << 28;
    set_gates();
    set_features();
}

/* ---- Boot information -------------------------------------------------------- */

static uint32_t text_length(const char *text)
{
    uint32_t length = 0;
    while (text[length] != '\0')
        length++;
    return length;
}

/* A record of `words' words, the last of which says where the line is. */
static uint32_t *add_record(uint32_t *at, const uint32_t *words, unsigned count,
                            const char *line)
{
    uint32_t length = line != NULL ? text_length(line) + 1 : 0;
    uint32_t bytes = 4 * count + ((length + 3) & ~3u);
    uint32_t *next = at + bytes / 4;
    if (length > IMAGE_NAME_MAX || (uint8_t *)next > boot_pages + PAGE)
        stop("the modules' names are too long");
    memcpy(at, words, 4 * count);
    at[2] = bytes;
    if (line != NULL) {
        at[count - 1] = 4 * count;
        memcpy(at + count, line, length);
    }
    return next;
}

static uint32_t *add_image(uint32_t *at, uint32_t start, uint32_t end,
                           uint32_t entry, const char *line)
{
    const uint32_t words[] = {2, 1,   0,   start, start, end - start, end, end,
                              0, end, end, 0,     entry, 1,           0,   0};
    return add_record(at, words, 16, line);
}

/* The multiboot structure, its modules (as a kernel with three of its own
 * would show them) and no strings but the root task's line. */
static void copy_multiboot(void)
{
    uint32_t *to = (uint32_t *)(boot_pages + PAGE);
    struct multiboot *info = (struct multiboot *)to;
    struct module *list = (struct module *)(to + 32);
    memset(to, 0, PAGE);
    info->flags = 0x0d;
    info->lower = 639;
    info->upper = (memory_end - 0x100000) / 1024;
    info->modules = module_count + 2;
    info->module_at = to_physical(list);
    char *line = (char *)(list + module_count + 2);
    memcpy(line, from_physical(modules[0].line),
           text_length(from_physical(modules[0].line)) + 1);
    info->line = to_physical(line);
    for (unsigned i = 0; i < module_count + 2; i++)
        list[i].line = to_physical(line + text_length(line));
    for (unsigned i = 0; i < module_count; i++)
        list[i + 2] = modules[i];
}

static void make_boot_information(void)
{
    uint32_t *head = (uint32_t *)boot_pages, *at = head + 8;
    const uint32_t multiboot[] = {0x102, 1, 0, to_physical(boot_pages + PAGE)};
    at = add_image(at, 0x20000, 0x2a000, 0x20000, "sigma0");
    at = add_image(at, root_start, root_end, root_entry,
                   from_physical(modules[0].line));
    for (unsigned i = 1; i < module_count; i++) {
        const uint32_t words[] = {
            1, 1, 0, modules[i].start, modules[i].end - modules[i].start, 0};
        at = add_record(at, words, 6, from_physical(modules[i].line));
    }
    copy_multiboot();
    at = add_record(at, multiboot, 4, NULL);
    const uint32_t words[] = {0x14b0021d, 1,
                              (uint32_t)((uint8_t *)at - boot_pages), 32,
                              module_count + 2};
    memcpy(head, words, sizeof words);
}

/* ---- The root task ----------------------------------------------------------- */

static void refuse_overlap(uint32_t start, uint32_t end)
{
    if (start < to_physical(image_end) && end > to_physical(image_start))
        stop("the root task at %x lies on the nucleus", start);
    for (unsigned i = 0; i < module_count; i++)
        if (start < modules[i].end && end > modules[i].start)
            stop("the root task, %x to %x, lies on module %u at %x", start, end,
                 i, modules[i].start);
}

static void load_root(void)
{
    const uint8_t *file = from_physical(modules[0].start);
    const struct elf_header *header = (const struct elf_header *)file;
    if (header->magic[0] != 0x7f || header->magic[1] != 'E' ||
        header->type != 2 || header->machine != 3)
        stop("the root task is no ELF program of ia32");
    for (unsigned i = 0; i < header->program_count; i++) {
        const struct elf_program *part =
            (const struct elf_program *)(file + header->programs +
                                         i * header->program_size);
        if (part->type != 1 || part->in_memory == 0)
            continue;
        refuse_overlap(part->physical, part->physical + part->in_memory);
        memcpy(from_physical(part->physical), file + part->offset,
               part->in_file);
        memset(from_physical(part->physical + part->in_file), 0,
               part->in_memory - part->in_file);
        if (part->physical < root_start)
            root_start = part->physical;
        if (part->physical + part->in_memory > root_end)
            root_end = part->physical + part->in_memory;
    }
    root_entry = header->entry;
}

static void start_root(void)
{
    struct space *space = space_new();
    struct thread *root = thread_new(ROOT);
    space_areas(space, 0xbff00000, 0xbf000000, 17);
    space->threads = 1;
    root->space = space;
    root->local = 0xbf000100;
    root->scheduler = ROOT;
    root->mr = space_utcb(space, root->local);
    root->mr[TCR_ID] = ROOT;
    root->mr[TCR_PAGER] = SIGMA0;
    root->frame.eip = root_entry;
    root->priority = 255;
    thread_ready(root);
    thread_switch_to(root);
    machine_resume(&root->frame);
}

/* ---- Modules ----------------------------------------------------------------- */

/* Whether the file that a module's line names is called this. */
static bool is_called(const char *line, const char *name)
{
    const char *last = line;
    for (const char *at = line; *at != '\0' && *at != ' '; at++)
        if (*at == '/')
            last = at + 1;
    while (*name != '\0' && *last == *name) {
        last++;
        name++;
    }
    return *name == '\0' && (*last == '\0' || *last == ' ');
}

static void find_modules(const struct multiboot *info)
{
    const struct module *list = from_physical(info->module_at);
    unsigned skip = 0;
    while (skip < info->modules && skip < 2 &&
           (is_called(from_physical(list[skip].line), "kernel") ||
            is_called(from_physical(list[skip].line), "sigma0")))
        skip++;
    for (unsigned i = skip; i < info->modules && module_count < 32; i++)
        modules[module_count++] = list[i];
    if (!(info->flags & 8) || module_count == 0)
        stop("no root task: -initrd \"ROOT[ words][,MODULE...]\"");
}

static void start_serial(void)
{
    static const uint8_t settings[][2] = {{1, 0}, {3, 0x80}, {0, 1},   {1, 0},
                                          {3, 3}, {2, 0xc7}, {4, 0x0b}};
    for (unsigned i = 0; i < sizeof settings / sizeof *settings; i++)
        out8((uint16_t)(0x3f8 + settings[i][0]), settings[i][1]);
}

void boot_main(uint32_t magic, uint32_t information)
{
    const struct multiboot *info = from_physical(information);
    start_serial();
    if (magic != 0x2badb002 || !(info->flags & 0x40))
        stop("not started by a multiboot loader with a memory map");
    if (info->flags & 4)
        options_read(from_physical(info->line));
    find_modules(info);
    load_root();
    describe_memory(info);
    make_kip();
    make_boot_information();
    trap_init();
    sigma0_init(memory_end);
    sigma0_own(root_start, root_end, ROOT);
    print("nucleus: %u MiB, seed=%u strict=%u check=%u yield=%u step=%u "
          "late=%u spurious=%u less=%u timeout=%u refuse=%u\n",
          memory_end >> 20, options.seed, options.strict, options.check,
          options.yield, options.step, options.late, options.spurious,
          options.less, options.timeout, options.refuse);
    start_root();
}
