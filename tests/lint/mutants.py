#!/usr/bin/env python3
# SPDX-License-Identifier: GPL-2.0-only
"""Every entry of tests/mutants/list still applies: a mutant whose lines are gone proves nothing, and nobody runs them all each day. Prints TAP."""
import importlib.machinery
import importlib.util
import os
import re
import sys

TOP = os.path.abspath(os.path.join(os.path.dirname(__file__), "..", ".."))


def mutants_module():
    sys.dont_write_bytecode = True
    loader = importlib.machinery.SourceFileLoader("mutants", os.path.join(TOP, "tests", "mutants", "run"))
    module = importlib.util.module_from_spec(importlib.util.spec_from_loader("mutants", loader))
    loader.exec_module(module)
    return module


def problems_of(mutants, m):
    if not m.edits:
        yield "breaks nothing"
    if not re.fullmatch(r"[A-Z]+\d*-?\d+(\.\d+)?", m.invariant):
        yield f"{m.invariant} is the label of no rule"
    for catcher in m.catchers:
        if catcher not in ("sim", "redundant") and not os.path.isfile(os.path.join(TOP, "tests", "unit", "core", catcher + ".c")):
            yield f"there is no unit test {catcher} in tests/unit/core"
    try:
        texts, originals = mutants.edited(m, TOP)
    except ValueError as e:
        yield str(e)
        return
    for path, text in texts.items():
        if text == originals[path]:
            yield f"leaves {os.path.relpath(path, TOP)} as it is"


def main():
    mutants = mutants_module()
    listed = mutants.parse(os.path.join(TOP, "tests", "mutants", "list"))
    problems = [f"{m.name}: {p}" for m in listed for p in problems_of(mutants, m)]
    names = [m.name for m in listed]
    problems += [f"{name}: {names.count(name)} mutants have this name" for name in sorted(set(names)) if names.count(name) > 1]
    for p in problems:
        print("not ok - tests/mutants/list: " + p)
    if not problems:
        print(f"ok - tests/mutants/list: {len(listed)} mutants apply")
    return bool(problems) or not listed


sys.exit(main())
