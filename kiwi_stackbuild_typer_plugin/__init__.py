# SPDX-License-Identifier: GPL-3.0-or-later
"""Front of the plugin for kiwi 11, whose command line is made with typer.

kiwi 11.1 and later ignores packages named kiwi_stackbuild_plugin. It loads
this one, as it does any package with "_plugin" in its name.
"""
