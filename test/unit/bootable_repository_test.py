# SPDX-License-Identifier: GPL-3.0-or-later
"""The repository of RPM has what the description of the machine asks for."""
from __future__ import annotations

import xml.etree.ElementTree as ElementTree
from pathlib import Path

import pytest
from stackos import contents, machine

DESCRIPTION = Path(__file__).resolve().parents[2] / 'demo/vm/config.xml'


def test_repository_has_the_packages_of_the_machine() -> None:
    asked = {
        node.attrib['name']
        for section in ElementTree.parse(DESCRIPTION).iterfind('packages')
        for node in section.iterfind('package')
        if section.get('profiles', 'bios') == 'bios'
    }
    assert asked and asked <= {*machine.WANTED, *contents.WANTED}


def test_what_is_required_is_in_the_repository() -> None:
    for packages in machine.REQUIRED.values():
        assert set(packages) <= {*machine.WANTED, *contents.WANTED}


@pytest.mark.parametrize(('name', 'command'), (
    ('linux-image-6.1.0-56-cloud-amd64', 'depmod 6.1.0-56-cloud-amd64'),
    ('udev', 'groupadd'),
    ('systemd', 'systemd-sysusers'),
))
def test_script_of_a_package(name: str, command: str) -> None:
    assert command in machine.script_of(name)


@pytest.mark.parametrize('name', ('linux-image-cloud-amd64', 'bash', 'dracut'))
def test_other_packages_have_none(name: str) -> None:
    assert machine.script_of(name) == ''
