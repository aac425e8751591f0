"""The house keeps its own rules: imports, sizes, purity, packaging, the lock file."""

import ast
import re
import shutil
import subprocess
import sys
import tomllib
import zipfile
from collections.abc import Iterator
from importlib.metadata import packages_distributions
from pathlib import Path

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

CHECKOUT = Path(__file__).resolve().parents[2]
ROOMS = ("schemas", "producers", "processors", "agent", "dashboard")
NEIGHBOURS = ("tests", "examples", "benchmarks", "docs")
TOOLS = Path(sys.executable).parent
LINES_MAX = 320

# Spelled in pieces, or this file would be the first to be found.
PLACE_ON_ONE_MACHINE = re.compile(rf"(?<![\w.~-])/({'|'.join(('home', 'root', 'Users', 'work'))})/\w")
KNOWN_TO_SCHEMAS = {"ledgent", "msgspec", "orjson", "pydantic", "pydantic_core", "pydantic_settings"}


def files(*folders: str, suffix: str = "") -> Iterator[Path]:
    for folder in folders:
        for path in sorted((CHECKOUT / folder).rglob(f"*{suffix}")):
            hidden = any(part.startswith(".") for part in path.relative_to(CHECKOUT).parts)
            if path.is_file() and path.suffix != ".pyc" and not hidden:
                yield path


def named(paths: Iterator[Path]) -> list[str]:
    return [str(path.relative_to(CHECKOUT)) for path in paths]


def imports_of(path: Path) -> set[str]:
    """The top-level names of all modules that a file imports, wherever in it."""
    modules: set[str] = set()
    for node in ast.walk(ast.parse(path.read_text())):
        match node:
            case ast.Import(names=names):
                modules.update(name.name for name in names)
            case ast.ImportFrom(module=str(module)):
                modules.add(module)
    return {module.partition(".")[0] for module in modules}


def run(*command: str | Path, cwd: Path = CHECKOUT) -> None:
    outcome = subprocess.run(command, cwd=cwd, capture_output=True, text=True, timeout=120, check=False)
    assert outcome.returncode == 0, outcome.stdout + outcome.stderr


def project() -> dict[str, list[str]]:
    """The project's requirements: of ledgent itself, and of its extras."""
    table = tomllib.loads((CHECKOUT / "pyproject.toml").read_text())["project"]
    return {"": table["dependencies"], **table["optional-dependencies"]}


def locked() -> dict[str, str]:
    lines = (CHECKOUT / "requirements.lock").read_text().splitlines()
    pins = (line.split("==") for line in lines if line and not line.startswith("#"))
    return {canonicalize_name(name): version for name, version in pins}


def test_imports_point_down_only() -> None:
    run(TOOLS / "lint-imports", "--no-cache", "--no-logo")


def test_schemas_import_no_library_beyond_those_for_data() -> None:
    allowed = KNOWN_TO_SCHEMAS | sys.stdlib_module_names
    strangers = [(path.name, imports_of(path) - allowed) for path in files("schemas", suffix=".py")]
    assert [(name, modules) for name, modules in strangers if modules] == []


def test_every_package_that_the_rooms_import_is_a_declared_dependency() -> None:
    declared = {canonicalize_name(Requirement(text).name) for text in (*project()[""], *project()["mcp"])}
    distributions = packages_distributions()
    ours = sys.stdlib_module_names | {"ledgent"}
    imported = set().union(*map(imports_of, files(*ROOMS, suffix=".py"))) - ours
    undeclared = [
        module
        for module in sorted(imported)
        if declared.isdisjoint(map(canonicalize_name, distributions.get(module, [module])))
    ]
    assert undeclared == [], "add them to pyproject.toml, then run `make lock`"


def test_only_the_processors_host_knows_faust() -> None:
    knowing = [path for path in files(*ROOMS, suffix=".py") if imports_of(path) & {"faust", "mode"}]
    assert named(knowing) == ["processors/faust_app.py"]


def test_a_module_that_calls_itself_pure_uses_no_clock_no_id_and_no_chance() -> None:
    docstrings = ((path, ast.get_docstring(ast.parse(path.read_text()))) for path in files(*ROOMS, suffix=".py"))
    pure = [path for path, docstring in docstrings if re.search(r"\bpure\b", docstring or "", re.IGNORECASE)]
    assert CHECKOUT / "schemas" / "run.py" in pure
    run(TOOLS / "ruff", "check", "--select=TID251", "--config=lint.per-file-ignores={}", "--no-cache", *pure)


def test_no_file_in_the_rooms_holds_two_ideas() -> None:
    sizes = {path: len(path.read_text().splitlines()) for path in files(*ROOMS, suffix=".py")}
    assert named(path for path, lines in sizes.items() if lines > LINES_MAX) == []


def test_every_room_is_typed() -> None:
    assert [room for room in ROOMS if not (CHECKOUT / room / "py.typed").is_file()] == []


def test_every_folder_with_code_is_a_package_so_that_a_wheel_takes_it_along() -> None:
    folders = {path.parent for path in files(*ROOMS, suffix=".py")}
    assert named(folder for folder in sorted(folders) if not (folder / "__init__.py").is_file()) == []


def test_nothing_names_a_place_on_one_machine() -> None:
    texts = [*files(*ROOMS, *NEIGHBOURS), *(path for path in CHECKOUT.iterdir() if path.is_file())]
    found = []
    for path in texts:
        try:
            lines = path.read_text().splitlines()
        except UnicodeDecodeError:
            continue  # a picture
        hits = (number for number, line in enumerate(lines, 1) if PLACE_ON_ONE_MACHINE.search(line))
        found += [f"{path.relative_to(CHECKOUT)}:{number}" for number in hits]
    assert found == []


def test_the_lock_file_is_pins_without_addresses() -> None:
    lines = (CHECKOUT / "requirements.lock").read_text().splitlines()
    assert [line for line in lines if "://" in line] == []
    pin = re.compile(r"[A-Za-z0-9._-]+==[A-Za-z0-9.!+_-]+")
    assert [line for line in lines if not line.startswith("#") and not pin.fullmatch(line)] == []


def test_the_lock_file_satisfies_every_requirement_of_the_project() -> None:
    pins = locked()
    requirements = [Requirement(text) for texts in project().values() for text in texts]
    assert len(requirements) > len(ROOMS)
    unmet = [
        str(requirement)
        for requirement in requirements
        if pins.get(canonicalize_name(requirement.name), "0") not in requirement.specifier
    ]
    assert unmet == [], "run `make lock`"


@pytest.mark.slow
def test_a_wheel_holds_the_rooms_and_their_data_under_ledgent(tmp_path: Path) -> None:
    source, wheels = tmp_path / "source", tmp_path / "wheels"
    # A copy: setuptools leaves a build folder behind, whose leftovers would get into the next wheel.
    source.mkdir()
    for room in ROOMS:
        shutil.copytree(CHECKOUT / room, source / room, ignore=shutil.ignore_patterns("__pycache__", ".*"))
    for path in CHECKOUT.iterdir():
        if path.is_file():
            shutil.copy(path, source)

    pip = (sys.executable, "-m", "pip", "wheel", "--no-deps", "--no-build-isolation", "--no-index")
    run(*pip, "--wheel-dir", wheels, ".", cwd=source)

    (wheel,) = wheels.glob("ledgent-*.whl")
    members = zipfile.ZipFile(wheel).namelist()
    packed = {name for name in members if ".dist-info/" not in name}
    assert packed == {f"ledgent/{name}" for name in named(files(*ROOMS))}
    assert any(name.endswith("licenses/LICENSE") for name in members)
