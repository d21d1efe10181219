"""A PTX module, its translation to C++ and the library that g++ makes of it."""

import os
import re
import subprocess
from bisect import bisect
from pathlib import Path

from .function import Function
from .values import Unsupported, Variable, identifier

RUNTIME = Path(__file__).parents[1] / "runtime" / "runtime.h"
OPTIONS = [
    "-std=c++17",
    "-O1",
    "-march=native",
    "-ffp-contract=off",
    "-fno-strict-aliasing",
    "-fwrapv",
    "-shared",
    "-w",
]
OPTIONS += ["-fPIC", "-fno-exceptions", "-fno-asynchronous-unwind-tables", "-fno-math-errno", "-fno-stack-protector"]
OPTIONS += ["-U_FORTIFY_SOURCE", "-Wl,--no-undefined"]


class Module:
    """A PTX module and its translation."""

    def __init__(self, text: str):
        text = re.sub(r"/\*.*?\*/", lambda found: re.sub(r"[^\n]", " ", found[0]), text, flags=re.DOTALL)
        text = re.sub(
            r"//[^\n]*|^[ \t]*\.(?:loc|file|version|target|address_size)\b[^\n]*",
            lambda found: " " * len(found[0]),
            text,
            flags=re.MULTILINE,
        )
        self.text = text
        self.newlines = [i for i, letter in enumerate(text) if letter == "\n"]
        self.variables, self.functions, self.shared_names = {}, {}, []
        self._parse()

    def line_of(self, position: int) -> int:
        return bisect(self.newlines, position) + 1

    def add_shared(self, v: Variable) -> None:
        v.address = f"sh_{len(self.shared_names)}_{identifier(v.name)[:60]}"
        self.shared_names.append(v.address)

    def _parse(self) -> None:
        at = 0
        while found := re.compile(r"\s*(\.[^;{=]*?)(;|=[^;]*;|\{)", re.DOTALL).match(self.text, at):
            head, ending = found.groups()
            at = found.end()
            if ".section" in head:
                at = self.text.index("}", at) + 1
            elif re.search(r"\.(entry|func)\b", head):
                body, start = None, at
                if ending == "{":
                    depth = 1
                    while depth:
                        brace = re.compile(r"[{}]").search(self.text, at)
                        depth += 1 if brace[0] == "{" else -1
                        at = brace.end()
                    body = self.text[start : at - 1]
                function = Function(self, head, body, start)
                if body is not None or function.name not in self.functions:
                    self.functions[function.name] = function
            elif not re.match(r"\.(pragma|alias)", head):
                v = Variable(re.sub(r"\.(visible|extern|weak|common)\s+", "", head + ending.rstrip(";")))
                if v.space == "shared":
                    self.add_shared(v)
                else:
                    v.address = f"(u64)g_{identifier(v.name)}"
                self.variables[v.name] = v
        if self.text[at:].strip():
            raise Unsupported(f"line {self.line_of(at + 1)}: the text {self.text[at:].strip()[:80]!r}")

    def _reached(self, function: Function) -> list[Function]:
        """A function and all that it may call."""
        seen, left = {}, [function]
        while left:
            f = left.pop()
            if f.name in seen or f.body is None:
                continue
            seen[f.name] = f
            left += [self.functions[name] for name in f.calls]
            if f.indirect:
                left += [other for other in self.functions.values() if not other.is_entry]
        return list(seen.values())

    def _address_of(self, name: str) -> str:
        if name in self.functions:
            return f"(u64){self.functions[name].code_name}"
        return self.variables[name].address

    def translate(self) -> str:
        defined = [f for f in self.functions.values() if f.body is not None]
        bodies = [f.translate() for f in defined]
        out = [f"static u32 {', '.join(self.shared_names)};"] if self.shared_names else []
        out += [f"{f.signature()};" for f in defined]
        starting, table = [], []
        for v in self.variables.values():
            if v.space == "shared":
                continue
            name = v.address.removeprefix("(u64)")
            content, addresses = v.content(self._address_of)
            initial = f" = {{{','.join(map(str, content))}}}" if any(content) else ""
            out.append(f"alignas({max(v.align, 16)}) static u8 {name}[{max(v.size, 1)}]{initial};")
            starting += [f"at<u64>((u64){name} + {offset}) = {address};" for offset, address in addresses]
            table.append(f'{{"{v.name}", {name}, {v.size}}}')
        out += bodies
        if starting:
            out.append("__attribute__((constructor)) static void start() { " + " ".join(starting) + " }")
        entries = []
        for number, f in enumerate(f for f in defined if f.is_entry):
            reached = self._reached(f)
            shared = {address: v for each in reached for address, v in each.shared.items()}
            ordered = sorted(shared.values(), key=lambda v: (v.unsized, -v.align))
            places, offset = [], 0
            for v in ordered:
                offset = -(-offset // v.align) * v.align
                places.append(f"{v.address} = {offset};")
                offset += v.size
            out.append(f"static u32 layout_{number}() {{ {' '.join(places)} return {offset}; }}")
            held = [f"{{{offset}, {v.size}}}" for offset, v in zip(f.offsets, f.parameters, strict=True)]
            out.append(f"static const Parameter parameters_{number}[] = {{{', '.join(held or ['{0, 0}'])}}};")
            fibers = str(any(each.waits or each.ends for each in reached)).lower()
            functions = f"{f.code_name}, layout_{number}, parameters_{number}"
            numbers = f"{len(f.parameters)}, {f.parameter_bytes}, {f.most_threads}"
            entries.append(f'{{"{f.name}", {functions}, {numbers}, {fibers}}}')
        for kind, name, rows in (("Entry", "entries", entries), ("Variable", "variables", table)):
            out.append(f"const {kind} {name}[] = {{{', '.join(rows or ['{}'])}}};")
        out.append(f"const u32 entry_count = {len(entries)}, variable_count = {len(table)};")
        return "\n".join(out)


def translate(ptx: str) -> str:
    """The C++ source of a PTX module. Raises Unsupported."""
    return f'#include "{RUNTIME.name}"\n{Module(ptx).translate()}\n'


def build(ptx: str, library: str, flags=()) -> None:
    """Make a shared library of a PTX module; with the flags RACES or COUNTS it looks for races, or counts what it does.

    Raises Unsupported, or RuntimeError where g++ fails.
    """
    source = translate(ptx)
    options = [*OPTIONS, f"-I{RUNTIME.parent}", *(f"-D{flag}" for flag in flags)]
    partial = f"{library}.{os.getpid()}"
    done = subprocess.run(
        ["g++", *options, "-x", "c++", "-", "-o", partial], input=source, text=True, capture_output=True, check=False
    )
    if done.returncode:
        raise RuntimeError(f"g++ does not compile what came of the PTX:\n{done.stderr[:4000]}")
    os.replace(partial, library)
