"""Instructions of PTX that compute: integers, bits, sums and products of floats."""

from .operands import Operands
from .values import OTHER_ROUNDINGS, Unsupported, bits_of, c_type, is_float, unsigned


class Arithmetic(Operands):
    """Integers, and what is the same for floats."""

    def by_parts(self, type_: str, expression, *values: str) -> str:
        """`expression` of values of a float type: computed in float, and rounded, where the type has 16 bits."""
        if type_ in ("f32", "f64"):
            return expression(*values)
        if type_.endswith("x2"):
            halves = (
                self.by_parts(type_[:-2], expression, *(f"{half}({v})" for v in values)) for half in ("low", "high")
            )
            return f"pack({', '.join(halves)})"
        letter = "h" if type_ == "f16" else "b"
        return f"f2{letter}({expression(*(f'{letter}2f({v})' for v in values))})"

    def arithmetic(self, operator: str, name: str) -> None:
        """add, sub, mul of floats."""
        a, b = self.sources()
        self.count_flops(1)
        if rounding := next((OTHER_ROUNDINGS[mod] for mod in self.mods if mod in OTHER_ROUNDINGS), None):
            expression = lambda x, y: f"{name}_rounded({x}, {y}, {rounding})"  # noqa: E731
        else:
            expression = lambda x, y: f"{x} {operator} {y}"  # noqa: E731
        self.result(self.finish(self.by_parts(self.type, expression, *self.flushed(a, b))))

    def count_flops(self, each: int) -> None:
        self.code.append(f"flops({2 * each if self.type.endswith('x2') else each});")

    def flushed(self, *values: str) -> list[str]:
        return [f"flush({v})" if "ftz" in self.mods and self.type == "f32" else v for v in values]

    def finish(self, value: str, type_: str = "") -> str:
        """With what the modifiers say about the result."""
        type_ = type_ or self.type
        if "ftz" in self.mods and type_ == "f32":
            value = f"flush({value})"
        if "sat" in self.mods:
            value = self.by_parts(type_, lambda x: f"saturate({x})", value)
        if "relu" in self.mods:
            value = self.by_parts(type_, lambda x: f"larger_nan({x}, {'0.0' if type_ == 'f64' else '0.0f'})", value)
        return value

    def _sum(self, operator: str) -> None:
        if is_float(self.type):
            return self.arithmetic(operator, "add" if operator == "+" else "sub")
        if "cc" in self.mods or self.name in ("addc", "subc"):
            return self._with_carry(
                [f"(u128){a}" for a in self.sources(f"u{bits_of(self.type)}")], operator, self.name in ("addc", "subc")
            )
        if "sat" in self.mods:
            a, b = self.sources("s32")
            return self.result(f"clamp<s32>((s64){a} {operator} {b})")
        if self.type in ("u16x2", "s16x2"):
            raise Unsupported(f"the type .{self.type}")
        a, b = self.sources(unsigned(self.type))
        return self.result(f"{a} {operator} {b}", unsigned(self.type))

    def _with_carry(self, values: list[str], operator: str, carry_in: bool) -> None:
        self.function.carry = True
        type_ = f"u{bits_of(self.type)}"
        total = f" {operator} ".join(values) + (f" {operator} (u128)carry" if carry_in else "")
        self.code.append(f"const u128 total = {total};")
        if "cc" in self.mods:
            self.code.append(f"carry = (total >> {bits_of(self.type)}) != 0;")
        self.result(f"({type_})total", type_)

    def _do_add(self) -> None:
        self._sum("+")

    def _do_sub(self) -> None:
        self._sum("-")

    _do_addc, _do_subc = _do_add, _do_sub

    def _product(self, a: str, b: str) -> tuple[str, str]:
        """(product, its type) of integers: the low or high half, or the whole of it."""
        width, sign = bits_of(self.type), self.type[0] if self.type[0] == "s" else "u"
        a, b = self.read(a, f"{sign}{width}"), self.read(b, f"{sign}{width}")
        if "lo" in self.mods:
            return f"(u{width})((u{max(width, 32)}){a} * (u{max(width, 32)}){b})", f"u{width}"
        whole = f"({sign}{2 * width}){a} * ({sign}{2 * width}){b}"
        if "wide" in self.mods:
            return whole, f"{sign}{2 * width}"
        return f"({sign}{width})(({whole}) >> {width})", f"{sign}{width}"

    def _do_mul(self) -> None:
        if is_float(self.type):
            return self.arithmetic("*", "mul")
        return self.result(*self._product(*self.ops[1:]))

    def _do_mad(self) -> None:
        if is_float(self.type):
            return self._do_fma()
        product, type_ = self._product(*self.ops[1:3])
        if "cc" in self.mods or self.name == "madc":
            values = [f"(u128)(u{bits_of(type_)})({product})", f"(u128){self.read(self.ops[3], f'u{bits_of(type_)}')}"]
            return self._with_carry(values, "+", self.name == "madc")
        if "sat" in self.mods:
            return self.result(f"clamp<s32>((s64)({product}) + {self.read(self.ops[3], 's32')})")
        type_ = f"u{bits_of(type_)}"
        return self.result(f"({type_})({product}) + {self.read(self.ops[3], type_)}", type_)

    _do_madc = _do_mad

    def _do_mul24(self) -> None:
        a, b = (
            f"((s64)({x} << 8) >> 8)" if self.type == "s32" else f"(u64)({x} & 0xffffff)" for x in self.sources()[:2]
        )
        value = f"{a} * {b}" + (" >> 16" if "hi" in self.mods else "")
        if self.name == "mad24":
            value = f"({value}) + {self.read(self.ops[3], self.type)}"
        self.result(f"({c_type(self.type)})({value})")

    _do_mad24 = _do_mul24

    def _do_fma(self) -> None:
        a, b, c = self.flushed(*self.sources())
        self.count_flops(2)
        if self.type in ("f32", "f64"):
            rounding = next((OTHER_ROUNDINGS[mod] for mod in self.mods if mod in OTHER_ROUNDINGS), None)
            value = f"fma_rounded({a}, {b}, {c}, {rounding})" if rounding else f"fused({a}, {b}, {c})"
        else:
            name = "fma_h" if self.type.startswith("f16") else "fma_b"
            halves = [f"{name}({', '.join(f'{half}({v})' for v in (a, b, c))})" for half in ("low", "high")]
            value = f"pack({', '.join(halves)})" if self.type.endswith("x2") else f"{name}({a}, {b}, {c})"
        self.result(self.finish(value))

    def _do_div(self) -> None:
        a, b = self.sources()
        if not is_float(self.type):
            return self.result(f"divide<{c_type(self.type)}>({a}, {b})")
        if "approx" in self.mods:
            self.count_flops(1)
            return self.result(self.finish(f"divide_roughly({', '.join(self.flushed(a, b))})"))
        return self.arithmetic("/", "div")

    def _do_rem(self) -> None:
        self.result(f"remainder<{c_type(self.type)}>({', '.join(self.sources())})")

    def extreme(self, kind: str, type_: str, a: str, b: str) -> str:
        name = {"min": "smaller", "max": "larger"}[kind] + ("_nan" if "NaN" in self.mods else "")
        return self.by_parts(type_, lambda x, y: f"{name}({x}, {y})", a, b)

    def _do_min(self) -> None:
        a, b = self.sources()
        if "xorsign" in self.mods or len(self.ops) != 3:
            raise Unsupported(f"the instruction {self.name}.{'.'.join(self.mods)}")
        if is_float(self.type):
            return self.result(self.finish(self.extreme(self.name, self.type, *self.flushed(a, b))))
        value = f"{a} {'<' if self.name == 'min' else '>'} {b} ? {a} : {b}"
        return self.result(f"({c_type(self.type)})larger<s32>({value}, 0)" if "relu" in self.mods else value)

    _do_max = _do_min

    def _signed(self, on_float: str, on_bits: str, on_integer: str) -> None:
        (a,) = self.sources(self.type if is_float(self.type) else unsigned(self.type))
        if self.type in ("f32", "f64"):
            (a,) = self.flushed(a)
            return self.result(on_float.format(a, "f" if self.type == "f32" else ""))
        if is_float(self.type):
            return self.result(on_bits.format(a, "0x8000" if bits_of(self.type) == 16 else "0x80008000u"))
        return self.result(on_integer.format(a, c_type(self.type)), unsigned(self.type))

    def _do_abs(self) -> None:
        self._signed("__builtin_fabs{1}({0})", "{0} & ~{1}", "({1}){0} < 0 ? -{0} : {0}")

    def _do_neg(self) -> None:
        self._signed("-{0}", "{0} ^ {1}", "-{0}")

    def _do_sad(self) -> None:
        a, b, c = self.sources()
        u = unsigned(self.type)
        self.result(f"({u}){c} + ({a} < {b} ? ({u}){b} - ({u}){a} : ({u}){a} - ({u}){b})", u)

    def _do_popc(self) -> None:
        self.result(f"__builtin_popcountll({self.sources()[0]})", "u32")

    def _do_clz(self) -> None:
        self.result(f"count_zeros({self.sources()[0]})", "u32")

    def _do_brev(self) -> None:
        self.result(f"reverse({self.sources()[0]})")

    def _do_bfind(self) -> None:
        self.result(f"find_leading({self.sources()[0]}, {str('shiftamt' in self.mods).lower()})", "u32")

    def _do_bfe(self) -> None:
        a, at, n = self.read(self.ops[1], self.type), *(self.read(op, "u32") for op in self.ops[2:])
        self.result(f"extract<{c_type(self.type)}>({a}, {at}, {n})")

    def _do_bfi(self) -> None:
        a, b = (self.read(op, self.type) for op in self.ops[1:3])
        self.result(f"insert<{c_type(self.type)}>({a}, {b}, {', '.join(self.read(op, 'u32') for op in self.ops[3:])})")

    def _do_bmsk(self) -> None:
        a, n = self.sources("u32")
        if "clamp" not in self.mods:
            a, n = f"({a} & 31)", f"({n} & 31)"
        self.result(f"shift_left({n} > 31 ? ~0u : ((1u << {n}) - 1), {a})", "u32")

    def _do_szext(self) -> None:
        a, n = self.read(self.ops[1], self.type), self.read(self.ops[2], "u32")
        if "clamp" not in self.mods:
            n = f"({n} & 31)"
        self.result(f"extract<{c_type(self.type)}>({a}, 0, {n} > 32 ? 32 : {n})")

    def _do_prmt(self) -> None:
        a, b, c = (self.read(op, "u32") for op in self.ops[1:])
        mode = self.type.upper() if self.type in ("f4e", "b4e", "rc8", "ecl", "ecr", "rc16") else "GENERIC"
        self.result(f"permute({a}, {b}, {c}, {mode})", "u32")

    def _do_lop3(self) -> None:
        a, b, c, table = (self.read(op, "u32") for op in self.ops[1:5])
        if len(self.ops) > 5 or "|" in self.ops[0]:
            raise Unsupported("lop3 with a predicate")
        self.result(f"lop3({a}, {b}, {c}, {table})", "u32")

    def _do_shl(self) -> None:
        self.result(
            f"shift_left({self.read(self.ops[1], unsigned(self.type))}, {self.read(self.ops[2], 'u32')})",
            unsigned(self.type),
        )

    def _do_shr(self) -> None:
        self.result(
            f"shift_right<{c_type(self.type)}>({self.read(self.ops[1], self.type)}, {self.read(self.ops[2], 'u32')})"
        )

    def _do_shf(self) -> None:
        a, b, n = self.sources("u32")
        n = f"({n} & 31)" if "wrap" in self.mods else f"({n} > 32 ? 32u : {n})"
        self.result(f"funnel_{'left' if 'l' in self.mods else 'right'}({a}, {b}, {n})", "u32")

    def _logic(self, operator: str) -> None:
        a, b = self.sources()
        self.result(f"{a} {operator} {b}")

    def _do_and(self) -> None:
        self._logic("&")

    def _do_or(self) -> None:
        self._logic("|")

    def _do_xor(self) -> None:
        self._logic("^")

    def _do_not(self) -> None:
        (a,) = self.sources()
        self.result(f"!{a}" if self.type == "pred" else f"~{a}")

    def _do_cnot(self) -> None:
        (a,) = self.sources()
        self.result(f"{a} == 0 ? 1 : 0")

    def _do_dp4a(self) -> None:
        a_sign, b_sign = (mod[0] for mod in self.mods[-2:])
        a, b = (self.read(op, "u32") for op in self.ops[1:3])
        terms = (f"(s32)({a_sign}8)({a} >> {8 * i}) * (s32)({b_sign}8)({b} >> {8 * i})" for i in range(4))
        self.result(f"{self.read(self.ops[3], 'u32')} + (u32)({' + '.join(terms)})", "u32")
