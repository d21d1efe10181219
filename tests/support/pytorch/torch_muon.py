"""Muon in PyTorch, as its authors describe it: weights (out, in), five plain steps, for comparison with ours."""

import torch


def five_steps(g):  # (rows, columns)
    a, b, c = 3.4445, -4.7750, 2.0315
    x = g / g.norm()
    if x.shape[0] > x.shape[1]:
        x = x.T
    for _ in range(5):
        gram = x @ x.T
        x = a * x + (b * gram + c * gram @ gram) @ x
    return x.T if g.shape[0] > g.shape[1] else x


class Muon(torch.optim.Optimizer):
    """For weights (out, in)."""

    def __init__(self, weights, lr, momentum, weight_decay, scale_rows):
        super().__init__(weights, {"lr": lr})
        self.momentum, self.weight_decay, self.scale_rows = momentum, weight_decay, scale_rows

    @torch.no_grad()
    def step(self):
        for group in self.param_groups:
            for weight in group["params"]:
                self._update(weight, self.state[weight], group["lr"])

    def _update(self, weight, state, lr):
        if not state:
            state["step"], state["buffer"] = 0, torch.zeros_like(weight)
            state["rows"] = torch.zeros(len(weight), 1, dtype=weight.dtype)
        state["step"] += 1
        state["buffer"].mul_(self.momentum).add_(weight.grad)
        update = five_steps(weight.grad.add(state["buffer"], alpha=self.momentum))
        if self.scale_rows:
            norm = update.norm()
            state["rows"].mul_(0.95).add_(update.square().mean(dim=1, keepdim=True), alpha=0.05)
            update = update / (state["rows"] / (1 - 0.95 ** state["step"])).sqrt()
            update = update * (norm / update.norm())
        weight.mul_(1 - lr * self.weight_decay)
        weight.sub_(update, alpha=lr * max(1, weight.shape[0] / weight.shape[1]) ** 0.5)
