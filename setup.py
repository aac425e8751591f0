"""Finds the packages: each folder in a room installs under `ledgent.`. The rest is in pyproject.toml."""

from setuptools import find_packages, setup

ROOMS = ("schemas", "producers", "processors", "agent", "dashboard")

setup(
    packages=[f"ledgent.{name}" for name in find_packages(include=[f"{room}*" for room in ROOMS])],
    package_dir={f"ledgent.{room}": room for room in ROOMS},
)
