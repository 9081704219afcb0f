"""Which recipes a training command was asked for."""

from dataclasses import replace
from typing import TYPE_CHECKING, Annotated, Final

import typer

if TYPE_CHECKING:
    from training.fitting.recipe import Recipe

_DEFAULT: Final = ("steel", "calm")

RecipesOption = Annotated[
    list[str] | None,
    typer.Option(
        "--recipe",
        help="`steel`, `calm`, or `original` (Adam at 1e-3). Given again, the next phase, from the "
        "weights of the one before. Without it: `steel`, then `calm`.",
    ),
]

SeedOption = Annotated[int, typer.Option(min=0, max=2**63 - 1, help="Makes the run repeatable.")]


def chosen_recipes(names: list[str] | None, epochs: int | None) -> "list[Recipe]":
    """Raises typer.BadParameter for a name that is none, or twice the same."""
    from training.fitting.recipe import RECIPES  # noqa: PLC0415 -- what trains is heavy

    asked = names or list(_DEFAULT)
    if unknown := [name for name in asked if name not in RECIPES]:
        raise typer.BadParameter(
            f"no recipe {unknown[0]!r}; there are {', '.join(RECIPES)}", param_hint="--recipe"
        )
    if len(set(asked)) < len(asked):
        raise typer.BadParameter("each recipe can be one phase only", param_hint="--recipe")
    recipes = [RECIPES[name] for name in asked]
    return recipes if epochs is None else [replace(each, epochs=epochs) for each in recipes]
