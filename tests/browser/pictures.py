"""Pictures for the documentation: few colours, few bytes."""

from io import BytesIO
from pathlib import Path
from typing import Final

COLOURS: Final = 96
MOST_HEIGHT: Final = 1500


def save(png: bytes, path: Path) -> None:
    """Write a screenshot, cut below its first screens, in a palette of its own."""
    from PIL import Image  # only whoever makes pictures needs it

    picture = Image.open(BytesIO(png)).convert("RGB")
    cut = picture.crop((0, 0, picture.width, min(picture.height, MOST_HEIGHT)))
    path.parent.mkdir(parents=True, exist_ok=True)
    cut.quantize(COLOURS, dither=Image.Dither.NONE).save(path, optimize=True)
