"""The memory of this process."""

import ctypes
import gc


def settle() -> None:
    """Give back what only the start needed, for a process that has started and will run long. Blocks for some 20 ms.

    What was imported stays for good, so the collector need not look through it any more. The C library keeps what was freed, half a MiB by
    then, unless it is asked to give it back; only glibc has the call for that (malloc_trim(3)), and others keep less.
    """
    gc.collect()
    gc.freeze()
    trim = getattr(ctypes.CDLL(None), "malloc_trim", None)
    if trim is not None:
        trim(0)
