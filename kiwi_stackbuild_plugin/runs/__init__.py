# SPDX-License-Identifier: GPL-3.0-or-later
"""Several use cases in one run, and several runs in one command."""
