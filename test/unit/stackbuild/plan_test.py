# SPDX-License-Identifier: GPL-3.0-or-later
"""What is built of stashes and a description, decided before anything is made."""
from __future__ import annotations

import os
from dataclasses import replace
from pathlib import Path
from typing import Any, List

import pytest
from stored_images import own_labels
from trees import CONFIG, describe, make_root

from kiwi_stackbuild_plugin.host.errors import (
    KiwiStashArgumentInvalid, KiwiStashDescriptionInvalid
)
from kiwi_stackbuild_plugin.image.image import ImageInfo
from kiwi_stackbuild_plugin.stackbuild.container import NO_PLAN
from kiwi_stackbuild_plugin.stackbuild.plan import (
    BuildPlan, Given, StackbuildRequest, make_plan, read_given
)
from kiwi_stackbuild_plugin.stackbuild.root_import import place_beside, place_description
from kiwi_stackbuild_plugin.stackbuild.stacking import Step
from kiwi_stackbuild_plugin.stackbuild.target import Target
from kiwi_stackbuild_plugin.tree.delta import Delta

EXTENSION = '''<image stashed="small:v1" name="bigger">
  <repository customize="gone.sh"><source path="http://h/debian"/></repository>
  <packages type="image"><package name="vim"/></packages>
</image>'''
#: kiwi leaves one open where a description is not valid
pytestmark = [
    pytest.mark.filterwarnings('ignore:unclosed file.*kiwi_xslt:ResourceWarning'),
    pytest.mark.usefixtures('kiwi_as_imported')
]


@pytest.fixture
def request_(tmp_path: Path) -> StackbuildRequest:
    return StackbuildRequest(('small:v1',), str(tmp_path / 'target'))


@pytest.fixture
def step(tmp_path: Path) -> Step:
    root = make_root(tmp_path / 'root')
    for name in ('apt-get', 'dpkg'):
        (root / 'usr/bin' / name).write_text('')
    (root / 'etc/os-release').write_text('ID=debian\nVERSION_CODENAME=bookworm\n')
    return Step(ImageInfo('f' * 64, ('localhost/small:v1',), labels=own_labels()), str(root))


def beside(tmp_path: Path, text: str, name: str = 'config.xml') -> str:
    (tmp_path / 'description').mkdir(exist_ok=True)
    (tmp_path / 'description' / name).write_text(text)
    return str(tmp_path / 'description')


def given(request: StackbuildRequest, work: Path) -> Given:
    work.mkdir(exist_ok=True)
    return read_given(request, Target(request.target_dir), str(work))


def planned(request: StackbuildRequest, steps: List[Step], work: Path) -> BuildPlan:
    known = given(request, work)
    return make_plan(request, Target(request.target_dir), known, steps, str(work))


@pytest.mark.parametrize(('text', 'stashes', 'expected'), [
    (EXTENSION, (), ('small:v1',)), (EXTENSION, ('a', 'b'), ('a', 'b')),
    (CONFIG.format(schema='7.4', name='x'), ('a',), ('a',)),
])
def test_stashes_of_the_user_or_of_the_extension(
    tmp_path: Path, request_: StackbuildRequest, text: str, stashes: Any, expected: Any
) -> None:
    request = replace(request_, stashes=stashes, description=beside(tmp_path, text))
    assert given(request, tmp_path / 'work').stashes == expected


@pytest.mark.parametrize(('text', 'more', 'said'), [
    (None, {'stashes': ()}, '--stash: none is given'),
    (CONFIG.format(schema='7.4', name='x'), {'stashes': ()}, '--stash: none is given'),
    (EXTENSION.replace('small:v1', ' '), {'stashes': ()}, '--stash: none is given'),
    (None, {'description': '/nowhere'}, 'no such directory'),
    (None, {'kiwi_args': ('--bogus',)}, '--bogus'),
    (None, {'kiwi_args': ('--root=/x',)}, '--root'),
    (EXTENSION.replace('packages', 'package'), {}, 'line 3'),
])
def test_what_is_wrong_before_anything_is_fetched(
    tmp_path: Path, request_: StackbuildRequest, text: Any, more: Any, said: str
) -> None:
    request = replace(
        request_, description=text and beside(tmp_path, text), **more
    ) if text else replace(request_, **more)
    with pytest.raises((KiwiStashArgumentInvalid, KiwiStashDescriptionInvalid)) as issue:
        given(request, tmp_path / 'work')
    assert said in issue.value.summary
    assert not os.path.exists(request.target_dir)


def test_stash_as_it_is(tmp_path: Path, request_: StackbuildRequest, step: Step) -> None:
    before = describe(step.path)
    plan = planned(request_, [step], tmp_path / 'work')
    assert plan.source == step.path and plan.preparation is None
    assert 'Built: the description of localhost/small:v1' in plan.text
    assert (plan.work.builds, plan.work.manager, plan.work.image) == (False, 'apt', 'tbz')
    assert 'create' in plan.call.argv
    root = make_root(tmp_path / 'made', 'other')
    (root / 'image/more').write_text('')
    place_description(plan, str(root))
    place_beside(plan, str(tmp_path))
    assert describe(root / 'image') == describe(os.path.join(step.path, 'image'))
    assert not (tmp_path / 'description').exists() and describe(step.path) == before


def test_full_description(tmp_path: Path, request_: StackbuildRequest, step: Step) -> None:
    directory = beside(tmp_path, CONFIG.format(schema='7.4', name='other'))
    plan = planned(replace(request_, description=directory), [step], tmp_path / 'work')
    assert plan.text.endswith(f'Built: {directory}, nothing of the stashed one')
    assert (plan.source, plan.extended, plan.skips_bootstrap) == ('', None, True)
    assert plan.work.builds and not plan.work.bootstraps
    assert 'build' in plan.call.argv and plan.call.task.xml_data.get_name() == 'other'
    place_description(plan, step.path)
    assert os.listdir(os.path.join(step.path, 'image')) == []


@pytest.mark.parametrize('has_manager', [True, False])
def test_extension(
    tmp_path: Path, request_: StackbuildRequest, step: Step, has_manager: bool
) -> None:
    if not has_manager:
        os.unlink(os.path.join(step.path, 'usr/bin/apt-get'))
    directory = beside(tmp_path, EXTENSION)
    plan = planned(replace(request_, description=directory), [step], tmp_path / 'work')
    assert plan.extended is not None and plan.skips_bootstrap is has_manager
    assert plan.call.task.xml_data.get_name() == 'bigger'
    assert plan.call.task.xml_state.get_system_packages() == ['vim']
    assert '+        <package name="vim"/>' in plan.text
    assert "named in it: 'gone.sh' (repository customize): is not there" in plan.text
    assert ('the package manager is not there' in plan.text) is not has_manager
    place_description(plan, step.path)
    assert [Path(name).suffix for name in os.listdir(f'{step.path}/image')] == ['.xml']
    build = tmp_path / 'build'
    (build / 'description').mkdir(parents=True)
    (build / 'description/stale').write_text('')
    place_beside(plan, str(build))
    placed = describe(build / 'description')
    assert placed == describe(plan.extended.top) and b'stale' not in placed
    # kiwi was told where it will be
    assert str(tmp_path / 'target/build/description') in ' '.join(plan.call.argv)


@pytest.mark.parametrize(('args', 'profiles', 'build_type'), [
    ({}, ['p'], 'oci'), ({'--type': 'tbz'}, ['p'], 'tbz'),
])
def test_what_the_stash_was_built_with(
    tmp_path: Path, request_: StackbuildRequest, step: Step, args: Any, profiles: Any,
    build_type: str
) -> None:
    path = Path(step.path, 'image/config.xml')
    path.write_text(path.read_text().replace('<preferences>', '''<profiles>
      <profile name="p" description="p"/></profiles><preferences>''').replace(
        '<type image="tbz"/>', '<type image="tbz" primary="true"/><type image="oci"/>'
    ))
    info = replace(step.image, labels=own_labels(PROFILES='p', TYPE='oci'))
    plan = planned(
        replace(request_, global_args=args), [replace(step, image=info)], tmp_path / 'work'
    )
    assert plan.work.image == build_type
    assert list(plan.call.task.global_args['--profile']) == profiles
    assert plan.call.task.global_args['--type'] == build_type


def test_text_names_conflicts_and_nothing_a_terminal_acts_on(
    tmp_path: Path, request_: StackbuildRequest, step: Step
) -> None:
    top = replace(
        step, delta=Delta((b'x',), ()), moved={b'lib': b'usr/lib'},
        conflicts=tuple(b'etc/\x1b%d' % number for number in range(12))
    )
    text = planned(request_, [step, top], tmp_path / 'work').text
    assert text.count('conflict: etc/') == 10 and '\x1b' not in text
    assert 'lib goes to usr/lib' in text


@pytest.mark.parametrize('text', [EXTENSION, CONFIG.format(schema='7.4', name='x'), None])
@pytest.mark.parametrize('tool', ['stash', 'umoci', None])
def test_of_a_root_alone_nothing_is_said_of_containers(
    tmp_path: Path, request_: StackbuildRequest, step: Step, text: Any, tool: Any,
    caplog: pytest.LogCaptureFixture
) -> None:
    """But that the tool is of no use: a stash of 120 layers would be a reason to warn."""
    full = replace(step, image=replace(step.image, layers=(f'sha256:{"a" * 64}',) * 120))
    plan = planned(replace(
        request_, description=text and beside(tmp_path, text), container_tool=tool,
        root_only=True
    ), [full], tmp_path / 'work')
    assert plan.container == NO_PLAN and 'Container:' not in plan.text
    told = [line for line in caplog.messages if 'ontainer' in line]
    assert told == ([
        f'--container-tool={tool}: with --root-only no container is made'
    ] if tool else [])
