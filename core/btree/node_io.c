/* SPDX-License-Identifier: GPL-2.0-only */
/* Reading and writing nodes, and the fiber that writes dirty leaves in time. */
#include <stdlib.h>

#include "core/btree/internal.h"

/* --- reading ----------------------------------------------------------------------------------------------------------- */

void bnode_open_next_set(struct bnode *n)
{
	uint32_t block_bytes = geometry_block_bytes(&n->c->g);
	uint32_t offset = n->written_blocks * block_bytes;

	assert(!n->keys.open);
	if (offset < n->keys.buf_bytes && !n->no_append)
		bkeys_open_set(&n->keys, offset, bset_magic(n->c->set_magic), n->seq);
}

static int node_damaged(struct bnode *n, const char *reason)
{
	struct cset *c = n->c;
	uint64_t sector = ptr_sector(n->key.k.ptr[0]);

	cset_error(c, "btree node of level %u in bucket %llu (sector %llu) of '%s': %s", n->level,
		   (unsigned long long)geometry_bucket(&c->g, sector), (unsigned long long)sector, c->cache->path, reason);
	return -EIO;
}

/*
 * Every key must be possible (format.md §10.1, §10.3): it is checked here, once, so that nobody has to later. Freed markers
 * are node pointers at position zero.
 */
static int keys_validate(const struct bnode *n, const struct node_view *view, unsigned nr_sets, struct printbuf *why)
{
	uint32_t offset = 0;

	for (unsigned i = 0; i < nr_sets; i++) {
		const struct bset *s = node_set_at(view, offset);

		for (const struct bkey *k = bset_first(s); k < bset_end(s); k = bkey_next(k)) {
			char text[160], reason[160];
			struct printbuf key = PRINTBUF(text), r = PRINTBUF(reason);

			if (n->level && bkey_inode(k) && !bkey_offset(k))
				pr(&r, "bound at sector 0 of inode %u", bkey_inode(k)); /* no extent ends there */
			else if (!(n->level ? bkey_node_validate(k, &n->c->g, &r) : bkey_extent_validate(k, &n->c->g, &r)))
				continue;
			bkey_to_text(&key, k);
			pr(why, "set %u at byte %u: key %s: %s", i, offset, text, reason);
			return -EUCLEAN;
		}
		offset = node_next_set(view, offset);
	}
	return 0;
}

/* Fill n's keys from a node image. */
static int node_adopt(struct bnode *n, const void *image)
{
	struct cset *c = n->c;
	char reason[256];
	struct printbuf why = PRINTBUF(reason);
	struct node_view view = { .image = image, .node_bytes = n->keys.buf_bytes, .block_bytes = geometry_block_bytes(&c->g),
				  .set_magic = c->set_magic, .key = &n->key.k };
	struct node_extent extent;
	int r = node_validate(&view, c->btree.tolerate_torn, &extent, &why);

	if (r < 0)
		return node_damaged(n, reason);
	r = keys_validate(n, &view, extent.nr_sets, &why);
	if (r < 0)
		return node_damaged(n, reason);
	n->seq = node_set_at(&view, 0)->seq;
	n->written_blocks = extent.valid_bytes / view.block_bytes;
	if (extent.torn_tail) {
		n->no_append = true;
		c->btree.nr_torn++;
	}
	r = bkeys_load(&n->keys, &view, extent.nr_sets, &why);
	if (r < 0)
		return node_damaged(n, reason);
	bnode_open_next_set(n);
	return 0;
}

int bnode_read(struct bnode *n)
{
	struct cset *c = n->c;
	uint64_t start = engine_now_ns();
	void *image;
	int r;

	if (posix_memalign(&image, PAGE_BYTES, n->keys.buf_bytes))
		return -ENOMEM;
	r = blk_read(c->cache, ptr_sector(n->key.k.ptr[0]), image, bnode_sectors(n));
	cset_io_done(c, "btree read", r);
	if (r < 0)
		r = node_damaged(n, strerror(-r));
	else
		r = node_adopt(n, image);
	free(image);
	c->btree.nr_reads++;
	time_stats_update(&c->time_read, start, engine_now_ns());
	return r;
}

/* --- dirtying ---------------------------------------------------------------------------------------------------------- */

void bnode_mark_dirty(struct bnode *n, uint64_t journal_seq)
{
	struct btree *t = &n->c->btree;

	if (!n->dirty) {
		n->dirty = true;
		n->dirty_since_ns = engine_now_ns();
		if (list_empty(&t->dirty))
			wake_all(&t->writer_wake);
		list_add_tail(&t->dirty, &n->dirty_link);
	}
	if (journal_seq && (!n->pin_open || journal_seq < n->pin_open)) { /* the oldest of all pins of its keys (I-7) */
		uint64_t old = n->pin_open;

		journal_pin(&n->c->journal, journal_seq);
		n->pin_open = journal_seq;
		if (old)
			journal_unpin(&n->c->journal, old);
	}
}

static void release_pin(struct bnode *n, uint64_t *pin)
{
	if (*pin)
		journal_unpin(&n->c->journal, *pin);
	*pin = 0;
}

void bnode_release_pins(struct bnode *n)
{
	assert(!n->pin_writing);
	release_pin(n, &n->pin_open);
}

/* --- a bucket that refuses --------------------------------------------------------------------------------------------- */

/* The older pin holds for the keys of both sets. */
static void keep_pins(struct bnode *n)
{
	uint64_t newer = max(n->pin_open, n->pin_writing);

	if (n->pin_open && n->pin_writing) {
		n->pin_open = min(n->pin_open, n->pin_writing);
		journal_unpin(&n->c->journal, newer);
	} else {
		n->pin_open = newer;
	}
	n->pin_writing = 0;
}

static void write_refused(struct bnode *n, const struct bio *bio)
{
	struct cset *c = n->c;

	keep_pins(n); /* what is not on disk here is still in the journal */
	c->btree.nr_write_errors++;
	if (bio->flush_failed) {
		cset_error(c, "flush of '%s' before a btree node failed: %s", c->cache->path, strerror(-bio->error));
		return;
	}
	bucket_retire(c, (uint32_t)geometry_bucket(&c->g, bio->sector));
	n->must_move = true;
	n->move_tries = 0;
	c->btree.nr_must_move++;
	bnode_mark_dirty(n, 0); /* its memory is all there is of the set */
	wake_all(&c->btree.writer_wake);
}

void bnode_forget_move(struct bnode *n)
{
	n->c->btree.nr_must_move -= n->must_move;
	n->must_move = false;
}

void bnode_unwrite(struct bnode *n, uint64_t ptr)
{
	assert(n->must_move && n->dirty && !n->writing && list_empty(&n->hash));
	n->key.k.ptr[0] = ptr;
	n->written_blocks = 0;
	bkeys_reopen_set(&n->keys);
	bnode_forget_move(n);
}

static bool still_must_move(const struct bnode *n) { return n->must_move; }

int bnode_move(struct bnode *n)
{
	struct cset *c = n->c;
	struct bpos inside = bpos(bkey_inode(&n->key.k), bkey_offset(&n->key.k) - 1);
	int r;

	if (!n->must_move || n->frozen)
		return n->frozen ? -EAGAIN : 0;
	bnode_get(n);
	journal_enter(&c->journal);
	r = bnode_replace(c, inside, n->level, NULL, BTREE_NO_WAIT, still_must_move);
	journal_leave(&c->journal);
	if (!r && !n->must_move)
		c->btree.nr_moved++;
	else if (r == -EAGAIN && bucket_alloc_available(c, RESERVE_BTREE) < btree_path_need(c, n->level) && ++n->move_tries >= NODE_MOVE_TRIES)
		r = cset_error(c, "no bucket for the btree node at sector %llu of '%s', which cannot be written where it is",
			       (unsigned long long)ptr_sector(n->key.k.ptr[0]), c->cache->path);
	bnode_put(n);
	return r;
}

/* --- writing ----------------------------------------------------------------------------------------------------------- */

static void write_accepted(struct bnode *n)
{
	struct cset *c = n->c;

	release_pin(n, &n->pin_writing);
	if (!c->verify_nodes || !c->btree.writer || !list_empty(&n->verify_link))
		return;
	bnode_get(n); /* the list's */
	list_add_tail(&c->btree.to_verify, &n->verify_link);
	wake_all(&c->btree.writer_wake);
}

static void node_write_done(struct bio *bio)
{
	struct bnode *n = container_of(bio, struct bnode, write_bio);
	struct cset *c = n->c;
	struct btree *t = &c->btree;

	t->write_pool[t->nr_write_pool++] = n->write_buf;
	wake_one(&t->write_pool_wait);
	n->writing = false;
	cset_io_done(c, "btree write", bio->error);
	if (bio->error)
		write_refused(n, bio);
	else
		write_accepted(n);
	wake_all(&n->wait);
	if (n->dirty && n->keys.open && bset_bytes(bkeys_open(&n->keys)) > BTREE_SET_BYTES_MAX)
		wake_all(&t->writer_wake);
	bnode_put(n);
}

/* Checksum and copy the open set; from here on it is a written set and n may change again. */
static void node_write_submit(struct bnode *n, char *buf)
{
	struct cset *c = n->c;
	struct bset *set = bkeys_open(&n->keys);
	uint32_t block_bytes = geometry_block_bytes(&c->g);
	size_t bytes = bset_bytes(set), padded = round_up_u64(bytes, block_bytes);
	uint64_t sector = ptr_sector(n->key.k.ptr[0]) + (uint64_t)n->written_blocks * c->g.block_sectors;

	no_yield_begin();
	assert(n->written_blocks * (uint64_t)block_bytes + padded <= n->keys.buf_bytes);
	set->version = BSET_VERSION;
	set->csum = bset_csum(set, n->key.k.ptr[0]);
	memcpy(buf, set, bytes);
	memset(buf + bytes, 0, padded - bytes);
	n->dirty = false;
	list_del(&n->dirty_link);
	n->writing = true;
	n->write_buf = buf;
	n->pin_writing = n->pin_open;
	n->pin_open = 0;
	n->written_blocks += (uint32_t)(padded / block_bytes);
	c->btree_sectors_written += padded / SECTOR_BYTES;
	c->btree.nr_writes++;

	uint64_t start = engine_now_ns();
	bkeys_close_set(&n->keys);
	bkeys_sort_lazy(&n->keys, c->btree.scratch);
	time_stats_update(&c->time_sort, start, engine_now_ns());
	bnode_open_next_set(n);
	bnode_get(n); /* the write's */
	no_yield_end();

	/*
	 * A leaf names data. The journal's flush may not have covered it yet (or never does: fills), and a durable key to data that power took
	 * reads as rubbish. So the data is flushed first; interior nodes name only nodes, which are durable already.
	 */
	bio_init(&n->write_bio, c->cache, BIO_WRITE, sector, buf, padded / SECTOR_BYTES, n->level ? BIO_FUA : BIO_PREFLUSH | BIO_FUA,
		 node_write_done);
	blk_submit(&n->write_bio);
}

static bool want_write(const struct bnode *n) { return n->dirty && !n->writing && !n->dead && !n->must_move && !n->c->io_disable; }

void bnode_write_start(struct bnode *n)
{
	struct btree *t = &n->c->btree;

	might_yield();
	bnode_get(n);
	while (want_write(n) && !t->nr_write_pool)
		wait_queue_wait(&t->write_pool_wait);
	if (want_write(n))
		node_write_submit(n, t->write_pool[--t->nr_write_pool]);
	else
		wake_one(&t->write_pool_wait); /* pass the buffer on */
	bnode_put(n);
}

int bnode_write_sync(struct bnode *n)
{
	bnode_get(n);
	while ((n->dirty && !n->dead) || n->writing) {
		if ((n->c->io_disable || n->must_move) && !n->writing)
			break;
		if (n->writing)
			wait_queue_wait(&n->wait);
		else
			bnode_write_start(n);
	}
	int r = n->c->io_disable ? -EROFS : n->must_move ? -EIO : 0;
	bnode_put(n);
	return r;
}

/* Until no node of the tree has a write in flight. */
static void wait_writes(struct cset *c)
{
	struct bnode *n;
again:
	list_for_each(n, &c->btree.nodes, lru)
		if (n->writing) {
			bnode_wait(n);
			goto again;
		}
}

static struct bnode *first_dirty(struct cset *c)
{
	struct bnode *n;

	list_for_each(n, &c->btree.dirty, dirty_link)
		if (!n->must_move)
			return n;
	return NULL;
}

static struct bnode *first_to_move(struct cset *c)
{
	struct bnode *n;

	list_for_each(n, &c->btree.dirty, dirty_link)
		if (n->must_move && !n->frozen)
			return n;
	return NULL;
}

int btree_flush_all(struct cset *c)
{
	struct bnode *n;

	for (;;) {
		if (c->io_disable)
			return -EROFS;
		n = first_dirty(c);
		if (!n) {
			n = first_to_move(c);
			if (fmutex_locked(&c->btree.structure)) { /* it may be moving one */
				fmutex_lock(&c->btree.structure);
				fmutex_unlock(&c->btree.structure);
				continue;
			}
			if (!n || bnode_move(n) < 0)
				break; /* its pin stays, and so does what replay needs */
			continue;
		}
		if (n->writing) {
			bnode_wait(n);
			continue;
		}
		bnode_write_start(n);
	}
	wait_writes(c);
	return c->io_disable ? -EROFS : 0;
}

int btree_flush_pinned(struct cset *c, uint64_t seq, unsigned max_nodes)
{
	struct bnode *batch[16], *n;
	unsigned nr = 0;

	assert(max_nodes <= ARRAY_SIZE(batch));
	list_for_each(n, &c->btree.nodes, lru) {
		bool open = n->pin_open && n->pin_open <= seq, writing = n->pin_writing && n->pin_writing <= seq;

		if ((!open && !writing) || n->must_move) /* the writer fiber moves those, and gives their pins back then */
			continue;
		bnode_get(n);
		batch[nr++] = n;
		if (nr == max_nodes)
			break;
	}
	for (unsigned i = 0; i < nr; i++)
		bnode_write_start(batch[i]);
	for (unsigned i = 0; i < nr; i++) {
		ignore_result(bnode_write_sync(batch[i])); /* a failed one keeps its pin, and the writer fiber moves it */
		bnode_put(batch[i]);
	}
	return (int)nr;
}

/* --- the writer fiber -------------------------------------------------------------------------------------------------- */

static bool overfull(const struct bnode *n) { return n->keys.open && bset_bytes(bkeys_open(&n->keys)) > BTREE_SET_BYTES_MAX; }

/* The next node to write, or NULL with the time until one is due. The list is in the order of becoming dirty. */
static struct bnode *due_node(struct cset *c, uint64_t *ret_wait_ns)
{
	uint64_t now = engine_now_ns(), delay = BTREE_WRITE_DELAY_S * NS_PER_S;
	struct bnode *n;

	*ret_wait_ns = UINT64_MAX;
	list_for_each(n, &c->btree.dirty, dirty_link) {
		if (n->writing || n->must_move)
			continue;
		if (overfull(n) || n->dirty_since_ns + delay <= now)
			return n;
		*ret_wait_ns = min(*ret_wait_ns, n->dirty_since_ns + delay - now);
	}
	return NULL;
}

/* Move one node whose bucket refused it. False: there is none, or none could be moved now. */
static bool move_one(struct cset *c)
{
	struct bnode *n = first_to_move(c);

	return n && !c->io_disable && bnode_move(n) == 0;
}

/* False: none was waiting. */
static bool verify_one(struct cset *c)
{
	struct bnode *n = list_first(&c->btree.to_verify, struct bnode, verify_link);

	if (!n)
		return false;
	list_del(&n->verify_link);
	if (!c->btree.stopping && !c->io_disable)
		bnode_verify(n);
	bnode_put(n);
	return true;
}

static void writer(void *arg)
{
	struct cset *c = arg;

	while (!c->btree.stopping) {
		uint64_t wait_ns;
		struct bnode *n;

		if (c->btree.nr_must_move && move_one(c))
			continue;
		if (verify_one(c))
			continue;
		if (c->btree.stopping) /* trying took a while */
			break;
		n = due_node(c, &wait_ns);
		if (c->btree.nr_must_move)
			wait_ns = min(wait_ns, (uint64_t)NODE_MOVE_PAUSE_NS);
		if (n && !c->io_disable) {
			bnode_write_start(n);
			continue;
		}
		if (wait_ns == UINT64_MAX || c->io_disable)
			wait_queue_wait(&c->btree.writer_wake);
		else
			ignore_result(wait_queue_wait_timeout(&c->btree.writer_wake, wait_ns)); /* woken or due: look again */
	}
}

int btree_start(struct cset *c)
{
	c->btree.writer = fiber_spawn("btree writer", writer, c);
	return c->btree.writer ? 0 : -ENOMEM;
}

void btree_stop(struct cset *c)
{
	c->btree.stopping = true;
	wake_all(&c->btree.writer_wake);
	if (c->btree.writer)
		fiber_join(c->btree.writer);
	c->btree.writer = NULL;
	while (verify_one(c))
		; /* only their references: it is too late to look */
	wait_writes(c);
}
