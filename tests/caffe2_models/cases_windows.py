"""Cases of convolutions and pools of one, two and three dimensions."""

from operator_cases import Case, case, extent, flip, image, normal, sides, window


def lists(rng, dims: int, kernels=(1, 2, 3)) -> dict:
    """A window of so many dimensions: lists are its only spelling."""
    kernel = [int(k) for k in rng.choice(kernels, dims)]
    pads = [int(rng.integers(0, k // 2 + 1)) for k in kernel * 2]
    return {"kernels": kernel, "strides": [int(s) for s in rng.integers(1, 3, dims)], "pads": pads}


def volume(rng, channels: int, dims: int, order: str) -> tuple[int, ...]:
    size = [int(v) for v in rng.integers(3, 8, dims)]
    return (2, channels, *size) if order == "NCHW" else (2, *size, channels)


@case("Conv1D", "Conv2D", "Conv3D")
def convolution(rng, kind):
    dims, group = int(kind[4]), int(rng.choice([1, 1, 2]))
    order = "NHWC" if flip(rng, 0.3) and dims < 3 else "NCHW"
    channels, outputs = group * int(rng.integers(1, 4)), group * int(rng.integers(1, 4))
    arguments = {**lists(rng, dims), "order": order, "group": group}
    if flip(rng, 0.3):
        arguments["dilations"] = [1] * (dims - 1) + [2]
        arguments["kernels"][-1] = min(arguments["kernels"][-1], 2)
        arguments["pads"] = [0] * 2 * dims
    kernel = arguments["kernels"]
    shape = (outputs, channels // group, *kernel) if order == "NCHW" else (outputs, *kernel, channels // group)
    bias = [normal(rng, outputs)] if flip(rng, 0.8) else []
    return Case(kind, [normal(rng, *volume(rng, channels, dims, order)), normal(rng, *shape), *bias], arguments)


@case("ConvRelu")
def convolution_relu(rng, kind):
    arguments, channels, outputs = window(rng), int(rng.integers(1, 4)), int(rng.integers(1, 4))
    weight = normal(rng, outputs, channels, *sides(arguments, "kernel"))
    return Case(kind, [normal(rng, *image(rng, channels, extent(arguments))), weight, normal(rng, outputs)], arguments)


@case("MaxPool1D", "MaxPool2D", "MaxPool3D", "AveragePool1D", "AveragePool2D", "AveragePool3D")
def pool(rng, kind):
    dims, order = int(kind[-2]), "NHWC" if flip(rng, 0.3) else "NCHW"
    arguments = {"global_pooling": 1} if flip(rng, 0.2) else lists(rng, dims)
    if "Average" in kind and flip(rng, 0.3):
        arguments["count_include_pad"] = 1
    return Case(kind, [normal(rng, *volume(rng, 3, dims, order))], {**arguments, "order": order})


@case("LpPool")
def lp_pool(rng, kind):
    order = "NHWC" if flip(rng, 0.3) else "NCHW"
    arguments = window(rng, (1, 2, 3), dilate=False, largest_pad=lambda k: [k[0] // 2, k[1] // 2])
    x = normal(rng, *image(rng, 3, extent(arguments), order))
    return Case(kind, [x], {**arguments, "order": order, "p": float(rng.choice([1, 2, 3, 1.5]))})
