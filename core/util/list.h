/* SPDX-License-Identifier: GPL-2.0-only */
#pragma once
/* Intrusive circular doubly linked list. A head and an unlinked item both point to themselves. */
#include "formats/base.h"

struct list {
	struct list *next, *prev;
};
#define LIST_INIT(l) { &(l), &(l) }
static inline void list_init(struct list *l) { l->next = l->prev = l; }
static inline bool list_empty(const struct list *l) { return l->next == l; }
static inline void list_insert_between(struct list *l, struct list *prev, struct list *next)
{
	l->prev = prev;
	l->next = next;
	prev->next = next->prev = l;
}
static inline void list_add(struct list *head, struct list *l) { list_insert_between(l, head, head->next); }
static inline void list_add_tail(struct list *head, struct list *l) { list_insert_between(l, head->prev, head); }
static inline void list_del(struct list *l) /* leaves l unlinked: deleting twice is harmless */
{
	l->prev->next = l->next;
	l->next->prev = l->prev;
	list_init(l);
}
#define list_entry(ptr, type, member) container_of(ptr, type, member)
#define list_first(head, type, member) (list_empty(head) ? NULL : list_entry((head)->next, type, member))
#define list_last(head, type, member) (list_empty(head) ? NULL : list_entry((head)->prev, type, member))
#define list_for_each(pos, head, member) \
	for (pos = list_entry((head)->next, __typeof__(*pos), member); &pos->member != (head); \
	     pos = list_entry(pos->member.next, __typeof__(*pos), member))
/* The current item may be removed inside the loop (but nothing may yield while others change the list). */
#define list_for_each_safe(pos, tmp, head, member) \
	for (pos = list_entry((head)->next, __typeof__(*pos), member), \
	    tmp = list_entry(pos->member.next, __typeof__(*pos), member); \
	     &pos->member != (head); pos = tmp, tmp = list_entry(tmp->member.next, __typeof__(*tmp), member))
