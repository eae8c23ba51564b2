# SPDX-License-Identifier: GPL-3.0-or-later
"""The use case "stash --prune": remove old stashes by rules of what is kept.

The rules are those of backup tools (restic forget): each rule is applied to
the stashes of a name by itself, and what any of them keeps stays.
"""
from __future__ import annotations

import logging
import re
from dataclasses import dataclass
from typing import Dict, Iterator, List, Mapping, Optional, Sequence, Set, Tuple

from kiwi.defaults import Defaults

from kiwi_stackbuild_plugin.host.errors import (
    KiwiStashArgumentInvalid, KiwiStashImageNotFound, KiwiStashLocked, KiwiStashToolFailed
)
from kiwi_stackbuild_plugin.host.locks import unless_in_use
from kiwi_stackbuild_plugin.host.signals import clean_exit
from kiwi_stackbuild_plugin.host.text import align, human_age, human_size, parse_moment, utc
from kiwi_stackbuild_plugin.image.cache import drop_layers
from kiwi_stackbuild_plugin.image.image import ImageInfo, is_own_stash
from kiwi_stackbuild_plugin.overlay.hold import let_go_abandoned
from kiwi_stackbuild_plugin.stash.index import drop_indexes
from kiwi_stackbuild_plugin.stash.sbom import drop_documents
from kiwi_stackbuild_plugin.storage import local
from kiwi_stackbuild_plugin.storage.cleanup import STORAGE_IN_USE, sweep
from kiwi_stackbuild_plugin.storage.directories import storage_key
from kiwi_stackbuild_plugin.storage.removal import (
    disk_usage, needed_images, own_layers, remove_image, remove_name
)

log = logging.getLogger('kiwi')

_COLUMNS = ('', 'NAME', 'TAG', 'IMAGE ID', 'CREATED', 'KEPT FOR')
_UNNAMED = '<none>'


@dataclass(frozen=True)
class PruneRequest:
    """What "system stash --prune" was asked for; fields are its options."""

    keep_last: Optional[str] = None
    keep_weekly: Optional[str] = None
    container_name: Optional[str] = None
    dry_run: bool = False


@dataclass(frozen=True)
class Rules:
    """How many of the newest stashes stay, and the newest of how many weeks."""

    last: int
    weekly: int


@dataclass(frozen=True)
class Version:
    """A stash of a name: one image, whatever tags it has; none if superseded."""

    name: str
    tags: Tuple[str, ...]
    info: ImageInfo

    @property
    def age_key(self) -> Tuple[str, int, bool, Tuple[str, ...]]:
        """What newer ones have more of; SOURCE_DATE_EPOCH gives all one time."""
        return (
            utc(self.info.created), len(self.info.layers), 'latest' in self.tags, self.tags
        )


@dataclass(frozen=True)
class _Plan:
    """Versions that stay, with the reasons, and those that go."""

    kept: Tuple[Tuple[Version, str], ...]
    gone: Tuple[Version, ...]


def prune(request: PruneRequest) -> str:
    """Remove what no rule keeps, and nothing needs.

    :returns: what was, or would be, removed, for the user
    :raises KiwiStashArgumentInvalid: for rules that keep nothing
    :raises KiwiStashLocked: if another run works on this storage
    """
    rules = _parse_rules(request)
    local.require_storage_tools()
    with clean_exit():
        sweep([Defaults.get_temp_location()])
        with unless_in_use(*STORAGE_IN_USE, storage_key()) as free:
            if not free and not request.dry_run:
                raise KiwiStashLocked(
                    'another run works with the stashes of this storage',
                    'try again when it has ended'
                )
            if not request.dry_run:
                let_go_abandoned()
            images = local.list_images()
            plan = _make_plan(images, request.container_name, rules)
            return _carry_out(plan, images, request.dry_run)
    raise AssertionError('not reached: clean_exit() swallows nothing')


def _parse_rules(request: PruneRequest) -> Rules:
    if request.keep_last is None and request.keep_weekly is None:
        raise KiwiStashArgumentInvalid(
            '--prune: nothing says what is kept', 'give --keep-last, --keep-weekly or both'
        )
    return Rules(
        _number(request.keep_last, '--keep-last'),
        _number(request.keep_weekly, '--keep-weekly')
    )


def _number(text: Optional[str], option: str) -> int:
    if text is None:
        return 0
    if not re.fullmatch('[0-9]{1,6}', text) or int(text) == 0:
        raise KiwiStashArgumentInvalid(
            f'{option} {text!r}: not a number above 0', 'such as 4'
        )
    return int(text)


def _make_plan(
    images: Sequence[ImageInfo], wanted: Optional[str], rules: Rules
) -> _Plan:
    versions = [
        one for one in find_versions(images) if wanted is None or one.name == wanted
    ]
    if wanted is not None and not versions:
        raise KiwiStashImageNotFound(
            f'--container-name {wanted!r}: no such stash',
            'those there are: kiwi-ng system stash_list'
        )
    needed = needed_images(one.info for one in versions)
    kept: List[Tuple[Version, str]] = []
    gone: List[Version] = []
    for name in sorted({one.name for one in versions}):
        of_name = [one for one in versions if one.name == name]
        reasons = apply_rules(of_name, rules)
        for one in sorted(of_name, key=lambda one: one.age_key, reverse=True):
            why = reasons.get(one.info.image_id, []) + [
                needed[key] for key in [one.info.image_id] if key in needed
            ]
            if why:
                kept.append((one, ', '.join(why)))
            else:
                gone.append(one)
    return _Plan(tuple(kept), tuple(gone))


def find_versions(images: Sequence[ImageInfo]) -> Iterator[Version]:
    """Yield the stashes of this plugin among images, by name and image.

    An image without a name is one whose name went to a newer one.
    """
    for info in images:
        if not info.stash_labels.is_stash or not is_own_stash(info):
            continue
        names: Dict[str, List[str]] = {}
        for full_name in info.names:
            name, tag = local.split_name(full_name)
            names.setdefault(name, []).append(tag)
        for name, tags in names.items():
            yield Version(name, tuple(sorted(tags)), info)
        if not names:
            yield Version(info.stash_labels.title, (), info)


def apply_rules(versions: Sequence[Version], rules: Rules) -> Dict[str, List[str]]:
    """Return the images of a name that rules keep, by ID, and which rules do.

    Weeks are those of ISO 8601, in UTC; weeks without a stash do not count.
    """
    named = sorted(
        (one for one in versions if one.tags), key=lambda one: one.age_key, reverse=True
    )
    kept: Dict[str, List[str]] = {}
    for one in named[:rules.last]:
        kept.setdefault(one.info.image_id, []).append('last')
    weeks: Dict[Tuple[int, int], Version] = {}
    for one in named:
        weeks.setdefault(_week(one.info.created), one)
    for one in list(weeks.values())[:rules.weekly]:
        kept.setdefault(one.info.image_id, []).append('weekly')
    return kept


def _week(created: str) -> Tuple[int, int]:
    moment = parse_moment(created)
    return (0, 0) if moment is None else moment.isocalendar()[:2]


def _carry_out(plan: _Plan, images: Sequence[ImageInfo], dry_run: bool) -> str:
    """Remove what goes, a failure does not stop the others, and tell."""
    going = _whole_images(plan)
    sizes = {
        chain: disk_usage(directory) if directory else 0
        for chain, directory in own_layers(
            going.values(), [info for info in images if info.image_id not in going]
        ).items()
    }
    failed: List[KiwiStashToolFailed] = []
    removed = plan.gone
    if not dry_run:
        removed = tuple(
            one for one in plan.gone if _remove(one, one.info.image_id in going, failed)
        )
    gone = {one.info.image_id: one.info for one in removed if one.info.image_id in going}
    if not dry_run:
        drop_indexes(gone)
        _drop_layers(gone, images)
        # with those of images that somebody else has removed
        drop_documents({info.image_id for info in images} - gone.keys())
    freed = sum(sizes[chain] for chain in own_layers(
        gone.values(), [info for info in images if info.image_id not in gone]
    ))
    text = _describe(plan, removed, freed, dry_run)
    if failed:
        log.info('%s', text)
        raise failed[0]
    return text


def _drop_layers(gone: Mapping[str, ImageInfo], images: Sequence[ImageInfo]) -> None:
    """Remove what is kept of the layers that no image has any longer."""
    staying = {layer for info in images if info.image_id not in gone for layer in info.layers}
    drop_layers({layer for info in gone.values() for layer in info.layers} - staying)


def _whole_images(plan: _Plan) -> Dict[str, ImageInfo]:
    """Return the images of which no name stays."""
    staying = {one.info.image_id for one, _ in plan.kept}
    return {
        one.info.image_id: one.info for one in plan.gone
        if one.info.image_id not in staying and _names(one.info) <= {
            f'{other.name}:{tag}' for other in plan.gone
            if other.info.image_id == one.info.image_id for tag in other.tags
        }
    }


def _names(info: ImageInfo) -> Set[str]:
    return {':'.join(local.split_name(name)) for name in info.names}


def _remove(one: Version, whole: bool, failed: List[KiwiStashToolFailed]) -> bool:
    try:
        if whole:
            if local.find_image(one.info.image_id) is not None:
                remove_image(one.info.image_id)
        else:
            for full_name in one.info.names:
                name, tag = local.split_name(full_name)
                if name == one.name and tag in one.tags:
                    remove_name(one.info.image_id, full_name)
    except KiwiStashToolFailed as issue:
        failed.append(issue)
        if issue is not failed[0]:
            log.error(issue.summary)
        return False
    return True


def _describe(
    plan: _Plan, removed: Sequence[Version], freed: int, dry_run: bool
) -> str:
    rows = [_COLUMNS, *(
        row for one, why in [*plan.kept, *((one, '-') for one in plan.gone)]
        for row in _rows(one, why, plan.gone)
    )]
    named = sum(len(one.tags) for one in removed)
    unnamed = sum(1 for one in removed if not one.tags)
    words = 'would be removed' if dry_run else 'removed'
    return '\n'.join([
        align([rows[0], *sorted(rows[1:], key=lambda row: row[1])]),
        f'{named} stash{"" if named == 1 else "es"} and {unnamed} '
        f'image{"" if unnamed == 1 else "s"} without a name {words}, '
        f'{human_size(freed)} {"would be " if dry_run else ""}freed'
    ])


def _rows(one: Version, why: str, gone: Sequence[Version]) -> Iterator[Tuple[str, ...]]:
    for tag in one.tags or (_UNNAMED,):
        yield (
            'remove' if one in gone else 'keep', one.name, tag, one.info.image_id[:12],
            human_age(utc(one.info.created)), why
        )
