"""LevelDB's sorted tables, the form of a TensorFlow checkpoint's index: read whole, checked to the last byte.

A table is a row of blocks and a footer. Each block holds entries whose keys share a prefix with the key
before, the offsets of some entries ("restarts"), and a trailer of one type byte and a masked CRC-32C. The
footer says where the block of blocks is. The footer has no checksum; but as blocks must lie side by side from
the first byte on, any change in it shows.

Source: github.com/google/leveldb, doc/table_format.md.
"""

import struct

from zoo.formats.tensorflow.crc32c import crc32c, mask
from zoo.store import PresetError

MAGIC = 0xDB4775248B80FB57
_FOOTER = 48
_TRAILER = struct.Struct("<BI")
_COMPRESSIONS = {1: "snappy"}
_LONGEST_KEY = 4096
_EXPANSION = 64  # keys may take this many times the size of the file, as each can repeat most of the one before

# Of TensorFlow's writer, so that our tables equal its own byte by byte.
_BLOCK_SIZE = 262144
_RESTART_INTERVAL = 16


def read_varint(data, position, where):
    """(number, position after it) of an unsigned LEB128 number below 2^64.

    Raises:
        PresetError: cut, too long, or not in its shortest form.
    """
    number = 0
    for count in range(10):
        if position >= len(data):
            raise PresetError(f"{where}: ends inside a number")
        byte = data[position]
        number |= (byte & 0x7F) << 7 * count
        position += 1
        if byte < 0x80:
            if byte == 0 and count:  # no writer does so; to allow it would let a flipped bit pass
                break
            return number, position
    raise PresetError(f"{where}: byte {position - 1} ends a number that is not in its shortest form")


def write_varint(number):
    """An unsigned number as LEB128."""
    encoded = bytearray()
    while number >= 0x80:
        encoded.append(number & 0x7F | 0x80)
        number >>= 7
    return bytes(encoded) + bytes([number])


def read_table(content, where):
    """All entries of a table.

    Args:
        content: bytes, the whole file.
        where: str, the file that errors name.

    Returns:
        dict of key to value, both bytes, in ascending order of keys.

    Raises:
        PresetError: anything in the file is not as a writer leaves it.
    """
    body = len(content) - _FOOTER
    if body < 0 or struct.unpack("<Q", content[-8:])[0] != MAGIC:
        raise PresetError(f"{where}: no table ends here ({len(content)} bytes). Is the file cut, or another format?")
    footer = content[body:-8]
    meta_handle, position = _read_handle(footer, 0, where)
    index_handle, position = _read_handle(footer, position, where)
    if any(footer[position:]):
        raise PresetError(f"{where}: the padding of the footer is not zero")
    budget = _EXPANSION * len(content)
    index = _read_block(content, index_handle, where, budget)
    handles = []
    for handle in index.values():
        parsed, end = _read_handle(handle, 0, where)
        if end != len(handle):
            raise PresetError(f"{where}: an entry of the index block has {len(handle) - end} bytes too many")
        handles.append(parsed)
    position = 0
    for offset, size in [*handles, meta_handle, index_handle]:
        if offset != position:
            raise PresetError(f"{where}: a block starts at byte {offset}, the one before ends at {position}")
        position += size + _TRAILER.size
    if position != body:
        raise PresetError(f"{where}: the blocks end at byte {position}, the footer starts at {body}")
    _read_block(content, meta_handle, where, budget)
    entries, last = {}, None
    for handle in handles:
        block = _read_block(content, handle, where, budget)
        budget -= sum(map(len, block))
        if block and last is not None and next(iter(block)) <= last:
            raise PresetError(f"{where}: keys are not in order")
        entries.update(block)
        last = next(reversed(entries), None)
    return entries


def _read_handle(data, position, where):
    offset, position = read_varint(data, position, where)
    size, position = read_varint(data, position, where)
    return (offset, size), position


def _read_block(content, handle, where, budget):
    """dict of key to value of one block."""
    start, size = handle
    end = start + size
    if end + _TRAILER.size > len(content) - _FOOTER:
        raise PresetError(f"{where}: a block should end at byte {end}, the file has {len(content)}")
    kind, checksum = _TRAILER.unpack(content[end : end + _TRAILER.size])
    if mask(crc32c(content[start : end + 1])) != checksum:
        raise PresetError(f"{where}: checksum of the block at byte {start} is wrong: the file is damaged")
    if kind != 0:
        raise PresetError(
            f"{where}: blocks are compressed ({_COMPRESSIONS.get(kind, kind)}), which zoo does not read. "
            f"Load the checkpoint in a recent TensorFlow and save it again: it writes them plain"
        )
    where = f"{where}, block at byte {start}"
    block = content[start:end]
    restarts = struct.unpack("<I", block[-4:])[0] if size >= 4 else 0
    end = size - 4 * (restarts + 1)
    if restarts < 1 or end < 0:
        raise PresetError(f"{where}: {restarts} restarts do not fit into {size} bytes")
    entries, key, position = {}, b"", 0
    while position < end:
        shared, position = read_varint(block, position, where)
        unshared, position = read_varint(block, position, where)
        length, position = read_varint(block, position, where)
        if shared > len(key) or unshared + length > end - position:
            raise PresetError(f"{where}: the entry before byte {position} does not fit")
        following = key[:shared] + block[position : position + unshared]
        budget -= len(following)
        if len(following) > _LONGEST_KEY or budget < 0:
            raise PresetError(f"{where}: keys of {len(following)} bytes are too long")
        if entries and following <= key:
            raise PresetError(f"{where}: keys are not in order")
        key, position = following, position + unshared
        entries[key] = block[position : position + length]
        position += length
    return entries


def write_table(entries):
    """A table as TensorFlow writes it.

    Args:
        entries: dict of key to value, both bytes.

    Returns:
        bytes.
    """
    content, index, block = bytearray(), _Block(restart_interval=1), _Block(_RESTART_INTERVAL)
    keys = sorted(entries)
    for key, following in zip(keys, [*keys[1:], None]):
        block.add(key, entries[key])
        if following is None or block.size() >= _BLOCK_SIZE:
            index.add(_separator(key, following), _append(content, block))
            block = _Block(_RESTART_INTERVAL)
    footer = _append(content, _Block(_RESTART_INTERVAL)) + _append(content, index)
    return bytes(content) + footer.ljust(_FOOTER - 8, b"\0") + struct.pack("<Q", MAGIC)


class _Block:
    """Entries with keys shortened by what they share with the key before, but for every n-th."""

    def __init__(self, restart_interval):
        self._content, self._restarts, self._interval = bytearray(), [0], restart_interval
        self._count, self._key = 0, b""

    def add(self, key, value):
        shared = 0
        if self._count and self._count % self._interval == 0:
            self._restarts.append(len(self._content))
        elif self._count:
            shared = _shared(self._key, key)
        for number in (shared, len(key) - shared, len(value)):
            self._content += write_varint(number)
        self._content += key[shared:] + value
        self._count, self._key = self._count + 1, key

    def size(self):
        return len(self._content) + 4 * (len(self._restarts) + 1)

    def bytes(self):
        return bytes(self._content) + struct.pack(f"<{len(self._restarts) + 1}I", *self._restarts, len(self._restarts))


def _append(content, block):
    """Add a block with its trailer to a table. Returns its handle."""
    encoded = block.bytes() + b"\0"
    handle = write_varint(len(content)) + write_varint(len(encoded) - 1)
    content += encoded + struct.pack("<I", mask(crc32c(encoded)))
    return handle


def _shared(a, b):
    return next((i for i, (x, y) in enumerate(zip(a, b)) if x != y), min(len(a), len(b)))


def _separator(key, following):
    """LevelDB's short key from `key` up to, but not including, `following` (None: no limit)."""
    if following is None:
        position = next((i for i, byte in enumerate(key) if byte != 0xFF), None)
    else:
        position = _shared(key, following)
        if position == len(key) or not key[position] + 1 < following[position]:
            position = None
    return key if position is None else key[:position] + bytes([key[position] + 1])
