/* SPDX-License-Identifier: MIT */
/*
 * A kernel that stops in the middle: every second call on the descriptor is
 * ended early, with nothing done (EAGAIN) or with a part of the range done.  The
 * system does so while its address space changes; here ioctl() is our own.
 */
#include "tests/linux/rig.h"

#include <errno.h>
#include <pthread.h>
#include <signal.h>
#include <stdarg.h>
#include <string.h>
#include <unistd.h>

#include <linux/userfaultfd.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/syscall.h>

#include <hurdmm/host.h>
#include <hurdmm/port.h>

/* Calls on ranges that were ended early, by what they are to do. */
enum call { COPY, PROTECT, POISON, ASK, CALLS };

static atomic_uint turn[CALLS], refused[CALLS], cut[CALLS];

static int system_ioctl(int fd, unsigned long request, void *argument)
{
    return (int)syscall(SYS_ioctl, fd, request, argument);
}

static int say_again(void)
{
    errno = EAGAIN;
    return -1;
}

/* Copies all but the last page and says so. */
static int cut_copy(int fd, struct uffdio_copy *copy)
{
    uint64_t length = copy->len;
    copy->len -= PAGE;
    int error = system_ioctl(fd, UFFDIO_COPY, copy);
    copy->len = length;
    if (error)
        return error;
    atomic_fetch_add(&cut[COPY], 1);
    return say_again();
}

/* Protects the first half and does not say so: the kernel does not. */
static int cut_protect(int fd, const struct uffdio_writeprotect *protect)
{
    struct uffdio_writeprotect half = *protect;
    half.range.len = protect->range.len / 2 / PAGE * PAGE;
    if (system_ioctl(fd, UFFDIO_WRITEPROTECT, &half))
        return -1;
    atomic_fetch_add(&cut[PROTECT], 1);
    return say_again();
}

/* The structure of UFFDIO_CONTINUE, which headers may lack. */
struct mapping {
    uint64_t start, length, mode;
    int64_t mapped;
};

/* Maps all but the last page and says so, where it is a range that shows an
 * object; else it only asks. */
static int cut_mapping(int fd, unsigned long request, struct mapping *mapping)
{
    uint64_t length = mapping->length;
    mapping->length -= PAGE;
    int error = system_ioctl(fd, request, mapping);
    mapping->length = length;
    if (error)
        return error;
    atomic_fetch_add(&cut[ASK], 1);
    return say_again();
}

static int refuse(enum call call)
{
    atomic_fetch_add(&refused[call], 1);
    return say_again();
}

/* What a call is, by its number, whatever the size of what it takes. */
static enum call call_of(unsigned long request)
{
    if (_IOC_TYPE(request) != UFFDIO)
        return CALLS;
    switch (_IOC_NR(request)) {
    case _UFFDIO_COPY:
        return COPY;
    case _UFFDIO_WRITEPROTECT:
        return PROTECT;
    case 7: /* UFFDIO_CONTINUE, by which it is asked whose a range is */
        return ASK;
    case 8: /* UFFDIO_POISON */
        return POISON;
    default:
        return CALLS;
    }
}

static int stop_early(int fd, unsigned long request, void *argument,
                      unsigned now)
{
    enum call call = call_of(request);
    struct mapping *mapping = argument;
    struct uffdio_copy *copy = argument;
    struct uffdio_writeprotect *protect = argument;
    if (call == COPY && now % 4 == 1 && copy->len > PAGE)
        return cut_copy(fd, copy);
    if (call == PROTECT && now % 4 == 1 && protect->range.len > PAGE)
        return cut_protect(fd, protect);
    if (call == ASK && now % 4 == 1 && mapping->length > PAGE)
        return cut_mapping(fd, request, mapping);
    if (call == COPY)
        copy->copy = -EAGAIN;
    return refuse(call);
}

/* If set, what every copy answers: nothing that the system's documents have. */
static atomic_int strange;

/* If set, it is called once, when a page was copied and before the port knows. */
static void (*after_copy)(void);

static int copy_and_call(int fd, unsigned long request, void *argument)
{
    void (*call)(void) = after_copy;
    after_copy = NULL;
    int error = system_ioctl(fd, request, argument);
    call();
    return error;
}

int ioctl(int fd, unsigned long request, ...)
{
    va_list list;
    va_start(list, request);
    void *argument = va_arg(list, void *);
    va_end(list);
    enum call call = call_of(request);
    if (call == COPY && atomic_load(&strange)) {
        errno = atomic_load(&strange);
        return -1;
    }
    if (call == COPY && after_copy)
        return copy_and_call(fd, request, argument);
    unsigned now = call == CALLS ? 0 : atomic_fetch_add(&turn[call], 1);
    return now % 2 ? stop_early(fd, request, argument, now)
                   : system_ioctl(fd, request, argument);
}

static const struct rig_options ways[] = {
    {.pages = 256, .budget = 48},
    {.pages = 256, .budget = 128, .block_pages = 4},
    {.pages = 256,
     .budget = 48,
     .bind_flags = HURDMM_BIND_INLINE,
     .manager_flags = HURDMM_NO_THREADS},
    {.pages = 256, .budget = 48, .store_flags = HURDMM_STORE_SHARED},
};

static bool is_shared(int way)
{
    return ways[way].store_flags & HURDMM_STORE_SHARED;
}

#define WAYS ((int)(sizeof ways / sizeof ways[0]))

static struct rig rig;

static void expect_stopped(enum call call)
{
    ck_assert_uint_gt(atomic_load(&refused[call]), 0);
}

START_TEST(what_is_written_comes_back_though_every_second_call_stops)
{
    static uint8_t model[256 * PAGE];
    uint32_t state = 1;
    if (!rig_open(&rig, &ways[_i]))
        return;
    memcpy(model, rig.disk, sizeof model);
    for (size_t i = 0; i < sizeof model; i += PAGE) /* by windows */
        ck_assert_uint_eq(rig_at(&rig, 0)[i], model[i]);
    for (size_t i = 0; i < 1000; i++) {
        state = state * 1664525 + 1013904223;
        size_t at = (state >> 4) % sizeof model;
        if (state >> 31)
            rig_at(&rig, 0)[at] = model[at] = (uint8_t)i;
        else
            ck_assert_uint_eq(rig_at(&rig, 0)[at], model[at]);
        if (i % 250 == 0)
            ck_assert_int_eq(
                hurdmm_store_flush(rig.store, 0, HURDMM_WHOLE, HURDMM_WAIT), 0);
    }
    rig_check(&rig);
    ck_assert_int_eq(
        hurdmm_store_flush(rig.store, 0, HURDMM_WHOLE, HURDMM_WAIT), 0);
    ck_assert_int_eq(memcmp(rig.disk, model, sizeof model), 0);
    expect_stopped(PROTECT);
    expect_stopped(ASK);
    if (!is_shared(_i)) {
        expect_stopped(COPY);
        ck_assert_uint_gt(atomic_load(&cut[COPY]), 0);
        ck_assert_uint_gt(atomic_load(&cut[PROTECT]), 0);
    } else {
        ck_assert_uint_gt(atomic_load(&cut[ASK]), 0);
    }
    rig_close(&rig);
}
END_TEST

START_TEST(an_access_fails_though_the_call_that_makes_it_stops)
{
    char text[512];
    catch_install();
    if (!rig_open(&rig, &ways[_i]))
        return;
    for (unsigned i = 1; i < 64; i += 7) { /* each in another block */
        atomic_store(&rig.in_error, ETIMEDOUT);
        ck_assert_int_eq(try_read(rig_at(&rig, i)), SIGBUS);
        atomic_store(&rig.in_error, 0);
        ck_assert_int_eq(try_read(rig_at(&rig, i)), 0);
        ck_assert_uint_eq(*rig_at(&rig, i), i + 1);
    }
    ck_assert_int_eq(hurdmm_port_describe(rig.port, text, sizeof text), 0);
    if (!rig_is_inline(&rig, &ways[_i]) && strstr(text, "pages by poison"))
        expect_stopped(POISON);
    rig_close(&rig);
}
END_TEST

START_TEST(a_hole_is_found_though_the_call_that_asks_stops)
{
    catch_install();
    if (!rig_open(&rig, &ways[_i]))
        return;
    for (size_t i = 0; i < 24; i++)
        *rig_at(&rig, i) = 99;
    ck_assert_int_eq(munmap((void *)(uintptr_t)rig_at(&rig, 8), 8 * PAGE), 0);
    for (size_t i = 24; i < rig.pages; i++)
        ck_assert_uint_eq(*rig_at(&rig, i), (uint8_t)(i + 1));
    for (size_t i = 0; i < 24; i++)
        ck_assert_int_eq(try_read(rig_at(&rig, i)), i / 8 == 1 ? SIGSEGV : 0);
    ck_assert_int_eq(
        hurdmm_store_flush(rig.store, 0, HURDMM_WHOLE, HURDMM_WAIT), 0);
    for (size_t i = 0; i < 24; i++)
        if (i / 8 != 1)
            ck_assert_uint_eq(rig.disk[i * PAGE], 99);
    ck_assert_int_eq(hurdmm_unbind(rig.space, rig.region, rig.pages * PAGE), 0);
    expect_stopped(ASK);
    rig_check(&rig);
    rig_close(&rig);
}
END_TEST

START_TEST(a_dirty_page_outlives_an_answer_that_nobody_expects)
{
    const uint8_t byte = 99;
    size_t done;
    catch_install();
    if (is_shared(_i) || !rig_open(&rig, &ways[_i]))
        return;
    ck_assert_int_eq(hurdmm_store_write(rig.store, 0, &byte, 1, &done), 0);
    atomic_store(&strange, EBUSY);
    ck_assert_int_ne(try_read(rig_at(&rig, 0)), 0);
    atomic_store(&strange, 0);
    ck_assert_int_eq(try_read(rig_at(&rig, 0)), 0);
    ck_assert_uint_eq(*rig_at(&rig, 0), byte);
    ck_assert_int_eq(
        hurdmm_store_flush(rig.store, 0, HURDMM_WHOLE, HURDMM_WAIT), 0);
    ck_assert_uint_eq(rig.disk[0], byte);
    rig_check(&rig);
    rig_close(&rig);
}
END_TEST

/* ---- A fault between a page's coming and the note of it ---- */

static struct hurdmm_port *port;
static volatile uint8_t *page;
static pthread_t writer;
static struct hurdmm_fault early;

static void *write_page(void *argument)
{
    *page = 9;
    return argument;
}

static void take_fault(struct hurdmm_fault *fault)
{
    size_t count = 0;
    ck_assert_int_eq(
        port->ops->fault_wait(port, fault, 1, HURDMM_FOREVER, &count), 0);
    ck_assert_uint_eq(count, 1);
    ck_assert_uint_eq(fault->access, HURDMM_WRITE);
}

/* The page is there to read: a thread writes, and its fault is taken. */
static void fault_early(void)
{
    ck_assert_int_eq(pthread_create(&writer, NULL, write_page, NULL), 0);
    take_fault(&early);
}

static void lend_page(unsigned rights)
{
    uintptr_t cookie;
    uint32_t done;
    ck_assert_int_eq(port->ops->critical_enter(port, &cookie), 0);
    ck_assert_int_eq(
        port->ops->lend(port, NULL, (uintptr_t)page, 0, 1, rights, &done), 0);
    port->ops->critical_leave(port, cookie);
}

START_TEST(a_thread_that_faults_while_a_page_comes_is_woken)
{
    struct hurdmm_linux_options options = {.struct_size = sizeof options};
    struct hurdmm_port_config config = {.struct_size = sizeof config,
                                        .frames = 8};
    struct hurdmm_port_info info;
    struct hurdmm_fault fault;
    uintptr_t at = 0;
    void *window;
    if (hurdmm_linux_create(&options, &port) == ENOTSUP) {
        test_skip("the machine does not have this port");
        return;
    }
    ck_assert_int_eq(port->ops->open(port, &config, &info), 0);
    ck_assert_int_eq(port->ops->reserve(port, NULL, &at, PAGE, 0), 0);
    ck_assert_int_eq(port->ops->window(port, 0, 1, &window), 0);
    memset(window, 1, PAGE);
    page = (volatile uint8_t *)at;
    after_copy = fault_early;
    lend_page(HURDMM_READ);
    /* Whoever answers may want the access repeated, without lending more. */
    port->ops->fault_done(port, &early, 0);
    take_fault(&fault);
    lend_page(HURDMM_READ | HURDMM_WRITE);
    port->ops->fault_done(port, &fault, 0);
    ck_assert_int_eq(pthread_join(writer, NULL), 0);
    ck_assert_uint_eq(*page, 9);
    port->ops->fault_stop(port);
    struct hurdmm_reclaim row = {.address = at, .count = 1};
    size_t rows;
    ck_assert_int_eq(port->ops->reclaim(port, &row, 1, &rows), 0);
    port->ops->release(port, NULL, at, PAGE);
    port->ops->close(port);
    ck_assert_int_eq(hurdmm_linux_destroy(port), 0);
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("again");
    TCase *tcase = tcase_create("again");
    tcase_set_timeout(tcase, 120);
    tcase_add_loop_test(
        tcase, what_is_written_comes_back_though_every_second_call_stops, 0,
        WAYS);
    tcase_add_loop_test(
        tcase, an_access_fails_though_the_call_that_makes_it_stops, 0, WAYS);
    tcase_add_loop_test(tcase, a_hole_is_found_though_the_call_that_asks_stops,
                        0, WAYS);
    tcase_add_loop_test(
        tcase, a_dirty_page_outlives_an_answer_that_nobody_expects, 0, WAYS);
    tcase_add_test(tcase, a_thread_that_faults_while_a_page_comes_is_woken);
    suite_add_tcase(suite, tcase);
    return run_suites("tests/linux/test-again", &suite, 1);
}
