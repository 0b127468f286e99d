"""Networks of the macro spaces as PyTorch modules, and what one run of them computes and stores.

They are written from the papers and their code, apart from `archgym.simulators.transformer`, and run on the
meta device: shapes and operators without numbers. Normalisations of convolutions are parameters only, since a
deployed network has them folded.
"""

import weakref

import torch
from torch import nn
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves
from torch.utils.flop_counter import FlopCounterMode


class LiveBytes(TorchDispatchMode):
    """The most bytes of storages that operators have made and Python still refers to."""

    def __init__(self):
        super().__init__()
        self.references, self.sizes, self.peak = {}, {}, 0

    def keep(self, tensor):
        storage = tensor.untyped_storage()
        key = storage._cdata
        self.sizes[key] = storage.nbytes()
        self.references[key] = self.references.get(key, 0) + 1
        weakref.finalize(tensor, self.drop, key)
        self.peak = max(self.peak, sum(self.sizes.values()))

    def drop(self, key):
        self.references[key] -= 1
        if not self.references[key]:
            del self.references[key], self.sizes[key]

    def __torch_dispatch__(self, function, types, args=(), kwargs=None):
        given = {
            t.untyped_storage()._cdata for t in tree_leaves((args, kwargs)) if isinstance(t, torch.Tensor)
        }
        results = function(*args, **(kwargs or {}))
        for tensor in tree_leaves(results):
            if isinstance(tensor, torch.Tensor):
                key = tensor.untyped_storage()._cdata
                if key not in given or key in self.sizes:  # not a view of a weight
                    self.keep(tensor)
        return results


def measured(build):
    """Parameters, multiply-adds and peak bytes of activations of a network, in fp32."""
    with torch.no_grad(), torch.device("meta"):
        net = build()
        with FlopCounterMode(display=False) as flops, LiveBytes() as live:
            net([torch.empty(1, 3, 224, 224)])
    return sum(p.numel() for p in net.parameters()), flops.get_total_flops() // 2, live.peak


def through(layers, box):
    """Layers applied one after the other to the only tensor of a box, of which nothing else is kept."""
    x = box.pop()
    for layer in layers:
        x = layer(x)
    return x


def dense(first, last, rank=None):
    """A linear layer, or the three that replace it."""
    if rank is None:
        return nn.ModuleList([nn.Linear(first, last)])
    return nn.ModuleList(
        [nn.Linear(first, rank, bias=False), nn.Linear(rank, rank, bias=False), nn.Linear(rank, last)]
    )


def attend(q, k, v, windows):
    """Softmax attention of [windows * n, heads, head_dim] within each window: [queries, heads * head_dim]."""
    q, k, v = (t.unflatten(0, (windows, -1)).permute(0, 2, 1, 3) for t in (q, k, v))
    scores = torch.empty(*q.shape[:3], k.shape[2])
    for window in range(windows):
        torch.bmm(q[window], k[window].mT, out=scores[window])
    scores.sub_(scores.amax(-1, keepdim=True)).exp_()
    scores.div_(scores.sum(-1, keepdim=True))
    mean = torch.empty(q.shape)
    for window in range(windows):
        torch.bmm(scores[window], v[window], out=mean[window])
    return mean


def rows(box):
    """[windows, heads, n, head_dim] -> [windows * n, heads * head_dim], a copy."""
    return box.pop().permute(0, 2, 1, 3).flatten(2).flatten(0, 1)


class Perceptron(nn.Module):
    def __init__(self, width, hidden, rank):
        super().__init__()
        self.norm = nn.LayerNorm(width)
        self.up, self.down = dense(width, hidden, rank), dense(hidden, width, rank)

    def forward(self, x):
        inner = [through(self.up, [self.norm(x)])]
        torch._C._nn.gelu_(inner[0])
        x += through(self.down, inner)


class Encoder(nn.Module):
    def __init__(self, width, heads, head_dim, hidden, rank=None, windows=1):
        super().__init__()
        self.heads, self.windows, inner = heads, windows, heads * head_dim
        self.norm = nn.LayerNorm(width)
        self.qkv, self.projection = dense(width, 3 * inner, rank), dense(inner, width, rank)
        self.mlp = Perceptron(width, hidden, rank)

    def forward(self, box):
        x = box.pop()
        qkv = through(self.qkv, [self.norm(x)]).unflatten(1, (3, self.heads, -1))
        mean = [attend(*qkv.unbind(1), self.windows)]
        del qkv
        mean = [rows(mean)]
        x += through(self.projection, mean)
        self.mlp(x)
        return x


class PooledEncoder(nn.Module):
    """Hiera's block of stride 2. Tokens are in the order in which each four that become one are together."""

    def __init__(self, width, wide, heads, hidden, windows):
        super().__init__()
        self.heads, self.windows = heads, windows
        self.norm = nn.LayerNorm(width)
        self.residual, self.qkv = nn.Linear(width, wide), nn.Linear(width, 3 * wide)
        self.projection, self.mlp = nn.Linear(wide, wide), Perceptron(wide, hidden, None)

    def forward(self, box):
        normed = self.norm(box.pop())
        x = self.residual(normed).unflatten(0, (-1, 4)).amax(1)
        qkv = self.qkv(normed)
        del normed
        qkv = qkv.unflatten(1, (3, self.heads, -1))
        q = qkv[:, 0].unflatten(0, (-1, 4)).amax(1)
        mean = [attend(q, qkv[:, 1], qkv[:, 2], self.windows)]
        del q, qkv
        mean = [rows(mean)]
        x += through([self.projection], mean)
        self.mlp(x)
        return x


class Head(nn.Module):
    def __init__(self, width, normalized):
        super().__init__()
        self.norm, self.linear, self.normalized = nn.LayerNorm(width), nn.Linear(width, 1000), normalized

    def forward(self, box):
        if self.normalized:
            return self.linear(self.norm(box.pop())[1:].mean(0))
        return self.linear(self.norm(box.pop().mean(0)))


class Patches(nn.Module):
    def __init__(self, width, kernel, stride, padding, tokens, class_token):
        super().__init__()
        self.first = nn.Parameter(torch.empty(1, width)) if class_token else None
        self.positions = nn.Parameter(torch.empty(tokens, width))
        self.conv = nn.Conv2d(3, width, kernel, stride, padding)

    def forward(self, box):
        patches = self.conv(box[0])[0].flatten(1).T
        box.pop()
        if self.first is not None:
            patches = torch.cat([self.first, patches])
        patches += self.positions
        return patches


class Stages(nn.Module):
    """Parts one after the other; each takes the last one's result out of a box."""

    def __init__(self, parts):
        super().__init__()
        self.parts = nn.ModuleList(parts)

    def forward(self, box):
        for part in self.parts:
            box = [part(box)]
        return box.pop()


def mcuformer(design):
    width, tokens = design["width"], (224 // design["patch_size"]) ** 2 + 1
    ratio = design["rank_ratio"]
    rank = None if ratio == 1 else int(width * ratio)
    blocks = [
        Encoder(width, design[f"heads{i}"], 64, int(width * design[f"mlp_ratio{i}"]), rank)
        for i in range(1, design["depth"] + 1)
    ]
    patch = design["patch_size"]
    return Stages([Patches(width, patch, patch, 0, tokens, True), *blocks, Head(width, True)])


def turbovit(design):
    parts, side, windows = [Patches(design["width"], 7, 4, 3, 56**2, False)], 56, 1
    for stage in range(1, 5):
        width, heads = design["width"] * 2 ** (stage - 1), design["heads"] * 2 ** (stage - 1)
        hidden = design["mlp_ratio"] * width
        if stage > 1:
            parts.append(PooledEncoder(width // 2, width, heads, hidden, windows))
            side //= 2
        unit = design.get(f"unit{stage}", 2) if design.get(f"attention{stage}") == "mask_unit" else side
        windows = (side // unit) ** 2
        count = design[f"depth{stage}"] - (stage > 1)
        parts += [Encoder(width, heads, width // heads, hidden, windows=windows) for _ in range(count)]
    return Stages([*parts, Head(8 * design["width"], False)])


class Convolution(nn.Module):
    def __init__(self, channels, filters, kernel, stride=1):
        super().__init__()
        self.conv = nn.Conv2d(channels, filters, kernel, stride, kernel // 2, bias=False)
        self.norm = nn.BatchNorm2d(filters)

    def forward(self, box):
        y = self.conv(box[0])
        box.pop()
        return y.relu_()


class Bottleneck(nn.Module):
    def __init__(self, channels, kernel, expansion):
        super().__init__()
        self.up = Convolution(channels, expansion * channels, kernel)
        self.down = Convolution(expansion * channels, channels, 1)

    def forward(self, box):
        x = box.pop()
        inner = [self.up([x])]
        y = self.down(inner)
        y += x
        return y


class AsTokens(nn.Module):
    def forward(self, box):
        return box.pop()[0].flatten(1).T


class AsImage(nn.Module):
    def forward(self, box):
        return box.pop().T.unflatten(1, (-1, self.side))[None]

    def __init__(self, side):
        super().__init__()
        self.side = side


def ascan(design):
    parts, before = [Convolution(3, 64, 3, 2), Convolution(64, 64, 3)], 64
    for stage, side in enumerate((56, 28, 14, 7), start=1):
        width, kind = design[f"width{stage}"], design[f"kind{stage}"]
        parts.append(Convolution(before, width, 3, 2))
        if kind != "attention":
            for _ in range(design[f"convolutions{stage}"]):
                parts.append(Bottleneck(width, design[f"kernel{stage}"], design[f"expansion{stage}"]))
        if kind != "convolution":
            dim, hidden = design[f"head_dim{stage}"], design[f"mlp_ratio{stage}"] * width
            blocks = [Encoder(width, width // dim, dim, hidden) for _ in range(design[f"attentions{stage}"])]
            parts += [AsTokens(), *blocks, AsImage(side)]
        before = width
    return Stages([*parts, AsTokens(), Head(before, False)])


BUILD = {"mcuformer": mcuformer, "mcuformer_small": mcuformer, "turbovit": turbovit, "ascan": ascan}
