"""Peers' one-dimensional networks in PyTorch, (b, 1, x) -> (b, 1, x) on a periodic grid.

`resnet` and `fno` are ours, written plainly; `neuraloperator` is that library's FNO; `unet` is the
textbook U-Net in PDEBench's size.
"""

from functools import partial

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


class UNet(nn.Module):
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
    "fno": FNO,
    "neuraloperator": neuraloperator,
    "neuraloperator_plain": neuraloperator_plain,
    "resnet": ResNet,
    "unet": UNet,
}


def count(network):
    """Number of real scalars among the parameters."""
    return sum(p.numel() * (2 if p.is_complex() else 1) for p in network.parameters())
