"""Maps files into memory without keeping a descriptor for each.

A collection has a dozen files a segment, and processes may be limited to 256 descriptors. A mapping
needs none, but `mmap.mmap` keeps one until Python 3.13; there the system's own call is used.
"""

from __future__ import annotations

import ctypes
import mmap
import os
import sys
import weakref

if sys.platform != "win32" and sys.version_info < (3, 13):
    _libc = ctypes.CDLL(None, use_errno=True)
    _map = _libc.mmap
    _map.restype = ctypes.c_void_p
    _map.argtypes = (
        ctypes.c_void_p,
        ctypes.c_size_t,
        ctypes.c_int,
        ctypes.c_int,
        ctypes.c_int,
        ctypes.c_long,
    )
    _unmap = _libc.munmap
    _unmap.argtypes = (ctypes.c_void_p, ctypes.c_size_t)
    _FAILED = ctypes.c_void_p(-1).value


def map_file(descriptor: int, size: int) -> memoryview:
    """The first `size` bytes of an open file, to read; the descriptor may be closed afterwards.

    The mapping ends with the last view of it.

    Raises:
        OSError: it cannot be mapped.
    """
    if sys.platform == "win32":
        return memoryview(mmap.mmap(descriptor, size, access=mmap.ACCESS_READ))
    if sys.version_info >= (3, 13):
        return memoryview(mmap.mmap(descriptor, size, access=mmap.ACCESS_READ, trackfd=False))
    address = _map(None, size, mmap.PROT_READ, mmap.MAP_SHARED, descriptor, 0)
    if address is None or address == _FAILED:
        code = ctypes.get_errno()
        raise OSError(code, os.strerror(code))
    owner = (ctypes.c_ubyte * size).from_address(address)
    # Not at exit: an array that is still alive then must stay readable to the end.
    weakref.finalize(owner, _unmap, address, size).atexit = False
    return memoryview(owner).cast("B").toreadonly()
