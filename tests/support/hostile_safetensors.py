"""Safetensors files made to break a reader: the library's own sixteen attacks and more, built here."""

import json
import struct


def pack(header, data=b"", length=None):
    text = header if isinstance(header, bytes) else json.dumps(header).encode()
    return struct.pack("<Q", len(text) if length is None else length) + text + data


def entry(dtype="F32", shape=(1,), offsets=(0, 4)):
    return {"dtype": dtype, "shape": list(shape), "data_offsets": list(offsets)}


GOOD = pack({"a": entry(), "b": entry(offsets=(4, 8))}, bytes(8))
HOSTILE = {  # name -> (content, words of the error)
    "empty file": (b"", "0 bytes"),
    "seven bytes": (bytes(7), "7 bytes"),
    "length beyond the file": (pack({}, length=100), "header should be 100 bytes"),
    "length beyond the cap": (pack({}, length=1 << 40), "header should be"),
    "length of 2^64 - 1": (pack({}, length=(1 << 64) - 1), "header should be"),
    "length zero": (pack(b""), "opening brace"),
    "starts with a blank": (pack(b" {}"), "opening brace"),
    "a list": (pack(b"[]"), "opening brace"),
    "not UTF-8": (pack(b'{"\xff": 1}'), "not UTF-8"),
    "not JSON": (pack(b"{abc}"), "header"),
    "tensor named twice": (
        pack(b'{"a": %b, "a": %b}' % ((json.dumps(entry()).encode(),) * 2), bytes(4)),
        "stands twice",
    ),
    "bottomless": (pack(b'{"a":' * 100_000), "nested deeper"),
    "metadata of numbers": (pack({"__metadata__": {"a": 1}}), "__metadata__"),
    "metadata a list": (pack({"__metadata__": ["a"]}), "__metadata__"),
    "entry a number": (pack({"a": 1}), "must have dtype"),
    "entry with more": (pack({"a": {**entry(), "path": "x"}}, bytes(4)), "must have dtype"),
    "entry with less": (pack({"a": {"dtype": "F32", "shape": [1]}}, bytes(4)), "must have dtype"),
    "dtype unknown": (pack({"a": entry("F31")}, bytes(4)), "zoo reads F64"),
    "dtype a list": (pack({"a": entry(["F32"])}, bytes(4)), "zoo reads F64"),
    "shape negative": (pack({"a": entry(shape=(-1, -1))}, bytes(4)), "none negative"),
    "shape a float": (pack({"a": entry(shape=(1.0,))}, bytes(4)), "whole numbers"),
    "shape true": (pack({"a": entry(shape=(True,))}, bytes(4)), "whole numbers"),
    "shape text": (pack({"a": {**entry(), "shape": "1"}}, bytes(4)), "whole numbers"),
    "shape of 17 axes": (pack({"a": entry(shape=(1,) * 17)}, bytes(4)), "at most 16"),
    "shape bomb": (pack({"a": entry(shape=(1 << 40,))}, bytes(4)), "needs 4398046511104 bytes"),
    "product overflows": (
        pack({"a": entry(shape=(1 << 32, 1 << 32))}, bytes(4)),
        "at most 2^62 bytes",
    ),
    "overflow to zero": (
        pack({"a": entry(shape=(1 << 32, 1 << 32), offsets=(0, 0))}),
        "at most 2^62 bytes",
    ),
    "empty, and too wide for NumPy": (
        pack({"a": entry(shape=(0, 1 << 63), offsets=(0, 0))}),
        "at most 2^62 bytes",
    ),
    "empty, and too wide in all": (
        pack({"a": entry(shape=(0, 1 << 40, 1 << 40), offsets=(0, 0))}),
        "at most 2^62 bytes",
    ),
    "many values": (pack(b'{"a":[' + b"[]," * 1_000_000 + b"[]]}"), "more than 1000000 values"),
    "bytes against shape": (pack({"a": entry(shape=(2,))}, bytes(4)), "needs 8 bytes"),
    "dtype against bytes": (pack({"a": entry("F64")}, bytes(4)), "needs 8 bytes"),
    "offsets turned": (pack({"a": entry(shape=(0,), offsets=(4, 0))}, bytes(4)), "begin <= end"),
    "offsets negative": (pack({"a": entry(offsets=(-4, 0))}, bytes(4)), "begin <= end"),
    "three offsets": (pack({"a": entry(offsets=(0, 2, 4))}, bytes(4)), "begin <= end"),
    "offsets beyond the file": (pack({"a": entry(offsets=(0, 4))}), "end at byte 4 of the data"),
    "hole at the start": (pack({"a": entry(offsets=(4, 8))}, bytes(8)), "starts at byte 4"),
    "hole between": (pack({"a": entry(), "b": entry(offsets=(8, 12))}, bytes(12)), "starts at byte 8"),
    "overlap": (pack({"a": entry(), "b": entry(offsets=(2, 6))}, bytes(6)), "starts at byte 2"),
    "same bytes twice": (pack({"a": entry(), "b": entry()}, bytes(4)), "starts at byte 0"),
    "bytes after the end": (GOOD + b"x", "end at byte 8 of the data, the file at 9"),
    "cut by one byte": (GOOD[:-1], "end at byte 8 of the data, the file at 7"),
}
