package wal

import "golang.org/x/sys/unix"

// yieldProcessor lets another thread run on the processor of this one, if one is waiting for it.
func yieldProcessor() { _, _, _ = unix.RawSyscall(unix.SYS_SCHED_YIELD, 0, 0, 0) }
