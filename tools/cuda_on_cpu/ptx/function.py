"""A .entry or .func of PTX, and the names in it."""

import functools
import re

from .instruction import Instruction
from .values import Unsupported, Variable, bits_of, identifier, split_top

MOST_LOCAL = 128 * 1024  # bytes; a thread's stack has twice that


class Scope:
    """The names between two braces."""

    def __init__(self, parent, number: int):
        self.parent, self.number = parent, number
        self.registers, self.ranges, self.variables, self.labels, self.targets = {}, {}, {}, {}, {}

    def find(self, kind: str, name: str):
        scope = self
        while scope:
            if name in (table := getattr(scope, kind)):
                return table[name]
            scope = scope.parent
        return None


class Function:
    """A .entry or .func and its translation."""

    HEAD = re.compile(r"\.(entry|func)\s*(?:\.noreturn\s*)?(\([^)]*\))?\s*([\w$%.]+)\s*(\([^)]*\))?", re.DOTALL)

    def __init__(self, module, head: str, body: str | None, start: int):
        self.module, self.body, self.start = module, body, start
        kind, returned, self.name, parameters = self.HEAD.search(head).groups()
        self.is_entry = kind == "entry"
        self.returned, self.parameters = (
            [Variable(text) for text in split_top((group or "()")[1:-1])] for group in (returned, parameters)
        )
        self.most_threads = 1024
        if limit := re.search(r"\.(?:maxntid|reqntid)\s+(\d+)(?:\s*,\s*(\d+))?(?:\s*,\s*(\d+))?", head):
            self.most_threads = functools.reduce(lambda a, b: a * int(b or 1), limit.groups(), 1)
        self.code_name = f"k_{identifier(self.name)}"
        self.top, self.scopes = Scope(None, 0), 1
        self.top.variables |= {v.name: v for v in (*self.parameters, *self.returned)}
        self.lines, self.used, self.local_variables = [], {}, []
        self.calls, self.shared, self.waits, self.ends, self.indirect, self.carry = (
            set(),
            {},
            False,
            False,
            False,
            False,
        )
        offset = 0
        self.offsets = []
        for v in self.parameters:
            offset = -(-offset // v.align) * v.align
            v.address = f"(u64)(P + {offset})" if self.is_entry else f"(u64)p_{identifier(v.name)}"
            self.offsets.append(offset)
            offset += v.size
        for v in self.returned:
            v.address = f"(u64)p_{identifier(v.name)}"
        self.parameter_bytes = offset

    def signature(self) -> str:
        if self.is_entry:
            return f"static void {self.code_name}(const u8* P)"
        names = ", ".join(f"u8* p_{identifier(v.name)}" for v in (*self.returned, *self.parameters))
        return f"static void {self.code_name}({names})"

    # Reading the body

    STATEMENT = re.compile(r"\s*(?:(?P<brace>[{}])|(?P<label>[\w$]+)\s*:(?!:)|(?P<statement>[^;]*);)", re.DOTALL)

    def translate(self) -> str:
        statements, scope, at = [], self.top, 0
        while found := self.STATEMENT.match(self.body, at):
            at = found.end()
            if found["brace"] == "{":
                scope = Scope(scope, self.scopes)
                self.scopes += 1
            elif found["brace"]:
                scope = scope.parent
            elif found["label"]:
                scope.labels[found["label"]] = f"L{scope.number}_{identifier(found['label'])}"
                statements.append((scope, found["label"], True, found.start("label")))
            elif (text := found["statement"].strip()).startswith("."):
                self._declare(scope, text, statements)
            else:
                statements.append((scope, text, False, found.start("statement")))
        if self.body[at:].strip():
            raise Unsupported(f"the text {self.body[at:].strip()[:60]!r}")
        for scope, text, is_label, position in statements:
            try:
                if is_label:
                    self.lines.append(f"{scope.labels[text]}:;")
                else:
                    Instruction(self, scope, text, self._line(position))
            except Exception as problem:
                reason = problem if isinstance(problem, Unsupported) else f"{type(problem).__name__}: {problem}"
                raise Unsupported(f"line {self._line(position)}: {text[:160]!r}: {reason}") from problem
        if sum(v.size for _, v in self.local_variables) > MOST_LOCAL:
            raise Unsupported(f"{self.name}: more than {MOST_LOCAL} bytes of local variables")
        by_type = {}
        for name, type_ in self.used.values():
            by_type.setdefault(type_, []).append(name)
        declared = [f"{type_} {', '.join(names)};" for type_, names in by_type.items()]
        declared += [f"alignas({max(v.align, 8)}) u8 {name}[{max(v.size, 1)}];" for name, v in self.local_variables]
        declared += ["bool carry = false;"] if self.carry else []
        return "\n".join([f"{self.signature()} {{", *declared, *self.lines, "}"])

    def _line(self, position: int) -> int:
        while self.body[position].isspace():
            position += 1
        return self.module.line_of(self.start + position)

    def _declare(self, scope: Scope, text: str, statements: list) -> None:
        kind = re.match(r"\.(\w+)", text)[1]
        if kind == "reg":
            type_, names = re.match(r"\.reg\s*\.(\w+)\s+(.*)", text, re.DOTALL).groups()
            held = {"pred": "bool", "f32": "f32", "f64": "f64"}.get(type_) or f"u{max(16, bits_of(type_))}"
            for name in split_top(names):
                if found := re.match(r"(.+)<(\d+)>$", name):
                    scope.ranges[found[1]] = held
                else:
                    scope.registers[name] = (f"r{scope.number}_{identifier(name)}", held)
        elif kind in ("local", "param", "shared"):
            v = Variable(text)
            if kind == "shared":
                self.module.add_shared(v)
            else:
                name = f"m{scope.number}_{identifier(v.name)}"
                v.address = f"(u64){name}"
                self.local_variables.append((name, v))
            scope.variables[v.name] = v
        elif kind == "branchtargets":
            _, label, _, _ = statements.pop()
            scope.targets[label] = split_top(text.split(None, 1)[1])
        elif kind == "callprototype":
            statements.pop()
        elif kind not in ("pragma", "loc", "file"):
            raise Unsupported(f"the directive .{kind}")

    # Names

    def register(self, scope: Scope, name: str):
        """(C++ name, C++ type) of a register, or None."""
        look = scope
        while look:
            if name in look.registers:
                break
            if (found := re.match(r"(.*?)(0|[1-9]\d*)$", name)) and found[1] in look.ranges:
                look.registers[name] = (f"r{look.number}_{identifier(name)}", look.ranges[found[1]])
                break
            look = look.parent
        if not look:
            return None
        self.used[look.registers[name][0]] = look.registers[name]
        return look.registers[name]

    def address(self, scope: Scope, name: str) -> str:
        """The address, in C++, of a variable or function."""
        v = scope.find("variables", name) or self.module.variables.get(name)
        if v:
            if v.space == "shared":
                self.shared[v.address] = v
            return v.address
        if name in self.module.functions:
            self.calls.add(name)
            return f"(u64){self.module.functions[name].code_name}"
        raise Unsupported(f"the name {name}")
