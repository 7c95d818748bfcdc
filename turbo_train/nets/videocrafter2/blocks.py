"""Of what is VideoCrafter2's UNet made? Residual blocks with temporal convolution, spatial and temporal transformers.

After VideoCrafter2 (arXiv 2401.09047) and latent diffusion (arXiv 2112.10752). Attribute names are the published
checkpoint's, the misspelt `temopral_conv` included. Shapes: B clips, T frames, N = B T, C channels, H W height and
width, S positions of one frame, L text tokens, D context width, E embedding width.
"""

from __future__ import annotations

import torch.nn.functional as F
from torch import Tensor, nn

GROUPS = 32
RESIDUAL_EPS = 1e-5
TRANSFORMER_EPS = 1e-6
TEMPORAL_DROPOUT = 0.1  # before the 2nd, 3rd and 4th temporal convolution


def zero_initialised(module: nn.Module) -> nn.Module:
    """The module with zero parameters: a residual branch that starts as the identity."""
    for parameter in module.parameters():
        nn.init.zeros_(parameter)
    return module


class TimeConv(nn.Conv3d):
    """A convolution over time alone, k x 1 x 1, computed in two dimensions: positions of a frame stand in one row.

    On a CPU that alone is 1.4 to 2.5 times as fast (reports/LOG.md). It has the arguments of Conv3d because LoRA makes
    its own of this class.
    """

    def forward(self, x_BCTHW: Tensor) -> Tensor:
        """(B, C, T, H, W) to (B, C', T, H, W)."""
        y = F.conv2d(x_BCTHW.flatten(3), self.weight[..., 0], self.bias, padding=(self.kernel_size[0] // 2, 0))
        out: Tensor = y.unflatten(3, x_BCTHW.shape[3:])
        return out


class TemporalConv(nn.Module):
    """Four convolutions over time, added to their input. GroupNorm sees all frames of a clip together."""

    def __init__(self, channels: int) -> None:
        super().__init__()

        def stage(dropout: bool, last: bool = False) -> nn.Sequential:
            conv = TimeConv(channels, channels, (3, 1, 1), padding=(1, 0, 0))
            layers = [nn.GroupNorm(GROUPS, channels, RESIDUAL_EPS), nn.SiLU()]
            layers += [nn.Dropout(TEMPORAL_DROPOUT)] if dropout else []
            return nn.Sequential(*layers, zero_initialised(conv) if last else conv)

        self.conv1 = stage(False)
        self.conv2 = stage(True)
        self.conv3 = stage(True)
        self.conv4 = stage(True, last=True)

    def forward(self, h_NCHW: Tensor, frames: int) -> Tensor:
        """(N, C, H, W) to the same shape."""
        x_BCTHW = h_NCHW.unflatten(0, (-1, frames)).transpose(1, 2)
        y_BCTHW = self.conv4(self.conv3(self.conv2(self.conv1(x_BCTHW))))
        out: Tensor = h_NCHW + y_BCTHW.transpose(1, 2).flatten(0, 1)
        return out


class ResBlock(nn.Module):
    """Two 3x3 convolutions with the embedding added between them, then the temporal convolution."""

    def __init__(self, channels: int, emb_channels: int, out_channels: int) -> None:
        super().__init__()
        self.in_layers = nn.Sequential(
            nn.GroupNorm(GROUPS, channels, RESIDUAL_EPS), nn.SiLU(), nn.Conv2d(channels, out_channels, 3, padding=1)
        )
        self.emb_layers = nn.Sequential(nn.SiLU(), nn.Linear(emb_channels, out_channels))
        self.out_layers = nn.Sequential(
            nn.GroupNorm(GROUPS, out_channels, RESIDUAL_EPS),
            nn.SiLU(),
            nn.Dropout(0.0),
            zero_initialised(nn.Conv2d(out_channels, out_channels, 3, padding=1)),
        )
        self.skip_connection = nn.Identity() if channels == out_channels else nn.Conv2d(channels, out_channels, 1)
        self.temopral_conv = TemporalConv(out_channels)

    def forward(self, h_NCHW: Tensor, emb_BE: Tensor, frames: int) -> Tensor:
        """(N, C, H, W) and (B, E) to (N, C', H, W)."""
        emb_NC = self.emb_layers(emb_BE).repeat_interleave(frames, dim=0)
        x = self.in_layers(h_NCHW) + emb_NC[:, :, None, None]
        out: Tensor = self.temopral_conv(self.skip_connection(h_NCHW) + self.out_layers(x), frames)
        return out


class Attention(nn.Module):
    """Multi-head attention; keys and values come from the context, or from the input itself."""

    def __init__(self, channels: int, context_channels: int, heads: int, head_channels: int) -> None:
        super().__init__()
        inner = heads * head_channels
        self.heads = heads
        self.to_q = nn.Linear(channels, inner, bias=False)
        self.to_k = nn.Linear(context_channels, inner, bias=False)
        self.to_v = nn.Linear(context_channels, inner, bias=False)
        self.to_out = nn.Sequential(nn.Linear(inner, channels), nn.Dropout(0.0))

    def forward(self, x_BSC: Tensor, context_BLD: Tensor | None = None) -> Tensor:
        """(B, S, C) to the same shape. The context may have fewer rows: each then serves as many rows of x."""
        context = x_BSC if context_BLD is None else context_BLD
        q = self.to_q(x_BSC)
        if len(context) != len(q):  # one context for all frames of a clip: its queries stand in one long row
            q = q.view(len(context), -1, q.shape[-1])
        q, k, v = (self._heads(part) for part in (q, self.to_k(context), self.to_v(context)))
        y = F.scaled_dot_product_attention(q, k, v).transpose(1, 2).reshape(*x_BSC.shape[:2], -1)
        out: Tensor = self.to_out(y)
        return out

    def _heads(self, x_BSC: Tensor) -> Tensor:
        out: Tensor = x_BSC.unflatten(-1, (self.heads, -1)).transpose(1, 2)
        return out


class GEGLU(nn.Module):
    """value x GELU(gate), both from one projection."""

    def __init__(self, channels: int, inner: int) -> None:
        super().__init__()
        self.proj = nn.Linear(channels, 2 * inner)

    def forward(self, x: Tensor) -> Tensor:
        """(..., C) to (..., inner)."""
        value, gate = self.proj(x).chunk(2, dim=-1)
        out: Tensor = value * F.gelu(gate)
        return out


class FeedForward(nn.Module):
    """GEGLU to four times the width and back."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.net = nn.Sequential(GEGLU(channels, 4 * channels), nn.Dropout(0.0), nn.Linear(4 * channels, channels))

    def forward(self, x: Tensor) -> Tensor:
        """(..., C) to the same shape."""
        out: Tensor = self.net(x)
        return out


class TransformerBlock(nn.Module):
    """x + attn1(x); x + attn2(x, context); x + ff(x), each behind its LayerNorm. Without context attn2 looks at x."""

    def __init__(self, channels: int, context_channels: int | None, heads: int, head_channels: int) -> None:
        super().__init__()
        self.attn1 = Attention(channels, channels, heads, head_channels)
        self.ff = FeedForward(channels)  # registered before attn2: the published LoRA lists follow this order
        self.attn2 = Attention(channels, context_channels or channels, heads, head_channels)
        self.norm1 = nn.LayerNorm(channels)
        self.norm2 = nn.LayerNorm(channels)
        self.norm3 = nn.LayerNorm(channels)

    def forward(self, x_BSC: Tensor, context_BLD: Tensor | None = None) -> Tensor:
        """(B, S, C) to the same shape."""
        x = x_BSC + self.attn1(self.norm1(x_BSC))
        x = x + self.attn2(self.norm2(x), context_BLD)
        out: Tensor = x + self.ff(self.norm3(x))
        return out


class SpatialTransformer(nn.Module):
    """Attention among the positions of one frame, and from them to the text."""

    def __init__(self, channels: int, context_channels: int, head_channels: int) -> None:
        super().__init__()
        self.norm = nn.GroupNorm(GROUPS, channels, TRANSFORMER_EPS)
        self.proj_in = nn.Linear(channels, channels)
        heads = channels // head_channels
        self.transformer_blocks = nn.ModuleList([TransformerBlock(channels, context_channels, heads, head_channels)])
        self.proj_out = zero_initialised(nn.Linear(channels, channels))

    def forward(self, h_NCHW: Tensor, context_BLD: Tensor) -> Tensor:
        """(N, C, H, W) and (B, L, D) to (N, C, H, W)."""
        x_NSC = self.proj_in(self.norm(h_NCHW).flatten(2).transpose(1, 2))
        for block in self.transformer_blocks:
            x_NSC = block(x_NSC, context_BLD)
        out: Tensor = h_NCHW + self.proj_out(x_NSC).transpose(1, 2).unflatten(2, h_NCHW.shape[2:])
        return out


class TemporalTransformer(nn.Module):
    """Attention among the frames at one position; both of its attentions look at the clip itself.

    heads: the initial one has a width of its own and 1x1 convolutions in place of linear projections.
    """

    def __init__(self, channels: int, head_channels: int, heads: int | None = None) -> None:
        super().__init__()
        inner = (heads or channels // head_channels) * head_channels
        self.norm = nn.GroupNorm(GROUPS, channels, TRANSFORMER_EPS)
        self.convolves = heads is not None
        self.proj_in = nn.Conv1d(channels, inner, 1) if self.convolves else nn.Linear(channels, inner)
        self.transformer_blocks = nn.ModuleList([TransformerBlock(inner, None, inner // head_channels, head_channels)])
        out = nn.Conv1d(inner, channels, 1) if self.convolves else nn.Linear(inner, channels)
        self.proj_out = zero_initialised(out)

    def forward(self, h_NCHW: Tensor, frames: int) -> Tensor:
        """(N, C, H, W) to the same shape."""
        _, channels, height, width = h_NCHW.shape
        x_BCTHW = self.norm(h_NCHW.unflatten(0, (-1, frames)).transpose(1, 2))
        x_BSC = self._project(self.proj_in, x_BCTHW.flatten(2).transpose(1, 2))  # before the move: one large product
        x_PTC = x_BSC.unflatten(1, (frames, -1)).transpose(1, 2).flatten(0, 1)  # P: positions of all clips
        for block in self.transformer_blocks:
            x_PTC = block(x_PTC)
        x_PTC = self._project(self.proj_out, x_PTC)
        y = x_PTC.view(-1, height, width, frames, channels).permute(0, 3, 4, 1, 2).reshape(h_NCHW.shape)
        return h_NCHW + y

    def _project(self, layer: nn.Module, x: Tensor) -> Tensor:
        if isinstance(layer, nn.Conv1d):  # kernel 1: the same as a linear layer on the last axis
            return F.linear(x, layer.weight[:, :, 0], layer.bias)
        out: Tensor = layer(x)
        return out


class Downsample(nn.Module):
    """Halves height and width."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.op = nn.Conv2d(channels, channels, 3, stride=2, padding=1)

    def forward(self, h_NCHW: Tensor) -> Tensor:
        """(N, C, H, W) to (N, C, H/2, W/2)."""
        out: Tensor = self.op(h_NCHW)
        return out


class Upsample(nn.Module):
    """Doubles height and width."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.conv = nn.Conv2d(channels, channels, 3, padding=1)

    def forward(self, h_NCHW: Tensor) -> Tensor:
        """(N, C, H, W) to (N, C, 2H, 2W)."""
        out: Tensor = self.conv(F.interpolate(h_NCHW, scale_factor=2, mode="nearest"))
        return out
