"""Types, numbers, names and variables of PTX."""

import re
import struct

BITS = {"f16": 16, "bf16": 16, "f16x2": 32, "bf16x2": 32, "tf32": 32, "pred": 1}
BITS |= {f"{kind}{bits}": bits for kind in "bus" for bits in (8, 16, 32, 64)} | {"f32": 32, "f64": 64}
MODIFIED_NAMES = re.compile(r"[^A-Za-z0-9_]")

OTHER_ROUNDINGS = {"rz": "RZ", "rm": "RM", "rp": "RP"}


class Unsupported(Exception):
    """PTX that is not known here."""


def bits_of(type_: str) -> int:
    if type_ not in BITS:
        raise Unsupported(f"the type .{type_}")
    return BITS[type_]


def c_type(type_: str) -> str:
    """How values of a PTX type are computed with; 16-bit floats and packed pairs are bits."""
    if type_ in ("pred", "f32", "f64"):
        return {"pred": "bool"}.get(type_, type_)
    return f"{'s' if type_[0] == 's' else 'u'}{bits_of(type_)}"


def unsigned(type_: str) -> str:
    return type_ if type_ in ("f32", "f64") else f"u{bits_of(type_)}"


def is_float(type_: str) -> bool:
    return "f" in type_


def identifier(name: str) -> str:
    return MODIFIED_NAMES.sub(lambda found: f"_{ord(found[0]):x}_", name)


def split_top(text: str) -> list[str]:
    """The operands in `text`: what is between commas, but for those in braces, brackets and parentheses."""
    parts, depth, start = [], 0, 0
    for i, letter in enumerate(text):
        depth += (letter in "{[(") - (letter in "}])")
        if letter == "," and not depth:
            parts.append(text[start:i].strip())
            start = i + 1
    last = text[start:].strip()
    return [*parts, last] if last or parts else []


class Variable:
    """A variable of .global, .const, .shared, .local or .param memory."""

    PATTERN = re.compile(
        r"\.(global|const|shared|local|param)((?:\s+\.(?:align\s+\d+|ptr|v[24]|attribute\([^)]*\)|global|shared|const|local"
        r"|unified|managed))*)\s+\.(\w+)((?:\s+\.(?:align\s+\d+|ptr|global|shared|const|local))*)\s+([^\s\[=,;]+)\s*"
        r"((?:\[[^]]*\])*)\s*(?:=(.*))?$",
        re.DOTALL,
    )

    def __init__(self, text: str):
        found = self.PATTERN.match(text.strip())
        if not found:
            raise Unsupported(f"the declaration {text.strip()[:100]!r}")
        self.space, before, self.type, _, self.name, shape, self.initial = found.groups()
        width = bits_of(self.type) // 8
        vector = re.search(r"\.v([24])", before)
        count, self.unsized = int(vector[1]) if vector else 1, "[]" in shape
        self.align = width * count
        for size in re.findall(r"\[\s*(\d+)\s*\]", shape):
            count *= int(size)
        self.size = 0 if self.unsized else width * count
        if align := re.search(r"\.align\s+(\d+)", before):
            self.align = int(align[1])
        self.address = ""  # in C++

    def content(self, address_of) -> tuple[bytes, list[tuple[int, str]]]:
        """The bytes that it begins with, and the addresses [(offset, C++)] to be put among them."""
        width, held, addresses = bits_of(self.type) // 8, bytearray(self.size), []
        for i, item in enumerate(filter(None, re.split(r"[\s,{}]+", self.initial or ""))):
            if re.match(r"^[-\d]", item):
                held[i * width : (i + 1) * width] = number_bits(item, self.type).to_bytes(width, "little")
            elif width == 8 and (found := re.match(r"^(?:generic\()?([\w$%.]+)\)?(?:\+(\d+))?$", item)):
                addresses.append((i * width, f"{address_of(found[1])} + {found[2] or 0}"))
            else:
                raise Unsupported(f"the initial value {item!r} of {self.name}")
        return bytes(held), addresses


def number_bits(text: str, type_: str) -> int:
    """The bits of a number as PTX writes it, as a value of a type."""
    width = bits_of(type_)
    if found := re.match(r"^(-?)0[fF]([0-9a-fA-F]{8})$", text):
        value = int(found[2], 16) ^ (0x80000000 if found[1] else 0)
        return (
            struct.unpack("<Q", struct.pack("<d", struct.unpack("<f", struct.pack("<I", value))[0]))[0]
            if width == 64 and is_float(type_)
            else value
        )
    if found := re.match(r"^(-?)0[dD]([0-9a-fA-F]{16})$", text):
        value = int(found[2], 16) ^ (1 << 63 if found[1] else 0)
        return (
            struct.unpack("<I", struct.pack("<f", struct.unpack("<d", struct.pack("<Q", value))[0]))[0]
            if width == 32 and is_float(type_)
            else value
        )
    if type_ in ("f32", "f64") and re.search(r"[.eE]|^-?\d+$", text) and not text.lower().startswith("0x"):
        form = "<f" if width == 32 else "<d"
        return int.from_bytes(struct.pack(form, float(text)), "little")
    sign, digits = (-1, text[1:]) if text.startswith("-") else (1, text)
    digits = digits.rstrip("U")
    base = 16 if digits[:2].lower() == "0x" else 2 if digits[:2].lower() == "0b" else 8 if digits[0] == "0" else 10
    return sign * int(digits, base) & ((1 << max(width, 8)) - 1)
