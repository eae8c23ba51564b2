# SPDX-License-Identifier: GPL-3.0-or-later
"""Which tool makes a container; test/integration/container_test.py has it made."""
from __future__ import annotations

import inspect
from types import SimpleNamespace
from typing import Any, Dict, Optional

import pytest
from kiwi.container import oci
from kiwi.oci_tools.base import OCIBase
from kiwi.runtime_checker import RuntimeChecker
from kiwi.runtime_config import RuntimeConfig

from kiwi_stackbuild_plugin.host.errors import KiwiStashArgumentInvalid
from kiwi_stackbuild_plugin.image import labels
from kiwi_stackbuild_plugin.image.image import ImageInfo
from kiwi_stackbuild_plugin.stackbuild.container import (
    NO_PLAN, ContainerPlan, StashContainer, check_tool, choose_tool, container_tool
)

CONFIG = '{"rootfs": {"diff_ids": ["sha256:%s"]}}' % ('a' * 64)


def image(layers: int = 2, **more: str) -> ImageInfo:
    return ImageInfo(
        '1' * 64, ('localhost/base:latest',), layers=('x',) * layers,
        labels={labels.META: 'x', **more}
    )


def state(kind: str = 'oci', delta: bool = False, derived: bool = False) -> Any:
    return SimpleNamespace(
        get_build_type_name=lambda: kind,
        build_type=SimpleNamespace(get_delta_root=lambda: delta),
        get_derived_from_image_uri=lambda: ['x'] if derived else []
    )


@pytest.mark.parametrize('asked, built, base, tool, said', [
    (None, state('oci'), image(), 'stash', ''),
    (None, state('docker'), image(), 'stash', ''),
    (None, state('wsl'), image(), '', ''),
    (None, state('appx'), image(), '', ''),
    (None, state('iso'), image(), '', ''),
    ('stash', state('oci'), image(), 'stash', ''),
    ('stash', state('iso'), image(), '', '--container-tool=stash: iso is no type of a container'),
    ('umoci', state('oci'), image(), 'umoci', ''),
    ('buildah', state('oci'), image(), 'buildah', ''),
    # a container around a disk
    ('buildah', state('oem'), image(), 'buildah', ''),
    (None, state('oci', delta=True), image(), '', 'delta_root asks for the change alone'),
    (None, state(), ImageInfo('1' * 64, ('x:1',)), '', 'x:1 is no stash'),
    ('stash', state(), ImageInfo('1' * 64, ('x:1',)), 'stash', ''),
    (None, state(), image(120), '', 'localhost/base:latest has 120 layers'),
    (None, state(), image(119), 'stash', ''),
])
def test_the_tool_and_why(
    asked: Optional[str], built: Any, base: ImageInfo, tool: str, said: str,
    caplog: pytest.LogCaptureFixture
) -> None:
    plan = choose_tool(asked, built, base, None)
    assert (plan.tool, bool(said)) == (tool, bool(caplog.text))
    assert said in caplog.text
    assert (plan.base is base) == (tool == 'stash')


@pytest.mark.parametrize('built, imported, config, needs_own', [
    (state(), None, '', False),
    (state(derived=True), image(**{labels.IMPORTED_ROOT: CONFIG}), CONFIG, False),
    # kiwi imports the container of the description itself
    (state(derived=True), None, '', True),
])
def test_what_it_is_derived_from(
    built: Any, imported: Optional[ImageInfo], config: str, needs_own: bool
) -> None:
    plan = choose_tool(None, built, image(), imported)
    assert (plan.imported, plan.needs_own) == (config, needs_own)


@pytest.mark.parametrize('text', ['stash', 'umoci', 'buildah', None])
def test_known_tools(text: Optional[str]) -> None:
    assert check_tool(text) == text


@pytest.mark.parametrize('text', ['', 'Stash', 'podman', 'umoci '])
def test_unknown_tools(text: str) -> None:
    with pytest.raises(KiwiStashArgumentInvalid, match='is not known') as issue:
        check_tool(text)
    assert issue.value.hint == 'it is stash, umoci or buildah'


def test_the_interface_is_that_of_kiwi() -> None:
    """So that kiwi's own classes can be taken away."""
    wanted: Dict[str, Any] = {
        name: list(inspect.signature(method).parameters)
        for name, method in inspect.getmembers(OCIBase, inspect.isfunction)
        if not name.startswith('_') and name != 'post_init'
    }
    # kiwi's base class and its own tools differ in the name of the last one
    wanted['export_container_image'][-1] = 'additional_names'
    assert len(wanted) == 9
    assert wanted == {
        name: list(inspect.signature(getattr(StashContainer, name)).parameters)
        for name in wanted
    }


@pytest.mark.parametrize('tool', ['umoci', 'buildah'])
def test_another_tool_of_kiwi(tool: str) -> None:
    before = RuntimeConfig().get_oci_archive_tool()
    with container_tool(ContainerPlan(tool)):
        assert RuntimeConfig().get_oci_archive_tool() == tool
    assert RuntimeConfig().get_oci_archive_tool() == before


@pytest.mark.parametrize('plan, checked, replaced', [
    (NO_PLAN, True, False),
    (ContainerPlan('stash', image()), False, True),
    (ContainerPlan('stash', image(), needs_own=True), True, True)
])
def test_kiwi_looks_for_its_tool_if_it_needs_one(
    plan: ContainerPlan, checked: bool, replaced: bool
) -> None:
    check, factory = RuntimeChecker.check_container_tool_chain_installed, oci.OCI
    with container_tool(plan):
        assert (RuntimeChecker.check_container_tool_chain_installed is check) == checked
        assert (oci.OCI is not factory) == replaced
    assert RuntimeChecker.check_container_tool_chain_installed is check
    assert oci.OCI is factory
