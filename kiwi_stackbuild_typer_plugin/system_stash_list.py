# SPDX-License-Identifier: GPL-3.0-or-later
# Kiwi up to 10.3 loads the command from here too, since a distribution has
# one entry point of a name; there the docstring is the usage text.
from kiwi_stackbuild_plugin.tasks import system_stash_list
from kiwi_stackbuild_plugin.tasks.system_stash_list import SystemStash_ListTask

__doc__ = system_stash_list.__doc__
__all__ = ['SystemStash_ListTask']
