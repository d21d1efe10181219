from nanograd import Layer


class Block(Layer):
    def __init__(self, ln_1, attn, ln_2, mlp):
        self.ln_1, self.attn, self.ln_2, self.mlp = ln_1, attn, ln_2, mlp

    def forward(self, x):  # (B, T, C) -> (B, T, C)
        middle = x + self.attn(self.ln_1(x))
        return middle + self.mlp(self.ln_2(middle))

    def backward(self, dy):  # (B, T, C) -> (B, T, C)
        # <<<
        dmiddle = dy + self.ln_2.backward(self.mlp.backward(dy))
        return dmiddle + self.ln_1.backward(self.attn.backward(dmiddle))
        # >>>
