"""Instructions of PTX that compare, choose and convert, and functions of floats."""

from .arithmetic import Arithmetic
from .values import OTHER_ROUNDINGS, Unsupported, bits_of, c_type, is_float

COMPARISONS = {"eq": "==", "lt": "<", "le": "<=", "gt": ">", "ge": ">=", "lo": "<", "ls": "<=", "hi": ">", "hs": ">="}
UNORDERED = {"equ": "eq", "neu": "ne", "ltu": "lt", "leu": "le", "gtu": "gt", "geu": "ge"}
OPPOSITE = {"eq": "!=", "ne": "==", "lt": ">=", "le": ">", "gt": "<=", "ge": "<"}
TO_INTEGRAL = {"rni": "rint", "rzi": "trunc", "rmi": "floor", "rpi": "ceil"}
APPROXIMATIONS = {  # in float, of libm
    "rcp": "(1 / {})",
    "rsqrt": "(1 / root({}))",
    "sqrt": "root({})",
    "sin": "__builtin_sinf({})",
    "cos": "__builtin_cosf({})",
    "lg2": "__builtin_log2f({})",
    "ex2": "__builtin_exp2f({})",
    "tanh": "__builtin_tanhf({})",
}


class Floats(Arithmetic):
    """Comparisons, conversions, approximations."""

    def comparison(self, how: str, type_: str, a: str, b: str) -> str:
        if type_ in ("f16", "bf16"):
            a, b = (f"{'h' if type_ == 'f16' else 'b'}2f({x})" for x in (a, b))
        elif type_ == "f32" and "ftz" in self.mods:
            a, b = f"flush({a})", f"flush({b})"
        if how in UNORDERED:
            return f"!({a} {OPPOSITE[UNORDERED[how]]} {b})" if how != "equ" else f"!({a} < {b} || {a} > {b})"
        if how in ("num", "nan"):
            return f"({a} == {a} && {b} == {b})" if how == "num" else f"({a} != {a} || {b} != {b})"
        if how == "ne":
            return f"({a} < {b} || {a} > {b})" if is_float(type_) else f"({a} != {b})"
        return f"({a} {COMPARISONS[how]} {b})"

    def _do_setp(self) -> None:
        how = self.mods[0]
        combine = next(
            ({"and": "&&", "or": "||", "xor": "!="}[m] for m in self.mods[1:] if m in ("and", "or", "xor")), None
        )
        targets = [t.strip() for t in self.ops[0].split("|")]
        a, b = (self.read(op, self.type) for op in self.ops[1:3])
        third = self.read(self.ops[3], "pred") if combine else None
        if self.type.endswith("x2"):
            values = [self.comparison(how, self.type[:-2], f"{half}({a})", f"{half}({b})") for half in ("low", "high")]
        else:
            values = [self.comparison(how, self.type, a, b)]
            values += [f"!{values[0]}"] if len(targets) > 1 else []
        if len(targets) == 1:
            return self.write(targets[0], "pred", f"{values[0]} {combine} {third}" if combine else values[0])
        for i, value in enumerate(values):
            self.code.append(f"const bool is{i} = " + (f"({value}) {combine} {third};" if combine else f"{value};"))
        for i, target in enumerate(targets):
            self.write(target, "pred", f"is{i}")

    def _do_set(self) -> None:
        how, (to, type_) = self.mods[0], self.mods[-2:]
        combine = next(
            ({"and": "&&", "or": "||", "xor": "!="}[m] for m in self.mods[1:-2] if m in ("and", "or", "xor")), None
        )
        a, b = (self.read(op, type_) for op in self.ops[1:3])
        yes = {"f32": "1.0f", "f16": "(u16)0x3c00", "bf16": "(u16)0x3f80"}

        def pick(test: str, kind: str) -> str:
            return f"({test} ? {yes.get(kind) or ('(u16)0xffff' if bits_of(kind) == 16 else '~0u')} : 0)"

        if type_.endswith("x2"):
            tests = [self.comparison(how, type_[:-2], f"{half}({a})", f"{half}({b})") for half in ("low", "high")]
            part = to[:-2] if to.endswith("x2") else "u16"
            return self.result(f"pack({', '.join(pick(test, part) for test in tests)})", to)
        test = self.comparison(how, type_, a, b)
        if combine:
            test = f"(({test}) {combine} {self.read(self.ops[3], 'pred')})"
        return self.result(pick(test, to), to)

    def _do_selp(self) -> None:
        a, b = (self.read(op, self.type) for op in self.ops[1:3])
        self.result(f"{self.read(self.ops[3], 'pred')} ? {a} : {b}")

    def _do_slct(self) -> None:
        to, by = self.mods[-2:]
        a, b = (self.read(op, to) for op in self.ops[1:3])
        self.result(f"{self.read(self.ops[3], by)} >= 0 ? {a} : {b}", to)

    def _do_testp(self) -> None:
        (a,) = self.sources()
        tests = {"finite": "__builtin_isfinite({0})", "infinite": "__builtin_isinf({0})", "number": "{0} == {0}"}
        tests |= {"notanumber": "{0} != {0}", "normal": "__builtin_isnormal({0})", "subnormal": "test_subnormal({0})"}
        self.result(
            f"{tests[self.mods[0]].format(a)} != 0"
            if "{0} " not in tests[self.mods[0]]
            else tests[self.mods[0]].format(a),
            "pred",
        )

    def _do_copysign(self) -> None:
        sign, magnitude = self.sources()
        self.result(f"__builtin_copysign{'f' if self.type == 'f32' else ''}({magnitude}, {sign})")

    def _approximate(self) -> None:
        (a,) = self.sources()
        self.count_flops(1)
        rounding = next((OTHER_ROUNDINGS[mod] for mod in self.mods if mod in OTHER_ROUNDINGS), None)
        if self.type == "f64" and "approx" in self.mods:
            value = f"{self.name}_approx({a})"
        elif rounding:
            one = "1.0f" if self.type == "f32" else "1.0"
            value = f"sqrt_rounded({a}, {rounding})" if self.name == "sqrt" else f"div_rounded({one}, {a}, {rounding})"
        else:
            value = self.by_parts(self.type, lambda x: APPROXIMATIONS[self.name].format(x), *self.flushed(a))
        self.result(self.finish(value))

    _do_rcp = _do_rsqrt = _do_sqrt = _do_sin = _do_cos = _do_lg2 = _do_ex2 = _do_tanh = _approximate

    def _do_cvt(self) -> None:
        if self.mods[0] == "pack":
            raise Unsupported("cvt.pack")
        to, from_ = self.mods[-2:]
        mods = self.mods[:-2]
        if unknown := set(mods) - OTHER_ROUNDINGS.keys() - TO_INTEGRAL.keys() - {"rn", "rna", "ftz", "sat", "relu"}:
            raise Unsupported(f"cvt with .{', .'.join(unknown)}")
        rounding = next((mod for mod in mods if mod in OTHER_ROUNDINGS), None)
        integral = next((TO_INTEGRAL[mod] for mod in mods if mod in TO_INTEGRAL), None)
        if to in ("f16x2", "bf16x2"):
            if from_ != "f32":
                raise Unsupported(f"cvt to {to} from {from_}")
            name = f"f2{'h' if to == 'f16x2' else 'b'}{'_rz' if rounding else ''}"
            first, second = self.sources("f32")
            return self.result(self.finish(f"pack({name}({second}), {name}({first}))", to), to)
        a = self.read(self.ops[1], from_)
        if to == "tf32":
            return self.result(f"tf32_{next(mod for mod in mods if mod in ('rna', 'rn', 'rz'))}({a})", "b32")
        if not is_float(from_):
            return self._from_integer(to, from_, a, rounding)
        if from_ in ("f16", "bf16"):
            a = f"{'h' if from_ == 'f16' else 'b'}2f({a})"
        elif from_ not in ("f32", "f64"):
            raise Unsupported(f"cvt from {from_}")
        source = "f64" if from_ == "f64" else "f32"
        if "ftz" in mods and from_ == "f32":
            a = f"flush({a})"
        if integral:
            a = f"__builtin_{integral}{'' if source == 'f64' else 'f'}({a})"
        if not is_float(to):
            return self.result(f"to_int<{c_type(to)}>({a})", to)
        if "sat" in mods:
            a = f"saturate({a})"
        if "relu" in mods:
            a = f"larger_nan({a}, ({source})0)"
        if to in ("f16", "bf16"):
            short = "h" if to == "f16" else "b"
            a = f"f2{short}_rz({a})" if rounding else f"{'f' if source == 'f32' else 'd'}2{short}({a})"
        elif to == "f32" and source == "f64":
            a = f"narrow_rounded<f32>({a}, {OTHER_ROUNDINGS[rounding]})" if rounding else f"(f32)({a})"
        elif to == "f64":
            a = f"(f64)({a})"
        if "ftz" in mods and to == "f32":
            a = f"flush({a})"
        return self.result(a, to)

    def _from_integer(self, to: str, from_: str, a: str, rounding: str | None) -> None:
        if to in ("f16", "bf16"):
            value = f"d2{'h' if to == 'f16' else 'b'}((f64){a})"
        elif to in ("f32", "f64"):
            value = f"from_int_rounded<{to}>({a}, {OTHER_ROUNDINGS[rounding]})" if rounding else f"({to}){a}"
        else:
            value = f"clamp<{c_type(to)}>({a})" if "sat" in self.mods else f"({c_type(to)}){a}"
        self.result(value, to)
