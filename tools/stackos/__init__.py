# SPDX-License-Identifier: GPL-3.0-or-later
"""StackOS, a small RPM distribution made of Debian packages, to test on."""
