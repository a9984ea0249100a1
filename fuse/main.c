/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * bcache-fuse: the daemon. Judge everything that can be judged, fork, then live on one engine until a signal or an unmount.
 *
 * The fork comes before the engine, because the ring and its threads would not survive it; the parent stays until the child has written
 * one byte ("ready"), so whoever started us can use the mount when we return.
 */
#include <fcntl.h>
#include <poll.h>
#include <pthread.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "core/engine/engine_uring.h"
#include "fuse/args.h"
#include "fuse/session.h"
#include "fuse/start.h"

#ifndef VERSION
#define VERSION "0.1"
#endif

#define EXIT_USAGE 2
#define WHY_BYTES 512
/* A terminal, make and a shell's trap may all pass on the same ^C: closer ones count as one. */
#define SECOND_SIGINT_NS (300 * NS_PER_MS)

struct daemon {
	struct args args;
	struct config config;
	char state_file[CONFIG_PATH_BYTES];
	struct engine *engine;
	struct session *session;
	struct bcf *bcf;
	struct fiber *starter;
	int ready_fd; /* -1: in the foreground */
	bool stop;    /* a signal asked us to */
	int start_result;
};

/* --- signals ---------------------------------------------------------------------------------------------------------- */

static int signal_pipe[2] = { -1, -1 };
static uint64_t first_sigint_ns;

static uint64_t clock_ns(void)
{
	struct timespec now;

	clock_gettime(CLOCK_MONOTONIC, &now);
	return (uint64_t)now.tv_sec * NS_PER_S + (uint64_t)now.tv_nsec;
}

/* In the handler itself, so that it works even when the engine hangs. Leaving like this is safe: recovery replays the journal. */
static void give_up_at_second_sigint(void)
{
	static const char text[] = "bcache-fuse: interrupted again, leaving at once; the journal will be replayed at the next start\n";
	uint64_t now = clock_ns();

	if (!first_sigint_ns)
		first_sigint_ns = now;
	if (now - first_sigint_ns < SECOND_SIGINT_NS)
		return;
	if (write(STDERR_FILENO, text, sizeof(text) - 1) < 0)
		_exit(EXIT_FAILURE);
	_exit(EXIT_FAILURE);
}

static void on_signal(int sig)
{
	unsigned char c = (unsigned char)sig;
	int saved = errno;

	if (sig == SIGINT)
		give_up_at_second_sigint();
	if (write(signal_pipe[1], &c, 1) < 0) {
		/* full: the engine has enough signals to read */
	}
	errno = saved;
}

#ifdef WITH_TSAN
static void *take_signals(void *arg)
{
	pthread_sigmask(SIG_SETMASK, arg, NULL);
	for (;;)
		pause();
	return NULL;
}

/*
 * TSan runs a handler at the next libc call of the fiber that the signal hit, and that fiber may be parked for good by then. So a thread without
 * fibers takes them all.
 */
static int signals_leave_the_engine(void)
{
	static sigset_t before;
	sigset_t ours;
	pthread_t thread;
	int r;

	sigemptyset(&ours);
	sigaddset(&ours, SIGTERM);
	sigaddset(&ours, SIGINT);
	sigaddset(&ours, SIGHUP);
	pthread_sigmask(SIG_BLOCK, &ours, &before);
	r = -pthread_create(&thread, NULL, take_signals, &before);
	if (r == 0)
		pthread_detach(thread);
	return r;
}
#else
static int signals_leave_the_engine(void)
{
	return 0; /* a handler runs wherever the engine is, even when it hangs */
}
#endif

static int signals_install(void)
{
	struct sigaction act = { .sa_handler = on_signal, .sa_flags = SA_RESTART };
	struct sigaction ignore = { .sa_handler = SIG_IGN };

	if (pipe2(signal_pipe, O_CLOEXEC | O_NONBLOCK) < 0)
		return -errno;
	sigaction(SIGPIPE, &ignore, NULL);
	sigaction(SIGTERM, &act, NULL);
	sigaction(SIGINT, &act, NULL);
	sigaction(SIGHUP, &act, NULL);
	return signals_leave_the_engine();
}

static void signals_fiber(void *arg)
{
	struct daemon *d = arg;
	unsigned char sig;

	while (engine_poll_fd(signal_pipe[0], POLLIN) > 0) {
		while (read(signal_pipe[0], &sig, 1) == 1)
			log_info("stopping (signal %d)", sig);
		d->stop = true;
		if (d->starter)
			fiber_cancel(d->starter);
		if (d->session->transport)
			wake_all(&d->session->transport->changed);
	}
}

/* --- becoming a daemon ------------------------------------------------------------------------------------------------ */

/* The parent: report what the child reports. */
static void wait_for_child(pid_t child, int fd)
{
	char ready;
	ssize_t n;
	int status;

	do
		n = read(fd, &ready, 1);
	while (n < 0 && errno == EINTR);
	if (n == 1)
		_exit(EXIT_SUCCESS);
	while (waitpid(child, &status, 0) < 0)
		if (errno != EINTR)
			_exit(EXIT_FAILURE);
	if (WIFEXITED(status) && WEXITSTATUS(status))
		_exit(WEXITSTATUS(status)); /* it has said why */
	if (WIFSIGNALED(status))
		log_error("the daemon was killed by signal %d while it started", WTERMSIG(status));
	else
		log_error("stopped before the start was complete");
	_exit(EXIT_FAILURE);
}

static int daemon_fork(struct daemon *d)
{
	int fds[2];
	pid_t child;

	if (pipe2(fds, O_CLOEXEC) < 0)
		return -errno;
	child = fork();
	if (child < 0)
		return -errno;
	if (child) {
		close(fds[1]);
		wait_for_child(child, fds[0]);
	}
	close(fds[0]);
	d->ready_fd = fds[1];
	(void)setsid(); /* fails only for a group leader, which a new child is not */
	return chdir("/") < 0 ? -errno : 0;
}

static void report_ready(struct daemon *d)
{
	int null;

	if (d->ready_fd < 0)
		return;
	log_use_syslog("bcache-fuse");
	null = open("/dev/null", O_RDWR | O_CLOEXEC);
	for (int fd = 0; null >= 0 && fd <= 2; fd++)
		(void)dup2(null, fd); /* onto open descriptors: cannot fail */
	if (null > 2)
		close(null);
	if (write(d->ready_fd, "R", 1) != 1)
		log_warn("nobody waits to hear that the mount is ready");
	close(d->ready_fd);
	d->ready_fd = -1;
}

/* --- life ------------------------------------------------------------------------------------------------------------- */

static void devices_changed(void *ctx)
{
	session_devices_changed(((struct daemon *)ctx)->session);
}

static int core_new(struct daemon *d)
{
	struct bcf_options o = {
		.btree_cache_max_bytes = d->config.btree_cache_max_bytes,
		.shutdown_timeout_s = d->config.shutdown_timeout_s,
		.cutoff_writeback = d->config.cutoff_writeback,
		.cutoff_writeback_sync = d->config.cutoff_writeback_sync,
		.require_backing = true,
		.avoid_dev = d->session->dev,
		.state_file = config_state_file(&d->config, d->state_file) ? d->state_file : NULL,
		.devices_changed = devices_changed,
		.ctx = d,
	};
	int r = bcf_new(&o, &d->bcf);

	if (r < 0)
		log_error("cannot start the cache engine: %s", strerror(-r));
	return r;
}

static void starter_fiber(void *arg)
{
	struct daemon *d = arg;

	d->start_result = start_devices(d->bcf, &d->config);
}

/* On a fiber of its own, so that a signal can cancel it without cancelling the orderly stop that follows. */
static int bring_up_devices(struct daemon *d)
{
	d->starter = fiber_spawn("start", starter_fiber, d);
	if (!d->starter)
		return -ENOMEM;
	fiber_join(d->starter);
	d->starter = NULL;
	if (!d->stop)
		return d->start_result;
	log_error("interrupted before the start was complete");
	return -EINTR;
}

static int start(struct daemon *d)
{
	int r;

	log_hold();
	r = session_mount(d->session, d->args.mountpoint);
	if (r == 0)
		r = core_new(d);
	if (r == 0)
		r = bring_up_devices(d);
	if (r < 0)
		return r;
	r = session_serve(d->session, d->bcf);
	if (r < 0) {
		log_error("cannot serve '%s': %s", d->args.mountpoint, strerror(-r));
		return r;
	}
	log_info("mounted on '%s', %zu devices, transport %s", d->args.mountpoint, d->config.nr_devices,
		 d->session->transport->ops->name);
	report_ready(d);
	log_release();
	return 0;
}

/* Does not return when something hangs: its fibers cannot be ended, and the engine not without them. */
static void stop(struct daemon *d)
{
	int r = session_stop(d->session, d->config.shutdown_timeout_s);

	if (r == 0) {
		session_close_handles(d->session);
		if (d->bcf)
			r = bcf_stop(d->bcf);
	}
	if (r == 0)
		return;
	log_error("leaving uncleanly; the journal will be replayed at the next start");
	_exit(EXIT_FAILURE);
}

static int daemon_main(void *arg)
{
	struct daemon *d = arg;
	struct fiber *signals = fiber_spawn("signals", signals_fiber, d);
	int r;

	if (!signals)
		return -ENOMEM;
	r = start(d);
	while (r == 0 && !d->stop && !d->session->transport->ended)
		wait_queue_wait(&d->session->transport->changed);
	if (r == 0 && !d->stop)
		log_info("'%s' was unmounted, stopping", d->args.mountpoint);
	stop(d);
	fiber_cancel(signals);
	fiber_join(signals);
	log_info("stopped");
	return r;
}

static int run(struct daemon *d)
{
	int r = signals_install();

	if (r == 0)
		r = engine_uring_new(d->config.spin_us, &d->engine);
	if (r < 0) {
		log_error("cannot set up io_uring: %s%s", strerror(-r),
			  r == -EPERM ? " (see the sysctl kernel.io_uring_disabled)" : "");
		return r;
	}
	r = engine_run(d->engine, daemon_main, d);
	session_free(d->session);
	d->session = NULL;
	engine_uring_free(d->engine);
	return r;
}

/* --- command line ----------------------------------------------------------------------------------------------------- */

static void print_help(FILE *out)
{
	fputs("Usage: bcache-fuse [options] MOUNTPOINT\n"
	      "Serve bcache devices as files: MOUNTPOINT/dev0, dev1, ...; control files are in MOUNTPOINT/.ctl.\n\n"
	      "  --cache FILE        register a cache device (file or block device; repeatable)\n"
	      "  --backing FILE      register a backing device (repeatable)\n"
	      "  -c, --config FILE   configuration file (default: ~/.config/bcache-fuse/bcache-fuse.conf,\n"
	      "                      then /etc/bcache-fuse.conf)\n"
	      "  -f, --foreground    stay in the foreground, log to stderr\n"
	      "  -d, --debug         as -f, and log every request\n"
	      "  -o OPT[,OPT...]     allow_other, ro, fsname=NAME and other mount options, or\n"
	      "                      cache=FILE  backing=FILE  config=FILE  shutdown_timeout=SECONDS  btree_cache=SIZE\n"
	      "                      cutoff_writeback=PERCENT  cutoff_writeback_sync=PERCENT  spin_us=MICROSECONDS\n"
	      "                      log_level=error|warn|info|debug  state_file=FILE|none\n"
	      "  -h, --help          this text\n"
	      "  -V, --version       version\n\n"
	      "Unmount with 'fusermount3 -u MOUNTPOINT' or by SIGTERM. Devices can also be registered later:\n"
	      "  echo /path/to/device > MOUNTPOINT/.ctl/register\n",
	      out);
}

static int load_config(struct daemon *d)
{
	char text[WHY_BYTES] = "";
	struct printbuf why = PRINTBUF(text);
	int r = config_load(&d->config, d->args.config_path, &why);

	for (size_t i = 0; r == 0 && i < d->args.nr_options; i++)
		r = config_set_option(&d->config, d->args.options[i].name, d->args.options[i].value, &why);
	if (r < 0) {
		log_error("%s", text);
		return r;
	}
	if (d->args.debug)
		d->config.log_level = LOG_LEVEL_DEBUG;
	log_set_level(d->config.log_level);
	config_normalise(&d->config);
	return 0;
}

/* A device as mount(8)'s source: of whichever kind it is, unless the options name it too. */
static int add_source(struct daemon *d)
{
	struct config *devices = &d->args.devices;
	uint8_t set_uuid[16];
	bool backing;
	int r;

	if (!d->args.source)
		return 0;
	for (size_t i = 0; i < devices->nr_devices; i++)
		if (!strcmp(devices->devices[i].path, d->args.source))
			return 0;
	r = start_peek(d->args.source, &backing, set_uuid);
	return r < 0 ? r : config_add_device(devices, d->args.source, backing);
}

static int prepare(struct daemon *d)
{
	int r = load_config(d);

	if (r == 0)
		r = add_source(d);
	if (r < 0)
		return r;
	if (d->args.devices.nr_devices)
		config_replace_devices(&d->config, &d->args.devices);
	r = start_check(&d->config, d->args.mountpoint);
	return r < 0 ? r : session_new(&d->args.fuse, &d->session);
}

/* libfuse prints some lines in pieces. */
static void fuse_log_line(enum fuse_log_level level, const char *fmt, va_list ap)
{
	static char line[1024];
	size_t len = strlen(line);

	vsnprintf(line + len, sizeof(line) - len, fmt, ap);
	len = strlen(line);
	if (len < sizeof(line) - 1 && (!len || line[len - 1] != '\n'))
		return;
	log_line(level <= FUSE_LOG_ERR	   ? LOG_LEVEL_ERROR :
		 level <= FUSE_LOG_WARNING ? LOG_LEVEL_WARN :
		 level <= FUSE_LOG_INFO	   ? LOG_LEVEL_INFO :
					     LOG_LEVEL_DEBUG,
		 "%s", line);
	line[0] = '\0';
}

static void daemon_release(struct daemon *d)
{
	args_release(&d->args);
	config_release(&d->config);
	session_free(d->session);
}

int main(int argc, char **argv)
{
	struct daemon d = { .ready_fd = -1 };
	char text[WHY_BYTES] = "";
	struct printbuf why = PRINTBUF(text);
	int r;

	config_init(&d.config);
	fuse_set_log_func(fuse_log_line);
	r = args_parse(&d.args, argc, argv, &why);
	if (r < 0) {
		log_error("%s (see bcache-fuse --help)", text);
		daemon_release(&d);
		return EXIT_USAGE;
	}
	if (d.args.help || d.args.version) {
		if (d.args.help)
			print_help(stdout);
		else
			printf("bcache-fuse %s (libfuse %s)\n", VERSION, fuse_pkgversion());
		daemon_release(&d);
		return EXIT_SUCCESS;
	}
	r = prepare(&d);
	if (r == 0 && !d.args.foreground)
		r = daemon_fork(&d);
	if (r == 0)
		r = run(&d);
	daemon_release(&d);
	return r < 0 ? EXIT_FAILURE : EXIT_SUCCESS;
}
