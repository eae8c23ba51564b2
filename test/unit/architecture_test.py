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

#: Imports only go up in this list, from a row to the rows before it: down in
#: the design, whose layers are the outer groups.
LAYERS: Tuple[Set[str], ...] = (
    {'errors', 'labels', 'version', 'scripts', 'extension_schema', 'mounts'},  # 0
    {'terminal'},
    {'reference', 'signals', 'progress', 'schema_errors', 'locks', 'consume',
     'command', 'entry', 'files', 'description_names'},
    {'tree', 'image', 'workspace', 'kiwi_call',                         # 1
     'destination', 'access'},
    {'tool_message', 'request', 'packing', 'root_directory', 'tool_writes'},
    {'scanner', 'guard'},
    {'same', 'parsing', 'prefetch', 'index'},
    {'delta', 'description', 'content', 'selection', 'extras'},
    {'archive', 'record', 'source', 'links', 'apply', 'tarstream',      # 2
     'store', 'target', 'acl', 'restore', 'path_limit', 'base_facts',
     'extension', 'stack_state', 'documents', 'installed'},
    {'registry', 'derived', 'keyed'},
    {'lookup', 'merging'},
    {'layer', 'resolve', 'cleanup', 'bootstrap', 'extended'},
    {'layout', 'stash_labels', 'prepared', 'report', 'checks', 'verify', 'exports',
     'changes'},
    {'new_image'},
    {'stacking', 'chain', 'imported_root'},
    {'root_import', 'remember'},
    {'build_plan', 'listing'},
    {'stash', 'export', 'stackbuild', 'stash_list'},                    # 3
    {'tasks.output'},
    {'tasks.manual_page'},                                              # 4
    {'tasks.system_stash', 'tasks.system_stackbuild', 'tasks.system_stash_list'},
)
LEVEL: Dict[str, int] = {
    name: level for level, names in enumerate(LAYERS) for name in names
}
#: imports within a row, each for a reason
SIDEWAYS: Set[Tuple[str, str]] = {
    # the typer front's one task dispatches to the others
    ('tasks.system_stash_list', 'tasks.system_stash'),
    ('tasks.system_stash_list', 'tasks.system_stackbuild'),
    ('tasks.system_stash', 'tasks.system_stash_list'),
}
USE_CASES = {'stash', 'export', 'stackbuild', 'stash_list'}

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
    """kiwi_stackbuild_plugin/tasks/system_stash.py -> tasks.system_stash"""
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
        if name.startswith(prefix) and name[len(prefix):] in LEVEL
    }


def top_packages(path: Path) -> Set[str]:
    return {name.partition('.')[0] for name in imported(path)}


PLUGIN_FILES = [
    path for path in python_files(PLUGIN) if path.name != '__init__.py'
]
PRODUCT_FILES = python_files(PLUGIN, FRONT)
ALL_FILES = [ROOT / 'setup.py'] + python_files(
    PLUGIN, FRONT, 'test', 'tools', 'demo', 'bench', 'doc', 'package'
)


@pytest.mark.parametrize('path', PLUGIN_FILES, ids=label)
def test_module_has_a_layer(path: Path) -> None:
    assert module_name(path) in LEVEL, 'not in the list of modules'


@pytest.mark.parametrize('path', PLUGIN_FILES, ids=label)
def test_imports_only_go_down(path: Path) -> None:
    name = module_name(path)
    wrong = [
        target for target in sorted(own_imports(path))
        if LEVEL[target] >= LEVEL.get(name, 0) and (name, target) not in SIDEWAYS
    ]
    assert not wrong, f'{name} imports {wrong}'


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
    # prefetch runs our own interpreter on our own module, no tool
    assert runners <= {'command', 'prefetch'}


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
