# SPDX-License-Identifier: GPL-3.0-or-later
"""Usage texts must suit both docopt 0.6.2 (kiwi 9) and docopt-ng (kiwi 10)."""
from __future__ import annotations

import re
from typing import Dict

import pytest

from kiwi_stackbuild_plugin.tasks import system_stackbuild, system_stash, system_stash_list

USAGES: Dict[str, str] = {
    'stash': system_stash.__doc__ or '',
    'stackbuild': system_stackbuild.__doc__ or '',
    'stash_list': system_stash_list.__doc__ or '',
}


@pytest.mark.parametrize('command', USAGES)
def test_lines_that_start_like_options_are_options(command: str) -> None:
    """docopt 0.6.2 takes each line that starts with a dash for an option's
    explanation, in the usage patterns and in running text too."""
    head, _, options = USAGES[command].partition('\noptions:\n')
    assert options
    assert re.findall(r'^ *-.*', head, re.MULTILINE) == []
    starts = re.findall(r'^( *)(-\S*)', options, re.MULTILINE)
    assert {indent for indent, _ in starts} <= {'    '}
    names = [name.partition('=')[0] for _, name in starts]
    assert names == sorted(set(names))


@pytest.mark.parametrize('command', USAGES)
def test_no_option_has_a_default_in_docopts_way(command: str) -> None:
    assert '[default:' not in USAGES[command]


@pytest.mark.parametrize('command', USAGES)
def test_help_is_the_second_or_last_pattern(command: str) -> None:
    """Behind a pattern with an argument it would be taken for the argument."""
    patterns = re.findall(rf'kiwi-ng system {command} (.*)', USAGES[command])
    behind = patterns[patterns.index('help') + 1:]
    assert behind == [] or patterns[:2] == ['-h | --help', 'help']
