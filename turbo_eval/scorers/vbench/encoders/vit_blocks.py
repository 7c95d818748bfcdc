"""How does an image or video tower compute its class token exactly, with no more work than that takes?

    y = norm_1(x);  z = x + out(attention(y));  z + mlp(norm_2(z))        a pre-norm block (Dosovitskiy et al. 2021)
Two shortcuts, each of which changes nothing but the order of sums. Of the last block's output only the class token is
read, so queries, projection and MLP, which are most of its work, are computed for token 0 alone; keys and values
still need every token. And on a CPU matrix products take the faster way (linear.py).
Shape legend: B images or clips, L tokens, D width.
"""

from __future__ import annotations

from typing import Any

from torch import Tensor, nn
from torch.nn import functional as F

from turbo_eval.scorers.vbench.encoders.linear import linear, quicken


class QuickBlock(nn.Module):
    """Takes a block's place with the block's own weights; joint_weight and joint_bias make queries, keys, values.

    last: only the class token is computed.
    """

    def __init__(
        self,
        heads: int,
        norms: tuple[nn.Module, nn.Module],
        joint_weight: nn.Parameter,
        joint_bias: nn.Parameter,
        out: nn.Linear,
        mlp: nn.Module,
        *,
        last: bool,
    ) -> None:
        super().__init__()
        self.heads, self.last = heads, last
        self.norm_1, self.norm_2 = norms
        self.joint_weight, self.joint_bias = joint_weight, joint_bias
        self.out, self.mlp = out, quicken(mlp)

    def forward(self, x_BLD: Tensor, *_: object, **__: object) -> Tensor:
        """(B, L, D) to the same, or to (B, 1, D) of the last block; what else a block is told (masks) is for texts."""
        width = x_BLD.shape[2]
        y_BLD = self.norm_1(x_BLD)
        if self.last:
            x_BLD = x_BLD[:, :1]
            query = linear(y_BLD[:, :1], self.joint_weight[:width], self.joint_bias[:width])
            keys, values = linear(y_BLD, self.joint_weight[width:], self.joint_bias[width:]).chunk(2, dim=-1)
        else:
            query, keys, values = linear(y_BLD, self.joint_weight, self.joint_bias).chunk(3, dim=-1)
        q, k, v = (part.unflatten(2, (self.heads, -1)).transpose(1, 2) for part in (query, keys, values))
        mixed = F.scaled_dot_product_attention(q, k, v).transpose(1, 2).flatten(2)
        z_BLD = x_BLD + linear(mixed, self.out.weight, self.out.bias)
        seen: Tensor = z_BLD + self.mlp(self.norm_2(z_BLD))
        return seen


def quicken_clip(blocks: nn.ModuleList) -> None:
    """Replace CLIP's blocks, named as OpenAI named them (open_clip's and ViCLIP's are)."""
    for number, block in enumerate(blocks):
        part: Any = block
        attn = part.attn
        heads = attn.num_heads if isinstance(attn, nn.MultiheadAttention) else attn.heads
        last = number == len(blocks) - 1
        norms = (part.ln_1, part.ln_2)
        blocks[number] = QuickBlock(
            heads, norms, attn.in_proj_weight, attn.in_proj_bias, attn.out_proj, part.mlp, last=last
        )


def quicken_timm(blocks: nn.Sequential) -> None:
    """Replace the blocks of timm's vision transformer."""
    for number, block in enumerate(blocks):
        part: Any = block
        attn = part.attn
        last = number == len(blocks) - 1
        norms = (part.norm1, part.norm2)
        blocks[number] = QuickBlock(
            attn.num_heads, norms, attn.qkv.weight, attn.qkv.bias, attn.proj, part.mlp, last=last
        )
