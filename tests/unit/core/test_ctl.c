/* SPDX-License-Identifier: GPL-2.0-only */
/* The shape of the tree, and what its files do: control-files.md §2-§10. */
#include <sys/stat.h>
#include <unistd.h>
#include "core/admin/attr_path.h"
#include "core/admin/json.h"
#include "tests/unit/core/attr_world.h"

/* --- shape --------------------------------------------------------------------------------------------------------------- */

struct listing {
	char text[8192];
	const char *until;
};

static bool note_name(void *ctx, const char *name, enum bcf_ctl_kind kind)
{
	struct listing *l = ctx;

	strcat(strcat(strcat(l->text, name), kind == BCF_CTL_DIR ? "/" : kind == BCF_CTL_LINK ? "@" : ""), " ");
	return !l->until || strcmp(name, l->until);
}

static const char *list(const char *path)
{
	static struct listing l;

	l = (struct listing){};
	if (bcf_ctl_list(&w.b, path, note_name, &l) < 0)
		return "error";
	return l.text;
}
#define check_listed(path, name) assert_non_null(strstr(list(path), name " "))
#define check_not_listed(path, name) assert_null(strstr(list(path), name))

static void directories_list_what_they_hold(void **state)
{
	check_text("root", list(""), "register register_quiet pendings_cleanup tunables save status.json last_error version " SET_UUID
				     "/ dev0/ dev1/ dev2/ by/ ");
	check_listed("dev0", "cache_mode");
	check_listed("dev0", "stats_five_minute/");
	check_listed("dev0", "bcache@");
	check_text("volume", list("dev2"), "label size unregister size_bytes open_count stat latency cache@ dev@ bcache@ ");
	check_listed(SET_UUID, "cache0/ internal/ bdev0@ volume3@ stats_total/ stats_five_minute/ stats_hour/ stats_day/");
	check_listed(SET_UUID "/cache0", "set@");
	check_text("stats", list("dev0/stats_hour"),
		   "cache_hits cache_misses cache_bypass_hits cache_bypass_misses cache_hit_ratio cache_miss_collisions "
		   "cache_hit_bytes cache_miss_bytes cache_byte_hit_ratio bypassed ");
	check_text("by", list("by"), "uuid/ label/ ");
	check_text("by/uuid", list("by/uuid"), DEV0_UUID "@ f7fe0084-0000-4975-8d90-f231fc8d1c69@ " VOLUME_UUID "@ ");
	check_text("by/label", list("by/label"), "data@ vol@ ");
}

static void a_listing_ends_when_it_is_told_to(void **state)
{
	struct listing l = { .until = "register_quiet" };

	assert_int_equal(bcf_ctl_list(&w.b, "", note_name, &l), 0);
	check_text("cut", l.text, "register register_quiet ");
}

static unsigned nr_seen;

static bool look_up(void *ctx, const char *name, enum bcf_ctl_kind kind)
{
	const char *dir = ctx;
	char path[BCF_CTL_PATH_BYTES];
	struct bcf_ctl_entry e;

	snprintf(path, sizeof(path), "%s%s%s", dir, *dir ? "/" : "", name);
	check_case(path, bcf_ctl_lookup(&w.b, path, &e), 0);
	check_case(path, e.kind, kind);
	nr_seen++;
	if (kind == BCF_CTL_FILE && e.mode & 0400)
		(void)show(path);
	if (kind == BCF_CTL_DIR)
		assert_int_equal(bcf_ctl_list(&w.b, path, look_up, path), 0);
	return true;
}

static void every_listed_name_can_be_looked_up(void **state)
{
	nr_seen = 0;
	assert_int_equal(bcf_ctl_list(&w.b, "", look_up, (void *)""), 0);
	assert_true(nr_seen > 200);
}

static void lookups_know_modes_and_targets(void **state)
{
	static const struct {
		const char *path;
		int want, kind;
		unsigned mode;
		const char *target;
	} cases[] = {
		{ "", 0, BCF_CTL_DIR, 0755, "" },
		{ "register", 0, BCF_CTL_FILE, 0200, "" },
		{ "version", 0, BCF_CTL_FILE, 0444, "" },
		{ "dev0/label", 0, BCF_CTL_FILE, 0644, "" },
		{ "dev0/cache", 0, BCF_CTL_LINK, 0777, "../" SET_UUID },
		{ "dev0/dev", 0, BCF_CTL_LINK, 0777, "../../dev0" },
		{ "dev0/bcache", 0, BCF_CTL_LINK, 0777, "." },
		{ SET_UUID "/bdev0", 0, BCF_CTL_LINK, 0777, "../dev0/bcache" },
		{ SET_UUID "/volume3", 0, BCF_CTL_LINK, 0777, "../dev2/bcache" },
		{ SET_UUID "/cache0/set", 0, BCF_CTL_LINK, 0777, ".." },
		{ "by/uuid/" DEV0_UUID, 0, BCF_CTL_LINK, 0777, "../../dev0" },
		{ "by/label/vol", 0, BCF_CTL_LINK, 0777, "../../dev2" },
		{ SET_UUID "/internal", 0, BCF_CTL_DIR, 0755, "" },
		{ "dev1/cache", -ENOENT, 0, 0, "" },	 /* not attached */
		{ "dev1/dev", -ENOENT, 0, 0, "" },	 /* not running */
		{ "dev2/stats_total", -ENOENT, 0, 0, "" },
		{ "dev2/running", -ENOENT, 0, 0, "" },
		{ SET_UUID "/bdev1", -ENOENT, 0, 0, "" },
		{ "dev", -ENOENT, 0, 0, "" },
		{ "dev00", -ENOENT, 0, 0, "" },
		{ "dev0/", -ENOENT, 0, 0, "" },
		{ "/dev0", -ENOENT, 0, 0, "" },
		{ "dev0//label", -ENOENT, 0, 0, "" },
		{ "dev0/labe", -ENOENT, 0, 0, "" },
		{ "dev0/label/x", -ENOTDIR, 0, 0, "" },
		{ "dev0/bcache/label", -ENOTDIR, 0, 0, "" }, /* the kernel follows links, not we */
		{ OTHER_UUID, -ENOENT, 0, 0, "" },
	};

	for (size_t i = 0; i < ARRAY_SIZE(cases); i++) {
		struct bcf_ctl_entry e;

		check_case(cases[i].path, bcf_ctl_lookup(&w.b, cases[i].path, &e), cases[i].want);
		if (cases[i].want < 0)
			continue;
		check_case(cases[i].path, e.kind, cases[i].kind);
		check_case(cases[i].path, e.mode, cases[i].mode);
		check_text(cases[i].path, e.target, cases[i].target);
	}
	assert_int_equal(bcf_ctl_list(&w.b, "version", note_name, NULL), -ENOTDIR);
	assert_int_equal(bcf_ctl_list(&w.b, "dev9", note_name, NULL), -ENOENT);
}

static void what_vanished_is_gone_at_once(void **state)
{
	struct bcf_ctl_entry e;

	check_show("dev0/label", "data\n");
	w.d[0].closing = true;
	assert_int_equal(bcf_ctl_lookup(&w.b, "dev0", &e), -ENOENT);
	assert_int_equal(bcf_ctl_lookup(&w.b, "dev0/label", &e), -ENOENT);
	check_show("dev0/label", "ENODEV"); /* a handle opened before */
	check_store("dev0/label", "x", -ENODEV);
	check_not_listed("", "dev0");
	check_not_listed(SET_UUID, "bdev0");
	check_not_listed("by/uuid", DEV0_UUID);
	check_not_listed("by/label", "data");
	assert_non_null(strstr(show("status.json"), "\"closing\": true")); /* but one can see what holds it */
}

static void a_set_on_its_way_up_is_not_there_yet(void **state)
{
	w.set.state = CSET_STARTING;
	check_not_listed("", SET_UUID);
	check_not_listed("dev0", " cache@");
	assert_non_null(strstr(show("status.json"), "\"sets\": []"));
	w.set.state = CSET_STOPPING;
	check_listed("", SET_UUID "/");
	check_show(SET_UUID "/state", "stopping\n");
	w.set.unregistering = true;
	check_show(SET_UUID "/state", "detaching\n");
	w.set.io_disable = true;
	check_show(SET_UUID "/state", "failed\n");
}

static void odd_labels_get_no_link(void **state)
{
	static const char *const odd[] = { "", ".", "..", "a/b" };

	for (size_t i = 0; i < ARRAY_SIZE(odd); i++) {
		memset(w.super[0].label, 0, LABEL_BYTES);
		memcpy(w.super[0].label, odd[i], strlen(odd[i]));
		check_text(odd[i], list("by/label"), "vol@ ");
	}
	memcpy(w.super[0].label, "vol", 4); /* twice */
	check_text("twice", list("by/label"), "");
	memcpy(w.super[0].label, "0123456789abcdef0123456789abcdef", 32); /* no terminator */
	check_show("dev0/label", "0123456789abcdef0123456789abcdef\n");
	check_listed("by/label", "0123456789abcdef0123456789abcdef@");
}

/* --- errors -------------------------------------------------------------------------------------------------------------- */

static void common_errors_have_the_right_number(void **state)
{
	char big[BCF_CTL_STORE_BYTES + 1];

	memset(big, '1', sizeof(big));
	check_show("register", "EACCES");
	check_show("dev0", "EISDIR");
	check_show("dev0/bcache", "EINVAL");
	check_show("nothing", "ENODEV");
	check_store("dev0/state", "x", -EACCES);
	check_store("dev0/io_errors", "0", -EACCES);
	check_store("dev0", "x", -EISDIR);
	assert_int_equal(store_bytes("dev0/io_disable", big, sizeof(big)), -E2BIG);
	check_show("dev0/io_disable", "0\n"); /* nothing was executed */
	check_store("dev0/stop", "", 0);
	assert_string_equal(w.calls, ""); /* nor here */
	w.b.stopping = true;
	check_store("dev0/stop", "1", -EBUSY);
	check_store("register", "/data/x", -EBUSY);
	assert_string_equal(w.calls, "");
	check_show("dev0/io_disable", "0\n"); /* reading goes on */
}

static void last_error_says_what_when_and_why(void **state)
{
	check_show("last_error", "\n");
	check_store("dev0/writeback_delay", "4M", -EINVAL);
	check_show("last_error", "2026-01-31T12:00:00.000Z 1 dev0/writeback_delay: EINVAL: expected a decimal number\n");
	check_store("dev0/writeback_delay", "5", 0);
	check_show("last_error", "2026-01-31T12:00:00.000Z 1 dev0/writeback_delay: EINVAL: expected a decimal number\n");
	check_store("dev0/writeback_delay", "99999999999999999999", -ERANGE);
	check_show("last_error", "2026-01-31T12:00:00.000Z 2 dev0/writeback_delay: ERANGE: number too large\n");
	check_store(SET_UUID "/errors", "explode", -EINVAL);
	check_show("last_error", "2026-01-31T12:00:00.000Z 3 " SET_UUID "/errors: EINVAL: expected one of: unregister panic\n");
	check_store("dev7/label", "x", -ENODEV);
	check_show("last_error", "2026-01-31T12:00:00.000Z 4 dev7/label: ENODEV: No such device\n");
	w.result = -EBADMSG;
	check_store("register", "  /data/ssd.img\n", -EINVAL);
	check_show("last_error", "2026-01-31T12:00:00.000Z 5 register: EINVAL: /data/ssd.img: Bad checksum\n");
	check_store("register", "/a\nb", -EINVAL); /* stays one line */
	check_show("last_error", "2026-01-31T12:00:00.000Z 6 register: EINVAL: /a b: Bad checksum\n");
}

/* --- global files -------------------------------------------------------------------------------------------------------- */

static void register_maps_errors_as_the_kernel_does(void **state)
{
	static const struct {
		int result, want;
	} cases[] = {
		{ 0, 0 }, { -EEXIST, -EINVAL }, { -EBUSY, -EINVAL }, { -EBADMSG, -EINVAL }, { -EUCLEAN, -EINVAL }, { -ENOENT, -EINVAL },
		{ -ENODEV, -ENODEV }, { -ENOMEM, -ENOMEM }, { -EPERM, -EPERM }, { -EDEADLK, -EDEADLK }, { -ESHUTDOWN, -EBUSY }, { -EINTR, -EINTR },
		{ -EIO, -EINVAL },
	};
	char long_path[BCF_CTL_STORE_BYTES];

	for (size_t i = 0; i < ARRAY_SIZE(cases); i++) {
		w.result = cases[i].result;
		check_case("register", store("register", "/x"), cases[i].want);
		check_case("register_quiet", store("register_quiet", "/x"), cases[i].want);
	}
	w.result = 0;
	w.calls[0] = '\0';
	check_store("register", " /data/a b.img \n", 0);
	check_store("register_quiet", "/data/c\n", 0);
	check_store("register", "data/relative", -EINVAL);
	check_store("register", "\n", -EINVAL);
	assert_string_equal(w.calls, "register(/data/a b.img)register(/data/c,quiet)");
	memset(long_path, 'x', sizeof(long_path));
	long_path[0] = '/';
	assert_int_equal(store_bytes("register", long_path, sizeof(long_path)), 0);
}

/* /proc stands for our own mount: a file system that is surely another one. */
static void paths_into_our_own_mount_are_refused_unseen(void **state)
{
	static const char *const into[] = { "/proc", "/proc/self/status", "/proc/no/such/file", "//proc//1/", "/proc/../etc/passwd", "link",
					    "link/self", "relative/status", "chain" };
	static const char *const beside[] = { "/etc/passwd", "/", "/nowhere/proc", "loop", "dangling", "/etc/passwd/x" };
	char dir[] = "/tmp/test_ctl.XXXXXX", command[400];
	struct stat st;

	assert_int_equal(stat("/proc", &st), 0);
	assert_non_null(mkdtemp(dir));
	assert_int_equal(chdir(dir), 0);
	assert_int_equal(symlink("/proc", "link") | symlink("../../proc/self", "relative") | symlink("link/1", "chain") |
			 symlink("loop", "loop") | symlink("/nowhere", "dangling"), 0);
	for (size_t i = 0; i < ARRAY_SIZE(into); i++)
		check_case(into[i], path_touches_dev(into[i], st.st_dev), true);
	for (size_t i = 0; i < ARRAY_SIZE(beside); i++)
		check_case(beside[i], path_touches_dev(beside[i], st.st_dev), false);
	w.b.options.avoid_dev = st.st_dev;
	check_store("register", "/proc/self/status\n", -EDEADLK);
	assert_string_equal(w.calls, "");
	check_store("register", "/etc/passwd\n", 0);
	snprintf(command, sizeof(command), "rm -r %s", dir);
	assert_int_equal(system(command), 0);
}

static void pendings_cleanup_stops_only_what_waits(void **state)
{
	w.d[1].running = true; /* runs uncached */
	check_store("pendings_cleanup", "1", 0);
	assert_string_equal(w.calls, "");
	check_store("pendings_cleanup", "all\n", 0);
	assert_string_equal(w.calls, "stop(dev1)");
	world_new(NULL);
	check_store("pendings_cleanup", "1", 0);
	assert_string_equal(w.calls, "stop(dev1)");
	world_new(NULL);
	memcpy(w.super[1].set_uuid, w.set_super.set_uuid, 16); /* its set is here: not pending */
	check_store("pendings_cleanup", "1", 0);
	assert_string_equal(w.calls, "");
}

static void version_names_the_superblock(void **state)
{
	check_show("version", "bcache-fuse " BCF_VERSION " sb=6\n");
}

/* --- devices ------------------------------------------------------------------------------------------------------------- */

static void identity_of_a_device(void **state)
{
	check_show("dev0/state", "dirty\n");
	check_show("dev1/state", "clean\n");
	super_set_state(&w.super[1], BDEV_STATE_STALE);
	check_show("dev1/state", "inconsistent\n");
	super_set_state(&w.super[1], BDEV_STATE_NONE);
	check_show("dev1/state", "no cache\n");
	check_show("dev0/backing_dev_name", "hdd.img\n");
	check_show("dev1/backing_dev_name", "vda\n");
	check_show("dev1/backing_dev_path", "/data/other/vda\n");
	check_show("dev0/backing_dev_uuid", DEV0_UUID "\n");
	check_show("dev0/running", "1\n");
	check_show("dev1/running", "0\n");
	check_show("dev1/label", "\n");
	check_show("dev2/label", "vol\n"); /* the kernel stored echo's newline */
	check_show("dev0/size_bytes", "268427264\n");
	check_show("dev2/size", "4.0M\n");
	w.d[0].writeback.dirty_sectors = w.d[1].writeback.dirty_sectors = 22327;
	check_show("dev0/dirty_data", "10.9M\n");
	check_show("dev1/dirty_data", "0.0k\n"); /* unattached */
}

static void stripe_size_is_at_least_four_mebibytes(void **state)
{
	static const struct {
		uint32_t optimal_sectors;
		const char *want;
	} cases[] = { { 0, "1.0T\n" }, { 128, "4.0M\n" }, { 6144, "6.0M\n" }, { 16384, "8.0M\n" }, { 5000, "4.8M\n" } };

	for (size_t i = 0; i < ARRAY_SIZE(cases); i++) {
		w.backing[0].optimal_io_sectors = cases[i].optimal_sectors;
		check_show("dev0/stripe_size", cases[i].want);
	}
}

static void writeback_can_be_bounded_and_watched(void **state)
{
	static const struct {
		const char *path, *text, *want;
	} cases[] = {
		{ "dev0/writeback_rate_maximum", "2147483647", "0.9T\n" }, { "dev0/writeback_rate_maximum", "99999999999", "0.9T\n" },
		{ "dev0/writeback_rate_maximum", "0", "0.5k\n" }, /* a sector */
		{ "dev0/writeback_rate_maximum", "40", "20.0k\n" }, { "dev0/writeback_rate_maximum", "1M", "1.0M\n" },
		{ "dev0/writeback_inflight_limit", "0", "1\n" }, { "dev0/writeback_inflight_limit", "5000", "1024\n" },
		{ "dev0/writeback_inflight_limit", "64", "64\n" }, { "dev0/writeback_consider_latency", "0", "0\n" },
	};

	check_show("dev0/writeback_rate_maximum", "0.9T\n");
	check_show("dev0/writeback_consider_latency", "1\n");
	for (size_t i = 0; i < ARRAY_SIZE(cases); i++) {
		assert_int_equal(store(cases[i].path, cases[i].text), 0);
		check_show(cases[i].path, cases[i].want);
	}
	w.d[0].writeback.rate.rate = 1000; /* 1M is 2048 */
	check_store("dev0/writeback_rate", "1000000", 0);
	check_show("dev0/writeback_rate", "1.0M\n");
	check_store("dev0/writeback_rate_maximum", "512k", 0);
	check_show("dev0/writeback_rate", "512.0k\n"); /* at once */

	check_show("dev0/writeback_inflight", "inflight 0 limit 64 bytes 0 queued 0\n");
	w.d[0].writeback.batch = (struct writeback_batch *)&w; /* the stubs do not look at it */
	w.d[0].writeback.keybuf.nr = 39;
	w.d[0].writeback.keybuf.next = 2;
	check_show("dev0/writeback_inflight", "inflight 2 limit 64 bytes 196608 queued 37\nread 1048576 131072 3\n");
	w.d[0].writeback.batch = NULL;
	check_show("dev0/writeback_failed", "ranges 0 more 0 bytes 0\n");
	w.d[0].data_offset = 16;
	failures_add(&w.d[0].writeback.failed, 116, 124, WRITEBACK_READ, -EIO);
	failures_add(&w.d[0].writeback.failed, 124, 132, WRITEBACK_READ, -EIO);
	failures_add(&w.d[0].writeback.failed, 132, 140, WRITEBACK_WRITE, -EIO);
	check_show("dev0/writeback_failed", "ranges 2 more 0 bytes 12288\nread 51200 8192 Input/output error\nwrite 59392 4096 Input/output error\n");
	for (unsigned i = 0; i < 20; i++)
		failures_add(&w.d[0].writeback.failed, 1000 + 100 * i, 1001 + 100 * i, WRITEBACK_FLUSH, -EIO);
	assert_int_equal(w.d[0].writeback.failed.nr, WRITEBACK_FAILURES);
	assert_int_equal(w.d[0].writeback.failed.nr_more, 6);
	check_show("dev0/writeback_starved_seconds", "0\n");
	w.d[0].writeback.rate.starved_ns = 61 * NS_PER_S + 1;
	check_show("dev0/writeback_starved_seconds", "61\n");
	w.calls[0] = '\0';
	check_store("dev0/writeback_rate_update_seconds", "1", 0);
	check_text("calls", w.calls, "throttle_restart(dev0)wake(dev0)");
	w.d[0].load.average[LOAD_1MIN][LOAD_READS] = 3 << 15;
	w.d[2].load.average[LOAD_1MIN][LOAD_READS] = 1 << 16; /* a volume's do not count, as in stats_* */
	assert_int_equal(strncmp(show("dev0/loadavg"), "metric 1min 5min 15min\nreads 1.50 0.00 0.00\n", 42), 0);
	assert_int_equal(strncmp(show(SET_UUID "/loadavg"), "metric 1min 5min 15min\nreads 1.50 0.00 0.00\n", 42), 0);
}

static void stripes_can_be_set(void **state)
{
	w.backing[0].optimal_io_sectors = 128;
	check_store("dev0/stripe_size", "12k\n", 0);
	check_show("dev0/stripe_size", "12.0k\n"); /* exactly that: no power of two, and less than 4 MiB */
	assert_int_equal(w.d[0].writeback.stripe_override_sectors, 24);
	assert_true(w.d[0].writeback.recount);
	check_text("calls", w.calls, "wake(dev0)");
	check_store("dev0/stripe_size", "4095", -EINVAL);
	check_store("dev0/stripe_size", "4100", -EINVAL);
	check_store("dev0/stripe_size", "2T", -EINVAL);
	check_store("dev0/stripe_size", "1T", 0);
	check_show("dev0/stripe_size", "1.0T\n");
	check_store("dev0/stripe_size", "0", 0);
	check_show("dev0/stripe_size", "4.0M\n");
	check_store("dev1/stripe_size", "64k", 0);
	assert_false(w.d[1].writeback.recount); /* not attached: nothing is counted */
	check_show("dev0/partial_stripes_expensive", "0\n");
	check_store("dev0/partial_stripes_expensive", "1", 0);
	check_show("dev0/partial_stripes_expensive", "1\n");
}

static void labels_are_stored_where_they_belong(void **state)
{
	check_store("dev0/label", "my disk\n", 0);
	check_show("dev0/label", "my disk\n");
	check_store("dev0/label", "\n", 0);
	check_show("dev0/label", "\n");
	check_store("dev2/label", "vol two\n", 0);
	check_show("dev2/label", "vol two\n");
	assert_string_equal(w.calls, "set_label(dev0,my disk)set_label(dev0,)set_label(dev2,vol two)");
	assert_int_equal(w.d[0].holds + w.d[2].holds, 0); /* no reference is left */
}

static void gone_while_waiting(void) { w.d[1].closing = true; }

static void attach_finds_the_set(void **state)
{
	check_store("dev1/attach", SET_UUID "\n", 0);
	assert_string_equal(w.calls, "attach(dev1," SET_UUID ")");
	w.result = -EINVAL;
	check_store("dev0/attach", SET_UUID, -EINVAL);
	assert_non_null(strstr(w.b.last_error, "dev0/attach: EINVAL: already attached"));
	w.calls[0] = '\0';
	check_store("dev1/attach", OTHER_UUID, -ENOENT);
	check_store("dev1/attach", "1111", -EINVAL);
	w.on_lock = gone_while_waiting;
	check_store("dev1/attach", SET_UUID, -ENODEV);
	assert_string_equal(w.calls, "");
	assert_null(w.b.admin.owner);
	assert_int_equal(w.d[0].holds + w.d[1].holds, 0);
}

static void running_starts_a_device_once(void **state)
{
	check_store("dev0/running", "0", 0);
	assert_string_equal(w.calls, "");
	check_show("dev0/running", "1\n");
	check_store("dev0/running", "1", -EBUSY);
	check_store("dev1/running", "1\n", 0);
	assert_string_equal(w.calls, "run(dev0)run(dev1)");
	w.result = -EIO;
	check_store("dev1/running", "2", -EIO);
	assert_null(w.b.admin.owner);
}

static void detach_and_stop_need_no_value(void **state)
{
	check_store("dev1/detach", "x", 0); /* not attached: fine */
	check_store("dev0/detach", "1", 0);
	check_store("dev0/detach", "1", 0); /* once is enough */
	check_store("dev0/stop", "whatever", 0);
	assert_string_equal(w.calls, "detach(dev0)stop(dev0)");
	check_store("dev0/stop", "1", -ENODEV);
}

static void cache_mode_is_written(void **state)
{
	check_store("dev1/cache_mode", "writearound\n", 0);
	check_show("dev1/cache_mode", "writethrough writeback [writearound] none\n");
	w.result = -EIO;
	check_store("dev1/cache_mode", "none", -EIO);
	check_show("dev1/cache_mode", "writethrough writeback [writearound] none\n");
	assert_int_equal(w.d[1].holds, 0);
}

static void writeback_running_needs_a_set(void **state)
{
	check_store("dev1/writeback_running", "1", 0);
	check_show("dev1/writeback_running", "0\n");
	check_store("dev0/writeback_running", "0", 0);
	check_show("dev0/writeback_running", "0\n");
	check_store("dev0/writeback_delay", "0", 0);
	check_store("dev1/writeback_delay", "0", 0);
	check_store("dev0/writeback_percent", "0", 0);
	assert_string_equal(w.calls, "wake(dev0)wake(dev0)wake(dev0)");
	check_store("dev0/flush", "1", 0);
	check_store("dev1/flush", "1", -ENOTCONN);
	assert_int_equal(w.d[0].holds, 0);
}

static void rate_debug_has_seven_exact_lines(void **state)
{
	struct writeback *wb = &w.d[0].writeback;

	wb->dirty_sectors = 22327;
	wb->rate = (struct rate_state){ .rate = 8, .next_ns = NOW_NS - 21840 * NS_PER_MS, .target = 26112, .proportional = -92 };
	check_show("dev0/writeback_rate_debug", "rate:\t\t4.0k/sec\ndirty:\t\t10.9M\ntarget:\t\t12.7M\nproportional:\t-46.0k\n"
						"integral:\t0.0k\nchange:\t\t0.0k/sec\nnext io:\t-21840ms\n");
	assert_int_equal(strlen(show("dev0/writeback_rate_debug")), 117); /* as measured */
	wb->running = false;
	check_show("dev0/writeback_rate_debug", "rate:\t\t0.0k/sec\ndirty:\t\t10.9M\ntarget:\t\t12.7M\nproportional:\t0.0k\n"
						"integral:\t0.0k\nchange:\t\t0.0k/sec\nnext io:\t0ms\n");
}

static void statistics_of_devices_and_sets(void **state)
{
	stat_add(&w.d[0].stats, STAT_HITS, 2009);
	stat_add(&w.d[0].stats, STAT_MISSES, 494);
	stat_add(&w.set.stats, STAT_BYPASSED_SECTORS, MIB(200) / 512); /* more than the kernel can count */
	check_show("dev0/stats_total/cache_hits", "2009\n");
	check_show("dev0/stats_total/cache_hit_ratio", "80\n");
	check_show(SET_UUID "/stats_total/bypassed", "200.0M\n");
	bcf_stats_tick(&w.b);
	check_show("dev0/stats_five_minute/cache_hits", "1946\n");
	check_show("dev0/stats_five_minute/cache_misses", "478\n"); /* both as measured */
	check_show(SET_UUID "/stats_five_minute/bypassed", "193.7M\n");
	check_show(SET_UUID "/stats_hour/bypassed", "200.0M\n");
	stat_add(&w.d[0].stats, STAT_HIT_SECTORS, 8);
	stat_add(&w.d[0].stats, STAT_MISS_SECTORS, 3 * 8);
	check_show("dev0/stats_total/cache_hit_bytes", "4096\n");
	check_show("dev0/stats_total/cache_miss_bytes", "12288\n");
	check_show("dev0/stats_total/cache_byte_hit_ratio", "25\n");
	reason_add(&w.d[0].bypass_reasons[BYPASS_SEQUENTIAL], 8);
	reason_add(&w.d[0].bypass_reasons[BYPASS_SEQUENTIAL], 8);
	reason_add(&w.d[0].writeback_refusals[REFUSED_CUTOFF], 5);
	check_show("dev0/bypass_reasons", "reason requests sectors\ndetaching 0 0\ncache_full 0 0\ndiscard 0 0\nmode 0 0\n"
					  "unaligned 0 0\ntorture 0 0\nsequential 2 16\ncongested 0 0\n");
	check_show("dev0/writeback_refusals", "reason requests sectors\ndetaching 0 0\ncutoff_sync 0 0\nbypass 0 0\ncutoff 1 5\n"
					      "no_bucket 0 0\ncache_error 0 0\n");
	histogram_add(&w.d[0].account.latency[PATH_READ_HIT], 25000);
	assert_non_null(strstr(show("dev0/latency"), "\nread_hit 1 25.0 25.0 25.0 25.0 25.0 25.0\n"));
	check_store("dev0/clear_stats", "1", 0);
	assert_non_null(strstr(show("dev0/latency"), "\nread_hit 0 0.0 0.0 0.0 0.0 0.0 0.0\n"));
	check_show("dev0/stats_total/cache_hits", "0\n");
	assert_non_null(strstr(show("dev0/bypass_reasons"), "sequential 0 0\n"));
	assert_non_null(strstr(show("dev0/writeback_refusals"), "cutoff 0 0\n"));
	check_show("dev0/stats_day/cache_hits", "2009\n");
	w.set.writeback_keys_done = 5;
	w.set.gc.last.nodes = 3;
	histogram_add(&w.set.wait_bucket, 1500);
	histogram_add(&w.set.wait_journal, 2 * NS_PER_S);
	check_show(SET_UUID "/internal/latency", "name count mean p50 p90 p99 p99.9 max\n"
						 "wait_bucket 1 1.5 1.5 1.5 1.5 1.5 1.5\n"
						 "wait_journal 1 2000000.0 2000000.0 2000000.0 2000000.0 2000000.0 2000000.0\n");
	check_store(SET_UUID "/clear_stats", "1", 0);
	check_show(SET_UUID "/stats_total/bypassed", "0.0k\n");
	assert_non_null(strstr(show(SET_UUID "/internal/latency"), "wait_journal 0 0.0"));
	check_show(SET_UUID "/internal/writeback_keys_done", "0\n");
	check_show(SET_UUID "/internal/btree_nodes", "3\n"); /* not a counter */
}

/* --- sets ---------------------------------------------------------------------------------------------------------------- */

static void set_files_show_the_set(void **state)
{
	w.set.gc.last = (struct gc_stats){ .nodes = 1, .keys = 100, .key_bytes = 70780, .data_sectors = 800 };
	w.root.level = 2;
	check_show(SET_UUID "/block_size", "0.5k\n");
	check_show(SET_UUID "/bucket_size", "128.0k\n");
	check_show(SET_UUID "/size_bytes", "134217728\n");
	check_show(SET_UUID "/cache_available_percent", "89\n");
	check_show(SET_UUID "/average_key_size", "4.0k\n");
	check_show(SET_UUID "/btree_cache_size", "128.0k\n");
	check_show(SET_UUID "/tree_depth", "2\n");
	check_show(SET_UUID "/congested", "0.0k\n");
	check_show(SET_UUID "/internal/active_journal_entries", "6\n");
	check_show(SET_UUID "/internal/btree_used_percent", "54\n");
	check_show(SET_UUID "/internal/cutoff_writeback", "40\n");
	check_show(SET_UUID "/internal/feature_compat", "");
	check_show(SET_UUID "/internal/feature_ro_compat", "");
	check_show(SET_UUID "/internal/feature_incompat", "large_bucket\n");
	w.set_super.version = SUPER_CACHE_FEATURES;
	w.set_super.feature_incompat = FEATURE_INCOMPAT_LOG_LARGE_BUCKET;
	check_show(SET_UUID "/internal/feature_incompat", "[large_bucket]\n");
	w.set.gc.last = (struct gc_stats){};
	check_show(SET_UUID "/average_key_size", "0.0k\n"); /* before the first gc */
	w.root.level = 0;
	w.set.g.node_sectors = 8;
	check_show(SET_UUID "/root_usage_percent", "19\n"); /* 33 live keys of 24 bytes in 4096 */
	w.set.btree.root = NULL;
	check_show(SET_UUID "/root_usage_percent", "0\n");
	check_show(SET_UUID "/tree_depth", "0\n");
}

static void congestion_shows_a_threshold(void **state)
{
	w.set.congestion.value = -1024;
	w.set.congestion.last_ns = NOW_NS - 640ull * 1024 * 1024;
	check_show(SET_UUID "/congested", "512.0k\n");
	check_store(SET_UUID "/congested_read_threshold_us", "0", 0);
	check_store(SET_UUID "/congested_write_threshold_us", "0", 0);
	check_show(SET_UUID "/congested", "0.0k\n");
}

static void time_statistics_are_truncated_to_their_unit(void **state)
{
	w.set.time_gc = (struct time_stats){ .count = 2, .average_frequency = 3999 * NS_PER_MS << 8, .average_duration = 6 * NS_PER_MS << 8,
					     .max_duration = 9999999, .last = NOW_NS - 16500 * NS_PER_MS };
	w.set.time_sort = (struct time_stats){ .count = 1, .average_duration = 1053999ull << 8, .max_duration = 3139 * NS_PER_US,
					       .last = NOW_NS - 19064 * NS_PER_MS };
	check_show(SET_UUID "/internal/btree_gc_average_frequency_sec", "3\n");
	check_show(SET_UUID "/internal/btree_gc_average_duration_ms", "6\n");
	check_show(SET_UUID "/internal/btree_gc_max_duration_ms", "9\n");
	check_show(SET_UUID "/internal/btree_gc_last_sec", "16\n");
	check_show(SET_UUID "/internal/btree_sort_average_frequency_ms", "0\n");
	check_show(SET_UUID "/internal/btree_sort_average_duration_us", "1053\n");
	check_show(SET_UUID "/internal/btree_sort_max_duration_us", "3139\n");
	check_show(SET_UUID "/internal/btree_sort_last_ms", "19064\n");
	check_show(SET_UUID "/internal/btree_split_last_sec", "-1\n");
	check_show(SET_UUID "/internal/btree_read_last_ms", "-1\n");
}

static void bset_tree_stats_have_the_kernels_seven_lines(void **state)
{
	check_show(SET_UUID "/internal/bset_tree_stats", "btree nodes:\t\t1\nwritten sets:\t\t2\nunwritten sets:\t\t1\n"
		   "written key bytes:\t72168\nunwritten key bytes:\t2928\nfloats:\t\t\t561\nfailed:\t\t\t3\n");
	assert_int_equal(w.set.holds, 0);
	w.result = -EIO; /* a node cannot be read */
	check_show(SET_UUID "/internal/bset_tree_stats", "EIO");
	assert_int_equal(w.set.holds, 0);
}

#define EXTENT_LINES "1:0 len 8 dirty 1 100:3\n", "1:8 len 8 dirty 0\n", "1:16 len 8 dirty 0 -:7\n"

static void extents_are_a_line_per_key_in_pieces(void **state)
{
	static const char *const lines[] = { EXTENT_LINES };
	struct bcf_ctl_cursor cur = { 0 };
	struct bcf_ctl_entry e;
	char text[300]; /* room for one line at a time */

	assert_int_equal(bcf_ctl_lookup(&w.b, SET_UUID "/internal/extents", &e), 0);
	assert_int_equal(e.mode, 0400);
	check_show(SET_UUID "/internal/extents", "1:0 len 8 dirty 1 100:3\n1:8 len 8 dirty 0\n1:16 len 8 dirty 0 -:7\n");
	for (unsigned i = 0; i < 3; i++) {
		struct printbuf pb = PRINTBUF(text);

		pr(&pb, "%*s", 30, "");
		assert_int_equal(bcf_ctl_show_piece(&w.b, SET_UUID "/internal/extents", &cur, &pb), 0);
		assert_string_equal(text + 30, lines[i]);
		assert_int_equal(cur.more, i < 2);
	}
	struct printbuf small = PRINTBUF(text);
	pr(&small, "%*s", 30, "");
	assert_int_equal(bcf_ctl_show(&w.b, SET_UUID "/internal/extents", &small), -EFBIG);
	assert_int_equal(w.set.holds, 0);
}

static void the_limit_of_the_node_cache_can_be_changed(void **state)
{
	check_show(SET_UUID "/internal/btree_cache_max", "128.0M\n");
	check_store(SET_UUID "/internal/btree_cache_max", "64M", 0);
	check_store(SET_UUID "/internal/btree_cache_max", "1.5G\n", 0);
	check_store(SET_UUID "/internal/btree_cache_max", "-1", -EINVAL);
	assert_string_equal(w.calls, "btree_set_cache_max(67108864)btree_set_cache_max(1610612736)");
}

static void set_actions_reach_their_modules(void **state)
{
	check_store(SET_UUID "/internal/trigger_gc", "1", 0);
	check_store(SET_UUID "/internal/prune_cache", "0", 0);
	check_store(SET_UUID "/internal/prune_cache", "320", 0);
	check_store(SET_UUID "/internal/prune_cache", "x", -EINVAL);
	check_store(SET_UUID "/internal/btree_shrinker_disabled", "1", 0);
	check_store(SET_UUID "/internal/prune_cache", "320", 0);
	check_store(SET_UUID "/gc_wait", "1", 0);
	check_store(SET_UUID "/sync", "1", 0);
	check_store(SET_UUID "/stop", "1", 0);
	check_store(SET_UUID "/unregister", "1", 0);
	assert_string_equal(w.calls, "gc_trigger()btree_shrink(1)btree_shrink(10)gc_run()journal_flush()blk_flush(/data/ssd.img)"
				     "cset_stop(stop)cset_stop(unregister)");
}

static void removed_while_waiting(void)
{
	w.d[2].set = NULL;
}

static void volume_actions_are_administrative_operations(void **state)
{
	check_store(SET_UUID "/flash_vol_create", "1.5M\n", 0);
	check_store(SET_UUID "/flash_vol_create", "x", -EINVAL);
	check_store("dev2/size", "8192", 0);
	check_store("dev2/size", "\n", -EINVAL);
	check_store("dev2/unregister", "1", 0);
	check_store("dev2/unregister", "forced", 0);
	check_store("dev2/unregister", "force", 0);
	check_store("dev2/unregister", "force\n", 0);
	check_show("dev2/size", "4.0M\n");
	assert_string_equal(w.calls, "volume_create(1572864)volume_resize(dev2,8192)volume_remove(dev2)volume_remove(dev2)"
				     "volume_remove(dev2,force)volume_remove(dev2,force)");
	w.calls[0] = '\0';
	w.result = -EBUSY;
	check_store("dev2/unregister", "1", -EBUSY);
	check_store("dev2/size", "4096", -EBUSY);
	check_store(SET_UUID "/flash_vol_create", "4096", -EBUSY);
	w.calls[0] = '\0';
	w.on_lock = removed_while_waiting;
	check_store("dev2/unregister", "1", -ENODEV);
	w.d[2].set = &w.set;
	check_store("dev2/size", "4096", -ENODEV);
	assert_string_equal(w.calls, "");
	assert_null(w.b.admin.owner);
	assert_int_equal(w.d[2].holds + w.set.holds, 0);
}

static void uuids_lists_all_slots_that_are_in_use(void **state)
{
	struct bcf_ctl_cursor cur = { 0 };
	char text[700];

	w.uuids[0].first_reg = w.uuids[0].last_reg = 1769860800;
	w.slots[0] = (struct slot){ .cached_sectors = 16, .dirty_sectors = 8 };
	memcpy(w.uuids[1].uuid, UUID_INVALIDATED, 16);
	w.uuids[1].invalidated = 1769860801;
	w.slots[1] = (struct slot){ .keys = SLOT_KEPT, .cached_sectors = 2, .dirty_sectors = 2 };
	check_show(SET_UUID "/uuids",
		   "slot\tuuid\ttype\tpresent\tstate\tfirst_seen\tlast_seen\tinvalidated\tcached_bytes\tdirty_bytes\tdev\tlabel\n"
		   "0\t" DEV0_UUID "\tbacking\tyes\tdirty\t2026-01-31T12:00:00.000Z\t2026-01-31T12:00:00.000Z\t-\t8192\t4096\tdev0\tdata\n"
		   "1\t-\tinvalid\tno\tkept\t-\t-\t2026-01-31T12:00:01.000Z\t1024\t1024\t-\t\n"
		   "3\t" VOLUME_UUID "\tvolume\tyes\t-\t-\t-\t-\t0\t0\tdev2\tvol?\n");
	for (unsigned i = 0; i < 3; i++) { /* pieces of whole lines, as many as there is room for */
		struct printbuf pb = PRINTBUF(text);

		pr(&pb, "%*s", 300, "");
		assert_int_equal(bcf_ctl_show_piece(&w.b, SET_UUID "/uuids", &cur, &pb), 0);
		assert_int_equal(cur.more, i < 2);
	}
	w.slots[1].keys = SLOT_PURGED;
	w.by_slot[0] = NULL;
	assert_non_null(strstr(show(SET_UUID "/uuids"), "\tfree\tno\t-\t"));
	assert_non_null(strstr(show(SET_UUID "/uuids"), "\tbacking\tno\tdirty\t"));
	w.slots[0].dirty_sectors = 0;
	w.slots[1].keys = SLOT_TO_PURGE;
	assert_non_null(strstr(show(SET_UUID "/uuids"), "\tbacking\tno\tclean\t"));
	assert_non_null(strstr(show(SET_UUID "/uuids"), "\tinvalid\tno\tpurging\t"));
	check_show(SET_UUID "/dirty_data", "1.0M\n");
	w.slots[0].cached_sectors = 16;
	check_show("dev0/cached_data", "8.0k\n");
	check_show("dev1/cached_data", "0.0k\n");
}

static void forget_takes_a_uuid_or_a_slot(void **state)
{
	check_store(SET_UUID "/forget", DEV0_UUID, 0);
	check_store(SET_UUID "/forget", DEV0_UUID " discard-dirty\n", 0);
	check_store(SET_UUID "/forget", " slot:2\tdiscard-dirty", 0);
	check_store(SET_UUID "/forget", "slot:99999999999999999999", 0);
	check_text("calls", w.calls, "forget(0)forget(0,discard)forget(2,discard)forget(4294967295)");
	w.calls[0] = '\0';
	check_store(SET_UUID "/forget", OTHER_UUID, -ENOENT);
	check_store(SET_UUID "/forget", "00000000-0000-0000-0000-000000000000", -ENOENT);
	check_store(SET_UUID "/forget", "slot:", -EINVAL);
	check_store(SET_UUID "/forget", "slot:1x", -EINVAL);
	check_store(SET_UUID "/forget", "slot:-1", -EINVAL);
	check_store(SET_UUID "/forget", "1", -EINVAL);
	check_store(SET_UUID "/forget", DEV0_UUID " discard", -EINVAL);
	check_store(SET_UUID "/forget", DEV0_UUID " discard-dirty really", -EINVAL);
	check_store(SET_UUID "/forget", "\n", -EINVAL);
	assert_string_equal(w.calls, "");
	w.result = -ENOTEMPTY;
	check_store(SET_UUID "/forget", "slot:1", -ENOTEMPTY);
	assert_null(w.b.admin.owner);
}

static void readopt_takes_a_slot_and_finds_the_set(void **state)
{
	check_store("dev0/readopt", "2\n", 0);		     /* the set it belongs to */
	check_store("dev1/readopt", "1", 0);		     /* the only one there is */
	check_store("dev1/readopt", "1 " SET_UUID "\n", 0);
	check_text("calls", w.calls, "readopt(dev0," SET_UUID ",2)readopt(dev1," SET_UUID ",1)readopt(dev1," SET_UUID ",1)");
	w.calls[0] = '\0';
	check_store("dev1/readopt", "1 " OTHER_UUID, -ENOENT);
	check_store("dev1/readopt", "1 x", -ENOENT);
	check_store("dev1/readopt", "slot:1", -EINVAL);
	check_store("dev1/readopt", "1 " SET_UUID " 2", -EINVAL);
	check_store("dev1/readopt", "\n", -EINVAL);
	check_store("dev2/readopt", "1", -ENODEV); /* volumes have no such file */
	w.on_lock = gone_while_waiting;
	check_store("dev1/readopt", "1", -ENODEV);
	assert_string_equal(w.calls, "");
	assert_null(w.b.admin.owner);
	assert_int_equal(w.d[0].holds + w.d[1].holds + w.set.holds, 0);
}

/* R1.1, I-26 */
static void synchronous_is_never_cleared(void **state)
{
	check_store(SET_UUID "/synchronous", "1", 0);
	check_store(SET_UUID "/synchronous", "0", -EBUSY); /* a volume */
	assert_non_null(strstr(w.b.last_error, "flash-only volume"));
	memset(&w.uuids[3], 0, sizeof(w.uuids[3]));
	w.d[0].writeback.has_dirty = true;
	check_store(SET_UUID "/synchronous", "0", -EBUSY);
	assert_non_null(strstr(w.b.last_error, "a device has dirty data"));
	w.d[0].writeback.has_dirty = false;
	w.by_slot[0] = NULL;
	check_store(SET_UUID "/synchronous", "0", -EBUSY);
	assert_non_null(strstr(w.b.last_error, "not registered"));
	w.by_slot[0] = &w.d[0];
	check_store(SET_UUID "/synchronous", "0", -EOPNOTSUPP);
	assert_true(super_sync(&w.set_super));
	assert_string_equal(w.calls, "");
}

/* --- the cache device ---------------------------------------------------------------------------------------------------- */

static void cache_files_show_the_cache(void **state)
{
	w.set.data_sectors_written = 28672;
	w.set.btree_sectors_written = 185;
	w.set.meta_sectors_written = 815;
	w.set.io_errors = (3 << 20) + 12345;
	check_show(SET_UUID "/cache0/nbuckets", "1024\n");
	check_show(SET_UUID "/cache0/block_size", "0.5k\n");
	check_show(SET_UUID "/cache0/bucket_size", "128.0k\n");
	check_show(SET_UUID "/cache0/written", "14.0M\n");
	check_show(SET_UUID "/cache0/btree_written", "92.5k\n");
	check_show(SET_UUID "/cache0/metadata_written", "500.0k\n"); /* includes the btree's */
	check_show(SET_UUID "/cache0/io_errors", "3\n");
	check_store(SET_UUID "/cache0/clear_stats", "1", 0);
	check_show(SET_UUID "/cache0/written", "0.0k\n");
	check_show(SET_UUID "/cache0/metadata_written", "0.0k\n");
	check_show(SET_UUID "/cache0/io_errors", "0\n");
}

static void cache_settings_are_kept_in_the_superblock(void **state)
{
	check_store(SET_UUID "/cache0/cache_replacement_policy", "lru", 0); /* no change, no write */
	check_store(SET_UUID "/cache0/discard", "0", 0);
	assert_string_equal(w.calls, "");
	check_store(SET_UUID "/cache0/cache_replacement_policy", "random", 0);
	check_store(SET_UUID "/cache0/discard", "1", 0);
	check_show(SET_UUID "/cache0/discard", "1\n");
	assert_string_equal(w.calls, "write_super(flags=9)write_super(flags=11)");
	w.cache.can_discard = false;
	check_show(SET_UUID "/cache0/discard", "0\n"); /* stored, but the device cannot */
	w.result = -EROFS;
	check_store(SET_UUID "/cache0/cache_replacement_policy", "fifo", -EROFS);
	check_show(SET_UUID "/cache0/cache_replacement_policy", "lru fifo [random]\n");
}

#define ZEROS31 "0 0 0 0 0 0 0 0 0 0 0 0 0 0 0 0 0 0 0 0 0 0 0 0 0 0 0 0 0 0 0"

static void priority_stats_have_the_exact_shape(void **state)
{
	/* Bucket 0 is the superblock's: whatever it says must not count. */
	w.buckets[0] = (struct bucket){ .used_epoch = 7, .mark = MARK_DIRTY, .sectors_used = 1 };
	check_show(SET_UUID "/cache0/priority_stats", "Unused:\t\t99%\nClean:\t\t0%\nDirty:\t\t0%\nMetadata:\t0%\nAverage:\t0\n"
						      "Sectors per Q:\t0\nQuantiles:\t[" ZEROS31 "]\n");
	/* 64 clean buckets with priorities 32768 - 0 .. 32768 - 63; position 64 * i / 32 = 2 i. */
	for (unsigned i = 0; i < 64; i++)
		w.buckets[1 + i * 3 % 64 + 5] = (struct bucket){ .used_epoch = PRIO_INITIAL - i, .mark = MARK_RECLAIMABLE, .sectors_used = 8 };
	for (unsigned i = 0; i < 103; i++)
		w.buckets[200 + i] = (struct bucket){ .used_epoch = PRIO_EPOCH_METADATA, .mark = i < 93 ? MARK_DIRTY : MARK_METADATA, .sectors_used = 8 };
	check_show(SET_UUID "/cache0/priority_stats", "Unused:\t\t83%\nClean:\t\t6%\nDirty:\t\t9%\nMetadata:\t0%\nAverage:\t31\n"
						      "Sectors per Q:\t512\nQuantiles:\t[2 4 6 8 10 12 14 16 18 20 22 24 26 28 30 32 34 36 38 40 42 "
						      "44 46 48 50 52 54 56 58 60 62]\n");
	check_show(SET_UUID "/internal/buckets", "free 856\nclean 64\ndirty 93\nmetadata 10\nreserve_btree 0\nreserve_prio 0\nreserve_movinggc 0\nbad 0\n"
		   "reserve_none 0\nfree_inc 0\nprio_writes 0\ninvalidated 0\ndiscards 0\ndiscard_errors 0\n");
}

static void few_buckets_have_quantiles_too(void **state)
{
	w.buckets[9] = (struct bucket){ .used_epoch = PRIO_INITIAL - 5, .sectors_used = 1 };
	assert_non_null(strstr(show(SET_UUID "/cache0/priority_stats"), "Average:\t5\nSectors per Q:\t8\nQuantiles:\t[5 5 5"));
}

/* --- status.json --------------------------------------------------------------------------------------------------------- */

static struct jvalue member(struct jvalue object, const char *key)
{
	struct jiter it = jiter_begin(object);

	while (jiter_next(&it))
		if (!strcmp(it.key, key))
			return it.value;
	fail_msg("no member %s", key);
	return object;
}

static struct jvalue element(struct jvalue array, unsigned n)
{
	struct jiter it = jiter_begin(array);

	while (jiter_next(&it))
		if (!n--)
			return it.value;
	fail_msg("too few elements");
	return array;
}

static void status_is_one_line_of_json_with_exact_numbers(void **state)
{
	char why_text[200];
	struct printbuf why = PRINTBUF(why_text);
	struct jvalue root, set, dev, cache;
	struct json_doc *doc;
	const char *text;

	memcpy(w.super[0].label, "a \"b\"", 6);
	w.d[0].writeback.dirty_sectors = 22327;
	stat_add(&w.d[0].stats, STAT_BYPASSED_SECTORS, 34816);
	histogram_add(&w.d[0].account.latency[PATH_FLUSH], 3 * NS_PER_MS);
	text = show("status.json");
	assert_ptr_equal(strchr(text, '\n'), text + strlen(text) - 1);
	if (json_doc_parse("status.json", text, strlen(text), &doc, &why) < 0)
		fail_msg("%s", why_text);
	root = json_doc_root(doc);
	assert_int_equal(jvalue_integer(member(root, "schema")), 1);
	assert_string_equal(jvalue_string(member(root, "time")), "2026-01-31T12:00:00.000Z");
	assert_int_equal(jvalue_integer(member(root, "uptime_ms")), 123456);
	set = element(member(root, "sets"), 0);
	assert_string_equal(jvalue_string(member(set, "uuid")), SET_UUID);
	assert_string_equal(jvalue_string(member(set, "state")), "running");
	assert_int_equal(jvalue_integer(member(set, "bucket_size")), 131072);
	assert_int_equal(jvalue_integer(member(set, "in_use_percent")), 11);
	assert_int_equal(jvalue_kind(member(member(member(set, "internal"), "btree_gc"), "last_ago_ns")), JVALUE_NULL);
	assert_string_equal(jvalue_string(element(member(set, "bdevs"), 0)), "dev0");
	assert_string_equal(jvalue_string(element(member(set, "volumes"), 0)), "dev2");
	cache = element(member(set, "caches"), 0);
	assert_string_equal(jvalue_string(member(cache, "path")), "/data/ssd.img");
	assert_int_equal(jvalue_integer(member(member(cache, "buckets"), "free")), 1023);
	dev = element(member(root, "devices"), 0);
	assert_string_equal(jvalue_string(member(dev, "label")), "a \"b\"");
	assert_string_equal(jvalue_string(member(dev, "uuid")), DEV0_UUID);
	assert_string_equal(jvalue_string(member(dev, "set")), SET_UUID);
	assert_string_equal(jvalue_string(member(dev, "cache_mode")), "writethrough");
	assert_int_equal(jvalue_integer(member(dev, "dirty_data")), 11431424);
	assert_int_equal(jvalue_integer(member(dev, "size")), 268427264);
	assert_int_equal(jvalue_integer(member(member(dev, "stats_total"), "bypassed")), 17825792);
	assert_int_equal(jvalue_integer(member(member(member(dev, "latency"), "flush"), "p99.9_ns")), 3 * NS_PER_MS);
	assert_int_equal(jvalue_integer(member(member(dev, "writeback"), "rate")), 524288);
	assert_true(jvalue_bool(member(dev, "running")));
	dev = element(member(root, "devices"), 1);
	assert_int_equal(jvalue_kind(member(dev, "set")), JVALUE_NULL);
	assert_int_equal(jvalue_kind(member(dev, "slot")), JVALUE_NULL);
	dev = element(member(root, "devices"), 2);
	assert_string_equal(jvalue_string(member(dev, "type")), "volume");
	assert_string_equal(jvalue_string(member(dev, "uuid")), VOLUME_UUID);
	json_doc_free(doc);
}

static void a_text_that_does_not_fit_is_an_error(void **state)
{
	char small[100];
	struct printbuf pb = PRINTBUF(small);

	assert_int_equal(bcf_ctl_show(&w.b, "status.json", &pb), -EFBIG);
}

#define TEST(fn) cmocka_unit_test_setup(fn, world_new)

int main(void)
{
	const struct CMUnitTest tests[] = {
		TEST(directories_list_what_they_hold),
		TEST(a_listing_ends_when_it_is_told_to),
		TEST(every_listed_name_can_be_looked_up),
		TEST(lookups_know_modes_and_targets),
		TEST(what_vanished_is_gone_at_once),
		TEST(a_set_on_its_way_up_is_not_there_yet),
		TEST(odd_labels_get_no_link),
		TEST(common_errors_have_the_right_number),
		TEST(last_error_says_what_when_and_why),
		TEST(register_maps_errors_as_the_kernel_does),
		TEST(paths_into_our_own_mount_are_refused_unseen),
		TEST(pendings_cleanup_stops_only_what_waits),
		TEST(version_names_the_superblock),
		TEST(identity_of_a_device),
		TEST(stripe_size_is_at_least_four_mebibytes),
		TEST(stripes_can_be_set),
		TEST(writeback_can_be_bounded_and_watched),
		TEST(labels_are_stored_where_they_belong),
		TEST(attach_finds_the_set),
		TEST(running_starts_a_device_once),
		TEST(detach_and_stop_need_no_value),
		TEST(cache_mode_is_written),
		TEST(writeback_running_needs_a_set),
		TEST(rate_debug_has_seven_exact_lines),
		TEST(statistics_of_devices_and_sets),
		TEST(set_files_show_the_set),
		TEST(congestion_shows_a_threshold),
		TEST(time_statistics_are_truncated_to_their_unit),
		TEST(bset_tree_stats_have_the_kernels_seven_lines),
		TEST(extents_are_a_line_per_key_in_pieces),
		TEST(the_limit_of_the_node_cache_can_be_changed),
		TEST(set_actions_reach_their_modules),
		TEST(volume_actions_are_administrative_operations),
		TEST(uuids_lists_all_slots_that_are_in_use),
		TEST(forget_takes_a_uuid_or_a_slot),
		TEST(readopt_takes_a_slot_and_finds_the_set),
		TEST(synchronous_is_never_cleared),
		TEST(cache_files_show_the_cache),
		TEST(cache_settings_are_kept_in_the_superblock),
		TEST(priority_stats_have_the_exact_shape),
		TEST(few_buckets_have_quantiles_too),
		TEST(status_is_one_line_of_json_with_exact_numbers),
		TEST(a_text_that_does_not_fit_is_an_error),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
