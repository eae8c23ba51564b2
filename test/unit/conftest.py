# SPDX-License-Identifier: GPL-3.0-or-later
"""Commands typed at the kiwi installed, whose use cases only note the request."""
from __future__ import annotations

import gc
import logging
import os
import sys
from contextlib import ExitStack
from pathlib import Path
from typing import Any, Callable, Iterator, List, Optional, Tuple

import kiwi.defaults
import kiwi.kiwi
import pytest
from compiled_schemas import keep_compiled
from kiwi.cli import Cli
from package_stacks import PackageStack, Stacked, Stacker
from stored_images import StoredImages, make_stored_images

from kiwi_stackbuild_plugin.host.workspace import Workspace
from kiwi_stackbuild_plugin.storage import directories

Kiwi = Callable[..., int]

keep_compiled()


@pytest.fixture(autouse=True)
def nothing_asked_ahead() -> Iterator[None]:
    """End what a command has asked before its use case, which only notes, wants to know."""
    yield
    directories.hear_all()


@pytest.fixture
def kiwi_as_imported(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Forget what a call leaves in kiwi's modules, and close what it leaves open."""
    for name, value in vars(kiwi.defaults).items():
        if name.isupper():
            monkeypatch.setattr(kiwi.defaults, name, value)
    for name in ('global_args', 'subcommand_args'):
        if hasattr(Cli, name):
            monkeypatch.setattr(Cli, name, {})
    yield
    gc.collect()


@pytest.fixture
def separate_calls(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Forget what the call before left in kiwi's modules."""
    log = logging.getLogger('kiwi')
    for name in ('global_args', 'subcommand_args'):
        if hasattr(Cli, name):
            monkeypatch.setattr(Cli, name, {})
    monkeypatch.setattr(os, 'geteuid', lambda: 0)
    level = log.level
    yield
    log.setLevel(level)


@pytest.fixture
def kiwi_ng(monkeypatch: pytest.MonkeyPatch, separate_calls: None) -> Kiwi:
    """Run kiwi's own main function; the exit status."""
    def call(*words: str) -> int:
        monkeypatch.setattr(sys, 'argv', ['kiwi-ng', *words])
        try:
            kiwi.kiwi.main()
        except SystemExit as issue:
            return int(issue.code or 0) if not isinstance(issue.code, str) else 1
        return 0
    return call


@pytest.fixture
def requests(monkeypatch: pytest.MonkeyPatch) -> List[Any]:
    """What the use cases were called with; they do nothing."""
    made: List[Any] = []

    def listing(name: Optional[str] = None) -> Tuple[str, Optional[str]]:
        made.append(('list', name))
        return ('list', name)

    monkeypatch.setattr('kiwi_stackbuild_plugin.stash.stash.stash', made.append)
    monkeypatch.setattr('kiwi_stackbuild_plugin.stash.export.export', made.append)
    monkeypatch.setattr('kiwi_stackbuild_plugin.stackbuild.stackbuild.stackbuild', made.append)

    def remote(place: str, name: Optional[str], access: Any) -> Tuple[str, ...]:
        made.append((place, name, access))
        return (place, str(name))

    def compare(*words: Any) -> Tuple[Any, ...]:
        made.append(words)
        return words

    def prune(request: Any) -> str:
        made.append(request)
        return 'pruned'

    monkeypatch.setattr('kiwi_stackbuild_plugin.stash.stash_list.list_stashes', listing)
    monkeypatch.setattr('kiwi_stackbuild_plugin.stash.stash_list.list_remote', remote)
    monkeypatch.setattr('kiwi_stackbuild_plugin.stash.stash_list.format_json', 'json {}'.format)
    monkeypatch.setattr('kiwi_stackbuild_plugin.stash.stash_list.format_table', 'table {}'.format)
    monkeypatch.setattr('kiwi_stackbuild_plugin.stash.prune.prune', prune)
    monkeypatch.setattr('kiwi_stackbuild_plugin.stash.diff.compare_images', compare)
    monkeypatch.setattr('kiwi_stackbuild_plugin.stash.diff.difference_document', 'json {}'.format)
    monkeypatch.setattr('kiwi_stackbuild_plugin.stash.diff.format_difference', 'table {}'.format)
    return made


@pytest.fixture
def stored(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> StoredImages:
    """Give an empty storage with a podman and a skopeo of its own."""
    return make_stored_images(tmp_path / 'storage', monkeypatch)


@pytest.fixture
def space(tmp_path: Path) -> Iterator[Workspace]:
    """Give a workspace whose notes nobody undoes."""
    (tmp_path / 'space').mkdir()
    space = Workspace(str(tmp_path / 'space'))
    with space.held:
        yield space


@pytest.fixture
def stacked(tmp_path: Path) -> Iterator[Stacker]:
    """Stack trees: the first, and pairs of a tree and what it is a change of."""
    with ExitStack() as held:
        def make(base: Path, *others: Stacked) -> PackageStack:
            return PackageStack(tmp_path, held, base, *others)
        yield make
