#!/usr/bin/env python3
# SPDX-License-Identifier: GPL-2.0-only
"""Every entry of tests/mutants/list still applies: a mutant whose lines are gone proves nothing, and nobody runs them all each day.

And every invariant of behaviour.md §11 has a unit test that is named after it, i01_... to i27_..., and a mutant that a test must catch. Prints TAP.
"""
import glob
import importlib.machinery
import importlib.util
import os
import re
import sys

INVARIANTS = range(1, 28)
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


def tests_named_after(number):
    """Those that are defined and run, by file."""
    for path in sorted(glob.glob(os.path.join(TOP, "tests", "unit", "*", "test_*.c"))):
        text = open(path, encoding="utf-8").read()
        for name in re.findall(rf"^static void (i{number:02}_\w+)\(void \*\*", text, re.M):
            if len(re.findall(rf"\b{name}\b", text)) > 1:
                yield path, name


def missing_for(number, listed):
    if not list(tests_named_after(number)):
        yield f"I-{number}: no unit test is named i{number:02}_..."
    if not any(m.invariant == f"I-{number}" and not m.redundant for m in listed):
        yield f"I-{number}: tests/mutants/list has no mutant of it that a test must catch"


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
    missing = [text for number in INVARIANTS for text in missing_for(number, listed)]
    for text in missing:
        print("not ok - " + text)
    if not missing:
        print(f"ok - each of {len(INVARIANTS)} invariants has a unit test and a mutant")
    return bool(problems or missing) or not listed


sys.exit(main())
