/* SPDX-License-Identifier: GPL-2.0-only */
/* Entries, pins, group commit. */
#include "core/journal/journal.h"

#include <stdlib.h>

#include "core/btree/keylist.h"
#include "core/set/cset.h"

#define PINS_MIN 32768u
/*
 * An admitted operation may need one root change per key to get in (nodes of one block), each of them an entry, and one or two more for the
 * priorities behind the buckets it takes, while its pin holds the ring. So
 * both the operations and the keys of each are limited to a share of the ring. Only tiny rings notice.
 */
#define ENTRIES_PER_OPERATION 32
#define ENTRIES_PER_KEY 32
#define TINY_RING_ENTRIES 128 /* below this, entries are kept to one block */

static void delay_expired(struct timer *t)
{
	struct journal *j = container_of(t, struct journal, delay_timer);

	j->buf[j->open_buf].need_write = true;
	wake_all(&j->work);
}

/* Entries of one block that the ring holds beside the kept blocks. */
static uint64_t ring_entries(const struct journal *j)
{
	return (uint64_t)j->nr_buckets * (j->blocks_per_bucket > 1 ? j->blocks_per_bucket - 1 : 1);
}

int journal_init(struct cset *c)
{
	struct journal *j = &c->journal;

	j->c = c;
	j->first_bucket = (uint32_t)c->g.first_bucket;
	j->nr_buckets = c->super->keys;
	j->blocks_per_bucket = c->g.bucket_sectors / c->g.block_sectors;
	j->max_operations = (unsigned)max(1ull, ring_entries(j) / ENTRIES_PER_OPERATION);
	wait_queue_init(&j->space);
	wait_queue_init(&j->durable);
	wait_queue_init(&j->work);
	timer_init(&j->delay_timer, delay_expired);
	j->bucket_seq = calloc(JOURNAL_BUCKETS_MAX, sizeof(*j->bucket_seq));
	j->cap_pins = PINS_MIN;
	j->pins = calloc(j->cap_pins, sizeof(*j->pins));
	if (!j->bucket_seq || !j->pins)
		return -ENOMEM;
	for (int i = 0; i < 2; i++) {
		if (posix_memalign((void **)&j->buf[i].jset, PAGE_BYTES, JSET_BYTES_MAX))
			return -ENOMEM;
		memset(j->buf[i].jset, 0, JSET_BYTES_MAX);
	}
	return 0;
}

void journal_release(struct cset *c)
{
	struct journal *j = &c->journal;

	if (!j->c)
		return;
	timer_cancel(&j->delay_timer);
	for (size_t i = 0; i < j->nr_found; i++)
		free(j->found[i].jset);
	free(j->found);
	free(j->buf[0].jset);
	free(j->buf[1].jset);
	free(j->pins);
	free(j->bucket_seq);
	memset(j, 0, sizeof(*j));
}

/* --- pins -------------------------------------------------------------------------------------------------------------- */

void journal_unpin(struct journal *j, uint64_t seq)
{
	uint64_t mask = j->cap_pins - 1, oldest = j->oldest_seq;

	assert(seq >= j->oldest_seq && seq <= j->seq && j->pins[seq & mask]);
	j->pins[seq & mask]--;
	while (j->oldest_seq < j->seq && !j->pins[j->oldest_seq & mask])
		j->oldest_seq++;
	if (j->oldest_seq != oldest && (j->want_room || j->buf[j->open_buf].need_write)) /* the writer may be waiting for just this */
		wake_all(&j->work);
}

void journal_leave(struct journal *j)
{
	assert(j->nr_operations > 0);
	if (j->nr_operations-- == j->max_operations)
		wake_all(&j->space);
}

void journal_release_keys(struct journal *j, uint64_t seq)
{
	journal_leave(j);
	journal_unpin(j, seq);
}

/* --- appending --------------------------------------------------------------------------------------------------------- */

static struct jset *open_entry(const struct journal *j) { return j->buf[j->open_buf].jset; }

static uint32_t blocks_of(const struct journal *j, size_t bytes)
{
	return (uint32_t)div_round_up_u64(bytes, geometry_block_bytes(&j->c->g));
}

/* An entry never crosses a bucket, and its bucket's last block is not for keys. */
static size_t entry_bytes_max(const struct journal *j)
{
	uint32_t blocks = j->blocks_per_bucket > 1 ? j->blocks_per_bucket - 1 : 1;

	if (ring_entries(j) < TINY_RING_ENTRIES)
		blocks = 1;
	return min((size_t)JSET_BYTES_MAX, (size_t)blocks * geometry_block_bytes(&j->c->g));
}

uint32_t journal_append_max_words(const struct cset *c)
{
	uint32_t words = (uint32_t)((geometry_block_bytes(&c->g) - sizeof(struct jset)) / 8);

	return (uint32_t)clamp(ring_entries(&c->journal) / ENTRIES_PER_KEY * 3, (uint64_t)BKEY_WORDS_MAX, (uint64_t)words);
}

static bool fits(const struct journal *j, uint32_t words)
{
	size_t bytes = jset_bytes(open_entry(j)) + words * 8;

	return bytes <= entry_bytes_max(j) && j->nr_operations < j->max_operations && journal_has_place(j, blocks_of(j, bytes), JOURNAL_KEYS);
}

/* Write what is there, and wait until the open entry can take more. */
static void wait_for_space(struct cset *c)
{
	struct journal *j = &c->journal;

	if (j->nr_operations >= j->max_operations) { /* the next one that leaves wakes us; the writer cannot help (sim 7514 --faults) */
		wait_queue_wait(&j->space);
		return;
	}
	if (j->buf[j->open_buf].dirty)
		j->buf[j->open_buf].need_write = true;
	j->want_room = true;
	wake_all(&j->work);
	wait_queue_wait(&j->space);
}

int journal_append(struct cset *c, const struct keylist *keys, uint64_t *ret_seq)
{
	struct journal *j = &c->journal;
	uint64_t since_ns = 0;
	struct jset *e;

	might_yield();
	assert(keys->nr_words <= journal_append_max_words(c));
	for (;;) {
		if (c->io_disable || !j->running)
			return -EROFS;
		if (fits(j, keys->nr_words))
			break;
		since_ns = since_ns ? since_ns : engine_now_ns();
		wait_for_space(c);
	}
	if (since_ns)
		histogram_add(&c->wait_journal, engine_now_ns() - since_ns);
	e = open_entry(j);
	memcpy(e->words + e->nr_words, keys->words, keys->nr_words * 8);
	e->nr_words += keys->nr_words;
	journal_pin(j, j->seq);
	j->nr_operations++;
	*ret_seq = j->seq;
	if (!j->buf[j->open_buf].dirty) {
		j->buf[j->open_buf].dirty = true;
		timer_arm_ns(&j->delay_timer, j->delay_ms * NS_PER_MS);
	}
	return 0;
}

int journal_admit(struct cset *c, bool wait)
{
	struct journal *j = &c->journal;

	while (j->running && !j->silent && !fits(j, 0)) {
		if (c->io_disable)
			return -EROFS;
		if (!wait)
			return -EAGAIN;
		wait_for_space(c);
	}
	j->nr_operations++;
	return 0;
}

int journal_wait(struct cset *c, uint64_t seq)
{
	struct journal *j = &c->journal;

	assert(seq <= j->seq);
	while (j->durable_seq < seq) {
		if (c->io_disable || !j->running)
			return -EROFS;
		if (seq == j->seq) {
			j->buf[j->open_buf].need_write = true;
			wake_all(&j->work);
		}
		wait_queue_wait(&j->durable);
	}
	return 0;
}

int journal_flush(struct cset *c)
{
	struct journal *j = &c->journal;

	if (c->io_disable)
		return -EROFS;
	return journal_wait(c, j->buf[j->open_buf].dirty ? j->seq : j->written_seq);
}

int journal_meta(struct cset *c)
{
	/* At the first start the skeleton is not complete yet; a silent recovery has no room, and reuses no bucket either. */
	if (!c->journal.running || c->journal.silent)
		return c->io_disable ? -EROFS : 0;
	return journal_wait(c, c->journal.seq);
}

/* --- writing ----------------------------------------------------------------------------------------------------------- */

/* Current roots into the header. In one stretch with taking the place, so that an entry never mixes states. */
static void entry_complete(struct journal *j, struct jset *e)
{
	struct cset *c = j->c;

	e->seq = j->seq;
	e->last_seq = j->oldest_seq;
	bkey_copy(&e->uuid_bucket.k, &c->uuid_bucket.k);
	bkey_copy(&e->btree_root.k, &c->btree.root->key.k);
	e->btree_level = c->btree.root->level;
	e->prio_bucket[0] = c->alloc.prio_buckets[0];
	jset_seal(e, c->set_magic);
}

static void entry_reset(struct jset *e)
{
	memset(e, 0, sizeof(*e));
}

/* Hand the open entry to the device and open the next one (push and seq + 1 together, or last_seq would be wrong). */
static int write_open_entry(struct journal *j)
{
	struct cset *c = j->c;
	struct journal_buffer *b = &j->buf[j->open_buf];
	struct jset *e = b->jset;
	uint32_t blocks = blocks_of(j, jset_bytes(e)), block_bytes = geometry_block_bytes(&c->g);
	uint64_t nr_sectors = j->replace_oldest ? 1 : (uint64_t)blocks * c->g.block_sectors;
	uint64_t sector, seq = j->seq, last_seq, begin_ns = engine_now_ns();
	int r;

	no_yield_begin();
	entry_complete(j, e);
	last_seq = e->last_seq;
	memset((char *)e + jset_bytes(e), 0, (size_t)blocks * block_bytes - jset_bytes(e));
	sector = journal_take_place(j, blocks);
	j->bucket_seq[j->cur] = seq;
	b->dirty = b->need_write = false;
	timer_cancel(&j->delay_timer);
	j->written_seq = seq;
	j->open_buf ^= 1;
	entry_reset(open_entry(j));
	j->seq++;
	j->pins[j->seq & (j->cap_pins - 1)] = 1;
	journal_unpin(j, seq);
	j->in_flight = true;
	no_yield_end();
	if (j->want_room)
		wake_all(&j->space);

	r = blk_write(c->cache, sector, e, nr_sectors, BIO_PREFLUSH | BIO_FUA); /* R6.2, R2.9 */
	cset_io_done(c, "journal write", r);
	j->in_flight = false;
	if (r < 0)
		return cset_error(c, "cannot write journal entry %llu to sector %llu of '%s': %s", (unsigned long long)seq,
				  (unsigned long long)sector, c->cache->path, strerror(-r));
	j->nr_entries++;
	j->nr_bytes += (uint64_t)blocks * block_bytes;
	j->nr_bytes_used += jset_bytes(e);
	histogram_add(&j->entry_latency, engine_now_ns() - begin_ns);
	c->meta_sectors_written += nr_sectors;
	j->durable_seq = seq;
	j->durable_last_seq = last_seq;
	wake_all(&j->durable);
	if (j->want_room) {
		j->want_room = false;
		wake_all(&j->space);
	}
	return 0;
}

/* One step of the writer. False: nothing to do now. */
static bool writer_step(struct journal *j)
{
	struct journal_buffer *b = &j->buf[j->open_buf];
	uint32_t blocks = blocks_of(j, jset_bytes(b->jset));
	enum journal_kind kind = b->jset->nr_words ? JOURNAL_KEYS : JOURNAL_META;

	if (j->c->io_disable)
		return false;
	if (b->need_write && (kind == JOURNAL_KEYS || journal_has_place(j, blocks, kind))) {
		write_open_entry(j);
		return true;
	}
	if (!b->need_write && !j->want_room)
		return false;
	if (b->dirty) { /* whoever waits for room cannot join this entry */
		b->need_write = true;
		return true;
	}
	if (journal_has_place(j, 1, JOURNAL_KEYS)) { /* room came by itself */
		j->want_room = false;
		wake_all(&j->space);
		return true;
	}
	if (journal_discard_in_the_way(j)) {
		wait_queue_wait(&j->work);
		return true;
	}
	if (!journal_make_room(j) || j->buf[j->open_buf].dirty)
		return true;
	if (journal_has_place(j, 1, JOURNAL_PUBLISH))
		write_open_entry(j);
	else /* only after a crash of something that did not keep the spare block or bucket */
		cset_error(j->c, "journal of '%s' is full: no block left to publish that older entries are done with", j->c->cache->path);
	return true;
}

static void writer(void *arg)
{
	struct journal *j = arg;

	for (;;) {
		journal_discard(j);
		if (writer_step(j))
			continue;
		if ((j->stopping || j->c->io_disable) && !j->discard_busy)
			break;
		wait_queue_wait(&j->work);
	}
	j->running = false; /* together with the last look at what is wanted: nobody waits for an entry that nobody writes */
	wake_all(&j->durable);
	wake_all(&j->space);
}

int journal_start(struct cset *c)
{
	struct journal *j = &c->journal;

	if (!j->nr_found) { /* a new set */
		j->seq = j->oldest_seq = 1;
		j->cur = 0; /* the first entry goes to index 1 (format.md §11.5) */
		j->pins[1] = 1;
	}
	j->silent = j->nr_found > 0;
	j->running = true;
	j->writer = fiber_spawn("journal", writer, j);
	return j->writer ? 0 : -ENOMEM;
}

int journal_speak(struct cset *c)
{
	struct journal *j = &c->journal;

	if (!journal_has_place(j, 1, JOURNAL_META)) {
		int r = btree_flush_all(c);

		if (r < 0)
			return r;
	}
	j->silent = false;
	if (!journal_has_place(j, 1, JOURNAL_META)) {
		if (j->oldest_seq < j->seq)
			return cset_error(c, "journal of '%s' is full to the last block, and entries from %llu on could not be replayed with the "
					     "buckets that are free: start it with the kernel that wrote it", c->cache->path,
					  (unsigned long long)j->oldest_seq);
		j->replace_oldest = true;
	}
	return journal_meta(c);
}

void journal_stop(struct cset *c)
{
	struct journal *j = &c->journal;

	if (!j->writer)
		return;
	if (j->buf[j->open_buf].dirty && !c->io_disable)
		ignore_result(journal_flush(c)); /* a failure has failed the set already */
	j->stopping = true;
	wake_all(&j->work);
	fiber_join(j->writer);
	j->writer = NULL;
	timer_cancel(&j->delay_timer);
}

void journal_fail(struct cset *c)
{
	wake_all(&c->journal.work);
	wake_all(&c->journal.space);
	wake_all(&c->journal.durable);
}
