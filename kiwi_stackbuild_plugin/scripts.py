# SPDX-License-Identifier: GPL-3.0-or-later
"""Which of kiwi's scripts run: the stash's, the extension's, or both."""
from __future__ import annotations

import os
from typing import List

#: scripts that run in or on a root tree, see kiwi.defaults
_SCRIPTS = (
    'post_bootstrap.sh', 'config.sh', 'config-overlay.sh',
    'config-host-overlay.sh', 'images.sh', 'pre_disk_sync.sh', 'disk.sh'
)
_JOINED = '''#!/bin/bash
# {name} of the stash, then that of the extension (stackbuild --keep-scripts)
run() {{
    local script status
    script=$(mktemp "${{0%/*}}/.{name}.XXXXXX") || return
    cat <&3 >"$script" && chmod 700 "$script" && "$script" "$@" 3<&-
    status=$?
    rm -f "$script"
    return "$status"
}}
'''
_PART = '''run "$@" 3<<'{mark}' || exit
{script}
{mark}
'''


def merge_scripts(stashed_dir: str, directory: str, keep: bool) -> List[str]:
    """Join the scripts that both have, if the stash's are to be kept.

    :returns: a line on each script that will run
    """
    said = []
    for name in _SCRIPTS:
        old, new = (
            os.path.join(place, name) for place in (stashed_dir, directory)
        )
        if os.path.exists(old) and os.path.exists(new) and keep:
            _join(name, old, new)
            said.append(f'{name}: that of the stash, then that of the extension')
        elif os.path.exists(new):
            said.append(f'{name}: that of the extension' + (
                ', not that of the stash (see --keep-scripts)'
                if os.path.exists(old) else ''
            ))
        elif os.path.exists(old):
            said.append(f'{name}: that of the stash')
    return said


def _join(name: str, old: str, new: str) -> None:
    """Put two scripts into one that runs each with its own interpreter."""
    text = _JOINED.format(name=name)
    for path in (old, new):
        with open(path, encoding='utf-8', errors='surrogateescape') as source:
            script = source.read().rstrip('\n')
        if not script.startswith('#!'):
            script = f'#!/bin/bash\n{script}'
        mark = 'END-OF-SCRIPT'
        while mark in script:
            mark += '-'
        text += _PART.format(mark=mark, script=script)
    with open(new, 'w', encoding='utf-8', errors='surrogateescape') as out:
        out.write(text)
    os.chmod(new, 0o755)  # noqa: S103 - kiwi runs it
