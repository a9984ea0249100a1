#!/bin/sh
# SPDX-License-Identifier: GPL-2.0-only
# Makes sure that what we need is there: installs missing Debian packages as root, names them otherwise.
#
#   packages.sh build        to build and run
#   packages.sh check        the above, and to test
#   packages.sh valgrind     the above, and valgrind
#
# Each package is probed through what it provides, which takes milliseconds: with everything in place there is no network.
set -u
purpose=${1:-build}

missing=
# need PACKAGE PROBE...: the package is missing when the probe fails
need() {
	package=$1
	shift
	"$@" >/dev/null 2>&1 || missing="$missing $package"
}
has() { PATH=$PATH:/usr/sbin:/sbin command -v "$1"; }

probe() {
	missing=
	need gcc has "${CC:-gcc}"
	need libc6-dev test -e /usr/include/stdio.h
	need pkg-config has pkg-config
	need libfuse3-dev pkg-config --exists 'fuse3 >= 3.14'
	need liburing-dev pkg-config --exists liburing
	need libjansson-dev pkg-config --exists jansson
	need libssl-dev pkg-config --exists libcrypto
	need libisal-dev pkg-config --exists libisal
	need fuse3 has fusermount3
	[ "$purpose" = build ] && return
	need libcmocka-dev pkg-config --exists cmocka
	need fio has fio
	need e2fsprogs has mkfs.ext4
	need mount has losetup
	need util-linux has setpriv
	need procps has pgrep
	need python3 has python3
	need zstd has zstd
	need shellcheck has shellcheck
	need cppcheck has cppcheck
	need mandoc has mandoc
	[ "$purpose" = check ] && return
	need valgrind has valgrind
}

probe
[ -n "$missing" ] || exit 0
if [ "$(id -u)" -ne 0 ] || ! has apt-get >/dev/null; then
	echo "These packages are missing:$missing" >&2
	echo "Install them, for example with:  sudo apt-get install$missing" >&2
	exit 1
fi
echo "Installing$missing"
export DEBIAN_FRONTEND=noninteractive
# The package lists of a fresh machine are empty or old: fetch them when the first try fails.
# shellcheck disable=SC2086  # a list of words
apt-get install -y -q --no-install-recommends $missing >/dev/null 2>&1 ||
	{ apt-get update -q >/dev/null && apt-get install -y -q --no-install-recommends $missing >/dev/null; } || exit 1
probe
[ -z "$missing" ] || { echo "Still missing after the installation:$missing" >&2; exit 1; }
