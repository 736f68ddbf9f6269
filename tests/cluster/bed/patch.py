"""Gives the engine in this process the identity that a server's `main` would give it.

`libchdb` contains the whole of ReplicatedMergeTree, but nothing in it sets the interserver address, without which a replica stays
read-only, or the server's UUID, without which two processes end each other's Keeper sessions. Both are set here in the memory of
the process, never in the file, and only in the one build whose addresses are known: its SHA-256 is checked when the bed starts, and
the bytes at every address before they are written. A test's tool: nothing of it belongs into the product.
"""

import ctypes
import hashlib
import mmap
import platform
import struct
from pathlib import Path

# The SHA-256 in scripts/tools.sha256 of the one build whose addresses stand below (ClickHouse 26.7.2.1).
SHA256 = "36ad4e999882821ef13cf2d0f52c93f48e6ee1b4498b35a201c23ce4b8d15bf5"
# Context::getInterserverIOAddress, ::getInterserverCredentials, ::getInterserverScheme: addresses relative to the library's lowest
# mapping, and the bytes that they begin with.
ADDRESS = (0x1417C9C0, bytes.fromhex("4156534883ec484c8b36490fbe8e67010000"))
CREDENTIALS = (0x1417C940, bytes.fromhex("41574156"))
SCHEME = (0x1417CAC0, bytes.fromhex("488b0680"))
# ServerUUID: 16 bytes, nil.
SERVER_UUID = 0x228A3A48

# Memory that the patched functions point to. Never freed: the engine's threads outlive any handle.
_kept = []


class Refused(Exception):
    """The library is not the build that the patch is for."""


def check_build(library: Path) -> None:
    """Refuses any library but the pinned one, and any machine but the one that it is for."""
    if platform.machine() != "x86_64":
        raise Refused(f"the cluster bed patches the x86_64 build of libchdb; this machine is {platform.machine()}")
    digest = hashlib.sha256()
    with library.open("rb") as file:
        while block := file.read(1 << 22):
            digest.update(block)
    if digest.hexdigest() != SHA256:
        raise Refused(f"{library} has the SHA-256 {digest.hexdigest()}; the cluster bed is for {SHA256}")


def apply(library: Path, host: str, port: int, server_uuid: bytes) -> None:
    """Patches the loaded library: the interserver address, no credentials, the scheme `http`, the server's UUID."""
    base = _base(library)
    address = _keep(_string(host) + struct.pack("<H", port) + bytes(6))
    scheme = _keep(_string("http"))
    credentials = _keep(bytes(4096))
    # rdi points to the result, and is returned.
    # mov rax, …; movups xmm0, [rax]; movups [rdi], xmm0; movups xmm0, [rax+16]; movups [rdi+16], xmm0; mov rax, rdi; ret
    _write(base, *ADDRESS, b"\x48\xb8" + struct.pack("<Q", address) + bytes.fromhex("0f10000f11070f1040100f1147104889f8c3"))
    # mov rax, …; movups xmm0, [rax]; movups [rdi], xmm0; mov rcx, [rax+16]; mov [rdi+16], rcx; mov rax, rdi; ret
    _write(base, *SCHEME, b"\x48\xb8" + struct.pack("<Q", scheme) + bytes.fromhex("0f10000f1107488b481048894f104889f8c3"))
    # A shared pointer in registers: the pointer, and no control block. mov rax, …; xor edx, edx; ret
    _write(base, *CREDENTIALS, b"\x48\xb8" + struct.pack("<Q", credentials) + bytes.fromhex("31d2c3"))
    uuid_at = base + SERVER_UUID
    if ctypes.string_at(uuid_at, 16) != bytes(16):
        raise Refused("the server's UUID is not where it should be, or is set already")
    ctypes.memmove(uuid_at, server_uuid, 16)


def _base(library: Path) -> int:
    """The library's lowest mapping."""
    with open("/proc/self/maps", encoding="utf-8") as maps:
        starts = [int(line.split("-", 1)[0], 16) for line in maps if line.rstrip("\n").endswith(str(library))]
    if not starts:
        raise Refused(f"{library} is not mapped")
    return min(starts)


def _string(text: str) -> bytes:
    """libc++'s string in its short form: the text from byte 0, its length in byte 23."""
    data = text.encode()
    if len(data) > 22:
        raise Refused(f"{text} does not fit a short string")
    return data.ljust(23, b"\0") + bytes([len(data)])


def _keep(data: bytes) -> int:
    buffer = ctypes.create_string_buffer(data, len(data))
    _kept.append(buffer)
    return ctypes.addressof(buffer)


def _write(base: int, offset: int, expected: bytes, code: bytes) -> None:
    """Replaces a function's first bytes, which must be the expected ones."""
    at = base + offset
    found = ctypes.string_at(at, len(expected))
    if found != expected:
        raise Refused(f"at {offset:#x} are {found.hex()}, not {expected.hex()}: another build of libchdb")
    page = mmap.PAGESIZE
    start = at & ~(page - 1)
    length = (at + len(code) - start + page - 1) & ~(page - 1)
    libc = ctypes.CDLL(None, use_errno=True)

    def protect(how: int) -> None:
        if libc.mprotect(ctypes.c_void_p(start), ctypes.c_size_t(length), how) != 0:
            raise OSError(ctypes.get_errno(), "mprotect")

    protect(mmap.PROT_READ | mmap.PROT_WRITE | mmap.PROT_EXEC)
    ctypes.memmove(at, code, len(code))
    protect(mmap.PROT_READ | mmap.PROT_EXEC)
