"""CityHash128 in the version 1.0.2 that ClickHouse has kept, as its HashingWriteBuffer chains it. For files of some KiB."""

import struct

_MASK = (1 << 64) - 1
_K0, _K1, _K2, _K3 = 0xC3A5C85C97CB3127, 0xB492B66FBE98F273, 0x9AE16A3B2F90404F, 0xC949D7C7509E6557
_MUL = 0x9DDFEA08EB382D69
_BLOCK = 2048


def chained_hash128(data: bytes) -> bytes:
    """Returns the hash of a file's bytes, as it is stored in checksums.txt: block by block, each seeded with the one before it."""
    state = (0, 0)
    for at in range(0, len(data), _BLOCK):
        state = _with_seed(data[at : at + _BLOCK], state)
    return struct.pack("<QQ", *state)


def _u64(data: bytes, at: int) -> int:
    return int.from_bytes(data[at : at + 8], "little")


def _u32(data: bytes, at: int) -> int:
    return int.from_bytes(data[at : at + 4], "little")


def _rotate(value: int, shift: int) -> int:
    return value if shift == 0 else ((value >> shift) | (value << (64 - shift))) & _MASK


def _mix(value: int) -> int:
    return value ^ (value >> 47)


def _len16(u: int, v: int) -> int:
    a = ((u ^ v) * _MUL) & _MASK
    a ^= a >> 47
    b = ((v ^ a) * _MUL) & _MASK
    b ^= b >> 47
    return (b * _MUL) & _MASK


def _len0to16(data: bytes) -> int:
    n = len(data)
    if n > 8:
        a, b = _u64(data, 0), _u64(data, n - 8)
        return _len16(a, _rotate((b + n) & _MASK, n)) ^ b
    if n >= 4:
        return _len16((n + (_u32(data, 0) << 3)) & _MASK, _u32(data, n - 4))
    if n > 0:
        y = data[0] + (data[n >> 1] << 8)
        z = n + (data[n - 1] << 2)
        return (_mix(((y * _K2) ^ (z * _K3)) & _MASK) * _K2) & _MASK
    return _K2


def _weak32(data: bytes, at: int, a: int, b: int) -> tuple[int, int]:
    w, x, y, z = struct.unpack_from("<QQQQ", data, at)
    a = (a + w) & _MASK
    b = _rotate((b + a + z) & _MASK, 21)
    c = a
    a = (a + x + y) & _MASK
    b = (b + _rotate(a, 44)) & _MASK
    return (a + z) & _MASK, (b + c) & _MASK


def _murmur(data: bytes, seed: tuple[int, int]) -> tuple[int, int]:
    a, b = seed
    n = len(data)
    left = n - 16
    if left <= 0:
        a = (_mix((a * _K1) & _MASK) * _K1) & _MASK
        c = (b * _K1 + _len0to16(data)) & _MASK
        d = _mix((a + (_u64(data, 0) if n >= 8 else c)) & _MASK)
    else:
        c = _len16((_u64(data, n - 8) + _K1) & _MASK, a)
        d = _len16((b + n) & _MASK, (c + _u64(data, n - 16)) & _MASK)
        a = (a + d) & _MASK
        at = 0
        while True:
            a ^= (_mix((_u64(data, at) * _K1) & _MASK) * _K1) & _MASK
            a = (a * _K1) & _MASK
            b ^= a
            c ^= (_mix((_u64(data, at + 8) * _K1) & _MASK) * _K1) & _MASK
            c = (c * _K1) & _MASK
            d ^= c
            at += 16
            left -= 16
            if left <= 0:
                break
    a, b = _len16(a, c), _len16(d, b)
    return a ^ b, _len16(b, a)


def _with_seed(data: bytes, seed: tuple[int, int]) -> tuple[int, int]:
    n = len(data)
    if n < 128:
        return _murmur(data, seed)
    x, y = seed
    z = (n * _K1) & _MASK
    v0 = (_rotate(y ^ _K1, 49) * _K1 + _u64(data, 0)) & _MASK
    v1 = (_rotate(v0, 42) * _K1 + _u64(data, 8)) & _MASK
    w0 = (_rotate((y + z) & _MASK, 35) * _K1 + x) & _MASK
    w1 = (_rotate((x + _u64(data, 88)) & _MASK, 53) * _K1) & _MASK
    at, left = 0, n
    while left >= 128:
        for _ in range(2):
            x = (_rotate((x + y + v0 + _u64(data, at + 16)) & _MASK, 37) * _K1) & _MASK
            y = (_rotate((y + v1 + _u64(data, at + 48)) & _MASK, 42) * _K1) & _MASK
            x ^= w1
            y ^= v0
            z = _rotate(z ^ w0, 33)
            v0, v1 = _weak32(data, at, (v1 * _K1) & _MASK, (x + w0) & _MASK)
            w0, w1 = _weak32(data, at + 32, (z + w1) & _MASK, y)
            z, x = x, z
            at += 64
        left -= 128
    y = (y + _rotate(w0, 37) * _K0 + z) & _MASK
    x = (x + _rotate((v0 + z) & _MASK, 49) * _K0) & _MASK
    done = 0
    while done < left:
        done += 32
        y = (_rotate((y - x) & _MASK, 42) * _K0 + v1) & _MASK
        # The last 32 bytes, then those before them: they may reach back into what is done.
        w0 = (w0 + _u64(data, n - done + 16)) & _MASK
        x = (_rotate(x, 49) * _K0 + w0) & _MASK
        w0 = (w0 + v0) & _MASK
        v0, v1 = _weak32(data, n - done, v0, v1)
    x = _len16(x, v0)
    y = _len16(y, w0)
    return (_len16((x + v1) & _MASK, w1) + y) & _MASK, _len16((x + w1) & _MASK, (y + v1) & _MASK)
