"""Writes tests/golden/models/vit-deepfake.* with Hugging Face's definition and seeded weights.

    pip install transformers==4.57.6 torch numpy safetensors
    python models-src/vit-deepfake/reference.py
"""

import sys
from pathlib import Path

import torch
import transformers
from transformers import ViTConfig, ViTForImageClassification

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))
import full_profile

GAIN = 0.7
"""Half the variance: there is no rectifier behind most of the matrices."""
STEP = 397

# The defaults are those of ViT-B/16 at 224 pixels.
net = ViTForImageClassification(ViTConfig(num_labels=2, attn_implementation="eager"))
full_profile.fill(net, GAIN)
x = full_profile.planes((full_profile.pictures(3, 224, 28) / 255.0 - 0.5) / 0.5)
with torch.no_grad():
    answer = net(x, output_hidden_states=True)
found = {"embeddings": answer.hidden_states[0]}
found |= {f"layer.{i}": y for i, y in enumerate(answer.hidden_states[1:])}
found["logits"] = answer.logits
print(answer.logits)
full_profile.write("vit-deepfake", net, found, answer.logits.softmax(-1), STEP, f"transformers {transformers.__version__}")
