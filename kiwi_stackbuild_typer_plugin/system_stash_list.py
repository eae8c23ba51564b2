# SPDX-License-Identifier: GPL-3.0-or-later
# The docstring of this module is docopt's usage text: kiwi up to 10.3 loads
# the command from here too, one distribution has one entry point of a name.
from kiwi_stackbuild_plugin.tasks.system_stash_list import (
    SystemStash_ListTask, __doc__
)

__all__ = ['SystemStash_ListTask', '__doc__']
