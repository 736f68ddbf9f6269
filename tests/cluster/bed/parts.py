"""The interserver endpoint: serves a table's parts to the other replica (DataPartsExchange, protocol 8)."""

import struct
from pathlib import Path

from .cityhash import chained_hash128

PROTOCOL = 8
NIL_UUID = "00000000-0000-0000-0000-000000000000"
# Bytes of a chunk of checksums.txt's one compressed block: 16 of checksum, then method, size with this head, size without.
_BLOCK_HEAD = 9
_METHOD_NONE, _METHOD_LZ4 = 0x02, 0x82
# The one file that belongs to the replica and not to the part.
_NOT_SENT = {"txn_version.txt"}


class NoSuchPart(Exception):
    """The part is not here; the other replica asks again later."""


def part_folder(data: Path, table_uuid: str, part: str) -> Path:
    """Returns the folder of a part of an Atomic database's table."""
    folder = data / "store" / table_uuid[:3] / table_uuid / part
    if "/" in part or not (folder / "checksums.txt").is_file():
        raise NoSuchPart(f"no part {part} of table {table_uuid}")
    return folder


def send(folder: Path):
    """Yields the answer's bytes for a part."""
    try:
        names = sorted(entry.name for entry in folder.iterdir() if entry.name not in _NOT_SENT)
        if any((folder / name).is_dir() for name in names):
            raise NotImplementedError(f"{folder} holds projections, which the bed does not send")
        known = read_checksums((folder / "checksums.txt").read_bytes())
        # Opened before anything is sent: a part that is removed meanwhile is still sent whole.
        files = [(name, (folder / name).open("rb")) for name in names]
    except FileNotFoundError as e:
        raise NoSuchPart(str(e)) from e
    try:
        sizes = {name: file.seek(0, 2) for name, file in files}
        ttl = (folder / "ttl.txt").read_bytes() if "ttl.txt" in names else b"ttl format version: 1\n{}"
        # A part of the wide form has a file for each column; of the compact form, one for all.
        form = b"Compact" if "data.bin" in names else b"Wide"
        yield struct.pack("<Q", sum(sizes.values())) + _text(ttl) + _text(form) + NIL_UUID.encode()
        yield struct.pack("<QQ", 0, len(files))
        for name, file in files:
            yield _text(name.encode()) + struct.pack("<Q", sizes[name])
            file.seek(0)
            if name in known:
                while block := file.read(1 << 20):
                    yield block
                yield known[name]
            else:
                content = file.read()
                yield content + chained_hash128(content)
    finally:
        for _, file in files:
            file.close()


def read_checksums(data: bytes) -> dict[str, bytes]:
    """Returns the hashes in a part's checksums.txt, as they are sent."""
    head, _, rest = data.partition(b"\n")
    if head != b"checksums format version: 4":
        raise ValueError(f"unknown checksums.txt: {head!r}")
    plain = b""
    while rest:
        method, size, _ = struct.unpack_from("<BII", rest, 16)
        block, rest = rest[16 + _BLOCK_HEAD : 16 + size], rest[16 + size :]
        if method == _METHOD_LZ4:
            block = _lz4(block)
        elif method != _METHOD_NONE:
            raise ValueError(f"checksums.txt is compressed by method {method:#x}")
        plain += block
    at, hashes = 0, {}
    count, at = _varint(plain, at)
    for _ in range(count):
        length, at = _varint(plain, at)
        name, at = plain[at : at + length].decode(), at + length
        _, at = _varint(plain, at)
        hashes[name], at = plain[at : at + 16], at + 16
        compressed, at = plain[at], at + 1
        if compressed:
            _, at = _varint(plain, at)
            at += 16
    return hashes


def _text(data: bytes) -> bytes:
    """A text as ClickHouse's binary formats have it: a varint of its length, and its bytes."""
    length, head = len(data), bytearray()
    while length >= 0x80:
        head.append(length & 0x7F | 0x80)
        length >>= 7
    head.append(length)
    return bytes(head) + data


def _varint(data: bytes, at: int) -> tuple[int, int]:
    value = shift = 0
    while True:
        byte = data[at]
        at += 1
        value |= (byte & 0x7F) << shift
        if byte < 0x80:
            return value, at
        shift += 7


def _lz4(data: bytes) -> bytes:
    """Decompresses a raw block of LZ4."""
    out, at = bytearray(), 0

    def length(n: int) -> int:
        nonlocal at
        if n == 15:
            while True:
                byte = data[at]
                at += 1
                n += byte
                if byte < 255:
                    break
        return n

    while at < len(data):
        token = data[at]
        at += 1
        literals = length(token >> 4)
        out += data[at : at + literals]
        at += literals
        if at >= len(data):
            break
        offset = data[at] | data[at + 1] << 8
        at += 2
        match = length(token & 15) + 4
        for _ in range(match):
            out.append(out[-offset])
    return bytes(out)
