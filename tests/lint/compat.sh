#!/bin/sh
# SPDX-License-Identifier: GPL-2.0-only
# The table of docs/COMPAT.md is complete, and all files, functions and tests that it names exist.
command -v python3 >/dev/null || { echo "python3 is not installed"; exit 77; }
exec "$(dirname "$0")/compat.py"
