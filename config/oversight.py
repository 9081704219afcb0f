"""What is watched over beyond single images: drift of the cameras."""

from pydantic import Field

from config.table import Table


class Drift(Table):
    enabled: bool = Field(
        default=True, description="Whether it is told that a camera's images change, or are alike."
    )
    images_in_a_row: int = Field(
        default=20,
        ge=0,
        description="So many identical, black or overexposed images in a row are told; 0 for never.",
    )
    black_below: float = Field(
        default=8.0, ge=0, le=255, description="An image whose pixels average so little is black."
    )
    overexposed_above: float = Field(
        default=247.0,
        ge=0,
        le=255,
        description="An image whose pixels average so much is overexposed.",
    )
    min_images: int = Field(
        default=200, ge=1, description="A camera's day with fewer images is not compared."
    )
    max_brightness_change: float = Field(
        default=15.0,
        ge=0,
        le=255,
        description="By how many of 255 grey levels a day may be brighter or darker than usual.",
    )
    max_sharpness_change: float = Field(
        default=0.2, ge=0, description="By which share of it sharpness may change."
    )
    max_novelty_change: float = Field(
        default=0.2, ge=0, description="By which share of it novelty may rise."
    )
    max_mix_change: float = Field(
        default=0.2,
        ge=0,
        le=1,
        description="Which share of the images may be called otherwise than usual.",
    )
