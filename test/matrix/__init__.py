# SPDX-License-Identifier: GPL-3.0-or-later
"""The plugin on every kiwi and Python it is for, with the real tools."""
