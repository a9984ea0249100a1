# Backtraces of parked fibers: gdb -x tests/lib/fibers.gdb PROGRAM; then `fiber-bt ADDRESS` with an address that
# engine_dump_fibers() printed. Switches the registers of a dead or stopped program: do not continue afterwards.
define fiber-bt
  set $f = (struct fiber *)$arg0
  set $s = (unsigned long *)$f->context.sp
  printf "== %s\n", $f->name
  set $rsp = (unsigned long)($s + 7)
  set $rbp = $s[5]
  set $rip = $s[6]
  bt 14
end
