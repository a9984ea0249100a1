#!/usr/bin/env python3
# SPDX-License-Identifier: GPL-2.0-only
"""Writes data that tell who wrote them, and checks that they are where they should be.

    stamps.py fill FILE MODEL --seed N [--bytes 24M] [--max-io 256K] [--fsync-every 16] [--align 1] [--orders]
        Random writes of whole sectors all over FILE, an fsync after every so many and at the end; the same goes into MODEL, a plain
        file that is what FILE must read as. --orders: do not write FILE, print orders for stampio (tests/interop).
    stamps.py torture FILE STATE --seed N [--threads 2]
        Write and fsync without end, until FILE fails (its daemon was killed). STATE then says, for each sector, what may be read.
        STATE.started appears when the daemon may be killed.
    stamps.py check FILE STATE [--settle]
        Compare FILE with STATE. --settle: what was read is what must be read from now on.

Each sector holds sixteen times the line "TAGX sec=SSSSSSSSSSSS gen=GGGGG\\n", as tests/golden/README.md says. Sectors never written are zeros.
"""
import argparse
import json
import os
import random
import re
import sys
import threading

SECTOR = 512
TAG = "bcf0"


def stamp(sector, generation):
    if generation == 0:
        return bytes(SECTOR)
    return (b"%-4s sec=%012d gen=%05d\n" % (TAG.encode(), sector, generation)) * (SECTOR // 32)


def stamps(sector, count, generation):
    return b"".join(stamp(s, generation) for s in range(sector, sector + count))


def what_is(data):
    """The generation that a sector holds, or a text if it holds none."""
    if not any(data):
        return 0
    match = re.match(rb"(.{4}) sec=(\d{12}) gen=(\d{5})\n", data)
    if not match:
        return "no stamp: %s" % data[:16].hex()
    if data != data[:32] * (SECTOR // 32):
        return "a mixture, beginning with %s" % data[:31].decode()
    return int(match[3])


def size_of(text):
    units = {"K": 1 << 10, "M": 1 << 20, "G": 1 << 30}
    return int(text[:-1]) * units[text[-1].upper()] if text[-1].upper() in units else int(text)


def pwrite_all(fd, data, offset):
    while data:
        n = os.pwrite(fd, data, offset)
        data = data[n:]
        offset += n


def fill(args):
    rng = random.Random(args.seed)
    nr_sectors = os.stat(args.model).st_size // SECTOR
    model = os.open(args.model, os.O_RDWR)
    fd = -1 if args.orders else os.open(args.file, os.O_RDWR)
    left = size_of(args.bytes) // SECTOR
    largest = size_of(args.max_io) // SECTOR
    generation = args.first_generation
    while left > 0:
        # Small ones as likely as large ones.
        count = min(rng.randint(1, 1 << rng.randint(0, largest.bit_length() - 1)), left)
        count = -(-count // args.align) * args.align
        sector = rng.randrange((nr_sectors - count) // args.align) * args.align
        data = stamps(sector, count, generation)
        os.pwrite(model, data, sector * SECTOR)
        if args.orders:
            print("w %d %d %d" % (sector, count, generation))
        else:
            pwrite_all(fd, data, sector * SECTOR)
        left -= count
        if generation % args.fsync_every == 0 or left <= 0:
            if args.orders:
                print("f")
            else:
                os.fsync(fd)
        generation += 1


class State:
    """For each sector: the generations that may be read; one, unless it was written after the last fsync."""

    def __init__(self, path):
        self.path = path
        self.seed = 0
        self.generation = 0
        self.allowed = {}
        self.fsyncs = 0
        if os.path.exists(path):
            with open(path, encoding="utf-8") as f:
                saved = json.load(f)
            self.generation = saved["generation"]
            self.allowed = {int(s): g for s, g in saved["allowed"].items()}

    def save(self):
        with open(self.path + ".new", "w", encoding="utf-8") as f:
            json.dump({"generation": self.generation, "allowed": self.allowed}, f)
        os.replace(self.path + ".new", self.path)

    def of(self, sector):
        return self.allowed.get(sector, [0])


def torture_thread(path, state, lock, rng, low, high):
    """Owns the sectors low ... high - 1."""
    unsynced = {}
    try:
        fd = os.open(path, os.O_RDWR)
        while True:
            for _ in range(rng.randint(1, 8)):
                count = min(rng.choice((1, 3, 8, 8, 8, 16, 64)), high - low)
                sector = rng.randrange(low, high - count + 1)
                if rng.random() < 0.5:
                    sector -= sector % 8
                    sector = max(sector, low)
                    count = min(count, high - sector)
                with lock:
                    if state.generation == 99999:
                        return  # the stamp has five digits
                    state.generation += 1
                    generation = state.generation
                    for s in range(sector, sector + count):
                        state.allowed[s] = state.of(s) + [generation]
                        unsynced[s] = generation
                pwrite_all(fd, stamps(sector, count, generation), sector * SECTOR)
            os.fsync(fd)
            with lock:
                for s, generation in unsynced.items():
                    state.allowed[s] = [generation]
                state.fsyncs += 1
            unsynced.clear()
    except OSError:
        return  # killed


def torture(args):
    state = State(args.state)
    lock = threading.Lock()
    rng = random.Random(args.seed)
    nr = os.stat(args.file).st_size // SECTOR
    part = nr // args.threads
    open(args.state + ".started", "w", encoding="utf-8").close()
    threads = [threading.Thread(target=torture_thread, args=(args.file, state, lock, random.Random(rng.random()), i * part, (i + 1) * part))
               for i in range(args.threads)]
    for t in threads:
        t.start()
    for t in threads:
        t.join()
    state.save()
    open_sectors = sum(len(g) > 1 for g in state.allowed.values())
    print("generation %d, %d fsyncs in this round, %d sectors written since" % (state.generation, state.fsyncs, open_sectors))


def check(args):
    state = State(args.state)
    bad = 0
    with open(args.file, "rb", buffering=0) as f:
        sector = 0
        while True:
            data = f.read(1 << 20)
            if not data:
                break
            for i in range(0, len(data), SECTOR):
                seen = what_is(data[i:i + SECTOR])
                allowed = state.of(sector)
                right = seen in allowed and data[i:i + SECTOR] == stamp(sector, seen)
                if not right:
                    bad += 1
                    if bad <= 5:
                        print("sector %d reads %s (%r…); allowed: %s" % (sector, seen, data[i:i + 24], ", ".join(map(str, allowed))))
                elif args.settle and len(allowed) > 1:
                    state.allowed[sector] = [seen]
                sector += 1
    if args.settle:
        state.save()
    if bad:
        print("%d of %d sectors are wrong" % (bad, sector))
    return 1 if bad else 0


def main():
    parser = argparse.ArgumentParser()
    sub = parser.add_subparsers(dest="command", required=True)
    p = sub.add_parser("fill")
    p.add_argument("file")
    p.add_argument("model")
    p.add_argument("--seed", type=int, required=True)
    p.add_argument("--bytes", default="24M")
    p.add_argument("--max-io", default="256K")
    p.add_argument("--fsync-every", type=int, default=16)
    p.add_argument("--first-generation", type=int, default=1)
    p.add_argument("--align", type=int, default=1, help="sectors")
    p.add_argument("--orders", action="store_true")
    p = sub.add_parser("torture")
    p.add_argument("file")
    p.add_argument("state")
    p.add_argument("--seed", type=int, required=True)
    p.add_argument("--threads", type=int, default=2)
    p = sub.add_parser("check")
    p.add_argument("file")
    p.add_argument("state")
    p.add_argument("--settle", action="store_true")
    args = parser.parse_args()
    return {"fill": fill, "torture": torture, "check": check}[args.command](args) or 0


if __name__ == "__main__":
    sys.exit(main())
