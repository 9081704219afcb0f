"""Names and numbers as people read them."""


def class_in_words(name: str) -> str:
    """`rolled-in_scale` as people say it."""
    return name.replace("_", " ")


def grouped(number: float) -> str:
    """A whole number with its thousands apart."""
    return f"{int(number):,}".replace(",", "\N{NARROW NO-BREAK SPACE}")


def how_sure(confidence: float) -> str:
    """Never rounded up to certainty."""
    return f"{int(100 * confidence)} %"
