"""What a tokenizer.model holds, and whether it is one of ours.

sentencepiece's file is a protocol buffer: a run of fields, each a key (number * 8 + wire type) and a value. Only
three wire types occur in it:

    0  an integer, seven bits a byte, low ones first; the high bit says that more follow
    2  a length (such an integer) and that many bytes, which may be fields again
    5  four bytes, a float

Field 1, repeated, is a piece: its text (1), its score (2), its type (3). Field 2 says how it was trained, field 3
how text is normalised before it is cut.

sentencepiece trusts its file, down to tables of offsets that it follows unchecked. A run's folder may come from
anywhere. So the file is walked here first, and sentencepiece sees it only if it is just what `bpe_training` makes:
the unknown piece, 256 bytes, then ordinary pieces; BPE; no normalisation of any kind.
"""

import math
import struct
from collections.abc import Iterator

VARINT, BYTES, FLOAT = 0, 2, 5  # wire types
NORMAL, UNKNOWN, BYTE = 1, 2, 6  # types of pieces
SPACE_SIGN = "\u2581"  # ▁, as which sentencepiece writes a space
N_FIXED = 257  # the unknown piece and the bytes: pieces of every model
LARGEST = 65_536  # vocabulary: every id fits two bytes
LONGEST_PIECE = 64  # characters; training stops at 16


def read_pieces(model: bytes) -> list[bytes]:
    """The bytes that each piece of a model stands for. Raises ValueError, saying what is not as it should be."""
    table, settings = [], {}
    for number, wire, value in fields(model):
        if wire != BYTES or number not in (1, 2, 3):
            raise ValueError(f"field {number} has no place in a model")
        if number == 1:
            table.append(read_piece(len(table), value))
            if len(table) > LARGEST:
                raise ValueError(f"it has more than {LARGEST} pieces")
        else:
            settings.update({(number, inner): v for inner, _, v in fields(value)})
    expect = {
        (2, 3): 2,  # trained as BPE
        (2, 24): 0,  # a space belongs to the word behind it
        (2, 35): 1,  # with byte fallback
        (3, 2): b"",  # no table of normalisations
        (3, 3): 0,  # no space put in front
        (3, 4): 0,  # no space taken away
        (3, 5): 1,  # spaces written as SPACE_SIGN
        (3, 6): b"",  # no rules
    }
    absent = {(2, 24): 0, (3, 2): b"", (3, 5): 1, (3, 6): b""}  # the values of fields that are not written
    for key, wanted in expect.items():
        if settings.get(key, absent.get(key)) != wanted:
            raise ValueError(f"setting {key[0]}.{key[1]} is not this project's")
    ordinary = table[N_FIXED:]
    if len(set(ordinary)) != len(ordinary) or b" " not in ordinary:
        raise ValueError("a piece is there twice, or there is none for the space")
    return table


def read_piece(i: int, message: bytes) -> bytes:
    """The bytes of piece i: none if unknown, one of the 256, or its text with spaces as spaces."""
    piece = {1: b"", 2: b"\0\0\0\0", 3: NORMAL} | {number: value for number, _, value in fields(message)}
    if piece.keys() != {1, 2, 3} or not isinstance(piece[1], bytes) or not isinstance(piece[2], bytes):
        raise ValueError(f"piece {i} is no piece")
    text, kind = piece[1].decode("utf-8"), piece[3]
    if i == 0:
        good, stands_for = kind == UNKNOWN and text == "<unk>", b""
    elif i < N_FIXED:
        good, stands_for = kind == BYTE and text == f"<0x{i - 1:02X}>", bytes([i - 1])
    else:
        good, stands_for = kind == NORMAL, text.replace(SPACE_SIGN, " ").encode("utf-8")
        good = good and 0 < len(text) <= LONGEST_PIECE and len(piece[2]) == 4
        good = good and " " not in text and math.isfinite(struct.unpack("<f", piece[2])[0])
    if not good:
        raise ValueError(f"piece {i} is not what it should be")
    return stands_for


def fields(message: bytes) -> Iterator[tuple[int, int, int | bytes]]:
    """(number, wire type, value) of each field. Raises ValueError where the message breaks off or makes no sense."""
    at = 0
    while at < len(message):
        key, at = read_varint(message, at)
        number, wire = key >> 3, key & 7
        if wire == VARINT:
            value, at = read_varint(message, at)
        elif wire in (BYTES, FLOAT):
            length, at = read_varint(message, at) if wire == BYTES else (4, at)
            value, at = message[at : at + length], at + length
            if at > len(message):
                raise ValueError("it breaks off within a field")
        else:
            raise ValueError(f"a field of wire type {wire}")
        yield number, wire, value


def read_varint(message: bytes, at: int) -> tuple[int, int]:
    """An integer that starts at a position, and the position behind it."""
    value = 0
    for shift in range(0, 70, 7):  # 64 bits at most
        if at >= len(message):
            raise ValueError("it breaks off within a number")
        byte = message[at]
        value |= (byte & 0x7F) << shift
        at += 1
        if byte < 0x80:
            return value, at
    raise ValueError("a number of over 64 bits")
