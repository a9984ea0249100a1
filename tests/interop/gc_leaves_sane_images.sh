#!/bin/sh
# SPDX-License-Identifier: GPL-2.0-only
# What moving gc, merged index nodes, a detach and wrapped generations leave: the real kernel takes it, and reads what was written, after SIGKILL
# and after an orderly stop. One set for each; the kernel gets all of them at once, which saves boots.
# run: alone
. "$(dirname "$0")/functions.sh"
requires_fuse
requires_tool
requires_kernel
SEED=${SEED:-91}
ALL="moved merged detached wrapped"

make_set() { # NAME CACHE-SIZE BACKING-SIZE FORMAT-OPTION...
	_name=$1
	shift
	rm -f cache.img backing.img
	mk_images "$@"
	echo "$SET_UUID" >"$_name.uuid"
}
park() { for _image in cache backing; do mv $_image.img "$1.$_image.img"; done; }
unpark() {
	for _image in cache backing; do mv "$1.$_image.img" $_image.img; done
	SET_UUID=$(cat "$1.uuid")
}
set_get() { ctl_get "$SET_UUID/$1"; }
set_set() { ctl_set "$SET_UUID/$1" "$2"; }
settings() {
	ctl_set dev0/sequential_cutoff 0
	ctl_set dev0/writeback_percent 0
	ctl_set dev0/writeback_running 0
}
leaves() { # NAME kill|stop: the end of the daemon, and what must be readable then
	case $2 in
	kill) kill_daemon ;;
	stop) stop_daemon ;;
	esac
	park "$1"
}

# blocks SEED FILE MODEL scattered|most|runs|laps: blocks of 4 KiB; a block names itself and its writing. Ends with fsync.
blocks() {
	python3 - "$@" <<'PY' || fail "cannot write"
import os, random, sys
seed, device, model, pattern = sys.argv[1:]
rng = random.Random(int(seed))
fd, copy = os.open(device, os.O_RDWR), os.open(model, os.O_RDWR)
blocks = os.fstat(copy).st_size // 4096
def write(first, count):
    data = b"".join((b"%-8s %-20d\n\0\0" % (seed.encode(), b)) * 128 for b in range(first, first + count))
    data = data.ljust(count * 4096, b"\n")
    os.pwrite(fd, data, first * 4096)
    os.pwrite(copy, data, first * 4096)
order = list(range(blocks))
if pattern == "scattered":          # each block once, half of them at least
    rng.shuffle(order)
    for b in order[:blocks * 3 // 4]:
        write(b, 1)
elif pattern == "most":             # three of four, in order of place: of what a bucket holds a little stays
    for b in order:
        if rng.random() < 0.75:
            write(b, 1)
else:                               # all of it, in large writes; 24 times
    for first in list(range(0, blocks, 64)) * (24 if pattern == "laps" else 1):
        write(first, min(64, blocks - first))
os.fsync(fd)
PY
}
moved_keys() { set_get internal/moving_gc | sed -n 's/^keys //p'; }
has_moved() { [ "$(moved_keys)" -gt "$1" ]; }
gc() { set_set gc_wait 1; }
nodes() { gc; set_get internal/btree_nodes; }

# --- what each set goes through, and again after a new start with another seed ---

# Every bucket keeps a little: only moving makes room. What was moved is moved on, into buckets that the first pass emptied.
life_of_moved() {
	set_set internal/copy_gc_enabled 1
	blocks "$1" "$MNT/dev0" moved.model runs
	for lap in 1 2 3; do
		blocks "$1$lap" "$MNT/dev0" moved.model most
		keys=$(moved_keys)
		gc
		wait_for 20 has_moved "$keys"
		gc # the sources become free
	done
	set_get internal/moving_gc | tr '\n' ' '
	echo
}
# Many small extents become few large ones, and of many leaves two or three are left.
life_of_merged() {
	blocks "$1" "$MNT/dev0" merged.model scattered
	many=$(nodes)
	blocks "$1" "$MNT/dev0" merged.model runs
	few=$(nodes)
	for _ in 1 2 3; do few=$(nodes); done
	echo "$many nodes before, $few after"
	[ $((few * 2)) -lt "$many" ] || fail "nodes were not merged"
}
life_of_detached() {
	[ "$(ctl_get dev0/state)" != "no cache" ] || { ctl_set dev0/attach "$SET_UUID"; ctl_set dev0/cache_mode writeback; }
	blocks "$1" "$MNT/dev0" detached.model scattered
	[ "$(ctl_get dev0/state)" = dirty ] || fail "there is nothing for the detach to write back"
	ctl_set dev0/detach 1
	is_alone() { [ "$(ctl_get dev0/state)" = "no cache" ]; }
	wait_for 60 is_alone
	blocks "$1" "$MNT/dev0" detached.model most # which the set must not know
}
# Written through, again and again, until 8 bits do not count how often; then dirty data on top.
life_of_wrapped() {
	ctl_set dev0/cache_mode writethrough
	set_set cache0/freelist_percent 20 # else each handful of buckets costs a prio write
	rm -f wrapped.samples
	laps=0
	until "$INTEROP/gens.py" cache.img wrapped.samples "$2" >wrapped.said; do
		laps=$((laps + 24))
		[ $laps -lt 1000 ] || { cat wrapped.said; fail "buckets are not reused"; }
		blocks "$1$laps" "$MNT/dev0" wrapped.model laps
	done
	echo "$(cat wrapped.said), after $laps laps"
	ctl_set dev0/cache_mode writeback
	blocks "$1" "$MNT/dev0" wrapped.model most
}

begin() { # NAME: the daemon runs on this set, which is dirty and stays so unless told otherwise
	start_daemon
	settings
	[ -e "$1.model" ] || truncate -s "$(stat -c %s "$MNT/dev0")" "$1.model"
	is_same "$1: our mount" "$(our_sha)" "$(sha "$1.model")"
}

# The kernel has all sets at once; backing devices are numbered as they are named. What is alone is attached again, by the kernel.
kernel_takes_all() {
	set --
	for name in $ALL; do set -- "$@" --cache $name.cache.img --backing $name.backing.img; done
	cat >attach.sh <<EOF
. /lib/bcache.sh
for b in /sys/block/vd*/bcache; do
	[ "\$(cat "\$b/state" 2>/dev/null)" = "no cache" ] || continue
	echo $(cat detached.uuid) >"\$b/attach"
	echo "attached: \$(cat "\$b/state") \$(sha256sum <"\$(readlink -f "\$b/dev" | sed 's,.*/,/dev/,')")"
done
EOF
	kernel_takes --backing-first --writeback --run attach.sh "$@"
	for name in $ALL; do
		answer sets | grep -q "$(cat $name.uuid)" || fail "the kernel does not run the set of $name"
	done
	i=0
	for name in $ALL; do
		python3 - $i "$(sha $name.model)" $name <<'PY' || fail "the kernel reads something else"
import json, sys
index, want, name = int(sys.argv[1]), sys.argv[2], sys.argv[3]
device, = [d for d in json.load(open("answer.json"))["devices"] if d["backing"] == index]
state = "no cache" if name == "detached" else "dirty"
after, = [d for d in json.load(open("answer.json"))["after_writeback"] if d["backing"] == index] # without the cache: what was dirty has arrived
same = ["same" if d["sha256"] == want else "DIFFERENT" for d in (device, after)]
print("%s: %s, %s; written back: %s" % (name, device["state"], *same))
sys.exit("DIFFERENT" in same or device["state"] != state)
PY
		i=$((i + 1))
	done
	grep -q "^attached: clean $(sha detached.model)" answer.err || { cat answer.err; fail "the kernel does not attach what we detached"; }
}

say "made, and killed (seed $SEED)"
for name in $ALL; do
	case $name in
	moved) make_set moved 24M 12M --writeback --bucket 32k ;;
	merged) make_set merged 80M 32M --writeback --bucket 32k ;;
	detached) make_set detached 10M 8M --writeback --bucket 16k ;;
	wrapped) make_set wrapped 4480k 4M --writeback --bucket 8k --cache-replacement-policy fifo ;;
	esac
	begin $name
	life_of_$name $SEED 300
	leaves $name kill
done

say "the kernel, after SIGKILL"
kernel_takes_all

say "once more, and stopped in order"
for name in $ALL; do
	unpark $name
	begin $name
	life_of_$name $((SEED + 1)) 30
	leaves $name stop
done

say "the kernel, after an orderly stop"
kernel_takes_all
