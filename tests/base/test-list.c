/* SPDX-License-Identifier: MIT */
/*
 * Intrusive lists.
 */
#include "lib/base/list.h"

#include "tests/support/runner.h"

struct item {
    int number;
    struct hmm_list node;
};

static struct hmm_list list;
static struct item item[4];

static void setup(void)
{
    hmm_list_init(&list);
    for (int i = 0; i < 4; i++) {
        item[i].number = i;
        hmm_list_init(&item[i].node);
    }
}

static int number_of(struct hmm_list *node)
{
    return HMM_CONTAINER_OF(node, struct item, node)->number;
}

/* The numbers on the list, as the digits of one number. */
static int digits(void)
{
    struct hmm_list *node;
    int sum = 0;

    HMM_LIST_FOR_EACH(node, &list)
    {
        ck_assert_ptr_eq(node->next->prev, node);
        sum = sum * 10 + number_of(node);
    }
    return sum;
}

START_TEST(an_empty_list_has_no_first_node)
{
    struct hmm_list *node;

    ck_assert(hmm_list_empty(&list));
    ck_assert_ptr_null(hmm_list_first(&list));
    HMM_LIST_FOR_EACH(node, &list)
    ck_abort();
}
END_TEST

START_TEST(nodes_stand_in_the_order_they_were_put)
{
    hmm_list_append(&list, &item[2].node);
    hmm_list_append(&list, &item[3].node);
    hmm_list_prepend(&list, &item[1].node);
    ck_assert_int_eq(digits(), 123);
    ck_assert_ptr_eq(hmm_list_first(&list), &item[1].node);
    ck_assert(!hmm_list_empty(&list));
}
END_TEST

START_TEST(a_removed_node_is_on_no_list_and_can_be_removed_again)
{
    for (int i = 1; i < 4; i++)
        hmm_list_append(&list, &item[i].node);
    hmm_list_remove(&item[2].node);
    ck_assert(hmm_list_empty(&item[2].node));
    hmm_list_remove(&item[2].node);
    ck_assert_int_eq(digits(), 13);
    hmm_list_append(&list, &item[2].node);
    ck_assert_int_eq(digits(), 132);
}
END_TEST

START_TEST(nodes_may_be_removed_during_a_safe_walk)
{
    struct hmm_list *node;
    struct hmm_list *next;

    for (int i = 1; i < 4; i++)
        hmm_list_append(&list, &item[i].node);
    HMM_LIST_FOR_EACH_SAFE(node, next, &list)
    {
        if (number_of(node) != 2)
            hmm_list_remove(node);
    }
    ck_assert_int_eq(digits(), 2);
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("list");
    TCase *tcase = tcase_create("list");

    tcase_add_checked_fixture(tcase, setup, NULL);
    tcase_add_test(tcase, an_empty_list_has_no_first_node);
    tcase_add_test(tcase, nodes_stand_in_the_order_they_were_put);
    tcase_add_test(tcase,
                   a_removed_node_is_on_no_list_and_can_be_removed_again);
    tcase_add_test(tcase, nodes_may_be_removed_during_a_safe_walk);
    suite_add_tcase(suite, tcase);
    return run_suites("list", &suite, 1);
}
