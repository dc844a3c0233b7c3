"""What is packaged; the metadata is in pyproject.toml. ``--setup_file=./setup.py`` hands this to a Beam runner.

The tables' schemas live in ``schemas/`` at the top, where other tools read them, and travel inside the package as
``recbatch._schemas``, so that workers that have only the package have them as well.
"""

from setuptools import find_packages, setup

setup(
    packages=[*find_packages(include=["recbatch", "recbatch.*"]), "recbatch._schemas"],
    package_dir={"recbatch._schemas": "schemas"},
    package_data={"recbatch": ["py.typed"], "recbatch._schemas": ["*.json"]},
    include_package_data=False,
)
