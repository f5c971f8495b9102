"""Peers' one-dimensional networks in PyTorch, (b, 1, x) -> (b, 1, x) on a periodic grid.

`resnet`, `fno`, `dilated`, `unet` and `transformer` are ours, written plainly; `neuraloperator` is
that library's FNO; `textbook_unet` is the original U-Net in PDEBench's size.
"""

from functools import partial

import numpy as np
import torch
from neuralop.models import FNO as LibraryFNO
from torch import nn
from torch.nn.functional import gelu

GELU = partial(gelu, approximate="tanh")
"""The form that our networks use, and in PyTorch no slower than the exact one."""


def conv(c_in, c_out, size=3, dilation=1):
    """A convolution that wraps around and keeps the grid."""
    reach = dilation * (size // 2)
    return nn.Conv1d(c_in, c_out, size, padding=reach, dilation=dilation, padding_mode="circular")


class ResNet(nn.Module):
    """Our dilated residual network without patches and modulation."""

    def __init__(self, width, blocks, dilations):
        super().__init__()
        self.lift, self.head = conv(1, width, 5), conv(width, 1, 5)
        self.blocks = nn.ModuleList(
            nn.ModuleList(conv(width, width, 3, d) for d in dilations) for _ in range(blocks)
        )

    def forward(self, u):
        """(b, 1, x) -> (b, 1, x)."""
        x = self.lift(u)
        for block in self.blocks:
            h = x
            for layer in block:
                h = layer(GELU(h))
            x = x + h
        return self.head(GELU(x))


class FNO(nn.Module):
    """Our Fourier neural operator without modulation. Li et al. (2021)."""

    def __init__(self, width, modes, layers):
        super().__init__()
        self.modes = modes
        self.lift = nn.Conv1d(1, width, 1)
        self.local = nn.ModuleList(nn.Conv1d(width, width, 1) for _ in range(layers))
        self.spectral = nn.ParameterList(
            torch.randn(width, width, modes, dtype=torch.cfloat) / width**0.5 for _ in range(layers)
        )
        self.widen, self.head = nn.Conv1d(width, 2 * width, 1), nn.Conv1d(2 * width, 1, 1)

    def forward(self, u):
        """(b, 1, x) -> (b, 1, x)."""
        x = self.lift(u)
        for local, weight in zip(self.local, self.spectral, strict=True):
            low = torch.fft.rfft(x)[..., : self.modes]
            mixed = torch.fft.irfft(torch.einsum("bik,iok->bok", low, weight), n=x.shape[-1])
            x = x + GELU(mixed + local(x))
        return self.head(GELU(self.widen(x)))


class Dilated(nn.Module):
    """Our dilated residual network with normalisation, without modulation."""

    def __init__(self, width, blocks, dilations):
        super().__init__()
        self.lift, self.head = nn.Conv1d(1, width, 1), nn.Conv1d(width, 1, 1)
        self.blocks = nn.ModuleList(
            nn.ModuleList(
                nn.Sequential(nn.GroupNorm(1, width), conv(width, width, 3, d)) for d in dilations
            )
            for _ in range(blocks)
        )

    def forward(self, u):
        """(b, 1, x) -> (b, 1, x)."""
        x = self.lift(u)
        for block in self.blocks:
            h = x
            for layer in block:
                h = GELU(layer(h))
            x = x + h
        return self.head(x)


class ResBlock(nn.Module):
    """Two convolutions after activations, and a shortcut."""

    def __init__(self, c_in, c_out):
        super().__init__()
        self.first, self.last = conv(c_in, c_out), conv(c_out, c_out)
        self.shortcut = nn.Conv1d(c_in, c_out, 1) if c_in != c_out else nn.Identity()

    def forward(self, x):
        """(b, c_in, x) -> (b, c_out, x)."""
        return self.shortcut(x) + self.last(GELU(self.first(GELU(x))))


class UNet(nn.Module):
    """Our U-Net with one block a grid each way, without patches and modulation."""

    def __init__(self, width, channel_mult):
        super().__init__()
        widths = [width * mult for mult in channel_mult]
        pairs = list(zip(widths, widths[1:], strict=False))
        self.lift, self.head = conv(1, width, 5), conv(width, 1, 5)
        self.down = nn.ModuleList([ResBlock(width, width), *(ResBlock(a, b) for a, b in pairs)])
        self.up = nn.ModuleList(ResBlock(a + b, a) for a, b in reversed(pairs))
        self.register_buffer("blur", torch.tensor([1.0, 3.0, 3.0, 1.0]) / 8)

    def forward(self, u):
        """(b, 1, x) -> (b, 1, x); x must be a multiple of 2^(grids - 1)."""
        x, skips = self.lift(u), []
        for i, block in enumerate(self.down):
            if i:
                kernel = self.blur.expand(x.shape[1], 1, 4)
                x = nn.functional.pad(x, (1, 1), mode="circular")
                x = nn.functional.conv1d(x, kernel, stride=2, groups=x.shape[1])
            x = block(x)
            skips.append(x)
        for block, skip in zip(self.up, reversed(skips[:-1]), strict=True):
            wide = nn.functional.pad(x, (1, 1), mode="circular")
            pair = [0.75 * x + 0.25 * wide[..., :-2], 0.75 * x + 0.25 * wide[..., 2:]]
            fine = torch.stack(pair, -1).flatten(-2)
            x = block(torch.cat([fine, skip], 1))
        return self.head(GELU(x))


class Transformer(nn.Module):
    """Our transformer with rotary positions on the circle, without modulation."""

    def __init__(self, width, layers, heads, mlp_ratio, patch):
        super().__init__()
        self.heads, self.layers, self.patch = heads, layers, patch
        self.lift = nn.Conv1d(
            1, width, 5 * patch, patch, padding=2 * patch, padding_mode="circular"
        )
        self.norms = nn.ModuleList(nn.LayerNorm(width) for _ in range(2 * layers + 1))
        self.qkv = nn.ModuleList(nn.Linear(width, 3 * width) for _ in range(layers))
        self.out = nn.ModuleList(nn.Linear(width, width) for _ in range(layers))
        self.widen = nn.ModuleList(nn.Linear(width, mlp_ratio * width) for _ in range(layers))
        self.narrow = nn.ModuleList(nn.Linear(mlp_ratio * width, width) for _ in range(layers))
        self.head = conv(width, patch, 5)

    def forward(self, u):
        """(b, 1, x) -> (b, 1, x); x must be a multiple of the patch."""
        x = self.lift(u).transpose(1, 2)
        cos, sin = self.angles(x.shape[1], x.shape[2] // self.heads // 2)
        for i in range(self.layers):
            h = self.qkv[i](self.norms[2 * i](x))
            h = h.unflatten(-1, (3, self.heads, -1)).permute(2, 0, 3, 1, 4)
            q, k = (rotate(part, cos, sin) for part in h[:2])
            h = nn.functional.scaled_dot_product_attention(q, k, h[2])
            x = x + self.out[i](h.transpose(1, 2).flatten(2))
            x = x + self.narrow[i](GELU(self.widen[i](self.norms[2 * i + 1](x))))
        y = self.head(self.norms[-1](x).transpose(1, 2))
        return y.transpose(1, 2).flatten(1)[:, None]

    @staticmethod
    def angles(n, half):
        """Cosines and sines (n, half) of integer wavenumbers."""
        waves = np.round(np.geomspace(1, max(1, n // 2), half))
        angles = torch.tensor(2 * np.pi / n * np.outer(np.arange(n), waves), dtype=torch.float32)
        return angles.cos(), angles.sin()


def rotate(x, cos, sin):
    """Rotate pairs of channels: (b, heads, n, c) -> like x."""
    a, b = x.chunk(2, -1)
    return torch.cat([a * cos - b * sin, a * sin + b * cos], -1)


class TextbookUNet(nn.Module):
    """U-Net of four levels, batch normalisation and tanh as in PDEBench. Ronneberger (2015)."""

    def __init__(self, features, levels=4):
        super().__init__()
        widths = [features * 2**i for i in range(levels + 1)]
        self.down = nn.ModuleList(
            _pair(a, b) for a, b in zip([1, *widths[:-2]], widths[:-1], strict=True)
        )
        self.bottom = _pair(widths[-2], widths[-1])
        rising = list(zip(widths[:0:-1], widths[-2::-1], strict=True))
        self.widen = nn.ModuleList(nn.ConvTranspose1d(a, b, 2, stride=2) for a, b in rising)
        self.up = nn.ModuleList(_pair(2 * b, b) for _, b in rising)
        self.head = nn.Conv1d(features, 1, 1)

    def forward(self, u):
        """(b, 1, x) -> (b, 1, x); x must be a multiple of 2^levels."""
        x, kept = u, []
        for pair in self.down:
            x = pair(x)
            kept.append(x)
            x = nn.functional.max_pool1d(x, 2)
        x = self.bottom(x)
        for widen, pair, skip in zip(self.widen, self.up, reversed(kept), strict=True):
            x = pair(torch.cat([widen(x), skip], 1))
        return self.head(x)


def _pair(c_in, c_out):
    parts = []
    for c in (c_in, c_out):
        parts += [conv(c, c_out), nn.BatchNorm1d(c_out), nn.Tanh()]
    return nn.Sequential(*parts)


def neuraloperator(width, modes, layers, **options):
    """The library's FNO; `modes` counts the real transform's coefficients, as ours does."""
    return LibraryFNO(
        n_modes=(2 * modes - 2,),
        in_channels=1,
        out_channels=1,
        hidden_channels=width,
        n_layers=layers,
        **options,
    )


def neuraloperator_plain(width, modes, layers):
    """The library's FNO with what our own has not switched off; one lifting layer, as ours."""
    return neuraloperator(
        width,
        modes,
        layers,
        lifting_channel_ratio=0,
        positional_embedding=None,
        use_channel_mlp=False,
    )


NETWORKS = {
    "dilated": Dilated,
    "fno": FNO,
    "neuraloperator": neuraloperator,
    "neuraloperator_plain": neuraloperator_plain,
    "resnet": ResNet,
    "textbook_unet": TextbookUNet,
    "transformer": Transformer,
    "unet": UNet,
}


def count(network):
    """Number of real scalars among the parameters."""
    return sum(p.numel() * (2 if p.is_complex() else 1) for p in network.parameters())
