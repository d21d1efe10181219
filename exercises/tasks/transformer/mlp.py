from nanograd import Layer


class MLP(Layer):
    def __init__(self, c_fc, activation, c_proj):
        self.c_fc, self.activation, self.c_proj = c_fc, activation, c_proj  # C -> 4C, 4C -> 4C, 4C -> C

    def forward(self, x):  # (..., C) -> (..., C)
        h = self.c_fc(x)
        a = self.activation(h)
        return self.c_proj(a)

    def backward(self, dy):  # (..., C) -> (..., C)
        # <<<
        da = self.c_proj.backward(dy)
        dh = self.activation.backward(da)
        return self.c_fc.backward(dh)
        # >>>
