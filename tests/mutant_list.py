"""Classic mistakes, each planted by replacing a piece of source that must occur exactly once in its file.

A mutant says what the mistake is, where, what is replaced by what, and which test files are to notice it: by
default the file's own.
"""

from dataclasses import dataclass
from pathlib import PurePosixPath


@dataclass(frozen=True)
class Mutant:
    mistake: str
    file: str
    old: str
    new: str
    tests: tuple[str, ...] = ()

    @property
    def killers(self) -> tuple[str, ...]:
        """The test files that are run against it."""
        return self.tests or (f"tests/test_{PurePosixPath(self.file).stem}.py",)


LINEAR, ACTIVATIONS, LAYERNORM = "nanograd/linear.py", "nanograd/activations.py", "nanograd/layernorm.py"
ATTENTION, LOSSES, SOFTMAX = "nanograd/attention.py", "nanograd/losses.py", "nanograd/softmax.py"
EMBEDDING, DROPOUT, NOISE, MLP = (f"nanograd/{name}.py" for name in ("embedding", "dropout", "noise", "mlp"))
ADAMW, ARENA, LAYER, ROWS = (f"nanograd/{name}.py" for name in ("adamw", "arena", "layer", "rows"))
PARALLEL, SCHEDULE, MODEL = "nanograd/parallel.py", "nanograd/schedule.py", "gpt/model.py"

MUTANTS = [
    # Linear
    Mutant("dx with W instead of its transpose", LINEAR, "matmul(dy2, weight.T, dx", "matmul(dy2, weight, dx"),
    Mutant("dW of the wrong sign", LINEAR, "x2.T, dy2, lambda", "-x2.T, dy2, lambda"),
    Mutant("dW divided by N", LINEAR, "x2.T, dy2, lambda", "x2.T / len(x2), dy2, lambda"),
    Mutant("db summed over the wrong axis", LINEAR, "sum_positions(dy2)", "sum_positions(dy2.T)[: n_out]"),
    Mutant("db averaged", LINEAR, "sum_positions(dy2)", "sum_positions(dy2) / len(dy2)"),
    Mutant("db assigned", LINEAR, "self.bias.grad += sum", "self.bias.grad[...] = sum"),
    Mutant("db of the last position alone", LINEAR, "sum_positions(dy2)", "dy2[-1]"),
    Mutant("bias forgotten in forward", LINEAR, "if self.bias is not None:\n            add_rows", "if False:\n            add_rows"),
    Mutant("dx cut off", LINEAR, "        return dx", "        return dx * 0"),
    # Activations
    Mutant("ReLU lets all of dy through", ACTIVATIONS, "np.multiply(dy, y > 0, out=dx)", "np.copyto(dx, dy)"),
    Mutant("ReLU's slope at 0 is 1", ACTIVATIONS, "dy, y > 0", "dy, y >= 0"),
    Mutant("ReLU blocks the active side", ACTIVATIONS, "dy, y > 0", "dy, y <= 0"),
    Mutant("GELU without the inner derivative", ACTIVATIONS, "    slope += 0.5 * SQRT_2_OVER_PI\n", "    slope[...] = 0.5\n"),
    Mutant("GELU's inner cube differentiated without its 3", ACTIVATIONS, "slope *= 1.5 * CUBIC", "slope *= 0.5 * CUBIC"),
    Mutant("GELU without x dt/dx", ACTIVATIONS, "    dx += slope\n", ""),
    Mutant("GELU without (1 + t) / 2", ACTIVATIONS, "    dx += 0.5\n", ""),
    Mutant("tanh' taken as 1 - t", ACTIVATIONS, "np.multiply(t, t, out=dx)", "np.copyto(dx, t)"),
    Mutant("tanh' of the wrong sign", ACTIVATIONS, "np.subtract(1, dx, out=dx)", "np.subtract(dx, 1, out=dx)"),
    Mutant("GELU forgets dy", ACTIVATIONS, "    dx *= dy\n", ""),
    Mutant("GELU with another constant", ACTIVATIONS, "CUBIC = 0.044715", "CUBIC = 0.04715"),
    # LayerNorm
    Mutant("without mean(g)", LAYERNORM, "    dx -= along_shift\n", ""),
    Mutant("without xhat mean(g xhat)", LAYERNORM, "    dx -= np.multiply(xhat, along_stretch, out=scratch)\n", ""),
    Mutant("means are sums", LAYERNORM, "weight_mean = weight / weight.size", "weight_mean = weight"),
    Mutant("means without the gain", LAYERNORM, "weight_mean = weight / weight.size", "weight_mean = weight / weight / weight.size"),
    Mutant("dx without rstd", LAYERNORM, "    dx *= rstd\n", ""),
    Mutant("dx times the variance's root", LAYERNORM, "    dx *= rstd\n", "    dx /= rstd\n"),
    Mutant("dx without the gain", LAYERNORM, "    scale_rows(dy, weight, dx)\n", "    np.copyto(dx, dy)\n"),
    Mutant("eps outside the root", LAYERNORM, "    rstd += eps\n    np.sqrt(rstd, out=rstd)\n", "    np.sqrt(rstd, out=rstd)\n    rstd += eps\n"),
    Mutant("no eps", LAYERNORM, "    rstd += eps\n", ""),
    Mutant("variance over C - 1", LAYERNORM, "rstd /= x.shape[-1]", "rstd /= max(1, x.shape[-1] - 1)"),
    Mutant("dweight of dy alone", LAYERNORM, "dweight = sum_positions(product)", "dweight = sum_positions(dy)"),
    Mutant("dweight assigned", LAYERNORM, "self.weight.grad += normalize", "self.weight.grad[...] = normalize"),
    Mutant("dbias forgotten", LAYERNORM, "self.bias.grad += sum_positions(rows)", "self.bias.grad += 0"),
    # Attention
    Mutant("dK is Q^T dS, reshaped", ATTENTION, "self._add_keys(dk, stop, ds.swapaxes(2, 3), q[:, :, start:stop])", "dk[:, :, :stop] += (q[:, :, start:stop].swapaxes(2, 3) @ ds).reshape(dk[:, :, :stop].shape)"),
    Mutant("dK from dS not transposed", ATTENTION, "dk, stop, ds.swapaxes(2, 3)", "dk, stop, np.resize(ds, ds.swapaxes(2, 3).shape)"),
    Mutant("dQ without its scale", ATTENTION, "        dq *= 1 / math.sqrt(D)\n", ""),
    Mutant("scores scaled by 1/D", ATTENTION, "q = xp.multiply(q, 1 / math.sqrt(D)", "q = xp.multiply(q, 1 / D"),
    Mutant("softmax's sum dropped", ATTENTION, "    dscores -= go\n", ""),
    Mutant("softmax's sum of the wrong sign", ATTENTION, "    dscores -= go\n", "    dscores += go\n"),
    Mutant("dS without the weights", ATTENTION, "    dscores -= go\n    dscores *= e\n", "    dscores -= go\n"),
    Mutant("dV from unmasked weights", ATTENTION, "self._add_keys(dv, stop, weights.swapaxes", "self._add_keys(dv, stop, e.swapaxes"),
    Mutant("dS ignores dropout's mask", ATTENTION, "        dscores *= mask\n", "        pass\n"),
    Mutant("causal mask off by one, future seen", ATTENTION, "dtype=np.float64), 1)", "dtype=np.float64), 2)"),
    Mutant("causal mask finite", ATTENTION, "-np.inf, dtype", "-10.0, dtype"),
    Mutant("causal mask of the wrong keys", ATTENTION, "scores[..., keys - rows :] +=", "scores[..., :rows] +="),
    Mutant("dK of earlier blocks lost", ATTENTION, "            part += xp_of(total).matmul(a, b, out=self.scratch", "            xp_of(total).matmul(a, b, out=self.scratch"),
    Mutant("q and k exchanged", ATTENTION, "dq, dk, dv = self.split(dqkv)", "dk, dq, dv = self.split(dqkv)"),
    Mutant("weights not divided by their sum", ATTENTION, "        o /= z.swapaxes(1, 2)\n", ""),
    Mutant("gradient not divided by the sum", ATTENTION, "xp.divide(dy.reshape(B, T, H, D).swapaxes(1, 2), z, out=g)", "xp.divide(dy.reshape(B, T, H, D).swapaxes(1, 2), 1, out=g)"),
    Mutant("heads split over positions", ATTENTION, "qkv.reshape(B, T, 3, self.n_head, C3 // 3 // self.n_head)", "qkv.reshape(B, T, 3, C3 // 3 // self.n_head, self.n_head).swapaxes(3, 4)"),
    # Softmax and cross-entropy
    Mutant("one shift for all rows", SOFTMAX, "scores.max(-1, keepdims=True)", "scores.max(keepdims=True)", ("tests/test_softmax.py",)),
    Mutant("the shift added", SOFTMAX, "np.subtract(scores, shift, out=e)", "np.add(scores, shift, out=e)"),
    Mutant("no shift at all", SOFTMAX, "    return scores.max(-1, keepdims=True)", "    return None"),
    Mutant("the target's 1 forgotten", LOSSES, "targets] -= scale", "targets] -= 0"),
    Mutant("the target's 1 added", LOSSES, "targets] -= scale", "targets] += scale"),
    Mutant("the 1 not divided by N", LOSSES, "targets] -= scale", "targets] -= 1"),
    Mutant("a sum instead of a mean", LOSSES, "scale = 1 / (count or targets.size)", "scale = 1.0"),
    Mutant("mean over batch alone", LOSSES, "scale = 1 / (count or targets.size)", "scale = 1 / (count or logits.shape[0])"),
    Mutant("count ignored", LOSSES, "count or targets.size", "targets.size"),
    Mutant("the shift lost in the loss", LOSSES, "        losses += shift[:, 0]\n", "        pass\n"),
    Mutant("upstream gradient ignored", LOSSES, "scale * dloss", "scale"),
    Mutant("a gradient 1e-9 too large", LOSSES, "scale * dloss", "scale * dloss * (1 + 1e-9)"),
    # Embeddings
    Mutant("repeated ids do not add up", EMBEDDING, "    grad[ids[starts]] += np.add.reduceat(dy[order], starts, axis=0)", "    grad[ids] += dy[order]"),
    Mutant("only the last segment is complete", EMBEDDING, "np.add.reduceat(dy[order], starts, axis=0)", "dy[order][starts]"),
    Mutant("gradients not sorted with their ids", EMBEDDING, "np.add.reduceat(dy[order]", "np.add.reduceat(dy"),
    Mutant("table's gradient assigned", EMBEDDING, "    grad[ids[starts]] += np", "    grad[ids[starts]] = np", ("tests/test_embedding.py", "tests/test_model.py")),
    Mutant("position gradient averaged over the batch", EMBEDDING, "sum_positions(dy.reshape(B, T * dim))", "1 / B * sum_positions(dy.reshape(B, T * dim))"),
    Mutant("position gradient of the first sample alone", EMBEDDING, "sum_positions(dy.reshape(B, T * dim))", "dy.reshape(B, T * dim)[0]"),
    Mutant("positions counted from the end", EMBEDDING, "self.weight.value[: x.shape[1]]", "self.weight.value[-x.shape[1] :]"),
    Mutant("the tied half lost", EMBEDDING, "self.weight = tied.weight if tied else", "self.weight = Parameter(tied.weight.value) if tied else", ("tests/test_embedding.py", "tests/test_model.py")),
    Mutant("head's dx with the wrong matrix", EMBEDDING, "matmul(dlogits2, weight, dx.reshape(-1, dim))", "matmul(dlogits2, weight * 2, dx.reshape(-1, dim))"),
    Mutant("ids out of range clipped", EMBEDDING, "        raise IndexError", "        IndexError"),
    # Dropout
    Mutant("mask ignored in backward", DROPOUT, "        multiply(dy, mask, dx)\n", "        dx[...] = dy\n"),
    Mutant("scale forgotten in backward", DROPOUT, "        multiply(dy, mask, dx)\n", "        multiply(dy, (mask > 0).astype(dy.dtype), dx)\n"),
    Mutant("scale forgotten", NOISE, "return keep_below, 65536 / keep_below", "return keep_below, 1.0", ("tests/test_noise.py", "tests/test_dropout.py")),
    Mutant("keeps what it should drop", NOISE, "bits < keep_below", "bits >= keep_below", ("tests/test_dropout.py",)),
    Mutant("on in evaluation", DROPOUT, "        if not self.training or self.p == 0:\n            self.remember(None)", "        if self.p == 0:\n            self.remember(None)"),
    Mutant("attention dropout on in evaluation", DROPOUT, "        if not self.training or self.p == 0:\n            return None", "        if self.p == 0:\n            return None", ("tests/test_attention.py",)),
    Mutant("the same mask in every step", NOISE, "key=[self.seed, self.step]", "key=[self.seed, 0]"),
    Mutant("the same mask for every sample", NOISE, "self.first + len(self._streams)]", "self.first]"),
    Mutant("masks keyed by the place in the chunk", NOISE, "self.first + len(self._streams)]", "len(self._streams)]", ("tests/test_noise.py", "tests/test_parallel.py")),
    # MLP and block
    Mutant("MLP's dropout forgotten in backward", MLP, "self.c_proj.backward(self.dropout.backward(dy))", "self.c_proj.backward(dy)"),
    Mutant("MLP's activation forgotten in backward", MLP, "self.activation.backward(self.c_proj", "(self.c_proj"),
    Mutant("residual goes through LayerNorm's backward", MODEL, "        add(dx, dmiddle, dx)\n", ""),
    Mutant("residual of the MLP lost", MODEL, "        add(dmiddle, dy, dmiddle)\n", ""),
    Mutant("residual takes the wrong gradient", MODEL, "add(dx, dmiddle, dx)", "add(dx, dy, dx)"),
    Mutant("blocks backward in forward order", MODEL, "for block in reversed(self.h):", "for block in self.h:"),
    Mutant("embedding dropout forgotten in backward", MODEL, "self.wpe.backward(self.dropout.backward(dx))", "self.wpe.backward(dx)"),
    Mutant("residual projections start too large", MODEL, '"proj_std": STD / math.sqrt(2 * config.n_layer)', '"proj_std": STD'),
    Mutant("token embedding gets no gradient", MODEL, "self.wte.backward(self.wpe", "(self.wpe"),
    # Layer
    Mutant("product gradients assigned", LAYER, "            self._grad += product\n", "            self._grad[...] = product\n"),
    Mutant("zero_grad does nothing", LAYER, "    def zero_grad(self) -> None:\n        self.blank = True", "    def zero_grad(self) -> None:\n        pass"),
    Mutant("recall does not forget", LAYER, "        self._saved = None\n        return saved[0]", "        return saved[0]", ("tests/test_layer.py", "tests/test_linear.py")),
    Mutant("a shared parameter counted twice", LAYER, "                if id(parameter) not in seen:", "                if True:", ("tests/test_model.py", "tests/test_layer.py")),
    # Optimiser
    Mutant("weight decay through the gradient", ADAMW, "    work = g * ((1 - beta1) * grad_scale)\n", "    g = g + decay * p\n    work = g * ((1 - beta1) * grad_scale)\n"),
    Mutant("weight decay after the update", ADAMW, "        p *= 1 - lr * decay\n    p -= work\n", "        p -= work\n        p *= 1 - lr * decay\n    else:\n        p -= work\n"),
    Mutant("weight decay without lr", ADAMW, "p *= 1 - lr * decay", "p *= 1 - decay"),
    Mutant("vectors decay too", ADAMW, "self.weight_decay if arena.decay else 0.0", "self.weight_decay"),
    Mutant("no correction of the mean", ADAMW, "work *= lr / correction1", "work *= lr"),
    Mutant("no correction of the squares", ADAMW, "    work *= 1 / math.sqrt(correction2)\n", ""),
    Mutant("correction one step late", ADAMW, "(1 - beta1**self.steps", "(1 - beta1 ** (self.steps + 1)"),
    Mutant("eps inside the root", ADAMW, "    np.sqrt(v, out=work)\n", "    np.sqrt(v + eps, out=work)\n"),
    Mutant("eps before the correction", ADAMW, "    work *= 1 / math.sqrt(correction2)\n    work += eps\n", "    work += eps\n    work *= 1 / math.sqrt(correction2)\n"),
    Mutant("betas exchanged", ADAMW, "beta1, beta2 = self.betas", "beta2, beta1 = self.betas"),
    Mutant("squares not squared", ADAMW, "    work *= work\n", ""),
    Mutant("gradient scale not squared with the gradient", ADAMW, "np.multiply(g, grad_scale * math.sqrt(1 - beta2), out=work)", "np.multiply(g, math.sqrt(1 - beta2), out=work)"),
    Mutant("only the first chunk is updated", ADAMW, "for start in range(0, len(p), CHUNK):", "for start in range(0, min(len(p), 1), CHUNK):"),
    Mutant("clipping never", ADAMW, "return min(1.0, scale) if", "return 1.0 if"),
    Mutant("clipping scales up", ADAMW, "return min(1.0, scale) if", "return max(1.0, scale) if"),
    Mutant("clipping by each arena's own norm", ADAMW, "            arena.grads[...] *= scale\n", "            arena.grads[...] *= clip_scale(math.sqrt(square_sum(arena.grads)), max_norm)\n"),
    Mutant("clipping returns the norm after", ADAMW, "            arena.grads[...] *= scale\n    return norm", "            arena.grads[...] *= scale\n    return grad_norm(model)"),
    Mutant("norm of the last arena alone", ADAMW, "for arena in arenas_of(model) for part in [arena.grads]", "for arena in arenas_of(model)[-1:] for part in [arena.grads]"),
    Mutant("norm not rooted", ADAMW, "return math.sqrt(total) if isinstance(total, float)", "return total if isinstance(total, float)"),
    # Arenas, threads, schedule, sums
    Mutant("matrices and vectors exchanged", ARENA, "((matrices, True), (vectors, False))", "((matrices, False), (vectors, True))"),
    Mutant("replicas with values of their own", ARENA, "shared = [arena.values for arena in arenas]", "shared = []"),
    Mutant("replicas' gradients not added", PARALLEL, "                    total[part] += other[part]\n", "                    total[part] += 0\n"),
    Mutant("replicas' gradients assigned", PARALLEL, "                    total[part] += other[part]\n", "                    total[part] = other[part]\n"),
    Mutant("each part a mean of its own", PARALLEL, "share = replica(idx[rows], targets[rows], count)", "share = replica(idx[rows], targets[rows])"),
    Mutant("dropout keyed without the sample's place", PARALLEL, "replica.noise.begin(step, first + rows.start)", "replica.noise.begin(step, first)"),
    Mutant("the first rate is 0", SCHEDULE, "lr * (step + 1) / warmup_steps", "lr * step / warmup_steps"),
    Mutant("the last rate is not min_lr", SCHEDULE, "        return min_lr\n", "        return (min_lr + lr) / 2\n"),
    Mutant("a whole cosine", SCHEDULE, "math.cos(math.pi * progress)", "math.cos(2 * math.pi * progress)"),
    Mutant("means are sums of channels", ROWS, "1.0 / x.shape[-1], x.dtype", "1.0, x.dtype"),
]  # fmt: skip
