"""Files broken at random, the same ones for the same seed and iteration."""

import random
from collections.abc import Callable, Mapping
from dataclasses import dataclass

from fuzz.formats import break_structure

INTERESTING = [0, 1, 2, 3, 7, 8, 15, 16, 17, 64, 127, 128, 255, 256, 1000, 2000, 4096, 32767]
INTERESTING += [32768, 65535, 65536, 1 << 20, 4_000_000, 1 << 24, (1 << 31) - 1, 1 << 31]
INTERESTING += [(1 << 32) - 2, (1 << 32) - 1]
MOST_BYTES = 1 << 22
"""Repetition of repetitions would be the only thing measured."""
SIZES = (None, None, 24, 96)

Mutator = Callable[[random.Random, bytes, bytes], bytes]


@dataclass(frozen=True, kw_only=True)
class Case:
    """One call of `decode`."""

    data: bytes
    size: int | None
    allow_zero_tail: bool
    origin: str
    mutators: tuple[str, ...]


def case(seeds: Mapping[str, bytes], *, seed: int, iteration: int) -> Case:
    """The broken file of an iteration, and how it is to be decoded."""
    rng = random.Random(f"{seed}:{iteration}")  # noqa: S311 -- to be repeated
    origin = rng.choice(list(seeds))
    data = seeds[origin]
    used = []
    for _ in range(rng.choice((1, 1, 1, 2, 3, 5))):
        mutator = rng.choice(MUTATORS)
        data = mutator(rng, data, seeds[rng.choice(list(seeds))])
        data = data[:MOST_BYTES]
        used.append(mutator.__name__)
    return Case(
        data=data,
        size=rng.choice(SIZES),
        allow_zero_tail=rng.random() < 0.5,
        origin=origin,
        mutators=tuple(used),
    )


def flip_bits(rng: random.Random, data: bytes, _other: bytes) -> bytes:
    changed = bytearray(data)
    for _ in range(rng.choice((1, 1, 2, 4, 16))):
        if changed:
            changed[_position(rng, data)] ^= 1 << rng.randrange(8)
    return bytes(changed)


def overwrite(rng: random.Random, data: bytes, _other: bytes) -> bytes:
    """Put an interesting number of one, two or four bytes anywhere."""
    width = rng.choice((1, 2, 4))
    number = rng.choice(INTERESTING) % (1 << 8 * width)
    position = _position(rng, data)
    value = number.to_bytes(width, "big")[:: rng.choice((1, -1))]
    return data[:position] + value + data[position + width :]


def delete(rng: random.Random, data: bytes, _other: bytes) -> bytes:
    begin, end = _block(rng, data)
    return data[:begin] + data[end:]


def duplicate(rng: random.Random, data: bytes, _other: bytes) -> bytes:
    begin, end = _block(rng, data)
    return data[:end] + data[begin:end] * rng.choice((1, 1, 2, 10)) + data[end:]


def swap(rng: random.Random, data: bytes, _other: bytes) -> bytes:
    a, b, c, d = sorted(_position(rng, data) for _ in range(4))
    return data[:a] + data[c:d] + data[b:c] + data[a:b] + data[d:]


def insert(rng: random.Random, data: bytes, _other: bytes) -> bytes:
    position = _position(rng, data)
    length = rng.choice((1, 2, 7, 64))
    block = rng.choice((bytes(length), b"\xff" * length, rng.randbytes(length)))
    return data[:position] + block + data[position:]


def blank(rng: random.Random, data: bytes, _other: bytes) -> bytes:
    """Zeros where a page of the disk was never written."""
    begin, end = _block(rng, data)
    return data[:begin] + bytes(end - begin) + data[end:]


def truncate(rng: random.Random, data: bytes, _other: bytes) -> bytes:
    return data[: _position(rng, data)]


def splice(rng: random.Random, data: bytes, other: bytes) -> bytes:
    """The beginning of one file and the end of another."""
    return data[: _position(rng, data)] + other[_position(rng, other) :]


def structure(rng: random.Random, data: bytes, _other: bytes) -> bytes:
    return break_structure(rng, data, INTERESTING)


MUTATORS: tuple[Mutator, ...] = (
    *(flip_bits, overwrite, delete, duplicate, swap, insert, blank, truncate, splice),
    *[structure] * 12,
)


def _position(rng: random.Random, data: bytes) -> int:
    """A third of them in the headers, where decoders go astray."""
    near = min(len(data), 200) if rng.random() < 0.3 else len(data)
    return rng.randrange(near) if near else 0


def _block(rng: random.Random, data: bytes) -> tuple[int, int]:
    begin = _position(rng, data)
    return begin, min(len(data), begin + rng.choice((1, 2, 4, 16, 100, 1000)))
