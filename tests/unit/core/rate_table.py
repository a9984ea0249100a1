#!/usr/bin/env python3
# SPDX-License-Identifier: GPL-2.0-only
"""Cases for test_rate.c: behaviour.md 8.5-8.7 written down once more, in another language, with numbers of any length.

    tests/unit/core/rate_table.py > tests/unit/core/rate_table.h
"""
import random


def quotient(a, b):
    """C's division: truncates toward zero."""
    q = abs(a) // abs(b)
    return q if (a < 0) == (b < 0) else -q


def controller(c):
    """8.6, 8.7. Returns target, P, the new integral, I, rate."""
    share = max(1, (c["backing"] << 14) // c["all"])
    target = (c["cache"] * c["percent"] // 100 * share) >> 14
    error = c["dirty"] - target
    p = quotient(error, c["p_inv"])
    if c["fragment"] and c["in_use"] > 50 and c["dirty"] > 0:
        dirty_buckets = c["buckets"] - c["avail"]
        if dirty_buckets:
            fragment = dirty_buckets * c["bucket"] // c["dirty"]
            if c["in_use"] <= 57:
                fp = c["low"] * (c["in_use"] - 50)
            elif c["in_use"] <= 64:
                fp = c["mid"] * (c["in_use"] - 57)
            else:
                fp = c["high"] * (c["in_use"] - 64)
            fps = c["dirty"] // dirty_buckets * fp
            if fragment > 3 and fps > p:
                p = fps
    integral = c["integral"]
    if (error < 0 and integral > 0) or (error > 0 and c["now"] < c["next"] + 1000000):
        integral += error * c["seconds"]
    i = quotient(integral, c["i_inv"])
    return target, p, integral, i, min(max(p + i, c["minimum"]), 10**9)


def limiter(rate, next_ns, done, now):
    """8.5. Returns the new next and the delay."""
    next_ns = min(max(next_ns + done * 10**9 // rate, now - 2 * 10**9), now + 25 * 10**8)
    return next_ns, max(0, next_ns - now)


def case(r):
    cache = r.choice([2**18, 261120, 2**21, 2**24 + 12345, 2**31])
    bucket = r.choice([128, 512, 1024, 2048])
    buckets = cache // bucket
    backing = r.randrange(1, 2**36)
    low = r.randrange(1, 20)
    mid = low + r.randrange(1, 100)
    now = r.randrange(10**10, 10**15)
    dirty = r.choice([0, r.randrange(cache // 1000 + 1), r.randrange(cache // 10 + 1), r.randrange(cache)])
    return {
        "cache": cache, "backing": backing, "all": backing + r.choice([0, r.randrange(2**37)]), "percent": r.choice([1, 10, 10, 20, 40]),
        "dirty": dirty, "buckets": buckets, "avail": r.randrange(buckets + 1), "bucket": bucket, "in_use": r.randrange(101),
        "fragment": r.random() < 0.8, "low": low, "mid": mid, "high": mid + r.randrange(1, 3000),
        "p_inv": r.choice([40, 40, 1, r.randrange(1, 10000)]), "i_inv": r.choice([10000, 10000, 1, r.randrange(1, 100000)]),
        "seconds": r.choice([5, 5, 1, 60]), "minimum": r.choice([8, 8, 1, 5000]),
        "integral": r.choice([0, r.randrange(-(10**6), 10**9), r.randrange(-(10**9), 10**12)]),
        "now": now, "next": now + r.choice([-3 * 10**9, -1000000, -999999, -1, 0, 2 * 10**9]),
    }


FIELDS = ["cache", "backing", "all", "percent", "dirty", "buckets", "avail", "bucket", "in_use", "fragment", "low", "mid", "high", "p_inv",
          "i_inv", "seconds", "minimum", "integral", "now", "next"]

r = random.Random(2026)
print("/* SPDX-License-Identifier: GPL-2.0-only */")
print("/* Made by rate_table.py. Do not edit. */")
print("/* " + ", ".join(FIELDS) + "; target, P, integral, I, rate */")
print("static const struct rate_row rate_rows[] = {")
for _ in range(150):
    c = case(r)
    print("\t{ " + ", ".join(str(int(v)) for v in [c[f] for f in FIELDS] + list(controller(c))) + " },")
print("};")
print("/* rate, next, done, now; next, delay */")
print("static const struct delay_row delay_rows[] = {")
for _ in range(60):
    now = r.randrange(10**10, 10**15)
    row = (r.choice([1, 8, 1024, r.randrange(1, 10**6), 10**9]), now + r.randrange(-4 * 10**9, 4 * 10**9), r.choice([0, 1, r.randrange(10**4)]), now)
    print("\t{ " + ", ".join(str(v) for v in row + limiter(*row)) + " },")
print("};")
