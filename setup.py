"""Which folders become which packages; everything else about the package is in setup.cfg.

Some folders stand at the top of the repository and inside the package `gpt` of an installed one: `tokenizers` would
collide there with Hugging Face's package of that name, and texts and recipes need a place that is ours.
"""

from setuptools import find_packages, setup

INSIDE = {"gpt.tokenizers": "tokenizers", "gpt.shipped.data": "data", "gpt.shipped.recipes": "recipes"}
INSIDE["gpt.page.web"] = "gpt/page/web"  # files for a browser, no Python

setup(packages=[*find_packages(include=["gpt*", "nanograd*"]), *INSIDE], package_dir=INSIDE)
