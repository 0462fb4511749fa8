"""TFRecord files and protocol buffer messages, read without TensorFlow."""

from __future__ import annotations

import struct
from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np

from graphnas.errors import GraphnasError

MAX_RECORD_BYTES = 1 << 20
_BATCH = 4096
_POLYNOMIAL = 0x82F63B78  # Castagnoli, bits reversed


def _crc_table() -> np.ndarray:
    value = np.arange(256, dtype=np.uint32)
    for _ in range(8):
        value = np.where(value & 1, (value >> 1) ^ np.uint32(_POLYNOMIAL), value >> 1)
    return value


_TABLE = _crc_table()


def crc32c(texts: Sequence[bytes]) -> np.ndarray:
    """CRC-32C (RFC 3720, section 12.1) of each text, uint32 ``[n]``; all texts advance byte by byte together."""
    lengths = np.array([len(t) for t in texts], dtype=np.int64)
    order = np.argsort(-lengths, kind="stable")
    padded = np.zeros((int(lengths.max(initial=0)), len(texts)), dtype=np.uint8)
    for place, i in enumerate(order.tolist()):
        padded[: lengths[i], place] = np.frombuffer(texts[i], dtype=np.uint8)
    state = np.full(len(texts), 0xFFFFFFFF, dtype=np.uint32)
    active = np.searchsorted(-lengths[order], -np.arange(len(padded)), side="left")  # texts longer than each position
    for row, count in zip(padded, active.tolist(), strict=True):
        head = state[:count]
        state[:count] = _TABLE[(head ^ row[:count]) & 0xFF] ^ (head >> 8)
    result = np.empty_like(state)
    result[order] = ~state
    return result


def masked(crc: np.ndarray) -> np.ndarray:
    """TFRecord's masked form of CRCs: rotated right by 15 bits, plus a constant."""
    return np.asarray(((crc >> 15) | (crc << 17)) + np.uint32(0xA282EAD8), dtype=np.uint32)


def read_records(path: Path) -> Iterator[bytes]:
    """The records of a TFRecord file; the checksums of a batch are verified before its first record is given out.

    A frame is: length (uint64), masked CRC-32C of these 8 bytes, the data, masked CRC-32C of the data; little endian.

    Raises:
        GraphnasError: missing, truncated, a wrong checksum, or a record above one mebibyte.
    """
    try:
        with path.open("rb") as file:
            done = 0
            while True:
                texts: list[bytes] = []
                sums: list[int] = []
                while len(texts) < 2 * _BATCH:
                    head = file.read(12)
                    if not head:
                        break
                    length, head_sum = struct.unpack("<QI", head) if len(head) == 12 else (0, 0)
                    # A wrong length must be noticed before it is read; its checksum follows with the batch.
                    data = file.read(length + 4) if length <= MAX_RECORD_BYTES else b""
                    if len(head) != 12 or len(data) != length + 4:
                        raise GraphnasError(
                            f"{path} is truncated or no TFRecord file (record {done + len(texts) // 2})"
                        )
                    texts += head[:8], data[:-4]
                    sums += head_sum, struct.unpack("<I", data[-4:])[0]
                if not texts:
                    return
                wrong = np.flatnonzero(masked(crc32c(texts)) != np.array(sums, dtype=np.uint32))
                if len(wrong):
                    raise GraphnasError(
                        f"{path} is damaged: record {done + wrong[0] // 2} has a wrong checksum; get it again"
                    )
                yield from texts[1::2]
                done += len(texts) // 2
    except OSError as error:
        raise GraphnasError(f"cannot read {path} ({error.strerror or error})") from None


def message_fields(data: bytes) -> Iterator[tuple[int, int | float | bytes]]:
    """The fields of one protocol buffer message in wire order: (number, value).

    Varints come as unsigned integers, 64-bit fields as doubles, 32-bit fields as floats, the rest as bytes.

    Raises:
        ValueError: malformed or truncated.
    """
    place = 0
    while place < len(data):
        tag, place = _varint(data, place)
        kind = tag & 7
        if kind == 0:
            value: int | float | bytes
            value, place = _varint(data, place)
        elif kind == 2:
            length, place = _varint(data, place)
            value, place = data[place : place + length], place + length
        elif kind in (1, 5):
            size = 8 if kind == 1 else 4
            if place + size > len(data):
                raise ValueError("truncated message")
            value, place = struct.unpack_from("<d" if kind == 1 else "<f", data, place)[0], place + size
        else:
            raise ValueError(f"wire type {kind}")
        if place > len(data):
            raise ValueError("truncated message")
        yield tag >> 3, value


def _varint(data: bytes, place: int) -> tuple[int, int]:
    value = 0
    for i in range(10):
        if place + i >= len(data):
            raise ValueError("truncated message")
        byte = data[place + i]
        value |= (byte & 0x7F) << (7 * i)
        if byte < 0x80:
            return value, place + i + 1
    raise ValueError("a varint of more than ten bytes")
