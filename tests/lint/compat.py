#!/usr/bin/env python3
# SPDX-License-Identifier: GPL-2.0-only
"""The table at the end of docs/COMPAT.md: every item has one row, and what a row names exists. Prints TAP.

Items are the functions of the seed (tests/lint/seed-functions) and the sections and labels of the behaviour specification, whose numbers are
facts and stand here. tests/lint/compat.open lists those whose code is still to come; a row for one of them is an error, so the list only shrinks.
"""
import glob
import os
import re
import sys

os.chdir(os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", ".."))

SECTIONS = {1: 12, 2: 10, 3: 10, 4: 7, 5: 10, 6: 12, 7: 8, 8: 10, 10: 6}
RULES = {0: 9, 1: 6, 2: 10, 3: 5, 5: 4, 6: 4, 7: 3, 8: 5}
LETTERS = {"T": 21, "W": 25, "I": 27}

problems = []


def read(path):
    with open(path, encoding="utf-8") as f:
        return f.read()


def wanted():
    items = [f"{major}.{n}" for major, last in SECTIONS.items() for n in range(1, last + 1)] + ["9"]
    items += [f"R{major}.{n}" for major, last in RULES.items() for n in range(1, last + 1)]
    items += [f"{letter}-{n}" for letter, last in LETTERS.items() for n in range(1, last + 1)]
    return items + read("tests/lint/seed-functions").split()


def rows():
    """(line number, item, places, tests, rest of the line) of each row below '## Item by item'."""
    text = read("docs/COMPAT.md")
    start = text.index("\n## Item by item\n")
    first = text.count("\n", 0, start) + 1
    for n, line in enumerate(text[start:].split("\n"), first):
        cells = [cell.strip() for cell in line.strip().strip("|").split("|")]
        if not line.startswith("|") or line.startswith("|--") or cells[0] in ("function", "§", "rule", "invariant", "item"):
            continue
        if len(cells) != 4:
            problems.append(f"docs/COMPAT.md:{n}: {len(cells)} columns, not 4")
            continue
        yield n, cells[0].strip("`"), re.findall(r"`([^`]+)`", cells[1]), re.findall(r"`([^`]+)`", cells[2]), line


def defines(path, name):
    """A function of that name begins in the file, or its declaration does."""
    return re.search(rf"^[a-zA-Z].*[ *]{re.escape(name)}\(", read(path), re.M) is not None


def place_problem(place):
    path, _, name = place.partition(":")
    if not os.path.isfile(path):
        return f"there is no file {path}"
    if name and not defines(path, name):
        return f"{path} has no function {name}"
    return None


def test_problem(test):
    name, _, case = test.partition(":")
    if name == "sim" and not case:
        return None if os.path.isfile("tests/sim/main.c") else "there is no simulator"
    if name == "mutant":
        found = re.search(rf"^= {re.escape(case)} \S+ (\S+)", read("tests/mutants/list"), re.M)
        return None if found and found.group(1) != "redundant" else f"no mutant {case} that a test must catch"
    if name.endswith(".sh") or name == "golden/run":
        found = ["tests/golden/run"] if name == "golden/run" else glob.glob("tests/*/" + name)
        return None if found and os.access(found[0], os.X_OK) else f"there is no test {name}"
    files = glob.glob(f"tests/unit/*/{name}.c")
    if not files:
        return f"there is no unit test {name}"
    text = read(files[0])
    if not re.search(rf"^static .*void {re.escape(case)}\(void \*\*", text, re.M) or len(re.findall(rf"\b{re.escape(case)}\b", text)) < 2:
        return f"{files[0]} does not run a test {case}"
    return None


def main():
    seen = {}
    still_open = [line for line in read("tests/lint/compat.open").split("\n") if line and line[0] != "#"] \
        if os.path.exists("tests/lint/compat.open") else []
    for n, item, places, tests, line in rows():
        where = f"docs/COMPAT.md:{n}: {item}: "
        if item in seen:
            problems.append(where + f"has a row already, in line {seen[item]}")
        seen[item] = n
        if not places or not tests:
            problems.append(where + "a row names a place and a test")
        if re.search(r"\bmissing\b", re.sub(r"`[^`]*`", "", line), re.I):
            problems.append(where + "'missing' is no answer")
        problems.extend(where + p for p in filter(None, [place_problem(p) for p in places] + [test_problem(t) for t in tests]))
    items = wanted()
    problems.extend(f"docs/COMPAT.md: no row for {i}" for i in items if i not in seen and i not in still_open)
    problems.extend(f"docs/COMPAT.md:{n}: {i} is no item" for i, n in seen.items() if i not in items)
    problems.extend(f"tests/lint/compat.open: {i} has a row, or is no item: take it out" for i in still_open if i in seen or i not in items)
    for p in problems:
        print("not ok - " + p)
    if not problems:
        print(f"ok - docs/COMPAT.md: {len(seen)} rows, {len(still_open)} still to come")
    return bool(problems)


sys.exit(main())
