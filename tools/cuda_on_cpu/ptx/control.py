"""Instructions of PTX that go elsewhere: branches, calls, ends."""

from .operands import Operands
from .values import Unsupported, split_top

KNOWN_FUNCTIONS = {"vprintf", "malloc", "free", "__assertfail"}


class Control(Operands):
    """Branches, calls, ends of threads."""

    def _label(self, name: str) -> str:
        return self.scope.find("labels", name) or self._missing(name)

    def _missing(self, name: str):
        raise Unsupported(f"the label {name}")

    def _do_bra(self) -> None:
        self.code.append(f"goto {self._label(self.ops[0])};")

    def _do_brx(self) -> None:
        labels = self.scope.find("targets", self.ops[1])
        cases = " ".join(f"case {i}: goto {self._label(name)};" for i, name in enumerate(labels))
        self.code.append(f"switch ({self.read(self.ops[0], 'u32')}) {{ {cases} }}")

    def _do_call(self) -> None:
        groups = self.ops if self.ops[0].startswith("(") else ["()", *self.ops]
        callee, arguments = (
            groups[1],
            [
                *split_top(groups[0][1:-1]),
                *split_top(groups[2][1:-1] if len(groups) > 2 and groups[2].startswith("(") else ""),
            ],
        )
        given = ", ".join(f"(u8*){self.function.address(self.scope, name)}" for name in arguments)
        if found := self.function.register(self.scope, callee):
            self.function.indirect = True
            kinds = ", ".join(["u8*"] * len(arguments))
            self.code.append(f"((void (*)({kinds})){found[0]})({given});")
        else:
            called = self.function.module.functions.get(callee)
            if not called or (called.body is None and callee not in KNOWN_FUNCTIONS):
                raise Unsupported(f"the function {callee}, which is not in the module")
            self.function.calls.add(callee)
            self.code.append(f"{called.code_name if called.body is not None else 'x_' + callee}({given});")

    def _do_ret(self) -> None:
        self.code.append("return;")

    def _do_exit(self) -> None:
        if not self.function.is_entry:
            self.function.ends = True
        self.code.append("return;" if self.function.is_entry else "end_thread();")

    def _do_trap(self) -> None:
        self.code.append('fault("trap");')

    _do_brkpt = _do_trap

    def _do_nanosleep(self) -> None:
        pass
