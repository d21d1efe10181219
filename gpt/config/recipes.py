"""Recipes: TOML files of flags that come along, found by name.

    python train.py --config modern        reads recipes/modern.toml
    python train.py --list_recipes         a line each

The first line of a recipe, a comment, says what it is.
"""

from pathlib import Path

from gpt.config.flags import suggestion
from gpt.errors import UsageError
from gpt.files import shipped


def recipes() -> dict[str, Path]:
    """{name: file} of the recipes that come along."""
    return {file.stem: file for file in sorted(shipped("recipes").glob("*.toml"), key=lambda file: file.stem)}


def find_recipe(name: str) -> Path:
    """The file that `--config name` means: a file of that path or, for a bare name, a recipe.

    Raises UsageError for a name that is neither.
    """
    path, known = Path(name), recipes()
    if path.name != name or path.suffix or path.is_file():  # a path, or a name with a suffix, is a file's
        return path
    if name not in known:
        if path.exists():  # a folder, which reading it will say
            return path
        near = suggestion(name, list(known))
        raise UsageError(f"{name}: no file and no recipe; the recipes are {', '.join(known)}{near}")
    return known[name]


def list_recipes() -> str:
    """A line for each recipe: its name, and what it says it is."""
    width = max(map(len, recipes()))
    return "\n".join(f"{name:{width}}  {about(file)}" for name, file in recipes().items())


def about(file: Path) -> str:
    return file.read_text(encoding="utf-8").partition("\n")[0].removeprefix("#").strip()
