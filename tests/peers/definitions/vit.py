"""Vision Transformer ViT-B/16, https://arxiv.org/abs/2010.11929, with the keys of Hugging Face's."""

import torch
from torch import nn
from torch.nn import functional as F

WIDTH, INSIDE, LAYERS, HEADS, PATCH, TOKENS = 768, 3072, 12, 12, 16, 197


class Holder(nn.Module):
    """A name in the keys."""

    def __init__(self, **modules):
        super().__init__()
        for name, module in modules.items():
            self.add_module(name, module)


class Layer(nn.Module):
    def __init__(self):
        super().__init__()
        dense = lambda c_in=WIDTH, c_out=WIDTH: nn.Linear(c_in, c_out)
        self.layernorm_before = nn.LayerNorm(WIDTH, eps=1e-12)
        self.attention = Holder(
            attention=Holder(query=dense(), key=dense(), value=dense()), output=Holder(dense=dense())
        )
        self.layernorm_after = nn.LayerNorm(WIDTH, eps=1e-12)
        self.intermediate = Holder(dense=dense(WIDTH, INSIDE))
        self.output = Holder(dense=dense(INSIDE, WIDTH))

    def forward(self, xs):
        ys, attention = self.layernorm_before(xs), self.attention.attention
        heads = lambda zs: zs.reshape(-1, TOKENS, HEADS, WIDTH // HEADS).transpose(1, 2)
        query, key, value = (heads(getattr(attention, name)(ys)) for name in ("query", "key", "value"))
        if torch.onnx.is_in_onnx_export():
            # The exporter would scale both sides by the root of the scale.
            ys = (query * (WIDTH // HEADS) ** -0.5 @ key.transpose(2, 3)).softmax(3) @ value
        else:
            ys = F.scaled_dot_product_attention(query, key, value)
        ys = ys.transpose(1, 2).reshape(-1, TOKENS, WIDTH)
        xs = self.attention.output.dense(ys) + xs
        ys = F.gelu(self.intermediate.dense(self.layernorm_after(xs)))
        return self.output.dense(ys) + xs


class Embeddings(nn.Module):
    def __init__(self):
        super().__init__()
        self.cls_token = nn.Parameter(torch.zeros(1, 1, WIDTH))
        self.position_embeddings = nn.Parameter(torch.zeros(1, TOKENS, WIDTH))
        self.patch_embeddings = Holder(projection=nn.Conv2d(3, WIDTH, PATCH, PATCH))

    def forward(self, xs):
        patches = self.patch_embeddings.projection(xs).flatten(2).transpose(1, 2)
        tokens = torch.cat([self.cls_token.expand(xs.shape[0], -1, -1), patches], 1)
        return tokens + self.position_embeddings


class ViT(nn.Module):
    """`[n, 3, 224, 224] -> [n, 2]`, logits"""

    def __init__(self):
        super().__init__()
        layers = nn.ModuleList(Layer() for _ in range(LAYERS))
        self.vit = Holder(
            embeddings=Embeddings(), encoder=Holder(layer=layers), layernorm=nn.LayerNorm(WIDTH, eps=1e-12)
        )
        self.classifier = nn.Linear(WIDTH, 2)

    def forward(self, xs):
        xs = self.vit.embeddings(xs)
        for layer in self.vit.encoder.layer:
            xs = layer(xs)
        # A layer norm looks at one token alone, and only the class token is looked at afterwards.
        return self.classifier(self.vit.layernorm(xs[:, 0]))
