"""The plain model: every layer, AdamW, one training step and a sampling loop as a textbook has them. Read this first.

Forward and backward are functions of NumPy arrays, a line for each equation; nothing is kept, reused or overwritten.
The rest of the repository computes the same, faster, and is held against this to twelve digits.

**The chain rule** is all there is to backpropagation. A loss L is one number. Write dy for the gradient of L by y: an
array of y's shape whose element dy_j = ∂L/∂y_j says how much L grows when y_j does, per unit. If y is computed from x,
then x_i acts on L through every y_j, and the effects add up:

    dx_i = ∂L/∂x_i = sum_j  ∂L/∂y_j  ∂y_j/∂x_i = sum_j  dy_j  ∂y_j/∂x_i

dy comes from the layer above: it is called the upstream gradient. The numbers ∂y_j/∂x_i form a matrix, the Jacobian. It
is large and mostly zero or repetition, so it is never stored: each layer has a formula for the sum above. So for every
function here there is a second one, which is given dy and then what the first one was:

    y          = linear(x, W, b)
    dx, dW, db = linear_backward(dy, x, W, b)             the gradient of each argument, in the same order

A model is such functions one after the other. Its gradient is the same list read backwards, from dL/dL = 1.

Read in this order: linear, activations, normalization, softmax, cross_entropy, embedding, attention, mlp, model, adamw,
training, sampling. What later models do otherwise (RMSNorm, SwiGLU, grouped heads) is in the same files, and in rope
and muon. Shapes are in comments; `...` stands for any axes in front, such as batch and time (B, T).

    B batch   T time, positions   C channels   H heads   D channels of a head, C / H   V vocabulary
"""
