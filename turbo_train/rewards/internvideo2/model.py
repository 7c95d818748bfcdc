"""How well does a clip match a text, by InternVideo2? Both towers, what joins them, and the reward around them.

score = cosine(vision_proj(pooled clip), text_proj(class token of the text)), in 512 dimensions at full size.
Shape legend: N clips or texts, T frames, L tokens, D features.
"""

from __future__ import annotations

from dataclasses import dataclass, field

from torch import Tensor, nn

from turbo_train.rewards.base import VideoReward
from turbo_train.rewards.internvideo2.layers import Block
from turbo_train.rewards.internvideo2.text import TextConfig, new_text_encoder
from turbo_train.rewards.internvideo2.vision import VisionConfig, VisionEncoder
from turbo_train.rewards.preprocess import IMAGENET_MEAN, IMAGENET_STD, Preprocess
from turbo_train.rewards.tokens import Tokenizer


@dataclass(frozen=True)
class InternVideo2Config:
    """Both towers and the width in which they meet. The defaults are Stage-2 1B's, for 8 frames."""

    vision: VisionConfig = field(default_factory=VisionConfig)
    text: TextConfig = field(default_factory=TextConfig)
    embed_dim: int = 512


class InternVideo2(nn.Module):
    """Untrained until weights are loaded. Its names are the published ones, but `text_encoder.bert.` lacks `bert.`."""

    def __init__(self, config: InternVideo2Config) -> None:
        super().__init__()
        self.config = config
        self.vision_encoder = VisionEncoder(config.vision)
        self.text_encoder = new_text_encoder(config.text)
        self.vision_proj = nn.Linear(config.vision.clip_embed_dim, config.embed_dim)
        self.text_proj = nn.Linear(config.text.hidden_size, config.embed_dim)

    def see(self, clips_NTCHW: Tensor) -> Tensor:
        """Normalised (N, T, 3, img_size, img_size) clips to (N, embed_dim), not scaled."""
        features: Tensor = self.vision_proj(self.vision_encoder(clips_NTCHW))
        return features

    def read(self, ids_NL: Tensor) -> Tensor:
        """(N, L) token ids to (N, embed_dim), not scaled."""
        mask = (ids_NL != self.config.text.pad_token_id).long()
        hidden = self.text_encoder(input_ids=ids_NL, attention_mask=mask).last_hidden_state
        features: Tensor = self.text_proj(hidden[:, 0])
        return features


class InternVideo2Model(VideoReward):
    """A video reward around InternVideo2. It scores clips of config.vision.num_frames frames, or single frames.

    Differs: T2V-Turbo always runs it in float16; here it has the precision that it is given.
    """

    net: InternVideo2
    blocks = (Block,)

    def __init__(self, net: InternVideo2, tokenizer: Tokenizer) -> None:
        vision = net.config.vision
        preprocess = Preprocess(vision.img_size, IMAGENET_MEAN, IMAGENET_STD, "shortest")
        super().__init__(net, preprocess, tokenizer, vision.num_frames)

    def see(self, pixels: Tensor) -> Tensor:
        """(N, T, 3, size, size) normalised clips to (N, D). UserError: another number of frames."""
        return self.net.see(pixels)

    def read(self, ids_NL: Tensor) -> Tensor:
        """(N, L) ids to (N, D)."""
        return self.net.read(ids_NL)
