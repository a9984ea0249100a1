# SPDX-License-Identifier: GPL-2.0-only
"""Where every fiber of a world that hangs is waiting:

    gdb -q -batch -x tests/sim/fibers.py --args build/sim SEED --here
"""
import gdb

gdb.execute("set pagination off")
gdb.execute("break engine_dump_fibers")
gdb.execute("run")
fiber = gdb.lookup_type("struct fiber")
link = next(f.bitpos // 8 for f in fiber.fields() if f.name == "all")
head = gdb.parse_and_eval("e->fibers")
fibers = []
item = head["next"]
while int(item) != int(head.address):
    fibers.append(gdb.Value(int(item) - link).cast(fiber.pointer()))
    item = item["next"]
for f in fibers:
    # What fiber_switch saved: r15 r14 r13 r12 rbx rbp, then the return address. Changing registers ruins the program; it is only looked at.
    sp = int(f["context"]["sp"])
    saved = [int(gdb.parse_and_eval("((unsigned long *)%d)[%d]" % (sp, i))) for i in range(7)]
    for register, value in (("rsp", sp + 56), ("rbp", saved[5]), ("rip", saved[6])):
        gdb.execute("set $%s = %d" % (register, value))
    print("== " + f["name"].string())
    print(gdb.execute("backtrace 10", to_string=True))
