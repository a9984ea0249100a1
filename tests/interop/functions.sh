# SPDX-License-Identifier: GPL-2.0-only
# shellcheck shell=sh
# What the interop tests share, on top of what all integration tests share.
. "$(dirname "$0")/../integration/functions.sh"

INTEROP=$TOP/tests/interop
STAMPS=$TOP/tests/integration/stamps.py

requires_kernel() {
	requires_cmd python3
	_reason=$("$INTEROP/setup" --check) || skip "$_reason"
}

# kernel_verifies OPTION...: what the real kernel makes of cache.img, and of backing.img if there is one, goes to answer.json; it must take them.
# The images stay as they are unless --in-place is given.
kernel_verifies() {
	[ ! -e backing.img ] || set -- --backing backing.img "$@"
	kernel_takes --cache cache.img "$@"
}
# kernel_takes OPTION...: the same for whatever images the options name
kernel_takes() {
	"$INTEROP/verify-in-kernel" --kmsg kmsg "$@" >answer.json 2>answer.err || {
		cat answer.json answer.err
		fail "the kernel does not take the images"
	}
	_complaints=$(python3 -c 'import json, re, sys
for line in json.load(open("answer.json"))["messages"]:
    if re.search(r"error|\bbad\b|missing|corrupt", line, re.I): print(line)')
	[ -z "$_complaints" ] || fail "the kernel complains: $_complaints"
}
# answer EXPRESSION: a value out of answer.json, as in: answer 'devices[0].sha256'
answer() {
	python3 -c 'import json, re, sys
value = json.load(open("answer.json"))
for part in re.findall(r"\w+", sys.argv[1]):
    value = value[int(part) if part.isdigit() else part]
print(value)' "$1"
}
# kernel_answers EXPRESSION WANTED
kernel_answers() {
	_got=$(answer "$1")
	[ "$_got" = "$2" ] || { cat answer.json; fail "the kernel's $1 is '$_got', and should be '$2'"; }
}
# What our own mount reads; the daemon must run.
our_sha() { sha "$MNT/dev0"; }
# What the backing device holds by itself
backing_sha() { tail -c +8193 backing.img | sha256sum | cut -d ' ' -f 1; }
backing_lacks_data() { [ "$(backing_sha)" != "$(sha "$1")" ] || fail "the backing device has all of $1: this would test nothing"; }
is_same() { [ "$2" = "$3" ] || fail "$1: $2, and should be $3"; }

# A writer for the inside of the machine; static, because there are no libraries.
build_stampio() {
	requires_cmd cc
	cc -O2 -static -o stampio "$INTEROP/stampio.c" || skip "needs a static libc (libc6-dev)"
}
