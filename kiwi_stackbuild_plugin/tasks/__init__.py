# SPDX-License-Identifier: GPL-3.0-or-later
"""Tasks that kiwi loads: arguments in, one call, output."""
