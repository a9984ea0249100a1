#!/bin/sh
# SPDX-License-Identifier: GPL-2.0-only
# Simulated worlds end in a power cut; what the real kernel then reads from their disks is what the model allows.
# WORLDS='1 2 3' tests/interop/kernel_reads_sim_images.sh: other worlds.
# run: alone
. "$(dirname "$0")/functions.sh"
requires_kernel
WORLDS=${WORLDS:-5 14 20}
SIM=$B/sim
[ -x "$SIM" ] || skip "needs $SIM (make test-programs)"

leave() {
	rm -rf disks && mkdir disks
	"$SIM" "$1" --leave disks >left || { cat left; fail "world $1 itself fails"; }
}

# What it reads goes to disks/dev0.img, ..., numbered as the backing disks are; states: a line for each device.
kernel_reads() {
	set -- --dump dump --kmsg kmsg --cache disks/cache.img
	for i in disks/backing?.img; do
		set -- "$@" --backing "$i"
	done
	rm -rf dump && mkdir dump
	"$INTEROP/verify-in-kernel" "$@" >answer.json 2>answer.err || { cat answer.json answer.err; fail "the kernel does not take the disks"; }
	python3 -c 'import json
for d in json.load(open("answer.json"))["devices"]: print(d["name"], d["backing"], d["state"])' >devices
	while read -r name number state; do
		mv "dump/$name.img" "disks/dev$number.img"
		echo "$state" >>states
	done <devices
}

judge() { "$SIM" "$1" --judge disks >judged 2>&1; }

for seed in $WORLDS; do
	leave "$seed"
	kernel_reads
	judge "$seed" || { cat judged; fail "world $seed: the kernel reads what was never there (the disks: build/sim $seed --leave DIR)"; }
	say "world $seed: $(grep -o '[0-9]* sectors with a choice' left)"
done
grep -q dirty states || fail "no device was dirty: this would test nothing"

say "the judge notices one wrong byte"
printf '\377' | dd of=disks/dev0.img bs=1 seek=700 conv=notrunc 2>dd.err
judge "$seed" && fail "and yet it does not"
grep -q 'dev0 sector 1 byte' judged || { cat judged; fail "but not that one"; }
