"""Which of the images that passed are looked at all the same, so that missed defects are seen."""

import hashlib

from daemon.names import to_text
from daemon.values import Delivery


def is_sampled(delivery: Delivery, sha256: str, share: float) -> bool:
    """Whether an image is in the sample: by chance, and the same chance whenever it is asked.

    So an image that is judged again, after a kill or for the camera's sake, is not drawn again.
    """
    identity = (delivery.camera, to_text(delivery.filename), str(delivery.mtime_ns), sha256)
    digest = hashlib.sha256("\0".join(identity).encode()).digest()
    return int.from_bytes(digest[:8], "big") < share * 2**64
