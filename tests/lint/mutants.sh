#!/bin/sh
# SPDX-License-Identifier: GPL-2.0-only
# Every mutant of tests/mutants/list finds its lines, exactly once; every invariant has a unit test and a mutant.
command -v python3 >/dev/null || { echo "python3 is not installed"; exit 77; }
exec "$(dirname "$0")/mutants.py"
