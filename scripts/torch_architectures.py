"""Small networks of many kinds, written from their papers: what people bring that is not in the zoo.

ARCHITECTURES: name -> (a function that makes the module, the shapes of its inputs). Widths are small, so that a sweep
is fast; the operators and how they are joined are those of the papers. Inputs of integers are numbers of tokens.
"""

import math
from collections.abc import Callable

import torch
from torch import Tensor, nn
from torch.nn import functional as F

TOKENS = 2  # the numbers that samples of integers have are 0 and 1
Shapes = tuple[tuple[int, ...], ...]

ARCHITECTURES: dict[str, tuple[Callable[[], nn.Module], Shapes]] = {}


def architecture(*shapes: tuple[int, ...], name: str = "", **options):
    """Register a class, or a function that makes a module, for inputs of these shapes (default: one small image)."""

    def register(make: Callable[..., nn.Module]) -> Callable[..., nn.Module]:
        ARCHITECTURES[name or make.__name__.lower()] = (lambda: make(**options)), shapes or ((1, 3, 32, 32),)
        return make

    return register


def conv(i: int, o: int, k: int = 3, s: int = 1, g: int = 1, d: int = 1, act: Callable[[], nn.Module] | None = nn.ReLU):
    layers = [nn.Conv2d(i, o, k, s, d * (k // 2), d, g, bias=False), nn.BatchNorm2d(o)]
    return nn.Sequential(*layers, *([act()] if act else []))


def classifier(width: int, classes: int = 10) -> nn.Sequential:
    return nn.Sequential(nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(width, classes))


class Residual(nn.Module):
    def __init__(self, body: nn.Module, short: nn.Module | None = None, act: nn.Module | None = None):
        super().__init__()
        self.body, self.short, self.act = body, short or nn.Identity(), act or nn.Identity()

    def forward(self, x: Tensor) -> Tensor:
        return self.act(self.body(x) + self.short(x))


class Dense(nn.Module):
    """Its input and what it makes of it, joined."""

    def __init__(self, *branches: nn.Module):
        super().__init__()
        self.branches = nn.ModuleList(branches)

    def forward(self, x: Tensor) -> Tensor:
        return torch.cat([branch(x) for branch in self.branches], 1)


class Gate(nn.Module):
    """Squeeze and excitation."""

    def __init__(self, width: int, gate: Callable[[], nn.Module] = nn.Sigmoid):
        super().__init__()
        squeezed = width // 4
        self.fc = nn.Sequential(nn.Conv2d(width, squeezed, 1), nn.ReLU(), nn.Conv2d(squeezed, width, 1), gate())

    def forward(self, x: Tensor) -> Tensor:
        return x * self.fc(x.mean((2, 3), keepdim=True))


def stack(body: Callable[[int], nn.Module], act=nn.ReLU, width: int = 16, depth: int = 2) -> nn.Sequential:
    return nn.Sequential(conv(3, width, 3, 2, act=act), *(body(width) for _ in range(depth)), classifier(width))


# --- plain networks of convolutions


@architecture()
def lenet():
    return nn.Sequential(
        nn.Conv2d(3, 6, 5),
        nn.Tanh(),
        nn.AvgPool2d(2),
        nn.Conv2d(6, 16, 5),
        nn.Tanh(),
        nn.MaxPool2d(2),
        nn.Flatten(),
        nn.Linear(400, 20),
        nn.Tanh(),
        nn.Linear(20, 10),
    )


@architecture()
def alexnet():
    return nn.Sequential(
        nn.Conv2d(3, 16, 7, 2, 3),
        nn.ReLU(),
        nn.LocalResponseNorm(5),
        nn.MaxPool2d(3, 2),
        nn.Conv2d(16, 16, 5, padding=2, groups=2),
        nn.ReLU(),
        nn.MaxPool2d(3, 2),
        nn.Flatten(),
        nn.Dropout(),
        nn.Linear(144, 10),
    )


@architecture()
def vgg_bn():
    return nn.Sequential(
        conv(3, 8),
        conv(8, 8),
        nn.MaxPool2d(2),
        conv(8, 16),
        nn.MaxPool2d(2),
        nn.AdaptiveAvgPool2d(4),
        nn.Flatten(),
        nn.Linear(256, 10),
    )


@architecture(name="resnet_basic")
def resnet():
    return stack(lambda w: Residual(nn.Sequential(conv(w, w), conv(w, w, act=None)), act=nn.ReLU()))


@architecture(name="resnet_d")
def resnet_d():
    down = nn.Sequential(nn.AvgPool2d(2, ceil_mode=True, count_include_pad=False), conv(16, 32, 1, act=None))
    body = nn.Sequential(conv(16, 8, 1), conv(8, 8, 3, 2), conv(8, 32, 1, act=None))
    return nn.Sequential(conv(3, 16, 3, 2), nn.MaxPool2d(3, 2, 1), Residual(body, down, nn.ReLU()), classifier(32))


@architecture()
def preact_resnet():
    def body(w):
        return Residual(nn.Sequential(nn.BatchNorm2d(w), nn.ReLU(), nn.Conv2d(w, w, 3, padding=1)))

    return stack(body)


@architecture()
def resnext():
    return stack(lambda w: Residual(nn.Sequential(conv(w, 16, 1), conv(16, 16, g=4), conv(16, w, 1, act=None))))


@architecture()
def res2net():
    class Res2(nn.Module):
        def __init__(self, w):
            super().__init__()
            self.convs = nn.ModuleList(conv(w // 4, w // 4) for _ in range(3))

        def forward(self, x):
            parts = list(x.chunk(4, 1))
            y = parts[1]
            for i, layer in enumerate(self.convs):
                parts[i + 1] = y = layer(y if i == 0 else y + parts[i + 1])
            return torch.cat(parts, 1)

    return stack(lambda w: Residual(Res2(w)))


@architecture()
def seresnet():
    return stack(lambda w: Residual(nn.Sequential(conv(w, w), Gate(w))))


@architecture()
def sknet():
    class Selective(nn.Module):
        def __init__(self, w):
            super().__init__()
            self.a, self.b, self.w = conv(w, w), conv(w, w, d=2), w
            self.fc = nn.Sequential(nn.Linear(w, 8), nn.ReLU(), nn.Linear(8, 2 * w))

        def forward(self, x):
            branches = torch.stack([self.a(x), self.b(x)], 1)
            weights = self.fc(branches.sum(1).mean((2, 3))).view(-1, 2, self.w, 1, 1).softmax(1)
            return (branches * weights).sum(1)

    return stack(Selective)


@architecture()
def eca_net():
    class Eca(nn.Module):
        def __init__(self):
            super().__init__()
            self.conv = nn.Conv1d(1, 1, 3, padding=1, bias=False)

        def forward(self, x):
            y = self.conv(x.mean((2, 3)).unsqueeze(1)).transpose(1, 2).unsqueeze(-1)
            return x * y.sigmoid()

    return stack(lambda w: nn.Sequential(conv(w, w), Eca()))


@architecture()
def cbam():
    class Spatial(nn.Module):
        def __init__(self):
            super().__init__()
            self.conv = nn.Conv2d(2, 1, 7, padding=3)

        def forward(self, x):
            pooled = torch.cat([x.amax(1, keepdim=True), x.mean(1, keepdim=True)], 1)
            return x * self.conv(pooled).sigmoid()

    return stack(lambda w: nn.Sequential(conv(w, w), Gate(w), Spatial()))


@architecture()
def densenet():
    def body(w):
        return Dense(nn.Identity(), nn.Sequential(nn.BatchNorm2d(w), nn.ReLU(), nn.Conv2d(w, 8, 3, padding=1)))

    return nn.Sequential(conv(3, 16), body(16), body(24), conv(32, 16, 1), nn.AvgPool2d(2), body(16), classifier(24))


@architecture()
def vovnet():
    return nn.Sequential(
        conv(3, 16, 3, 2),
        Dense(nn.Identity(), conv(16, 8), nn.Sequential(conv(16, 8), conv(8, 8))),
        conv(32, 16, 1),
        classifier(16),
    )


@architecture()
def googlenet():
    pool = nn.Sequential(nn.MaxPool2d(3, 1, 1), conv(16, 4, 1))
    mixed = Dense(
        conv(16, 4, 1), nn.Sequential(conv(16, 4, 1), conv(4, 8)), nn.Sequential(conv(16, 4, 1), conv(4, 4, 5)), pool
    )
    return nn.Sequential(conv(3, 16, 7, 2), nn.MaxPool2d(3, 2, ceil_mode=True), mixed, classifier(20))


@architecture()
def inception_v3():
    def line(i, o, k):
        return nn.Sequential(nn.Conv2d(i, o, k, padding=(k[0] // 2, k[1] // 2)), nn.BatchNorm2d(o), nn.ReLU())

    tall = nn.Sequential(line(16, 8, (1, 7)), line(8, 8, (7, 1)))
    pool = nn.Sequential(nn.AvgPool2d(3, 1, 1, count_include_pad=False), conv(16, 8, 1))
    return nn.Sequential(conv(3, 16, 3, 2), Dense(conv(16, 8, 1), tall, pool), classifier(24))


@architecture()
def xception():
    def body(w):
        return Residual(
            nn.Sequential(nn.ReLU(), nn.Conv2d(w, w, 3, padding=1, groups=w), nn.Conv2d(w, w, 1), nn.BatchNorm2d(w))
        )

    return stack(body)


@architecture()
def squeezenet():
    return nn.Sequential(
        nn.Conv2d(3, 16, 3, 2),
        nn.ReLU(),
        nn.MaxPool2d(3, 2, ceil_mode=True),
        nn.Conv2d(16, 4, 1),
        nn.ReLU(),
        Dense(nn.Sequential(nn.Conv2d(4, 8, 1), nn.ReLU()), nn.Sequential(nn.Conv2d(4, 8, 3, padding=1), nn.ReLU())),
        nn.Conv2d(16, 10, 1),
        nn.AdaptiveAvgPool2d(1),
        nn.Flatten(),
    )


@architecture()
def shufflenet_v2():
    class Unit(nn.Module):
        def __init__(self, w):
            super().__init__()
            h = w // 2
            self.body = nn.Sequential(conv(h, h, 1), conv(h, h, 3, g=h, act=None), conv(h, h, 1))

        def forward(self, x):
            a, b = x.chunk(2, 1)
            x = torch.cat([a, self.body(b)], 1)
            n, c, h, w = x.shape
            return x.view(n, 2, c // 2, h, w).transpose(1, 2).reshape(n, c, h, w)

    return stack(Unit)


@architecture()
def mobilenet_v3():
    def body(w):
        layers = [conv(w, 32, 1, act=nn.Hardswish), conv(32, 32, 5, g=32, act=nn.Hardswish), Gate(32, nn.Hardsigmoid)]
        return Residual(nn.Sequential(*layers, conv(32, w, 1, act=None)))

    return stack(body, nn.Hardswish)


@architecture()
def efficientnet():
    def body(w):
        return Residual(
            nn.Sequential(
                conv(w, 32, 1, act=nn.SiLU), conv(32, 32, g=32, act=nn.SiLU), Gate(32), conv(32, w, 1, act=None)
            )
        )

    return stack(body, nn.SiLU)


@architecture()
def mixnet():
    class Mixed(nn.Module):
        def __init__(self, w):
            super().__init__()
            h = w // 2
            self.a, self.b, self.h = nn.Conv2d(h, h, 3, padding=1, groups=h), nn.Conv2d(h, h, 5, padding=2, groups=h), h

        def forward(self, x):
            a, b = torch.split(x, [self.h, self.h], 1)
            return torch.cat([self.a(a), self.b(b)], 1)

    return stack(lambda w: Residual(nn.Sequential(Mixed(w), conv(w, w, 1))))


@architecture()
def ghostnet():
    class Ghost(nn.Module):
        def __init__(self, i, o):
            super().__init__()
            self.first, self.cheap, self.o = conv(i, o // 2 + 1, 1), conv(o // 2 + 1, o // 2 + 1, g=o // 2 + 1), o

        def forward(self, x):
            x = self.first(x)
            return torch.cat([x, self.cheap(x)], 1)[:, : self.o]

    return stack(lambda w: Residual(Ghost(w, w)))


@architecture()
def repvgg():
    class Branches(nn.Module):
        def __init__(self, w):
            super().__init__()
            self.a, self.b, self.c = conv(w, w, act=None), conv(w, w, 1, act=None), nn.BatchNorm2d(w)

        def forward(self, x):
            return F.relu(self.a(x) + self.b(x) + self.c(x))

    return stack(Branches)


@architecture()
def regnet_y():
    return stack(
        lambda w: Residual(
            nn.Sequential(conv(w, w, 1), conv(w, w, g=2), Gate(w), conv(w, w, 1, act=None)), act=nn.ReLU()
        )
    )


@architecture()
def darknet():
    return stack(
        lambda w: Residual(
            nn.Sequential(conv(w, 8, 1, act=lambda: nn.LeakyReLU(0.1)), conv(8, w, act=lambda: nn.LeakyReLU(0.1)))
        )
    )


@architecture()
def cspnet():
    return stack(
        lambda w: Dense(
            conv(w, w // 2, 1, act=nn.Mish), nn.Sequential(conv(w, w // 2, 1, act=nn.Mish), conv(w // 2, w // 2))
        )
    )


@architecture()
def dla_hourglass():
    class Hourglass(nn.Module):
        def __init__(self, w):
            super().__init__()
            self.skip, self.down, self.inner = conv(w, w), nn.MaxPool2d(2), conv(w, w)

        def forward(self, x):
            return self.skip(x) + F.interpolate(self.inner(self.down(x)), scale_factor=2)

    return nn.Sequential(conv(3, 16, 3, 2), Hourglass(16), nn.Conv2d(16, 5, 1))


# --- attention


class LayerNorm2d(nn.LayerNorm):
    def forward(self, x: Tensor) -> Tensor:
        return super().forward(x.permute(0, 2, 3, 1)).permute(0, 3, 1, 2)


class Attention(nn.Module):
    def __init__(self, width: int, heads: int = 2, keys: int | None = None):
        super().__init__()
        self.heads, self.q, self.kv = heads, nn.Linear(width, width), nn.Linear(keys or width, 2 * width)
        self.proj = nn.Linear(width, width)

    def forward(self, x: Tensor, y: Tensor | None = None, bias: Tensor | None = None) -> Tensor:
        y = x if y is None else y
        b, n, c = x.shape
        q = self.q(x).reshape(b, n, self.heads, c // self.heads).transpose(1, 2)
        k, v = self.kv(y).reshape(b, y.shape[1], 2, self.heads, c // self.heads).permute(2, 0, 3, 1, 4)
        scores = q @ k.transpose(-2, -1) * (c // self.heads) ** -0.5
        scores = scores if bias is None else scores + bias
        return self.proj((scores.softmax(-1) @ v).transpose(1, 2).reshape(b, n, c))


class Block(nn.Module):
    def __init__(self, width: int, mixer: nn.Module | None = None):
        super().__init__()
        self.n1, self.n2, self.mix = nn.LayerNorm(width), nn.LayerNorm(width), mixer or Attention(width)
        self.mlp = nn.Sequential(nn.Linear(width, 2 * width), nn.GELU(), nn.Linear(2 * width, width))

    def forward(self, x: Tensor) -> Tensor:
        x = x + self.mix(self.n1(x))
        return x + self.mlp(self.n2(x))


@architecture()
class ViT(nn.Module):
    def __init__(self, extra: int = 1):
        super().__init__()
        self.patch, self.extra = nn.Conv2d(3, 16, 8, 8), nn.Parameter(torch.randn(1, extra, 16))
        self.place = nn.Parameter(torch.randn(1, 16 + extra, 16))
        self.blocks, self.norm, self.head = nn.Sequential(Block(16), Block(16)), nn.LayerNorm(16), nn.Linear(16, 10)

    def forward(self, x):
        x = self.patch(x).flatten(2).transpose(1, 2)
        x = torch.cat([self.extra.expand(x.shape[0], -1, -1), x], 1) + self.place
        return self.head(self.norm(self.blocks(x))[:, 0])


architecture(name="deit_distilled", extra=2)(ViT)


@architecture(name="vit_torch")
def vit_torch():
    class Encoder(nn.Module):
        def __init__(self):
            super().__init__()
            layer = nn.TransformerEncoderLayer(16, 2, 32, activation="gelu", batch_first=True, norm_first=True)
            self.patch = nn.Conv2d(3, 16, 8, 8)
            self.encoder, self.head = nn.TransformerEncoder(layer, 2, enable_nested_tensor=False), nn.Linear(16, 10)

        def forward(self, x):
            return self.head(self.encoder(self.patch(x).flatten(2).transpose(1, 2)).mean(1))

    return Encoder()


@architecture()
class Swin(nn.Module):
    def __init__(self, window: int = 4, shift: int = 2):
        super().__init__()
        self.window, self.shift = window, shift
        self.patch, self.a, self.b = nn.Conv2d(3, 16, 4, 4), Attention(16), Attention(16)
        self.bias = nn.Parameter(torch.randn(2, window * window, window * window))
        self.merge, self.head = nn.Linear(64, 32), nn.Linear(32, 10)

    def windows(self, x, attention):
        b, h, w, c = x.shape
        k = self.window
        x = x.view(b, h // k, k, w // k, k, c).permute(0, 1, 3, 2, 4, 5).reshape(-1, k * k, c)
        x = attention(x, bias=self.bias)
        return x.view(b, h // k, w // k, k, k, c).permute(0, 1, 3, 2, 4, 5).reshape(b, h, w, c)

    def forward(self, x):
        x = self.patch(x).permute(0, 2, 3, 1)
        x = x + self.windows(x, self.a)
        moved = torch.roll(x, (-self.shift, -self.shift), (1, 2))
        x = x + torch.roll(self.windows(moved, self.b), (self.shift, self.shift), (1, 2))
        x = torch.cat([x[:, i::2, j::2] for i in (0, 1) for j in (0, 1)], -1)
        return self.head(self.merge(x).mean((1, 2)))


@architecture()
def convnext():
    def body(w):
        layers = [
            nn.Conv2d(w, w, 7, padding=3, groups=w),
            LayerNorm2d(w),
            nn.Conv2d(w, 2 * w, 1),
            nn.GELU(),
            nn.Conv2d(2 * w, w, 1),
        ]
        return Residual(nn.Sequential(*layers))

    return stack(body)


@architecture()
def convnext_v2():
    class Grn(nn.Module):
        def __init__(self, w):
            super().__init__()
            self.gamma, self.beta = nn.Parameter(torch.randn(1, w, 1, 1)), nn.Parameter(torch.randn(1, w, 1, 1))

        def forward(self, x):
            norm = torch.linalg.vector_norm(x, dim=(2, 3), keepdim=True)
            return self.gamma * (x * norm / (norm.mean(1, keepdim=True) + 1e-6)) + self.beta + x

    return stack(lambda w: Residual(nn.Sequential(nn.Conv2d(w, w, 7, padding=3, groups=w), nn.GELU(), Grn(w))))


@architecture()
def poolformer():
    class Pooling(nn.Module):
        def forward(self, x):
            return F.avg_pool2d(x, 3, 1, 1, count_include_pad=False) - x

    def body(w):
        return Residual(nn.Sequential(nn.GroupNorm(1, w), Pooling(), nn.Conv2d(w, w, 1), nn.GELU()))

    return stack(body)


@architecture()
class MobileViT(nn.Module):
    def __init__(self):
        super().__init__()
        self.stem, self.block, self.back, self.head = (
            conv(3, 16, 3, 4, act=nn.SiLU),
            Block(16),
            conv(32, 16),
            classifier(16),
        )

    def forward(self, x):
        x = self.stem(x)
        b, c, h, w = x.shape
        y = x.reshape(b, c, h // 2, 2, w // 2, 2).permute(0, 3, 5, 2, 4, 1).reshape(b * 4, h * w // 4, c)
        y = self.block(y).view(b, 2, 2, h // 2, w // 2, c).permute(0, 5, 3, 1, 4, 2).reshape(b, c, h, w)
        return self.head(self.back(torch.cat([x, y], 1)))


@architecture()
class EfficientFormer(nn.Module):
    def __init__(self):
        super().__init__()
        self.stem = nn.Sequential(conv(3, 16, 3, 2), conv(16, 16, 3, 2), Residual(nn.AvgPool2d(3, 1, 1)))
        self.block, self.head, self.scale = Block(16), nn.Linear(16, 10), nn.Parameter(torch.full((16, 1, 1), 0.5))

    def forward(self, x):
        x = self.stem(x) * self.scale
        return self.head(self.block(x.flatten(2).transpose(1, 2)).mean(1))


@architecture()
def pvt():
    class Reduced(nn.Module):
        def __init__(self, w):
            super().__init__()
            self.attention, self.reduce, self.norm = Attention(w), nn.Conv2d(w, w, 2, 2), nn.LayerNorm(w)

        def forward(self, x):
            b, c, h, w = x.shape
            keys = self.norm(self.reduce(x).flatten(2).transpose(1, 2))
            return self.attention(x.flatten(2).transpose(1, 2), keys).transpose(1, 2).reshape(b, c, h, w)

    return stack(lambda w: Residual(Reduced(w)))


@architecture()
def mlp_mixer():
    class Tokens(nn.Module):
        def __init__(self):
            super().__init__()
            self.mlp = nn.Sequential(nn.Linear(16, 8), nn.GELU(), nn.Linear(8, 16))

        def forward(self, x):
            return self.mlp(x.transpose(1, 2)).transpose(1, 2)

    class Mixer(nn.Module):
        def __init__(self):
            super().__init__()
            self.patch, self.block, self.head = nn.Conv2d(3, 16, 8, 8), Block(16, Tokens()), nn.Linear(16, 10)

        def forward(self, x):
            return self.head(self.block(self.patch(x).flatten(2).transpose(1, 2)).mean(1))

    return Mixer()


@architecture()
def convmixer():
    return nn.Sequential(
        nn.Conv2d(3, 16, 4, 4),
        nn.GELU(),
        nn.BatchNorm2d(16),
        Residual(nn.Sequential(nn.Conv2d(16, 16, 5, padding=2, groups=16), nn.GELU(), nn.BatchNorm2d(16))),
        nn.Conv2d(16, 16, 1),
        nn.GELU(),
        classifier(16),
    )


@architecture()
def coordinate_attention():
    class Coordinates(nn.Module):
        def __init__(self, w):
            super().__init__()
            self.mix, self.h, self.w = conv(w, 8, 1, act=nn.Hardswish), nn.Conv2d(8, w, 1), nn.Conv2d(8, w, 1)

        def forward(self, x):
            rows, columns = x.mean(3, keepdim=True), x.mean(2, keepdim=True).transpose(2, 3)
            a, b = torch.split(self.mix(torch.cat([rows, columns], 2)), [x.shape[2], x.shape[3]], 2)
            return x * self.h(a).sigmoid() * self.w(b.transpose(2, 3)).sigmoid()

    return stack(Coordinates)


@architecture()
def linear_attention():
    class Linear(nn.Module):
        def __init__(self, w):
            super().__init__()
            self.qkv, self.w = nn.Conv2d(w, 3 * w, 1), w

        def forward(self, x):
            q, k, v = self.qkv(x).flatten(2).chunk(3, 1)
            q, k = F.elu(q) + 1, F.elu(k) + 1
            y = torch.einsum("bcn,bdn->bcd", k, v)
            return (torch.einsum("bcn,bcd->bdn", q, y) / 16).view(x.shape)

    return stack(lambda w: Residual(Linear(w)))


# --- text, speech, signals


@architecture((2, 12), name="bert")
class Bert(nn.Module):
    def __init__(self):
        super().__init__()
        self.words, self.places = nn.Embedding(TOKENS, 16), nn.Embedding(12, 16)
        self.norm, self.blocks, self.pooler = nn.LayerNorm(16), nn.Sequential(Block(16), Block(16)), nn.Linear(16, 16)

    def forward(self, tokens):
        x = self.norm(self.words(tokens.long()) + self.places(torch.arange(12)))
        return torch.tanh(self.pooler(self.blocks(x)[:, 0]))


@architecture((1, 12), name="gpt")
class Gpt(nn.Module):
    def __init__(self):
        super().__init__()
        self.words, self.attention, self.norm = nn.Embedding(TOKENS, 16), Attention(16), nn.LayerNorm(16)
        self.register_buffer("mask", torch.full((12, 12), -1e4).triu(1))

    def forward(self, tokens):
        x = self.words(tokens.long())
        return self.norm(x + self.attention(x, bias=self.mask)) @ self.words.weight.t()


@architecture((1, 8, 16), name="rope_attention")
class Rope(nn.Module):
    def __init__(self):
        super().__init__()
        self.q, self.k, self.v = (nn.Linear(16, 16) for _ in range(3))
        angles = torch.arange(8)[:, None] / 100 ** (torch.arange(8) / 8)
        self.register_buffer("cos", angles.cos().repeat(1, 2))
        self.register_buffer("sin", angles.sin().repeat(1, 2))

    def turn(self, x):
        a, b = x.chunk(2, -1)
        return x * self.cos + torch.cat([-b, a], -1) * self.sin

    def forward(self, x):
        norm = x * torch.rsqrt(x.pow(2).mean(-1, keepdim=True) + 1e-6)
        q, k = self.turn(self.q(norm)), self.turn(self.k(norm))
        return x + F.scaled_dot_product_attention(q, k, self.v(norm))


@architecture((1, 40, 10), name="lstm_tagger")
class LstmTagger(nn.Module):
    def __init__(self, kind=nn.LSTM):
        super().__init__()
        self.rnn, self.head = kind(10, 8, batch_first=True, bidirectional=True), nn.Linear(16, 5)

    def forward(self, x):
        return self.head(self.rnn(x)[0])


architecture((1, 12, 10), name="gru_tagger", kind=nn.GRU)(LstmTagger)


@architecture((1, 1, 32, 64), name="crnn_ocr")
class Crnn(nn.Module):
    def __init__(self):
        super().__init__()
        self.cnn = nn.Sequential(
            conv(1, 8), nn.MaxPool2d(2), conv(8, 16), nn.MaxPool2d(2), conv(16, 16), nn.MaxPool2d((8, 1))
        )
        self.rnn, self.head = nn.LSTM(16, 8, bidirectional=True), nn.Linear(16, 12)

    def forward(self, x):
        return self.head(self.rnn(self.cnn(x).squeeze(2).permute(2, 0, 1))[0]).log_softmax(-1)


@architecture((1, 1, 256), name="wave_m5")
def wave_m5():
    return nn.Sequential(
        nn.Conv1d(1, 8, 16, 4),
        nn.BatchNorm1d(8),
        nn.ReLU(),
        nn.MaxPool1d(4),
        nn.Conv1d(8, 16, 3),
        nn.BatchNorm1d(16),
        nn.ReLU(),
        nn.AdaptiveAvgPool1d(1),
        nn.Flatten(),
        nn.Linear(16, 10),
    )


@architecture((1, 4, 64), name="tcn")
class Tcn(nn.Module):
    def __init__(self):
        super().__init__()
        self.convs = nn.ModuleList(nn.Conv1d(4, 4, 3, dilation=2**i) for i in range(3))

    def forward(self, x):
        for i, layer in enumerate(self.convs):
            x = F.relu(layer(F.pad(x, (2 << i, 0)))) + x
        return x[:, :, -1]


@architecture((1, 4, 64), name="wavenet")
class WaveNet(nn.Module):
    def __init__(self):
        super().__init__()
        self.convs = nn.ModuleList(nn.Conv1d(4, 8, 3, dilation=2**i, padding=2**i) for i in range(2))

    def forward(self, x):
        skips = 0
        for layer in self.convs:
            a, b = layer(x).chunk(2, 1)
            y = torch.tanh(a) * torch.sigmoid(b)
            x, skips = x + y, skips + y
        return F.relu(skips)


@architecture((1, 1, 20, 40), name="keyword_dscnn")
def keyword_dscnn():
    return nn.Sequential(
        nn.Conv2d(1, 16, (10, 4), 2, (4, 1)), nn.ReLU(), conv(16, 16, g=16), conv(16, 16, 1), classifier(16)
    )


@architecture((1, 12), name="text_cnn")
class TextCnn(nn.Module):
    def __init__(self):
        super().__init__()
        self.words, self.convs = nn.Embedding(TOKENS, 8), nn.ModuleList(nn.Conv1d(8, 4, k) for k in (3, 4, 5))

    def forward(self, tokens):
        x = self.words(tokens.long()).transpose(1, 2)
        return torch.cat([F.relu(layer(x)).amax(2) for layer in self.convs], 1)


@architecture((1, 16, 3), name="pointnet")
class PointNet(nn.Module):
    def __init__(self):
        super().__init__()
        self.mlp, self.head = nn.Sequential(nn.Conv1d(3, 16, 1), nn.BatchNorm1d(16), nn.ReLU()), nn.Linear(16, 5)

    def forward(self, points):
        return self.head(self.mlp(points.transpose(1, 2)).max(2)[0])


# --- detection, segmentation, images to images


@architecture(name="yolo_v5")
class Yolo(nn.Module):
    def __init__(self):
        super().__init__()
        self.stem, self.head = (
            nn.Sequential(conv(3, 16, 3, 4, act=nn.SiLU), conv(16, 16, act=nn.SiLU)),
            nn.Conv2d(16, 21, 1),
        )
        ys, xs = torch.meshgrid(torch.arange(8), torch.arange(8), indexing="ij")
        self.register_buffer("grid", torch.stack([xs, ys], -1).float().view(1, 1, 8, 8, 2))
        self.register_buffer("anchors", torch.rand(1, 3, 1, 1, 2))

    def forward(self, x):
        y = self.head(self.stem(x)).view(x.shape[0], 3, 7, 8, 8).permute(0, 1, 3, 4, 2).sigmoid()
        xy = (y[..., :2] * 2 - 0.5 + self.grid) * 4
        wh = (y[..., 2:4] * 2) ** 2 * self.anchors
        return torch.cat([xy, wh, y[..., 4:]], -1).view(x.shape[0], -1, 7)


@architecture(name="yolo_v8")
class YoloV8(nn.Module):
    def __init__(self):
        super().__init__()
        self.stem, self.box, self.score = conv(3, 16, 3, 4, act=nn.SiLU), nn.Conv2d(16, 32, 1), nn.Conv2d(16, 4, 1)
        self.register_buffer("bins", torch.arange(8.0).view(1, 8, 1, 1))
        ys, xs = torch.meshgrid(torch.arange(8) + 0.5, torch.arange(8) + 0.5, indexing="ij")
        self.register_buffer("points", torch.stack([xs.flatten(), ys.flatten()]).unsqueeze(0))

    def forward(self, x):
        x = self.stem(x)
        box = self.box(x).flatten(2).view(-1, 4, 8, 64).transpose(1, 2).softmax(1)
        distance = F.conv2d(box, self.bins).view(-1, 4, 64)
        near, far = distance.chunk(2, 1)
        first, second = self.points - near, self.points + far
        boxes = torch.cat([(first + second) / 2, second - first], 1) * 4
        return torch.cat([boxes, self.score(x).flatten(2).sigmoid()], 1)


@architecture(name="ssd")
class Ssd(nn.Module):
    def __init__(self):
        super().__init__()
        self.a, self.b = conv(3, 16, 3, 4), conv(16, 16, 3, 2)
        self.locs, self.scores = (nn.ModuleList(nn.Conv2d(16, n, 3, padding=1) for _ in range(2)) for n in (8, 6))
        self.register_buffer("priors", torch.rand(1, 160, 4))

    def forward(self, x):
        maps = [self.a(x)]
        maps.append(self.b(maps[0]))
        locs, scores = (
            torch.cat(
                [head(y).permute(0, 2, 3, 1).reshape(x.shape[0], -1, n) for head, y in zip(heads, maps, strict=True)], 1
            )
            for heads, n in ((self.locs, 4), (self.scores, 3))
        )
        xy = self.priors[..., :2] + locs[..., :2] * 0.1 * self.priors[..., 2:]
        wh = self.priors[..., 2:] * torch.exp(locs[..., 2:] * 0.2)
        return torch.cat([xy - wh / 2, xy + wh / 2, scores.softmax(-1)], -1)


@architecture(name="centernet_peaks")
class CenterNet(nn.Module):
    def __init__(self):
        super().__init__()
        self.stem, self.up, self.heat = conv(3, 16, 3, 4), nn.ConvTranspose2d(16, 16, 4, 2, 1), nn.Conv2d(16, 2, 1)

    def forward(self, x):
        heat = self.heat(self.up(self.stem(x))).sigmoid()
        kept = heat * (F.max_pool2d(heat, 3, 1, 1) == heat)
        scores, places = kept.flatten(1).topk(5)
        return torch.cat([scores, places.float()], 1)


@architecture(name="fpn_retina")
class Fpn(nn.Module):
    def __init__(self):
        super().__init__()
        self.a, self.b = conv(3, 16, 3, 2), conv(16, 16, 3, 2)
        self.la, self.lb, self.head = nn.Conv2d(16, 8, 1), nn.Conv2d(16, 8, 1), nn.Conv2d(8, 4, 3, padding=1)

    def forward(self, x):
        a = self.a(x)
        b = self.b(a)
        top = self.lb(b)
        low = self.la(a) + F.interpolate(top, size=a.shape[-2:], mode="nearest")
        return torch.cat([self.head(level).flatten(2) for level in (low, top)], 2)


@architecture(name="detr")
class Detr(nn.Module):
    def __init__(self):
        super().__init__()
        self.stem, self.block, self.cross = conv(3, 16, 3, 8), Block(16), Attention(16)
        self.queries, self.box = nn.Parameter(torch.randn(1, 5, 16)), nn.Linear(16, 4)

    def forward(self, x):
        memory = self.block(self.stem(x).flatten(2).transpose(1, 2))
        return self.box(self.cross(self.queries.expand(x.shape[0], -1, -1), memory)).sigmoid()


@architecture(name="unet")
class Unet(nn.Module):
    def __init__(self, transposed: bool = True):
        super().__init__()
        self.a, self.b, self.out = conv(3, 8), conv(8, 16), nn.Conv2d(16, 2, 1)
        self.up = (
            nn.ConvTranspose2d(16, 8, 2, 2)
            if transposed
            else nn.Sequential(nn.Upsample(scale_factor=2, mode="bilinear", align_corners=True), conv(16, 8, 1))
        )

    def forward(self, x):
        a = self.a(x)
        return self.out(torch.cat([a, self.up(self.b(F.max_pool2d(a, 2)))], 1))


architecture(name="unet_bilinear", transposed=False)(Unet)


@architecture(name="deeplab_v3")
class DeepLab(nn.Module):
    def __init__(self):
        super().__init__()
        self.stem, self.branches = conv(3, 16, 3, 4), Dense(conv(16, 8, 1), conv(16, 8, d=2), conv(16, 8, d=3))
        self.pool, self.out = (
            nn.Sequential(nn.AdaptiveAvgPool2d(1), nn.Conv2d(16, 8, 1), nn.ReLU()),
            nn.Conv2d(32, 3, 1),
        )

    def forward(self, x):
        y = self.stem(x)
        pooled = F.interpolate(self.pool(y), size=y.shape[-2:], mode="bilinear", align_corners=False)
        y = self.out(torch.cat([self.branches(y), pooled], 1))
        return F.interpolate(y, size=x.shape[-2:], mode="bilinear", align_corners=False)


@architecture(name="pspnet")
class PspNet(nn.Module):
    def __init__(self):
        super().__init__()
        self.stem, self.sizes, self.out = conv(3, 8, 3, 2), (1, 2, 4), nn.Conv2d(32, 2, 1)

    def forward(self, x):
        x = self.stem(x)
        levels = [F.interpolate(F.adaptive_avg_pool2d(x, s), size=(16, 16), mode="bilinear") for s in self.sizes]
        return self.out(torch.cat([x, *levels], 1))


@architecture(name="bisenet_argmax")
class BiSeNet(nn.Module):
    def __init__(self):
        super().__init__()
        self.detail, self.semantic, self.out = (
            conv(3, 8, 3, 2),
            nn.Sequential(conv(3, 8, 3, 2), Gate(8)),
            nn.Conv2d(8, 4, 1),
        )

    def forward(self, x):
        return self.out(self.detail(x) * self.semantic(x).sigmoid()).argmax(1)


@architecture(name="espcn")
def espcn():
    return nn.Sequential(nn.Conv2d(3, 8, 5, padding=2), nn.Tanh(), nn.Conv2d(8, 12, 3, padding=1), nn.PixelShuffle(2))


@architecture(name="edsr")
def edsr():
    body = nn.Sequential(nn.Conv2d(8, 8, 3, padding=1), nn.PReLU(8), nn.Conv2d(8, 8, 3, padding=1))
    return nn.Sequential(
        nn.Conv2d(3, 8, 3, padding=1), Residual(body), nn.Conv2d(8, 12, 3, padding=1), nn.PixelShuffle(2), nn.Hardtanh()
    )


@architecture(name="style_transfer")
def style_transfer():
    def layer(i, o, s=1):
        return nn.Sequential(nn.ReflectionPad2d(1), nn.Conv2d(i, o, 3, s), nn.InstanceNorm2d(o, affine=True), nn.ReLU())

    return nn.Sequential(
        layer(3, 8, 2),
        Residual(layer(8, 8)),
        nn.Upsample(scale_factor=2),
        layer(8, 8),
        nn.Conv2d(8, 3, 1),
        nn.Sigmoid(),
    )


@architecture((1, 16, 1, 1), name="dcgan_generator")
def dcgan_generator():
    return nn.Sequential(
        nn.ConvTranspose2d(16, 16, 4), nn.BatchNorm2d(16), nn.ReLU(), nn.ConvTranspose2d(16, 3, 4, 2, 1), nn.Tanh()
    )


@architecture(name="keypoint_heatmaps")
class Keypoints(nn.Module):
    def __init__(self):
        super().__init__()
        self.stem, self.up, self.out = (
            conv(3, 16, 3, 4),
            nn.ConvTranspose2d(16, 16, 4, 2, 1, bias=False),
            nn.Conv2d(16, 4, 1),
        )
        self.register_buffer("line", torch.linspace(0, 1, 16))

    def forward(self, x):
        heat = self.out(self.up(self.stem(x)))
        weights = heat.flatten(2).softmax(-1).view(heat.shape)
        return torch.stack([(weights.sum(2) * self.line).sum(-1), (weights.sum(3) * self.line).sum(-1)], -1)


@architecture((1, 3, 16, 16), (1, 3, 16, 16), name="siamese_tracker")
class Siamese(nn.Module):
    def __init__(self):
        super().__init__()
        self.net = nn.Sequential(conv(3, 8, 3, 2), nn.Flatten(), nn.Linear(512, 16))

    def forward(self, a, b):
        return F.cosine_similarity(self.net(a), self.net(b)), F.pairwise_distance(self.net(a), self.net(b))


@architecture(name="arcface")
class ArcFace(nn.Module):
    def __init__(self):
        super().__init__()
        self.net, self.weight = (
            nn.Sequential(conv(3, 16, 3, 4, act=lambda: nn.PReLU(16)), classifier(16, 8)),
            nn.Parameter(torch.randn(6, 8)),
        )

    def forward(self, x):
        return F.linear(F.normalize(self.net(x)), F.normalize(self.weight)) * 30


@architecture((1, 8, 8, 8), name="netvlad")
class NetVlad(nn.Module):
    def __init__(self):
        super().__init__()
        self.assign, self.centres = nn.Conv2d(8, 4, 1), nn.Parameter(torch.randn(1, 4, 8))

    def forward(self, x):
        weights, x = self.assign(x).flatten(2).softmax(1), x.flatten(2)
        sums = weights @ x.transpose(1, 2) - weights.sum(-1, keepdim=True) * self.centres
        return F.normalize(F.normalize(sums, dim=2).flatten(1))


@architecture((1, 1, 4, 16, 16), name="c3d")
def c3d():
    return nn.Sequential(
        nn.Conv3d(1, 4, 3, padding=1), nn.ReLU(), nn.MaxPool3d((1, 2, 2)), nn.Flatten(), nn.Linear(1024, 5)
    )


@architecture((1, 16), name="vae_decoder")
def vae_decoder():
    return nn.Sequential(
        nn.Linear(16, 64), nn.ELU(), nn.Unflatten(1, (4, 4, 4)), nn.ConvTranspose2d(4, 3, 3, 2, 1, 1), nn.Sigmoid()
    )


@architecture((1, 16), name="tabular_mlp")
def tabular_mlp():
    return nn.Sequential(
        nn.Linear(16, 32), nn.BatchNorm1d(32), nn.SELU(), nn.Linear(32, 16), nn.Softplus(), nn.Linear(16, 1)
    )


@architecture((1, 3, 16, 16), (1, 1), name="time_embedding")
class Diffusion(nn.Module):
    def __init__(self):
        super().__init__()
        self.inp, self.time = nn.Conv2d(3, 8, 3, padding=1), nn.Sequential(nn.Linear(8, 8), nn.SiLU())
        self.norm, self.out = nn.GroupNorm(2, 8), nn.Conv2d(8, 3, 3, padding=1)
        self.register_buffer("rates", torch.exp(-math.log(100) * torch.arange(4) / 4))

    def forward(self, x, t):
        angles = t * self.rates
        emb = self.time(torch.cat([angles.sin(), angles.cos()], -1))
        return self.out(F.silu(self.norm(self.inp(x) + emb[:, :, None, None])))


# --- text in images


@architecture((1, 3, 64, 64), name="dbnet")
class DbNet(nn.Module):
    """Differentiable binarization (Liao 2020): a pyramid, joined, and maps of text and of thresholds."""

    def __init__(self):
        super().__init__()
        self.stages = nn.ModuleList([conv(3, 8, 3, 4), conv(8, 16, 3, 2), conv(16, 24, 3, 2)])
        self.sides = nn.ModuleList(nn.Conv2d(w, 16, 1) for w in (8, 16, 24))
        self.smooth = nn.ModuleList(nn.Conv2d(16, 8, 3, padding=1) for _ in range(3))
        self.text, self.threshold = self.head(), self.head()

    def head(self):
        up = (nn.ConvTranspose2d(24, 8, 2, 2), nn.BatchNorm2d(8), nn.ReLU(), nn.ConvTranspose2d(8, 1, 2, 2))
        return nn.Sequential(*up, nn.Sigmoid())

    def forward(self, x):
        maps = []
        for stage, side in zip(self.stages, self.sides, strict=True):
            x = stage(x)
            maps.append(side(x))
        for low in (1, 0):
            maps[low] = maps[low] + F.interpolate(maps[low + 1], scale_factor=2.0, mode="nearest")
        levels = [
            F.interpolate(smooth(level), scale_factor=float(2**index), mode="nearest")
            for index, (smooth, level) in enumerate(zip(self.smooth, maps, strict=True))
        ]
        joined = torch.cat(levels, 1)
        text, threshold = self.text(joined), self.threshold(joined)
        return torch.reciprocal(1 + torch.exp(-5 * (text - threshold)))


@architecture((1, 3, 32, 64), name="svtr")
class Svtr(nn.Module):
    """Text without recurrence (Du 2022): attention within a neighbourhood and over all, then lines of pixels."""

    def __init__(self):
        super().__init__()
        self.embed = nn.Sequential(conv(3, 8, 3, 2, act=nn.GELU), conv(8, 16, 3, 2, act=nn.GELU))
        self.local, self.whole = Attention(16), Block(16)
        rows, columns = torch.meshgrid(torch.arange(8), torch.arange(16), indexing="ij")
        places = torch.stack([rows, columns], -1).flatten(0, 1)
        far = ((places[:, None] - places[None]).abs() > torch.tensor([3, 5])).any(-1)
        self.register_buffer("mask", torch.zeros(128, 128).masked_fill(far, -torch.inf))
        self.norm, self.merge, self.out = nn.LayerNorm(16), nn.Conv2d(16, 16, 3, (2, 1), 1), nn.Linear(16, 12)

    def forward(self, x):
        x = self.embed(x).flatten(2).transpose(1, 2)
        scores = self.norm(x) @ self.norm(x).transpose(1, 2) / 4 + self.mask
        x = self.whole(x + scores.softmax(-1) @ x)
        x = self.merge(x.transpose(1, 2).reshape(x.shape[0], 16, 8, 16))
        return self.out(F.adaptive_avg_pool2d(x, (1, 16)).squeeze(2).transpose(1, 2)).log_softmax(-1)


@architecture((1, 3, 32, 32), name="text_stn")
class TextStn(nn.Module):
    """Spatial transformer (Jaderberg 2015): a small network says how the image is to be turned upright."""

    def __init__(self):
        super().__init__()
        self.where = nn.Sequential(conv(3, 8, 3, 4), nn.Flatten(), nn.Linear(512, 6))
        self.read = nn.Sequential(conv(3, 8, 3, 2), classifier(8))

    def forward(self, x):
        theta = self.where(x).view(-1, 2, 3) * 0.1 + torch.tensor([[1.0, 0, 0], [0, 1, 0]])
        return self.read(
            F.grid_sample(x, F.affine_grid(theta, [1, 3, 32, 32], align_corners=False), align_corners=False)
        )


@architecture((1, 1, 16, 40), name="attention_reader")
class AttentionReader(nn.Module):
    """A decoder that looks at the image's columns, letter after letter, in recurrence (Shi 2016)."""

    def __init__(self):
        super().__init__()
        self.stem, self.encode = conv(1, 16, 3, (4, 2)), nn.GRU(64, 8, bidirectional=True, batch_first=True)
        self.cell, self.key, self.query = nn.LSTMCell(16 + 10, 16), nn.Linear(16, 16), nn.Linear(16, 16)
        self.energy, self.out = nn.Linear(16, 1), nn.Linear(16, 10)

    def forward(self, x):
        columns = self.encode(self.stem(x).permute(0, 3, 1, 2).flatten(2))[0]
        keys, h = self.key(columns), columns.new_zeros(x.shape[0], 16)
        c, letter, letters = h, columns.new_zeros(x.shape[0], 10), []
        for _ in range(4):
            weights = self.energy(torch.tanh(keys + self.query(h).unsqueeze(1))).softmax(1)
            h, c = self.cell(torch.cat([(weights * columns).sum(1), letter], 1), (h, c))
            letter = self.out(h).softmax(-1)
            letters.append(letter)
        return torch.stack(letters, 1)


# --- detection


@architecture(name="yolo_x")
class YoloX(nn.Module):
    """Decoupled heads without anchors (Ge 2021), and the focus on every second pixel."""

    def __init__(self):
        super().__init__()
        self.stem, self.down = conv(12, 16, act=nn.SiLU), conv(16, 16, 3, 2, act=nn.SiLU)
        self.classes, self.boxes = nn.Conv2d(16, 3, 1), nn.Conv2d(16, 5, 1)

    def forward(self, x):
        x = torch.cat([x[..., a::2, b::2] for b in (0, 1) for a in (0, 1)], 1)
        outputs = []
        for stride in (2, 4):
            x = self.stem(x) if stride == 2 else self.down(x)
            boxes = self.boxes(x)
            rows, columns = torch.meshgrid(torch.arange(x.shape[2]), torch.arange(x.shape[3]), indexing="ij")
            grid = torch.stack([columns, rows])[None].float()
            xy, wh = (boxes[:, :2] + grid) * stride, boxes[:, 2:4].exp() * stride
            level = torch.cat([xy, wh, boxes[:, 4:].sigmoid(), self.classes(x).sigmoid()], 1)
            outputs.append(level.flatten(2))
        return torch.cat(outputs, 2).permute(0, 2, 1)


@architecture(name="fcos")
class Fcos(nn.Module):
    """Distances to the box's sides at every place, and how near its middle that is (Tian 2019)."""

    def __init__(self):
        super().__init__()
        self.a, self.b = conv(3, 16, 3, 4), conv(16, 16, 3, 2)
        self.tower = nn.Sequential(nn.Conv2d(16, 16, 3, padding=1), nn.GroupNorm(4, 16), nn.ReLU())
        self.logits, self.sides, self.centre = (nn.Conv2d(16, n, 3, padding=1) for n in (4, 4, 1))
        self.scales = nn.Parameter(torch.ones(2))

    def forward(self, x):
        outputs, x = [], self.a(x)
        for index, stride in enumerate((4, 8)):
            x = self.b(x) if index else x
            y = self.tower(x)
            sides = F.relu(self.sides(y) * self.scales[index]) * stride
            scores = torch.sqrt(self.logits(y).sigmoid() * self.centre(y).sigmoid())
            outputs.append(torch.cat([sides, scores], 1).flatten(2).transpose(1, 2))
        y = torch.cat(outputs, 1)
        best, places = y[..., 4:].max(-1)[0].topk(6, dim=1)
        return best, y.gather(1, places.unsqueeze(-1).expand(-1, -1, 8))


@architecture(name="efficientdet")
class BiFpn(nn.Module):
    """Levels joined with weights that are learned and normalized (Tan 2020)."""

    def __init__(self):
        super().__init__()
        self.levels = nn.ModuleList([conv(3, 16, 3, 2), conv(16, 16, 3, 2), conv(16, 16, 3, 2)])
        self.down, self.up = nn.Parameter(torch.rand(2, 2)), nn.Parameter(torch.rand(3))
        self.mix = nn.ModuleList(
            nn.Sequential(nn.Conv2d(16, 16, 3, 1, 1, groups=16), nn.Conv2d(16, 16, 1), nn.SiLU()) for _ in range(3)
        )
        self.head = nn.Conv2d(16, 6, 1)

    def forward(self, x):
        p = []
        for level in self.levels:
            x = level(x)
            p.append(x)
        weights = F.relu(self.down) / (F.relu(self.down).sum(1, keepdim=True) + 1e-4)
        middle = self.mix[0](weights[0, 0] * p[1] + weights[0, 1] * F.interpolate(p[2], scale_factor=2.0))
        low = self.mix[1](weights[1, 0] * p[0] + weights[1, 1] * F.interpolate(middle, scale_factor=2.0))
        up = F.relu(self.up) / (F.relu(self.up).sum() + 1e-4)
        again = self.mix[2](up[0] * p[1] + up[1] * middle + up[2] * F.max_pool2d(low, 3, 2, 1))
        return torch.cat([self.head(level).flatten(2) for level in (low, again)], 2)


@architecture(name="deformable_detr")
class DeformableDetr(nn.Module):
    """Attention that samples a few places around a reference point (Zhu 2021)."""

    def __init__(self, heads: int = 2, points: int = 3):
        super().__init__()
        self.stem, self.value, self.out = conv(3, 16, 3, 4), nn.Linear(16, 16), nn.Linear(16, 4)
        self.queries, self.reference = nn.Parameter(torch.randn(5, 16)), nn.Linear(16, 2)
        self.offsets, self.weights = nn.Linear(16, heads * points * 2), nn.Linear(16, heads * points)
        self.heads, self.points = heads, points

    def forward(self, x):
        x = self.stem(x)
        n, _, h, w = x.shape
        value = self.value(x.flatten(2).transpose(1, 2)).transpose(1, 2).reshape(n * self.heads, -1, h, w)
        queries = self.queries.expand(n, -1, -1)
        places = self.offsets(queries).view(n, 5, self.heads, self.points, 2) / torch.tensor([w, h])
        places = self.reference(queries).sigmoid()[:, :, None, None] + places
        grid = (2 * places - 1).transpose(1, 2).flatten(0, 1)
        seen = F.grid_sample(value, grid, mode="bilinear", padding_mode="zeros", align_corners=False)
        weights = self.weights(queries).view(n, 5, self.heads, self.points).softmax(-1).transpose(1, 2).flatten(0, 1)
        joined = (seen * weights.unsqueeze(1)).sum(-1).view(n, 16, 5)
        return self.out(joined.transpose(1, 2)).sigmoid()


@architecture(name="cascade_points")
class Refined(nn.Module):
    """Features taken at points that the network found, and points moved by them (RepPoints, Yang 2019)."""

    def __init__(self):
        super().__init__()
        self.stem, self.points, self.move = conv(3, 16, 3, 4), nn.Conv2d(16, 2, 1), nn.Linear(16, 2)

    def forward(self, x):
        x = self.stem(x)
        first = self.points(x).tanh().permute(0, 2, 3, 1)
        seen = F.grid_sample(x, first, mode="bilinear", padding_mode="border", align_corners=True)
        return first + self.move(seen.permute(0, 2, 3, 1))


# --- attention of further kinds


@architecture(name="swin_v2")
class SwinV2(nn.Module):
    """Cosine attention with a temperature, the norm behind it, and biases of a small network (Liu 2022)."""

    def __init__(self):
        super().__init__()
        self.stem, self.qkv, self.norm = conv(3, 16, 3, 4), nn.Linear(16, 48), nn.LayerNorm(16)
        self.scale = nn.Parameter(torch.log(10 * torch.ones(2, 1, 1)))
        self.bias = nn.Sequential(nn.Linear(2, 8), nn.ReLU(), nn.Linear(8, 2, bias=False))
        far = torch.stack(torch.meshgrid(torch.arange(4.0), torch.arange(4.0), indexing="ij"), -1).flatten(0, 1)
        apart = far[:, None] - far[None]
        self.register_buffer("apart", torch.sign(apart) * torch.log2(apart.abs() + 1) / 3)
        self.head = nn.Linear(16, 10)

    def forward(self, x):
        n = x.shape[0]
        x = self.stem(x).view(n, 16, 2, 4, 2, 4).permute(0, 2, 4, 3, 5, 1).reshape(n * 4, 16, 16)
        q, k, v = self.qkv(x).view(n * 4, 16, 3, 2, 8).permute(2, 0, 3, 1, 4).unbind(0)
        scores = F.normalize(q, dim=-1) @ F.normalize(k, dim=-1).transpose(-2, -1)
        scores = scores * self.scale.clamp(max=4.6).exp() + 16 * self.bias(self.apart).permute(2, 0, 1).sigmoid()
        x = x + self.norm((scores.softmax(-1) @ v).transpose(1, 2).reshape(n * 4, 16, 16))
        return self.head(x.view(n, -1, 16).mean(1))


@architecture(name="xcit")
class Xcit(nn.Module):
    """Attention between channels (El-Nouby 2021)."""

    def __init__(self):
        super().__init__()
        self.stem, self.qkv, self.temperature = conv(3, 16, 3, 4), nn.Linear(16, 48), nn.Parameter(torch.ones(2, 1, 1))
        self.mix, self.head = nn.Conv2d(16, 16, 3, padding=1, groups=16), classifier(16)

    def forward(self, x):
        x = self.stem(x)
        n, c, h, w = x.shape
        q, k, v = self.qkv(x.flatten(2).transpose(1, 2)).reshape(n, h * w, 3, 2, c // 2).permute(2, 0, 3, 4, 1)
        shares = (F.normalize(q, dim=-1) @ F.normalize(k, dim=-1).transpose(-2, -1) * self.temperature).softmax(-1)
        return self.head(x + self.mix((shares @ v).reshape(n, c, h, w)))


@architecture(name="maxvit")
class MaxVit(nn.Module):
    """Attention in blocks, and on a grid that is spread over the whole map (Tu 2022)."""

    def __init__(self):
        super().__init__()
        self.stem, self.gate, self.block, self.grid = conv(3, 16, 3, 4), Gate(16), Block(16), Block(16)
        self.head = classifier(16)

    def forward(self, x):
        x = self.gate(self.stem(x))
        n, c, h, w = x.shape
        x = x.view(n, c, h // 4, 4, w // 4, 4).permute(0, 2, 4, 3, 5, 1).reshape(-1, 16, c)
        x = self.block(x).view(n, h // 4, w // 4, 4, 4, c).permute(0, 3, 4, 1, 2, 5)
        x = self.grid(x.reshape(-1, h * w // 16, c)).view(n, 4, 4, h // 4, w // 4, c)
        return self.head(x.permute(0, 5, 3, 1, 4, 2).reshape(n, c, h, w))


@architecture(name="mobilevit_v2")
class MobileVitV2(nn.Module):
    """Separable attention: one context vector (Mehta 2022), over pixels that unfold and fold."""

    def __init__(self):
        super().__init__()
        self.stem, self.qkv, self.out, self.head = (
            conv(3, 16, 3, 4),
            nn.Conv2d(16, 33, 1),
            nn.Conv2d(16, 16, 1),
            classifier(16),
        )
        self.norm = nn.GroupNorm(1, 16)

    def forward(self, x):
        x = self.stem(x)
        n, c, h, w = x.shape
        y = F.unfold(self.norm(x), 2, stride=2).reshape(n, c, 4, -1)
        q, k, v = self.qkv(y).split([1, 16, 16], 1)
        context = (k * q.softmax(-1)).sum(-1, keepdim=True)
        y = self.out(v.relu() * context).reshape(n, c * 4, -1)
        return self.head(x + F.fold(y, (h, w), 2, stride=2))


@architecture(name="segformer")
class SegFormer(nn.Module):
    """Attention with fewer keys, a convolution between the layers, and a decoder of single pixels (Xie 2021)."""

    def __init__(self):
        super().__init__()
        self.a, self.b = conv(3, 16, 7, 4), conv(16, 16, 3, 2)
        self.attention, self.reduce, self.norm = Attention(16), nn.Conv2d(16, 16, 2, 2), nn.LayerNorm(16)
        self.up, self.mid, self.down = nn.Linear(16, 32), nn.Conv2d(32, 32, 3, 1, 1, groups=32), nn.Linear(32, 16)
        self.out = nn.Conv2d(32, 3, 1)

    def stage(self, x):
        n, c, h, w = x.shape
        tokens = self.norm(x.flatten(2).transpose(1, 2))
        x = tokens + self.attention(tokens, self.reduce(x).flatten(2).transpose(1, 2))
        y = self.mid(self.up(x).transpose(1, 2).view(n, 32, h, w)).flatten(2).transpose(1, 2)
        return (x + self.down(F.gelu(y))).transpose(1, 2).reshape(n, c, h, w)

    def forward(self, x):
        a = self.stage(self.a(x))
        b = F.interpolate(self.stage(self.b(a)), size=a.shape[2:], mode="bilinear", align_corners=False)
        return self.out(torch.cat([a, b], 1)).argmax(1), self.out(torch.cat([b, a], 1))


@architecture((1, 40, 24), name="conformer")
class Conformer(nn.Module):
    """Speech (Gulati 2020): half steps, relative places, gated convolutions along the time."""

    def __init__(self):
        super().__init__()
        self.inn, self.ff, self.attention = nn.Linear(24, 16), nn.Linear(16, 16), Attention(16)
        self.first, self.depth = nn.Conv1d(16, 32, 1), nn.Conv1d(16, 16, 7, padding=3, groups=16)
        self.batch, self.last, self.norm = nn.BatchNorm1d(16), nn.Conv1d(16, 16, 1), nn.LayerNorm(16)
        self.out = nn.Linear(16, 6)

    def forward(self, x):
        x = self.inn(x)
        x = x + F.silu(self.ff(self.norm(x))) * 0.5
        x = x + self.attention(self.norm(x))
        y = F.glu(self.first(self.norm(x).transpose(1, 2)), 1)
        x = x + self.last(F.silu(self.batch(self.depth(y)))).transpose(1, 2)
        return self.out(self.norm(x)).log_softmax(-1)


@architecture((1, 8, 30), name="mamba")
class Mamba(nn.Module):
    """A state that is scanned, with steps that the input chooses (Gu 2023)."""

    def __init__(self):
        super().__init__()
        self.inn, self.mix = nn.Linear(8, 32), nn.Conv1d(16, 16, 4, groups=16, padding=3)
        self.parts, self.step = nn.Linear(16, 8 + 1), nn.Linear(1, 16)
        self.a, self.out = nn.Parameter(torch.rand(16, 4)), nn.Linear(16, 8)

    def forward(self, x):
        x, gate = self.inn(x.transpose(1, 2)).chunk(2, -1)
        x = F.silu(self.mix(x.transpose(1, 2))[..., :30]).transpose(1, 2)
        b, c, step = self.parts(x).split([4, 4, 1], -1)
        step = F.softplus(self.step(step))
        state, ys = x.new_zeros(x.shape[0], 16, 4), []
        for t in range(30):
            state = torch.exp(-step[:, t, :, None] * self.a) * state + (step * x)[:, t, :, None] * b[:, t, None]
            ys.append((state * c[:, t, None]).sum(-1))
        return self.out(torch.stack(ys, 1) * F.silu(gate))


@architecture((1, 1, 400), name="mel_spectrogram")
class MelSpectrogram(nn.Module):
    """A front end of speech: frames, a Fourier transform by convolutions, mel bands, their logarithm."""

    def __init__(self):
        super().__init__()
        angle = 2 * torch.pi * torch.outer(torch.arange(33.0), torch.arange(64.0)) / 64
        window = torch.hann_window(64)
        self.register_buffer("waves", torch.cat([angle.cos(), angle.sin()])[:, None] * window)
        self.register_buffer("bands", torch.rand(8, 33))
        self.net = nn.Sequential(
            nn.Conv1d(8, 16, 3, 2), nn.ReLU(), nn.AdaptiveAvgPool1d(1), nn.Flatten(), nn.Linear(16, 4)
        )

    def forward(self, x):
        x = F.pad(x, (32, 32), mode="reflect")
        real, imaginary = F.conv1d(x, self.waves, stride=16).chunk(2, 1)
        return self.net(torch.log(self.bands @ (real**2 + imaginary**2) + 1e-6))


# --- maps to maps


@architecture(name="segnet")
class SegNet(nn.Module):
    """The decoder puts maxima back where they were (Badrinarayanan 2015): by comparison, as exports have it."""

    def __init__(self):
        super().__init__()
        self.a, self.b, self.out = conv(3, 8), conv(8, 8), nn.Conv2d(8, 2, 3, padding=1)

    def forward(self, x):
        a = self.a(x)
        largest = F.max_pool2d(a, 2)
        spread = F.interpolate(largest, scale_factor=2.0, mode="nearest")
        up = F.interpolate(self.b(largest), scale_factor=2.0, mode="nearest")
        return self.out(torch.where(a == spread, up, torch.zeros_like(up)))


@architecture(name="hrnet")
class HrNet(nn.Module):
    """Several resolutions side by side, exchanged (Sun 2019)."""

    def __init__(self):
        super().__init__()
        self.stem, self.halve = conv(3, 8, 3, 2), conv(8, 16, 3, 2)
        self.a, self.b = conv(8, 8), conv(16, 16)
        self.up, self.down = conv(16, 8, 1, act=None), conv(8, 16, 3, 2, act=None)
        self.out = nn.Conv2d(24, 4, 1)

    def forward(self, x):
        a = self.stem(x)
        b = self.b(self.halve(a))
        a = self.a(a)
        up = F.interpolate(self.up(b), size=a.shape[2:], mode="bilinear", align_corners=False)
        a, b = F.relu(a + up), F.relu(b + self.down(a))
        return self.out(torch.cat([a, F.interpolate(b, size=a.shape[2:], mode="bilinear", align_corners=False)], 1))


@architecture(name="lraspp")
class LrAspp(nn.Module):
    """MobileNetV3's head: a gate of the whole map at the coarse level (Howard 2019)."""

    def __init__(self):
        super().__init__()
        self.low, self.high = conv(3, 8, 3, 4, act=nn.Hardswish), conv(8, 16, 3, 2, act=nn.Hardswish)
        self.scale = nn.Sequential(nn.AdaptiveAvgPool2d(1), nn.Conv2d(16, 16, 1, bias=False), nn.Sigmoid())
        self.cbr, self.out_low, self.out_high = conv(16, 16, 1), nn.Conv2d(8, 3, 1), nn.Conv2d(16, 3, 1)

    def forward(self, x):
        low = self.low(x)
        high = self.high(low)
        high = F.interpolate(
            self.cbr(high) * self.scale(high), size=low.shape[2:], mode="bilinear", align_corners=False
        )
        y = self.out_low(low) + self.out_high(high)
        return F.interpolate(y, size=x.shape[2:], mode="bilinear", align_corners=False)


@architecture((1, 3, 32, 32), (1, 3, 32, 32), name="raft")
class Raft(nn.Module):
    """Optical flow (Teed 2020): all pairs, looked up around where the flow points, refined by a gated unit."""

    def __init__(self):
        super().__init__()
        self.features, self.context = conv(3, 8, 3, 4), conv(3, 16, 3, 4)
        self.z, self.r, self.q = (nn.Conv2d(16 + 2 + 9, 16, 3, padding=1) for _ in range(3))
        self.flow = nn.Conv2d(16, 2, 3, padding=1)

    def forward(self, a, b):
        a, b, h = self.features(a), self.features(b), torch.tanh(self.context(a))
        n, c, height, width = a.shape
        pairs = (a.flatten(2).transpose(1, 2) @ b.flatten(2) / c**0.5).view(n * height * width, 1, height, width)
        rows, columns = torch.meshgrid(torch.arange(height), torch.arange(width), indexing="ij")
        start = torch.stack([columns, rows])[None].float()
        around = torch.stack(torch.meshgrid(torch.arange(-1.0, 2), torch.arange(-1.0, 2), indexing="ij"), -1)
        places = start
        for _ in range(2):
            centre = places.permute(0, 2, 3, 1).reshape(-1, 1, 1, 2) + around
            grid = 2 * centre / torch.tensor([width - 1.0, height - 1.0]) - 1
            seen = F.grid_sample(pairs, grid, align_corners=True).view(n, height, width, 9).permute(0, 3, 1, 2)
            x = torch.cat([seen, places - start], 1)
            z, r = torch.sigmoid(self.z(torch.cat([h, x], 1))), torch.sigmoid(self.r(torch.cat([h, x], 1)))
            h = (1 - z) * h + z * torch.tanh(self.q(torch.cat([r * h, x], 1)))
            places = places + self.flow(h)
        return places - start


@architecture((1, 1, 8, 16, 16), name="unet_3d")
class Unet3d(nn.Module):
    """Volumes (Cicek 2016)."""

    def __init__(self):
        super().__init__()
        self.a, self.b = nn.Conv3d(1, 4, 3, padding=1), nn.Conv3d(4, 8, 3, padding=1)
        self.norm, self.up, self.out = nn.BatchNorm3d(4), nn.ConvTranspose3d(8, 4, 2, 2), nn.Conv3d(8, 2, 1)

    def forward(self, x):
        a = F.leaky_relu(self.norm(self.a(x)), 0.01)
        return self.out(torch.cat([a, self.up(F.relu(self.b(F.max_pool3d(a, 2))))], 1))


@architecture((1, 3, 4, 16, 16), name="r2plus1d")
class R2Plus1d(nn.Module):
    """Films: a convolution over the image, then one over the time (Tran 2018)."""

    def __init__(self):
        super().__init__()
        self.space, self.time = (
            nn.Conv3d(3, 8, (1, 3, 3), (1, 2, 2), (0, 1, 1)),
            nn.Conv3d(8, 8, (3, 1, 1), padding=(1, 0, 0)),
        )
        self.norm, self.pool, self.out = nn.BatchNorm3d(8), nn.AdaptiveAvgPool3d(1), nn.Linear(8, 5)

    def forward(self, x):
        x = self.time(F.relu(self.norm(self.space(x))))
        return self.out(self.pool(F.avg_pool3d(x, (1, 3, 3), (1, 2, 2), (0, 1, 1))).flatten(1))


def make(name: str, seed: int = 0) -> tuple[nn.Module, Shapes]:
    """The module, with random weights and BatchNorm statistics, in eval mode; the shapes of its inputs."""
    build, shapes = ARCHITECTURES[name]
    torch.manual_seed(seed)
    module = build()
    for layer in module.modules():
        if isinstance(layer, nn.BatchNorm1d | nn.BatchNorm2d | nn.BatchNorm3d):
            nn.init.uniform_(layer.running_mean, -0.5, 0.5)
            nn.init.uniform_(layer.running_var, 0.5, 2)
            nn.init.uniform_(layer.weight, 0.5, 1.5)
    return module.eval(), shapes


def takes_tokens(name: str) -> bool:
    """Whether the inputs are numbers of tokens."""
    return name in ("bert", "gpt", "text_cnn")
