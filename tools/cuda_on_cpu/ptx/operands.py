"""An instruction of PTX: its text taken apart, its operands read and written."""

import re

from .values import Unsupported, bits_of, c_type, number_bits, split_top

SYNCHRONOUS = {"bar", "barrier", "shfl", "vote", "match", "redux", "mma", "ldmatrix", "stmatrix", "elect"}
NOTHING = {
    "membar",
    "fence",
    "prefetch",
    "prefetchu",
    "applypriority",
    "discard",
    "griddepcontrol",
    "setmaxnreg",
    "pmevent",
}
SPACES = {"global", "shared", "local", "param", "const"}
SPECIAL = {
    **{f"%tid.{axis}": f"me->{axis}" for axis in "xyz"},
    **{f"%{name}.{axis}": f"{name}[{i}]" for name in ("ntid", "ctaid", "nctaid") for i, axis in enumerate("xyz")},
    **{f"%{name}.{axis}": value for name, value in (("clusterid", "0"), ("cluster_ctaid", "0")) for axis in "xyz"},
    **{f"%{name}.{axis}": "1" for name in ("nclusterid", "cluster_nctaid") for axis in "xyz"},
    "%cluster_ctarank": "0",
    "%cluster_nctarank": "1",
    "%is_explicit_cluster": "0",
    "%laneid": "me->lane",
    "%warpid": "me->number / 32",
    "%nwarpid": "32",
    "%smid": "0",
    "%nsmid": "1",
    "%gridid": "0",
    "%dynamic_smem_size": "dynamic_bytes",
    "%total_smem_size": "shared_bytes",
    "%aggr_smem_size": "shared_bytes",
    "%clock": "(u32)nanoseconds()",
    "%clock_hi": "(u32)(nanoseconds() >> 32)",
    "%clock64": "nanoseconds()",
    "%globaltimer": "nanoseconds()",
    "%globaltimer_lo": "(u32)nanoseconds()",
    "%lanemask_eq": "(1u << me->lane)",
    "%lanemask_lt": "((1u << me->lane) - 1)",
    "%lanemask_le": "((2u << me->lane) - 1)",
    "%lanemask_ge": "(~0u << me->lane)",
    "%lanemask_gt": "(~1u << me->lane)",
}


class Operands:
    """One instruction, which appends its C++ to the function's lines; the subclasses have a `_do_NAME` for each."""

    def __init__(self, function, scope, text: str, line: int):
        self.function, self.scope, self.line = function, scope, line
        guard, self.guarded = "", False
        if found := re.match(r"@(!?)\s*([%\w$]+)\s+", text):
            guard, self.guarded = f"if ({found[1]}{self._register(found[2])[0]}) ", True
            text = text[found.end() :]
        head, _, rest = (
            text.partition(" ")
            if not re.match(r"\S+\s", text)
            else re.match(r"(\S+)(\s)(.*)", text, re.DOTALL).groups()
        )
        self.name, *self.mods = head.split(".")
        self.mods = [mod.partition("::")[0] if mod.partition("::")[0] in SPACES else mod for mod in self.mods]
        self.type = self.mods[-1] if self.mods else ""
        self.ops = split_top(rest)
        self.code = []
        if self.name not in NOTHING:
            method = getattr(self, f"_do_{self.name}", None)
            if not method:
                raise Unsupported(f"the instruction {head}")
            if self.name in SYNCHRONOUS:
                function.waits = True
            method()
        if self.code:
            function.lines.append(
                f"{guard}{{ {' '.join(self.code)} }}" if guard or len(self.code) > 1 else self.code[0]
            )

    # Operands

    def _register(self, name: str) -> tuple[str, str]:
        found = self.function.register(self.scope, name)
        if not found:
            raise Unsupported(f"the name {name}")
        return found

    def read(self, operand: str, type_: str) -> str:
        """The C++ expression of an operand's value, of type c_type(type_)."""
        wanted = c_type(type_)
        if operand.startswith("!"):
            return f"!{self.read(operand[1:].strip(), type_)}"
        if re.match(r"^-?\d", operand):
            value = number_bits(operand, type_ if type_ != "pred" else "u32")
            if wanted in ("f32", "f64"):
                return f"{'F' if wanted == 'f32' else 'D'}({value:#x}{'u' if wanted == 'f32' else 'ull'})"
            if wanted == "bool":
                return "true" if value else "false"
            return f"({wanted}){value:#x}{'ull' if bits_of(type_) == 64 else 'u'}"
        if operand in SPECIAL:
            return f"({wanted})({SPECIAL[operand]})"
        if found := self.function.register(self.scope, operand):
            name, held = found
            if held == wanted:
                return name
            if wanted in ("f32", "f64"):
                return f"cast<{wanted}>({name})"
            return f"({wanted})bits({name})" if held in ("f32", "f64") else f"({wanted}){name}"
        if operand == "WARP_SZ":
            return f"({wanted})32"
        base, _, offset = operand.partition("+")
        address = self.function.address(self.scope, base.strip())
        return f"({wanted})({address}{' + ' + offset if offset else ''})"

    def write(self, operand: str, type_: str, value: str) -> None:
        """Let a register have a value of type c_type(type_)."""
        if operand == "_":
            return
        name, held = self._register(operand)
        given = c_type(type_)
        if held != given and held in ("f32", "f64"):
            value = f"cast<{held}>({value})"
        elif held != given and given in ("f32", "f64"):
            value = f"bits({value})"
        elif held != given:
            value = f"({held})({given})({value})"
        self.code.append(f"{name} = {value};")

    def result(self, value: str, type_: str = "") -> None:
        self.write(self.ops[0], type_ or self.type, value)

    def sources(self, type_: str = "") -> list[str]:
        return [self.read(op, type_ or self.type) for op in self.ops[1:]]

    def memory(self, operand: str, bytes_: int, space: str, access: str) -> str:
        """The host's address of a memory operand; `access` says what is done there: READ, WRITE, ATOMIC or nothing."""
        inside = operand.strip()[1:-1].strip()
        base, _, offset = inside.partition("+")
        base, offset = base.strip(), offset.strip()
        if re.match(r"^-?\d", base):
            address = base
        elif self.function.register(self.scope, base):
            address = self.read(base, "u64" if self._register(base)[1] == "u64" else "u32")
        else:
            address = self.function.address(self.scope, base)
        if offset:
            address = f"{address} + {offset}" if not offset.startswith("-") else f"{address} - {offset[1:]}"
        if space == "shared":
            address = f"in_shared({address}, {bytes_})"
        return (
            f"accessed<{access}>({address}, {bytes_}, {self.line})"
            if access and space != "param"
            else f"(u64)({address})"
        )

    def space(self) -> str:
        return next((mod for mod in self.mods if mod in SPACES), "generic")

    def elements(self, operand: str) -> list[str]:
        return split_top(operand[1:-1]) if operand.startswith("{") else [operand]
