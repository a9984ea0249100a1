#!/usr/bin/env python3
# SPDX-License-Identifier: GPL-2.0-only
"""How often the buckets of a cache were reused, from the generations on disk (format.md §7.2), which have 8 bits and wrap.

    gens.py CACHE SAMPLES [REUSES]

Looks at the newest prio set of the image and adds up, in the file SAMPLES, by how much each bucket's generation grew since it was called last;
so it must be called at least once in 200 reuses of a bucket. Prints what it found; with REUSES it fails unless half of all buckets were
reused more often than that. Only for caches whose prio set has one bucket.
"""
import json
import os
import struct
import sys

PRIO_MAGIC = 0x6750E15F87337F91
SUPER, SECTOR = 4096, 512
HEADER, RECORD = 40, 3


def newest_gens(image):
    """[generation of each bucket]"""
    with open(image, "rb") as f:
        disk = f.read()
    set_magic, = struct.unpack_from("<Q", disk, SUPER + 56)
    nr_buckets, block, bucket = struct.unpack_from("<QHH", disk, SUPER + 184)
    bucket_bytes = bucket * SECTOR
    if (bucket_bytes - HEADER) // RECORD < nr_buckets:
        sys.exit(f"{image}: a prio set needs more than one bucket of {bucket_bytes} bytes for {nr_buckets} buckets")
    found = []
    for at in range(0, nr_buckets * bucket_bytes, bucket_bytes):
        magic, seq = struct.unpack_from("<QQ", disk, at + 8)
        if magic == set_magic ^ PRIO_MAGIC:
            found.append((seq, at))
    if not found:
        sys.exit(f"{image}: no prio set")
    at = max(found)[1] + HEADER
    return list(disk[at + 2:at + nr_buckets * RECORD:RECORD])


def main():
    image, samples = sys.argv[1:3]
    gens = newest_gens(image)
    state = {"last": gens, "reuses": [0] * len(gens), "wraps": [0] * len(gens)}
    if os.path.exists(samples):
        with open(samples, encoding="utf-8") as f:
            state = json.load(f)
    for b, gen in enumerate(gens):
        state["reuses"][b] += (gen - state["last"][b]) % 256
        state["wraps"][b] += gen < state["last"][b]
    state["last"] = gens
    with open(samples, "w", encoding="utf-8") as f:
        json.dump(state, f)
    half = sorted(state["reuses"])[len(gens) // 2]
    print(f"{len(gens)} buckets, half of them reused at least {half} times, {sum(w > 0 for w in state['wraps'])} wrapped, "
          f"most often {max(state['reuses'])} times")
    return 0 if len(sys.argv) < 4 or half > int(sys.argv[3]) else 1


sys.exit(main())
