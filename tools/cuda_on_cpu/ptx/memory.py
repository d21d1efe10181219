"""Instructions of PTX that read and write memory."""

from .arithmetic import Arithmetic
from .values import Unsupported, bits_of, c_type, is_float, unsigned


class Memory(Arithmetic):
    """Loads, stores, moves, atomic updates, copies."""

    def _do_ld(self) -> None:
        names, width = self.elements(self.ops[0]), bits_of(self.type) // 8
        address, type_ = self.memory(self.ops[1], width * len(names), self.space(), "READ"), c_type(self.type)
        if len(names) == 1:
            return self.write(names[0], self.type, f"at<{type_}>({address})")
        self.code.append(f"const u64 from = {address};")
        for i, name in enumerate(names):
            self.write(name, self.type, f"at<{type_}>(from + {i * width})")

    _do_ldu = _do_ld

    def _do_st(self) -> None:
        values, width = self.elements(self.ops[1]), bits_of(self.type) // 8
        address, type_ = self.memory(self.ops[0], width * len(values), self.space(), "WRITE"), c_type(self.type)
        if len(values) == 1:
            self.code.append(f"at<{type_}>({address}) = {self.read(values[0], self.type)};")
            return
        self.code.append(f"const u64 to = {address};")
        self.code += [f"at<{type_}>(to + {i * width}) = {self.read(v, self.type)};" for i, v in enumerate(values)]

    def _do_mov(self) -> None:
        to, given = self.ops
        if to.startswith("{"):
            names = self.elements(to)
            part = f"u{bits_of(self.type) // len(names)}"
            self.code.append(f"const {unsigned(self.type)} whole = {self.read(given, self.type)};")
            for i, name in enumerate(names):
                self.write(name, part, f"({part})(whole >> {i * bits_of(part)})")
        elif given.startswith("{"):
            parts = self.elements(given)
            part, whole = f"u{bits_of(self.type) // len(parts)}", f"u{bits_of(self.type)}"
            self.result(
                " | ".join(f"({whole}){self.read(p, part)} << {i * bits_of(part)}" for i, p in enumerate(parts))
            )
        else:
            self.result(self.read(given, self.type))

    def _do_cvta(self) -> None:
        value, space = self.read(self.ops[1], "u64"), self.space()
        if space == "shared":
            value = f"{value} - (u64)shared" if "to" in self.mods else f"(u32){value} + (u64)shared"
        self.result(value, "u64")

    def _do_isspacep(self) -> None:
        a, space = self.read(self.ops[1], "u64"), self.space()
        test = {"shared": "is_shared({0})", "local": "is_local({0})", "param": "is_param({0})", "const": "false"}
        test["global"] = "!is_shared({0}) && !is_local({0}) && !is_param({0})"
        self.result(test[space].format(a), "pred")

    def _atomic(self, to: str | None, operands: list[str]) -> None:
        kind = next(
            mod for mod in self.mods if mod in ("add", "min", "max", "exch", "cas", "and", "or", "xor", "inc", "dec")
        )
        type_, names = self.type, self.elements(operands[1])
        c, width = c_type(type_), bits_of(type_) // 8
        self.code.append(f"const u64 where = {self.memory(operands[0], width * len(names), self.space(), 'ATOMIC')};")
        for i, name in enumerate(names):
            old, b, spot = f"old{i}", self.read(name, type_), f"at<{c}>(where + {i * width})"
            self.code.append(f"const {c} {old} = {spot};")
            if kind == "cas":
                new = f"{old} == {b} ? {self.read(operands[2], type_)} : {old}"
            elif kind == "inc":
                new = f"{old} >= {b} ? 0 : {old} + 1"
            elif kind == "dec":
                new = f"{old} == 0 || {old} > {b} ? {b} : {old} - 1"
            elif kind == "exch":
                new = b
            elif kind in ("min", "max"):
                new = (
                    self.extreme(kind, type_, old, b)
                    if is_float(type_)
                    else f"{old} {'<' if kind == 'min' else '>'} {b} ? {old} : {b}"
                )
            elif kind == "add" and is_float(type_):
                new = self.by_parts(type_, lambda x, y: f"{x} + {y}", old, b)
            else:
                new = f"{old} {dict(add='+', **{'and': '&', 'or': '|', 'xor': '^'})[kind]} {b}"
            self.code.append(f"{spot} = {new};")
        for i, name in enumerate(self.elements(to) if to else []):
            self.write(name, type_, f"old{i}")

    def _do_atom(self) -> None:
        self._atomic(self.ops[0], self.ops[1:])

    def _do_red(self) -> None:
        if "async" in self.mods:
            raise Unsupported("red.async")
        self._atomic(None, self.ops)

    def _do_cp(self) -> None:
        if self.mods[:1] != ["async"] or "bulk" in self.mods or "mbarrier" in self.mods:
            raise Unsupported(f"the instruction cp.{'.'.join(self.mods)}")
        if self.mods[1] in ("commit_group", "wait_group", "wait_all"):
            return  # the copy was made at once
        bytes_ = int(self.ops[2])
        to, from_ = (
            self.memory(self.ops[0], bytes_, "shared", "WRITE"),
            self.memory(self.ops[1], bytes_, "global", "READ"),
        )
        self.code.append(f"const u64 to = {to}, from = {from_};")
        size = (
            self.read(self.ops[3], "u32") if len(self.ops) > 3 and "cache_hint" not in str(self.mods) else str(bytes_)
        )
        self.code.append(f"memset((void*)to, 0, {bytes_}); memcpy((void*)to, (void*)from, {size});")

    def _do_createpolicy(self) -> None:
        self.result("0ull", "b64")
