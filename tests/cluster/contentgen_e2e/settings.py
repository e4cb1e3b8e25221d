"""Path of the clone, and provider keys that a search detects in wrong places."""

from pathlib import Path

ROOT = Path(__file__).resolve().parents[3]
FAL_CANARY = "canary-fal-5d1f0c"
ASSEMBLYAI_CANARY = "canary-assemblyai-9b27e4"
KEYS = (f"providers.fal.key={FAL_CANARY}", f"providers.assemblyai.key={ASSEMBLYAI_CANARY}")
"""The values of the chart that set them."""
