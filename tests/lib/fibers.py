# Backtraces of all fibers of a stopped program (gdb -p PID -x tests/lib/fibers.py, or at a breakpoint: source tests/lib/fibers.py).
# It moves the selected thread's registers about: do not continue afterwards (detach without it, or kill).
import gdb

def fibers(engine):
    fiber_t = gdb.lookup_type('struct fiber')
    offset = [f.bitpos // 8 for f in fiber_t.fields() if f.name == 'all'][0]
    head = engine['fibers'].address
    link = engine['fibers']['next']
    while link != head:
        yield (link.cast(gdb.lookup_type('char').pointer()) - offset).cast(fiber_t.pointer())
        link = link['next']

def word(address):
    return int(gdb.parse_and_eval('*(unsigned long *)%d' % address))

gdb.execute('set pagination off')
saved = [(r, int(gdb.parse_and_eval('(unsigned long)$' + r))) for r in ('rsp', 'rbp', 'rip')]
for f in list(fibers(gdb.parse_and_eval('*thread_engine'))):
    print('==', f['name'].string(), f['state'])
    if str(f['state']) in ('FIBER_RUNNING', 'FIBER_DONE'):
        continue
    sp = int(f['context']['sp'])
    for register, value in (('rip', word(sp + 48)), ('rbp', word(sp + 40)), ('rsp', sp + 56)):
        gdb.execute('set $%s = %d' % (register, value))
    print(gdb.execute('bt 14', to_string=True))
for register, value in saved:
    gdb.execute('set $%s = %d' % (register, value))
