# SPDX-License-Identifier: GPL-3.0-or-later
"""The cells of a matrix: axes, include and exclude, cells by name, what needs what."""
from __future__ import annotations

import itertools
import math
import re
from dataclasses import dataclass, replace
from typing import Any, Dict, Iterable, List, Mapping, Optional, Sequence, Tuple

from kiwi_stackbuild_plugin.description.description import SIZE_LIMIT, parse_xml
from kiwi_stackbuild_plugin.description.extension import find_description
from kiwi_stackbuild_plugin.host.errors import KiwiStackBuildError, KiwiStashArgumentInvalid
from kiwi_stackbuild_plugin.runs.matrix_file import Value, substitute
from kiwi_stackbuild_plugin.runs.stash_as import split_stash_name

#: what a cell may say besides options: how it is called, what else it waits for,
#: and what is handed on to kiwi
_OWN = ('name', 'needs', 'kiwi-args')
#: options of kiwi-ng itself
_GLOBAL = ('profile', 'type', 'target-arch', 'kiwi-file', 'setenv', 'config')
_REPEATED = ('profile', 'setenv')
_TOP = ('defaults', 'axes', 'include', 'exclude', 'cells', 'registry', 'target-dir')
#: cells of a file, and what it includes or leaves out of them
_MOST = 1000
#: what stands beside the target directories of the cells: their logs, the summary
LOG, SUMMARY = '.log', 'matrix.json'
#: names of that, and of the target of "make" that is all cells
_TAKEN = ('all', SUMMARY, f'{SUMMARY}.new', 'Makefile', 'makefile', 'GNUmakefile')
#: a job of each CI system, a target of make and a directory can be called so
_NAME = re.compile(r'[A-Za-z0-9_][A-Za-z0-9_.-]{0,99}')


@dataclass(frozen=True)
class OptionKinds:
    """Options of "system stackbuild" that a cell may have, without dashes."""

    flags: Tuple[str, ...]
    single: Tuple[str, ...]
    repeated: Tuple[str, ...]


@dataclass(frozen=True)
class Cell:
    """One stackbuild: its options by name without dashes, in the order typed.

    :param needs: names of cells that have to be done before
    """

    name: str
    options: Mapping[str, Tuple[str, ...]]
    global_options: Mapping[str, Tuple[str, ...]]
    kiwi_args: Tuple[str, ...] = ()
    needs: Tuple[str, ...] = ()

    def option(self, name: str) -> str:
        """Return the one value of an option, or nothing."""
        values = self.options.get(name) or ('',)
        return values[0]


@dataclass(frozen=True)
class Matrix:
    """The cells in an order in which each comes after those that it needs.

    :param registry: host/prefix that stashes of cells are shared by, or empty
    """

    cells: Tuple[Cell, ...]
    target_dir: str = ''
    registry: str = ''


def make_matrix(top: Value, kinds: OptionKinds) -> Matrix:
    """Make the cells of a file.

    :raises KiwiStashArgumentInvalid: in one line with file, line and key
    """
    keys = top.mapping()
    _check_keys(top, _TOP)
    defaults = keys['defaults'].mapping() if 'defaults' in keys else {}
    rows = [
        (next(iter(row.values()), top), {**defaults, **row}, {
            name: value.content for name, value in row.items() if isinstance(value.content, str)
        }) for row in _combinations(keys)
    ] + [
        (one, {**defaults, **one.mapping()}, {})
        for one in (keys['cells'].items() if 'cells' in keys else ())
    ]
    if len(rows) > _MOST:
        raise top.wrong(f'{len(rows)} cells, at most {_MOST} are made')
    if not rows:
        raise top.wrong('there are no cells', 'give axes, include or cells')
    found: Dict[str, Tuple[Cell, Value]] = {}
    axes = set(keys['axes'].mapping()) if 'axes' in keys else set()
    for where, values, variables in rows:
        cell = _make_cell(where, values, variables, kinds, axes)
        if cell.name in found:
            raise where.wrong(
                f'a second cell {cell.name!r}', 'give names, with ${axis} in them'
            )
        if cell.name in _TAKEN:
            raise values.get('name', where).wrong(
                f'no cell can be called {cell.name!r}', 'name: gives another'
            )
        found[cell.name] = cell, where
    _check_logs(found)
    return Matrix(
        _ordered(found), _text(keys, 'target-dir'), _text(keys, 'registry').rstrip('/')
    )


def _check_logs(found: Mapping[str, Tuple[Cell, Value]]) -> None:
    """Refuse a cell whose directory would be the log of another."""
    for name, (_, value) in found.items():
        if name.endswith(LOG) and name[:-len(LOG)] in found:
            raise value.wrong(
                f'{name!r} is the log of the cell {name[:-len(LOG)]!r}', 'name: gives another'
            )


def _text(keys: Mapping[str, Value], name: str) -> str:
    return keys[name].text() if name in keys else ''


def _check_keys(value: Value, known: Iterable[str]) -> None:
    for key, child in value.mapping().items():
        if key not in known:
            raise child.wrong('no such key', f'there are: {", ".join(sorted(known))}')


def _combinations(keys: Mapping[str, Value]) -> List[Dict[str, Value]]:
    """Return the rows that axes, exclude and include make, as GitHub's matrix does.

    exclude comes first. What include adds goes to each row that it does not
    overwrite a value of an axis of; where there is none it is a row of its own.
    """
    axes = keys['axes'].mapping() if 'axes' in keys else {}
    for name, axis in axes.items():
        if not axis.items():
            raise axis.wrong('an axis without values')
        for value in axis.items():
            value.text()
        if not re.fullmatch(r'[A-Za-z][A-Za-z0-9_-]*', name):
            raise axis.wrong('an axis is called by letters, digits, - and _')
    _check_counts(keys, math.prod(len(axis.items()) for axis in axes.values()))
    rows = [
        dict(zip(axes, values))
        for values in itertools.product(*(axis.items() for axis in axes.values()))
    ] if axes else []
    for one in keys['exclude'].items() if 'exclude' in keys else ():
        without = one.mapping()
        _check_keys(one, axes)
        rows = [row for row in rows if not _agrees(row, without)]
    original = [dict(row) for row in rows]
    for one in keys['include'].items() if 'include' in keys else ():
        more = one.mapping()
        fits = [
            row for row, first in zip(rows, original)
            if _agrees(first, {name: more[name] for name in more if name in first})
        ]
        for row in fits:
            row.update(more)
        if not fits:
            rows.append(dict(more))
    return rows


def _check_counts(keys: Mapping[str, Value], combinations: int) -> None:
    """Refuse what would be worked on for hours, or fill the memory."""
    for name, count in (('axes', combinations), *(
        (name, len(keys[name].items())) for name in ('exclude', 'include') if name in keys
    )):
        if count > _MOST:
            raise keys[name].wrong(f'{count} of them, at most {_MOST} are made')


def _agrees(row: Mapping[str, Value], wanted: Mapping[str, Value]) -> bool:
    return all(name in row and row[name].text() == wanted[name].text() for name in wanted)


def _make_cell(
    where: Value, values: Mapping[str, Value], variables: Dict[str, str],
    kinds: OptionKinds, axes: Iterable[str]
) -> Cell:
    names = (*kinds.flags, *kinds.single, *kinds.repeated)
    _check_known(values, variables, {*names, *_GLOBAL, *_OWN}, axes)
    options: Dict[str, Tuple[str, ...]] = {}
    global_options: Dict[str, Tuple[str, ...]] = {}
    for key, value in values.items():
        if key in kinds.flags:
            if value.flag():
                options[key] = ()
        elif key in names or key in _GLOBAL:
            words = _words(values, key, variables)
            if len(words) > 1 and key not in (*kinds.repeated, *_REPEATED):
                raise value.wrong('takes one value')
            (options if key in names else global_options)[key] = words
    _check_values(values, options)
    return Cell(
        _name_of(where, values, variables, axes), options, global_options,
        _words(values, 'kiwi-args', variables), _words(values, 'needs', variables)
    )


def _name_of(
    where: Value, values: Mapping[str, Value], variables: Dict[str, str], axes: Iterable[str]
) -> str:
    if 'name' in values:
        name = substitute(values['name'], variables)
    elif variables:
        name = '-'.join(text for key, text in variables.items() if key in axes or not axes)
    else:
        raise where.wrong('a cell without a name')
    if not _NAME.fullmatch(name):
        raise values.get('name', where).wrong(
            f'{name!r} cannot name a cell', 'letters, digits, . _ and -; name: gives another'
        )
    return name


def _check_known(
    values: Mapping[str, Value], variables: Mapping[str, str], known: Iterable[str],
    axes: Iterable[str]
) -> None:
    """Refuse a key that would do nothing: no option, no axis, and used nowhere."""
    used = ' '.join(
        one.content for value in values.values() for one in value.items()
        if isinstance(one.content, str)
    )
    for key, value in values.items():
        if key not in known and key not in axes and not (
            key in variables and f'${{{key}}}' in used
        ):
            raise value.wrong('no such key', f'there are: {", ".join(sorted(known))}')


def _words(
    values: Mapping[str, Value], key: str, variables: Dict[str, str]
) -> Tuple[str, ...]:
    return tuple(
        substitute(one, variables) for one in values[key].items()
    ) if key in values else ()


def _check_values(values: Mapping[str, Value], options: Mapping[str, Tuple[str, ...]]) -> None:
    """Check what would be found out only when the cell runs."""
    try:
        for text in options.get('stash-as', ()):
            split_stash_name(text, 'stash-as')
    except KiwiStackBuildError as issue:
        raise values['stash-as'].wrong(issue.summary, issue.hint) from issue
    if 'export' in options and 'stash-as' not in options:
        raise values['export'].wrong('there is no stash to copy', 'name one with stash-as')
    if not options.get('stash') and not options.get('description'):
        raise next(iter(values.values())).wrong('a cell needs stash or description')


def stash_names(cell: Cell) -> Tuple[str, ...]:
    """Return the stashes that a cell builds on, also the one its description names."""
    if cell.options.get('stash'):
        return cell.options['stash']
    try:
        path = find_description(
            cell.option('description'), (cell.global_options.get('kiwi-file') or (None,))[0]
        )
        with open(path, 'rb') as source:
            reference = str(parse_xml(source.read(SIZE_LIMIT), path).get('stashed', ''))
    except (KiwiStackBuildError, OSError):
        # the cell itself will say what is wrong
        return ()
    return (reference.strip(),) if reference.strip() else ()


def full_name(text: str) -> str:
    """Return name:tag of a plain stash name, other references as they are."""
    return text if ':' in text or '@' in text else f'{text}:latest'


def _ordered(found: Mapping[str, Tuple[Cell, Value]]) -> Tuple[Cell, ...]:
    """Return cells after those that they need.

    :raises KiwiStashArgumentInvalid: for a need that is no cell, or a circle
    """
    makers = _makers(found)
    left = {
        cell.name: _with_needs(cell, value, found, makers) for cell, value in found.values()
    }
    ordered: List[Cell] = []
    while left:
        ready = [cell for cell in left.values() if not left.keys() & cell.needs]
        if not ready:
            raise found[next(iter(left))][1].wrong(f'{" and ".join(left)} need one another')
        ordered += ready
        for cell in ready:
            del left[cell.name]
    return tuple(ordered)


def _makers(found: Mapping[str, Tuple[Cell, Value]]) -> Dict[str, str]:
    """Return which cell makes which stash."""
    makers: Dict[str, str] = {}
    for cell, value in found.values():
        for text in cell.options.get('stash-as', ()):
            other = makers.setdefault(full_name(text), cell.name)
            if other != cell.name:
                raise value.wrong(f'{cell.name!r} and {other!r} make the same stash {text!r}')
    return makers


def _with_needs(
    cell: Cell, value: Value, found: Mapping[str, Any], makers: Mapping[str, str]
) -> Cell:
    for name in cell.needs:
        if name not in found:
            raise value.wrong(f'{cell.name!r} needs {name!r}, which is no cell')
    made = [
        makers[full_name(text)] for text in stash_names(cell) if full_name(text) in makers
    ]
    return replace(cell, needs=tuple(dict.fromkeys((*cell.needs, *made))))


def chosen(cells: Sequence[Cell], only: Sequence[str]) -> List[Cell]:
    """Return the cells of some names and all that they need.

    :raises KiwiStashArgumentInvalid: for a name that is no cell
    """
    by_name = {cell.name: cell for cell in cells}
    wanted = set()
    left = list(only) or list(by_name)
    while left:
        name = left.pop()
        if name not in by_name:
            raise KiwiStashArgumentInvalid(
                f'--only {name!r}: no such cell', f'there are: {", ".join(by_name)}'
            )
        if name not in wanted:
            wanted.add(name)
            left += by_name[name].needs
    return [cell for cell in cells if cell.name in wanted]


def cell_words(cell: Cell, target_dir: str, extra: Optional[Sequence[str]] = None) -> List[str]:
    """Return the words of a cell behind "kiwi-ng", each option as one word."""
    words = [
        f'--{key}={value}' for key, values in cell.global_options.items() for value in values
    ] + ['system', 'stackbuild']
    for key, values in cell.options.items():
        words += [f'--{key}={value}' for value in values] or [f'--{key}']
    words += [*(extra or ()), f'--target-dir={target_dir}']
    return words + (['--', *cell.kiwi_args] if cell.kiwi_args else [])
