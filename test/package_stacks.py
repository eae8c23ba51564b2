# SPDX-License-Identifier: GPL-3.0-or-later
"""Trees with packages of dpkg and rpm, made by hand and stacked without a storage."""
from __future__ import annotations

import os
import shutil
import subprocess
from contextlib import ExitStack, closing
from pathlib import Path
from typing import Callable, Dict, List, Optional, Sequence, Tuple

from kiwi_stackbuild_plugin.host.workspace import Workspace
from kiwi_stackbuild_plugin.image.image import ImageInfo
from kiwi_stackbuild_plugin.packages.union import PackagePlan
from kiwi_stackbuild_plugin.stackbuild.conflicts import StackState
from kiwi_stackbuild_plugin.stackbuild.stacked_packages import enter_packages, look_at_packages
from kiwi_stackbuild_plugin.stackbuild.stacking import Step, StepTrees
from kiwi_stackbuild_plugin.tree.apply import apply_delta
from kiwi_stackbuild_plugin.tree.content import ContentComparer
from kiwi_stackbuild_plugin.tree.delta import Delta, Trust, compare, whole_tree
from kiwi_stackbuild_plugin.tree.opening import open_tree
from kiwi_stackbuild_plugin.tree.scan import TreeReader, scan

STATUS = 'var/lib/dpkg/status'
Stacker = Callable[..., 'PackageStack']


def copy_of(tree: Path, name: str) -> Path:
    """Copy a tree to one beside it."""
    copy = tree.parent / name
    subprocess.run(['cp', '-a', '-T', tree, copy], check=True)
    return copy


def install_deb(tree: Path, name: str, version: str = '1', files: Sequence[str] = ()) -> None:
    """Put a package into a tree as dpkg has it; another version of it goes."""
    remove_deb(tree, name)
    for file in files:
        (tree / file).parent.mkdir(parents=True, exist_ok=True)
        (tree / file).write_text(f'{name} {version}\n')
    folders = {parent for file in files for parent in Path('/', file).parents}
    listed = sorted({'/.', *map(str, folders - {Path('/')}), *(f'/{file}' for file in files)})
    info = tree / 'var/lib/dpkg/info'
    info.mkdir(parents=True, exist_ok=True)
    (info / f'{name}.list').write_text(''.join(f'{line}\n' for line in listed))
    (info / f'{name}.md5sums').touch()
    (info / 'format').write_text('1\n')
    stanza = (
        f'Package: {name}\nStatus: install ok installed\nMaintainer: x\n'
        f'Architecture: amd64\nVersion: {version}\nDescription: x\n\n'
    )
    with open(tree / STATUS, 'a', encoding='ascii') as status:
        status.write(stanza)


def remove_deb(tree: Path, name: str) -> None:
    """Take a package out of a tree, if it is there."""
    listed = tree / f'var/lib/dpkg/info/{name}.list'
    if not listed.exists():
        return
    for line in listed.read_text().splitlines():
        if not (tree / line.lstrip('/')).is_dir():
            (tree / line.lstrip('/')).unlink()
    listed.unlink()
    status = tree / STATUS
    status.write_text(''.join(
        f'{stanza}\n\n' for stanza in status.read_text().split('\n\n')
        if stanza and not stanza.startswith(f'Package: {name}\n')
    ))


def debs_of(tree: Path) -> Dict[str, str]:
    """Ask dpkg itself for the versions of packages, and for what is wrong."""
    dpkg = ['dpkg', '--root', str(tree)]
    assert subprocess.run([*dpkg, '--audit'], capture_output=True, check=True).stdout == b''
    shown = subprocess.run([
        'dpkg-query', '--root', str(tree), '-W', '-f', '${Package} ${Version}\n'
    ], capture_output=True, text=True, check=True).stdout
    return dict(line.split(' ') for line in shown.splitlines())


#: a tree, and what it is a change of (None for a union)
Stacked = Tuple[Path, Optional[Path]]


class PackageStack:
    """Trees on top of one another, as plan_stack and import_images put them."""

    def __init__(self, where: Path, held: ExitStack, base: Path, *others: Stacked) -> None:
        self.root = where / 'stacked'
        self.space = Workspace(str(where / 'scratch'))
        (where / 'scratch').mkdir()
        shutil.copytree(base, self.root, symlinks=True)
        readers = {
            path: held.enter_context(closing(TreeReader(open_tree(str(path)))))
            for pair in ((base, None), *others) for path in pair if path is not None
        }
        for reader in readers.values():
            held.callback(os.close, reader.fd)
        state = StackState(readers[base])
        self.steps: List[Step] = [_step(base, StepTrees(readers[base], None, state))]
        for path, before in others:
            ancestor = readers[before] if before is not None else None
            trees = StepTrees(readers[path], ancestor, state)
            self._put(trees, path.name)
            self.steps.append(_step(path, trees))

    def _put(self, trees: StepTrees, name: str) -> None:
        source, ancestor = trees.source, trees.ancestor
        delta = Delta((), tuple(whole_tree(scan(source.fd)))) if ancestor is None else compare(
            scan(ancestor.fd), scan(source.fd), ContentComparer(ancestor.fd, source.fd), Trust()
        )
        placement = trees.stack.place(ancestor, source, delta, name)
        trees.stack.apply(source, placement)
        fd = open_tree(str(self.root))
        try:
            apply_delta(fd, source.fd, placement.delta, placement.moved)
        finally:
            os.close(fd)

    def look(self) -> PackagePlan:
        """Look what the data base does not know."""
        return look_at_packages(self.space, self.steps, False)

    def merge(self) -> PackagePlan:
        """Make a data base that knows all."""
        plan = look_at_packages(self.space, self.steps, True)
        enter_packages(plan, str(self.root))
        return plan


def _step(path: Path, trees: StepTrees) -> Step:
    return Step(ImageInfo('x', (f'{path.name}:v1',)), str(path), trees=trees)
