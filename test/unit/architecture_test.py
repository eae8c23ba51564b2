# SPDX-License-Identifier: GPL-3.0-or-later
"""The rules of the design that a reader of the sources could break unseen."""
from __future__ import annotations

import ast
import os
from pathlib import Path
from typing import Dict, Iterator, List, Set, Tuple

import pytest

ROOT = Path(__file__).resolve().parents[2]
PLUGIN = 'kiwi_stackbuild_plugin'
FRONT = 'kiwi_stackbuild_typer_plugin'

FILE_LIMIT = 400
FUNCTION_LIMIT = 40

#: The rooms of the house; imports go down, and those of one floor do not know each other.
FLOORS: Tuple[Set[str], ...] = (
    {'host'}, {'tree'}, {'layer', 'packages', 'graph'}, {'image'},
    {'storage', 'description', 'inputs'}, {'overlay'}, {'stash', 'stackbuild'}, {'runs'}, {'tasks'},
)
LEVEL: Dict[str, int] = {
    room: level for level, rooms in enumerate(FLOORS) for room in rooms
}
#: modules of the package itself: the version, which every room may know
GROUND = {'version'}
ROOM_LIMIT = 14
USE_CASES = {
    'stash.stash', 'stash.export', 'stash.stash_list', 'stackbuild.stackbuild',
    'runs.one_run', 'runs.matrix'
}

SKIPPED = {'.git', '.tox', '.venv', 'build', 'dist', '__pycache__'}


def python_files(*folders: str) -> List[Path]:
    """All Python files of this repository below the folders."""
    found: List[Path] = []
    for folder in folders:
        for directory, names, files in os.walk(ROOT / folder):
            names[:] = sorted(set(names) - SKIPPED)
            found.extend(
                Path(directory, name) for name in sorted(files) if name.endswith('.py')
            )
    return found


def label(path: Path) -> str:
    return str(path.relative_to(ROOT))


def module_name(path: Path) -> str:
    """kiwi_stackbuild_plugin/tree/delta.py -> tree.delta"""
    return '.'.join(path.relative_to(ROOT / PLUGIN).with_suffix('').parts)


def imported(path: Path) -> Iterator[str]:
    """Full names of all that a file imports, wherever in the file."""
    for node in ast.walk(ast.parse(path.read_text(encoding='utf-8'))):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert not node.level, f'{label(path)}: relative import'
            yield node.module or ''
            yield from (f'{node.module}.{alias.name}' for alias in node.names)


def own_imports(path: Path) -> Set[str]:
    """Modules of the plugin that a file imports."""
    prefix = f'{PLUGIN}.'
    return {
        name[len(prefix):] for name in imported(path)
        if name.startswith(prefix) and name[len(prefix):] in MODULES
    }


def room_of(module: str) -> str:
    """tree.delta -> tree"""
    return module.rpartition('.')[0]


def top_packages(path: Path) -> Set[str]:
    return {name.partition('.')[0] for name in imported(path)}


PLUGIN_FILES = [
    path for path in python_files(PLUGIN) if path.name != '__init__.py'
]
MODULES: Dict[str, Path] = {module_name(path): path for path in PLUGIN_FILES}
PRODUCT_FILES = python_files(PLUGIN, FRONT)
ALL_FILES = [ROOT / 'setup.py'] + python_files(
    PLUGIN, FRONT, 'test', 'tools', 'demo', 'bench', 'doc', 'package'
)


def test_every_module_is_in_a_room() -> None:
    outside = {name for name in MODULES if room_of(name) not in LEVEL}
    assert outside == GROUND


@pytest.mark.parametrize('room', sorted(LEVEL))
def test_room_is_not_full(room: str) -> None:
    inside = [name for name in MODULES if room_of(name) == room]
    assert 1 < len(inside) <= ROOM_LIMIT


@pytest.mark.parametrize('path', PLUGIN_FILES, ids=label)
def test_imports_only_go_down(path: Path) -> None:
    room = room_of(module_name(path))
    wrong = [
        target for target in sorted(own_imports(path) - GROUND)
        if room_of(target) != room and LEVEL[room_of(target)] >= LEVEL.get(room, 0)
    ]
    assert not wrong, f'{room} imports {wrong}'


@pytest.mark.parametrize('room', sorted(LEVEL))
def test_no_circle_in_a_room(room: str) -> None:
    left = {
        name: {other for other in own_imports(path) if room_of(other) == room}
        for name, path in MODULES.items() if room_of(name) == room
    }
    while left:
        leaves = {name for name, needs in left.items() if not needs & left.keys()}
        assert leaves, f'a circle among {sorted(left)}'
        left = {name: needs for name, needs in left.items() if name not in leaves}


@pytest.mark.parametrize('path', PLUGIN_FILES, ids=label)
def test_plugin_does_not_know_its_front(path: Path) -> None:
    assert FRONT not in top_packages(path)


@pytest.mark.parametrize('path', PRODUCT_FILES, ids=label)
def test_command_line_libraries_stay_outside(path: Path) -> None:
    found = top_packages(path)
    assert 'docopt' not in found
    assert 'typer' not in found or label(path) == f'{FRONT}/cli.py'


def test_tools_are_run_through_one_module() -> None:
    runners = {
        module_name(path) for path in PLUGIN_FILES
        if 'subprocess' in top_packages(path)
    }
    # ahead runs our own interpreter on our own module, no tool
    assert runners <= {'host.command', 'tree.ahead'}


@pytest.mark.parametrize(
    'path',
    [path for path in PLUGIN_FILES if module_name(path).startswith('tasks.')],
    ids=label
)
def test_tasks_import_nothing_heavy_at_once(path: Path) -> None:
    """kiwi loads each of them at every call of kiwi-ng."""
    body = ast.parse(path.read_text(encoding='utf-8')).body
    names = {
        node.module or '' for node in body if isinstance(node, ast.ImportFrom)
    } | {
        alias.name for node in body if isinstance(node, ast.Import)
        for alias in node.names
    }
    heavy = {
        name for name in names
        if name.startswith(f'{PLUGIN}.') and name[len(PLUGIN) + 1:] in USE_CASES
    } | (names & {'zstandard', 'lxml', 'subprocess', 'tarfile'})
    assert not heavy


@pytest.mark.parametrize('path', ALL_FILES, ids=label)
def test_spdx_header(path: Path) -> None:
    head = path.read_text(encoding='utf-8').splitlines()[:2]
    assert '# SPDX-License-Identifier: GPL-3.0-or-later' in head


@pytest.mark.parametrize('path', ALL_FILES, ids=label)
def test_file_length(path: Path) -> None:
    lines = len(path.read_text(encoding='utf-8').splitlines())
    assert lines <= FILE_LIMIT


@pytest.mark.parametrize('path', ALL_FILES, ids=label)
def test_function_length(path: Path) -> None:
    tree = ast.parse(path.read_text(encoding='utf-8'))
    wrong = [
        f'{node.name}: {length} lines'
        for node in ast.walk(tree)
        if isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef))
        and (length := (node.end_lineno or 0) - node.lineno + 1) > FUNCTION_LIMIT
    ]
    assert not wrong


def test_unit_tests_mirror_the_modules() -> None:
    """tree/delta.py has test/unit/tree/delta_test.py; at least 85 of 100 have one."""
    without = [
        name for name in sorted(set(MODULES) - GROUND)
        if not (ROOT / f'test/unit/{name.replace(".", "/")}_test.py').exists()
    ]
    assert len(without) <= 0.15 * len(MODULES), without
