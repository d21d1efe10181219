"""Instructions of PTX that threads execute together: shuffles, votes, tensor cores, barriers."""

import re

from .operands import Operands
from .values import Unsupported, is_float


class Warps(Operands):
    """What the lanes of a warp and the threads of a block do together."""

    def together(self, operation: str, mask: str, results: list[tuple[str, str]], words: list[str]) -> None:
        self.code += [f"me->in[{i}] = {word};" for i, word in enumerate(words)]
        self.code.append(f"together({operation}, {mask});")
        for i, (name, type_) in enumerate(results):
            if type_ == "pred":
                self.write(name, "pred", f"me->out[{i}] != 0")
            else:
                self.write(name, type_, f"me->out[{i}]" if type_ != "f32" else f"F(me->out[{i}])")

    def _do_shfl(self) -> None:
        if "sync" not in self.mods:
            raise Unsupported("shfl without sync")
        to, *predicate = (part.strip() for part in self.ops[0].split("|"))
        results = [(to, "b32"), *((name, "pred") for name in predicate)]
        words = [self.read(op, "b32") for op in self.ops[1:4]]
        self.together(f"shuffle<{self.mods[1].upper()}>", self.read(self.ops[4], "b32"), results, words)

    def _do_vote(self) -> None:
        if "sync" not in self.mods:
            raise Unsupported("vote without sync")
        kind = self.mods[1]
        results = [(self.ops[0], "b32" if kind == "ballot" else "pred")]
        self.together(
            f"vote_{kind}", self.read(self.ops[2], "b32"), results, [f"(u32)({self.read(self.ops[1], 'pred')})"]
        )

    def _do_match(self) -> None:
        to, *predicate = (part.strip() for part in self.ops[0].split("|"))
        a = self.read(self.ops[1], self.type)
        words = [f"(u32)({a})", f"(u32)((u64)({a}) >> 32)"]
        results = [(to, "b32"), *((name, "pred") for name in predicate)]
        self.together(f"match_{self.mods[0]}", self.read(self.ops[2], "b32"), results, words)

    def _do_redux(self) -> None:
        kind = self.mods[1].upper() + (self.type[0].upper() if self.mods[1] in ("min", "max") else "")
        if is_float(self.type):
            raise Unsupported("redux of floats")
        self.together(
            f"redux<{kind}>", self.read(self.ops[2], "b32"), [(self.ops[0], "b32")], [self.read(self.ops[1], "b32")]
        )

    def _do_elect(self) -> None:
        to, predicate = (part.strip() for part in self.ops[0].split("|"))
        self.together("elect", self.read(self.ops[1], "b32"), [(to, "b32"), (predicate, "pred")], [])

    def _do_activemask(self) -> None:
        self.result("1u << me->lane", "b32")  # a thread may always be on its own

    def _do_mma(self) -> None:
        shape = next(mod for mod in self.mods if re.match(r"m\d+n\d+k\d+$", mod))
        sums, left, right, _ = self.mods[-4:]
        to, a, b, c = (self.elements(op) for op in self.ops[:4])
        if shape == "m8n8k4" and sums == "f64":
            words = []
            for op in (*a, *b, *c):
                words += [f"(u32)bits({self.read(op, 'f64')})", f"(u32)(bits({self.read(op, 'f64')}) >> 32)"]
            self.code += [f"me->in[{i}] = {word};" for i, word in enumerate(words)]
            self.code.append("together(mma_f64, ~0u);")
            for i, name in enumerate(to):
                self.write(name, "f64", f"D((u64)me->out[{2 * i + 1}] << 32 | me->out[{2 * i}])")
            return
        found = re.match(r"m16n8k(\d+)$", shape)
        allowed = {"f16": ("8", "16"), "bf16": ("8", "16"), "tf32": ("4", "8")}
        if not found or left != right or found[1] not in allowed.get(left, ()) or sums not in ("f32", "f16"):
            raise Unsupported(f"the instruction mma.{'.'.join(self.mods)}")
        words = [self.read(op, "b32") for op in (*a, *b, *c)]
        operation = f"mma<{left.upper()}, {found[1]}, {str(sums == 'f16').lower()}>"
        self.together(operation, "~0u", [(name, "b32") for name in to], words)

    def _matrix(self, registers: str, address: str, write: bool) -> None:
        names = self.elements(registers)
        if self.type != "b16" or "m8n8" not in self.mods:
            raise Unsupported(f"the instruction {self.name}.{'.'.join(self.mods)}")
        operation = f"matrix<{len(names)}, {str('trans' in self.mods).lower()}, {str(write).lower()}>"
        where = self.memory(address, 1, "generic", "").replace("(u64)", "(u32)", 1)
        if self.space() != "shared":
            where = f"(u32)({where} - (u32)(u64)shared)"
        words = [where, *([self.read(name, "b32") for name in names] if write else [])]
        self.together(operation, "~0u", [] if write else [(name, "b32") for name in names], words)

    def _do_ldmatrix(self) -> None:
        self._matrix(self.ops[0], self.ops[1], False)

    def _do_stmatrix(self) -> None:
        self._matrix(self.ops[1], self.ops[0], True)

    def _do_bar(self) -> None:
        if "warp" in self.mods:
            return self.together("only_wait", self.read(self.ops[0], "b32"), [], [])
        if "cluster" in self.mods:
            raise Unsupported("barriers of clusters")
        if "red" in self.mods:
            to, *numbers, predicate = self.ops
            number, count = self.read(numbers[0], "u32"), self.read(numbers[1], "u32") if len(numbers) > 1 else "0"
            self.code.append(f"barrier({number}, {count}, {self.read(predicate, 'pred')}, true, {self.line});")
            kind = next(mod for mod in self.mods if mod in ("popc", "and", "or"))
            value = f"me->out[{('popc', 'and', 'or').index(kind)}]"
            return self.write(to, "u32" if kind == "popc" else "pred", value if kind == "popc" else f"{value} != 0")
        number, count = [*(self.read(op, "u32") for op in self.ops), "0"][:2]
        self.code.append(f"barrier({number}, {count}, false, {str('arrive' not in self.mods).lower()}, {self.line});")

    _do_barrier = _do_bar
